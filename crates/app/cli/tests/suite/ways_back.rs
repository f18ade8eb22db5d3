//! Docker images to ACIs and back: the annotations of docker2aci, the fields that come back, and the
//! reported losses.

use std::{fs, path::Path};

use crate::sandbox::Sandbox;
use imgconv_testkit::{ImageRecipe, docker, recipe, sha256_hex};
use serde_json::{Value, json};

const HEALTH: &str = r#"{"Test":["CMD","/bin/check"],"Interval":5000000000}"#;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
    read(&layout.join("blobs").join(digest))
}

fn put(layout: &Path, descriptor: &mut Value, document: &Value) {
    let text = document.to_string();
    let hex = sha256_hex(text.as_bytes());
    fs::write(layout.join("blobs/sha256").join(&hex), &text).unwrap();
    descriptor["digest"] = json!(format!("sha256:{hex}"));
    descriptor["size"] = json!(text.len());
}

/// A layout `oci` with an image of two layers that has every field of docker's own.
fn everything(sandbox: &Sandbox) {
    sandbox.layout(
        "oci",
        "example.com/team/app",
        &["dir etc", "file etc/a \"a\""],
    );
    let layout = sandbox.path("oci");
    let mut top = read(&layout.join("index.json"));
    let mut manifest = blob(&layout, &top["manifests"][0]);
    let mut config = blob(&layout, &manifest["config"]);
    let date = "2020-02-03T04:05:06Z";
    config["created"] = json!(date);
    let run = &mut config["config"];
    run["Healthcheck"] = serde_json::from_str(HEALTH).unwrap();
    run["OnBuild"] = json!(["RUN make"]);
    run["Shell"] = json!(["/bin/ash", "-c"]);
    run["StopSignal"] = json!("SIGQUIT");
    run["StopTimeout"] = json!(7);
    let step = |by: &str| json!({"created": date, "created_by": by});
    config["history"] = json!([step("first"), step("env"), step("last")]);
    config["history"][1]["empty_layer"] = json!(true);
    put(&layout, &mut manifest["config"], &config);
    put(&layout, &mut top["manifests"][0], &manifest);
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
}

/// The places that the image of [`everything`] is put to, in every form that is written.
const PLACES: [&str; 3] = [
    "docker-archive:saved",
    "docker-v2s2+dir:v2s2",
    "docker-v2s1+dir:v2s1",
];

fn image(sandbox: &Sandbox, args: &[&str]) -> Value {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["images"].as_array().unwrap().len(), 1);
    document["images"][0].clone()
}

fn losses(image: &Value) -> Vec<String> {
    let word = |loss: &Value, key: &str| loss[key].as_str().unwrap().to_owned();
    let list = image["losses"].as_array().unwrap();
    list.iter()
        .map(|loss| format!("{} {}", word(loss, "outcome"), word(loss, "field")))
        .collect()
}

/// The annotations of an ACI's manifest.
fn annotations(sandbox: &Sandbox, aci: &str) -> Vec<(String, String)> {
    let manifest: Value = serde_json::from_str(&sandbox.ok(&["inspect", "--raw", aci])).unwrap();
    let text = |pair: &Value, key: &str| pair[key].as_str().unwrap().to_owned();
    let list = manifest["annotations"].as_array().unwrap();
    list.iter()
        .map(|pair| (text(pair, "name"), text(pair, "value")))
        .collect()
}

fn annotation(sandbox: &Sandbox, aci: &str, name: &str) -> Option<String> {
    let mut found = annotations(sandbox, aci).into_iter();
    found.find(|(own, _)| own == name).map(|(_, value)| value)
}

/// The place without the format that is written there.
fn place(spelled: &str) -> &str {
    spelled.rsplit('+').next().unwrap()
}

#[test]
fn what_only_docker_says_comes_back_from_an_aci() {
    let sandbox = Sandbox::new();
    everything(&sandbox);
    for spelled in PLACES {
        sandbox.ok(&["convert", "oci", spelled]);
        let (source, aci) = (
            place(spelled),
            format!("{}.aci", place(spelled).replace(':', "-")),
        );
        let lost = losses(&image(
            &sandbox,
            &[
                "docker-to-aci",
                source,
                &aci,
                "--name",
                "example.com/team/app:1.0",
            ],
        ));
        for field in [
            "Healthcheck",
            "OnBuild",
            "Shell",
            "StopSignal",
            "StopTimeout",
        ] {
            let wanted = format!("dropped config.{field}");
            assert!(
                lost.contains(&wanted),
                "{spelled}: {wanted} is not in {lost:?}"
            );
        }
        assert!(
            lost.iter().any(|loss| loss == "dropped history"),
            "{spelled}: {lost:?}"
        );
        for target in ["docker-archive", "oci"] {
            let back = format!("{target}:{aci}-{target}");
            sandbox.ok(&["convert", &aci, &back]);
            assert_eq!(
                sandbox.ok(&["diff", source, &back]),
                "",
                "{spelled} by ACI to {target}"
            );
        }
        let back = format!("{aci}-v2s1");
        sandbox.ok(&["convert", &aci, &format!("docker-v2s1+dir:{back}")]);
        assert_eq!(
            sandbox.ok(&["diff", source, &format!("dir:{back}")]),
            "",
            "{spelled} to v2s1"
        );
        // An ACI that is converted to an ACI stays the same.
        sandbox.ok(&["convert", &aci, "again.aci"]);
        assert_eq!(
            sandbox.ok(&["inspect", "--raw", &aci]),
            sandbox.ok(&["inspect", "--raw", "again.aci"])
        );
        assert_eq!(sandbox.ok(&["diff", source, "again.aci"]), "", "{spelled}");
        fs::remove_file(sandbox.path("again.aci")).unwrap();
    }
}

#[test]
fn diff_names_every_field_that_docker_has_of_its_own() {
    let sandbox = Sandbox::new();
    everything(&sandbox);
    sandbox.ok(&["convert", "oci", "docker-archive:saved"]);
    sandbox.layout(
        "plain",
        "example.com/team/app",
        &["dir etc", "file etc/a \"a\""],
    );
    let output = sandbox.run(&["diff", "docker-archive:saved", "plain", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let what: Vec<&str> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        what,
        [
            "config.healthcheck",
            "config.on_build",
            "config.shell",
            "config.stop_signal",
            "config.stop_timeout",
            "created",
            "history[0]",
            "history[1]",
            "history[2]",
        ]
    );
    let health = r#"{"Interval":5000000000,"Test":["CMD","/bin/check"]}"#;
    assert_eq!(
        found["differences"][0]["a"], health,
        "keys are sorted, so that their order is no difference"
    );
}

#[test]
fn an_aci_says_what_docker_called_the_image() {
    let sandbox = Sandbox::new();
    everything(&sandbox);
    for spelled in PLACES {
        sandbox.ok(&["convert", "oci", spelled]);
    }
    let layout = sandbox.path("oci");
    let manifest = blob(&layout, &read(&layout.join("index.json"))["manifests"][0]);
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let say = |aci: &str, name: &str| annotation(&sandbox, aci, &format!("appc.io/docker/{name}"));
    let named = |source: &str, aci: &str| {
        sandbox.ok(&[
            "docker-to-aci",
            source,
            aci,
            "--name",
            "example.com/team/app:1.0",
        ]);
    };

    // An archive knows no manifest of a registry; docker2aci took the image's ID.
    named("docker-archive:saved", "saved.aci");
    assert_eq!(say("saved.aci", "imageid"), Some(config.clone()));
    assert_eq!(say("saved.aci", "manifesthash"), Some(config.clone()));
    assert_eq!(say("saved.aci", "parentimageid"), None);
    let kept = annotation(&sandbox, "saved.aci", "imgconv.docker-archive.config").unwrap();
    assert_eq!(format!("sha256:{}", sha256_hex(kept.as_bytes())), config);

    named("dir:v2s2", "v2s2.aci");
    let stored = fs::read(sandbox.path("v2s2/manifest.json")).unwrap();
    assert_eq!(say("v2s2.aci", "imageid"), Some(config));
    assert_eq!(
        say("v2s2.aci", "manifesthash"),
        Some(format!("sha256:{}", sha256_hex(&stored)))
    );
    let kept = annotation(&sandbox, "v2s2.aci", "imgconv.docker-v2s2.manifest").unwrap();
    assert_eq!(kept.as_bytes(), stored);

    named("dir:v2s1", "v2s1.aci");
    let stored = fs::read(sandbox.path("v2s1/manifest.json")).unwrap();
    let document: Value = serde_json::from_slice(&stored).unwrap();
    let v1 = |i: usize| -> Value {
        serde_json::from_str(document["history"][i]["v1Compatibility"].as_str().unwrap()).unwrap()
    };
    let id = |value: &Value| value["id"].as_str().map(str::to_owned);
    assert!(id(&v1(0)).is_some());
    assert_eq!(say("v2s1.aci", "imageid"), id(&v1(0)));
    assert_eq!(say("v2s1.aci", "parentimageid"), id(&v1(1)));
    assert_eq!(
        say("v2s1.aci", "manifesthash"),
        Some(format!("sha256:{}", sha256_hex(&stored)))
    );

    let mut old = ImageRecipe::default();
    old.head.name = "example.com/old".into();
    (old.head.os, old.head.arch) = ("linux".into(), "amd64".into());
    old.layers = ["dir etc", "file etc/a"]
        .map(|text| recipe::parse(text, "old").unwrap())
        .into();
    fs::write(sandbox.path("old.tar"), docker::archive_v1(&[old]).unwrap()).unwrap();
    sandbox.ok(&["docker-to-aci", "old.tar", "old.aci"]);
    let (own, parent) = (
        say("old.aci", "imageid").unwrap(),
        say("old.aci", "parentimageid").unwrap(),
    );
    let listed = fs::read(sandbox.path("old.tar")).unwrap();
    let text = String::from_utf8_lossy(&listed);
    assert!(
        text.contains(&format!(r#""example.com/old":{{"latest":"{own}"}}"#)),
        "{own}"
    );
    assert!(
        text.contains(&format!(r#""parent":"{parent}""#)),
        "{parent}"
    );
    assert_eq!(say("old.aci", "manifesthash"), Some(own));
}

#[test]
fn a_name_that_the_destination_cannot_hold_is_a_loss() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/team/app", &["dir etc"]);
    for (target, field, why) in [
        ("oci+dir:a", "dropped name", "example.com/team/app:1.0"),
        (
            "docker-v2s2+dir:b",
            "dropped name",
            "example.com/team/app:1.0",
        ),
        ("docker-v2s1+dir:c", "approximated name", "`team/app`"),
    ] {
        let strict = ["convert", "oci", target, "--strict"];
        sandbox.fails(&strict, 3, &["name"]);
        let found = image(&sandbox, &["convert", "oci", target]);
        assert!(
            losses(&found).iter().any(|loss| loss == field),
            "{target}: {found}"
        );
        assert!(
            found["losses"].to_string().contains(why),
            "{target}: {found}"
        );
    }
    // An image from Docker Hub, or without a name, loses no name.
    sandbox.layout("own", "busybox", &["dir etc"]);
    let found = image(&sandbox, &["convert", "own", "docker-v2s1+dir:d"]);
    assert_eq!(losses(&found), ["synthesised history"]);
    let found = image(&sandbox, &["convert", "dir:a", "oci+dir:e"]);
    assert_eq!(losses(&found), Vec::<String>::new());
}

#[test]
fn what_only_descriptors_say_is_a_loss_on_the_way_to_an_aci() {
    let sandbox = Sandbox::new();
    sandbox.layout("oci", "example.com/app", &["dir etc"]);
    let layout = sandbox.path("oci");
    let mut top = read(&layout.join("index.json"));
    let mut manifest = blob(&layout, &top["manifests"][0]);
    manifest["layers"][0]["annotations"] = json!({"com.example.layer": "x"});
    manifest["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    put(&layout, &mut top["manifests"][0], &manifest);
    let mut listed = top["manifests"][0].clone();
    listed["annotations"] = json!({"com.example.listed": "x"});
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({
        "schemaVersion": 2, "mediaType": kind, "manifests": [listed],
        "annotations": {"com.example.index": "x"}, "com.example.field": 1,
    });
    put(&layout, &mut top["manifests"][0], &index);
    top["manifests"][0]["mediaType"] = json!(kind);
    top["manifests"][0]["annotations"]["com.example.root"] = json!("x");
    fs::write(layout.join("index.json"), top.to_string()).unwrap();
    let fields = [
        "dropped index.annotations.com.example.index",
        "dropped index.manifests.annotations.com.example.listed",
        "dropped layers.0.annotations.com.example.layer",
        "dropped layers.0.urls",
    ];
    for target in ["aci:a.aci", "docker-archive:a.tar"] {
        let found = losses(&image(&sandbox, &["convert", "oci", target]));
        for field in fields {
            assert!(
                found.iter().any(|loss| loss == field),
                "{target}: {field} is not in {found:?}"
            );
        }
        assert!(
            found
                .iter()
                .any(|loss| loss.starts_with("dropped index.") && loss.contains("field")),
            "{found:?}"
        );
    }
    let found = losses(&image(&sandbox, &["convert", "oci", "aci:b.aci"]));
    let root = "dropped index.manifests.annotations.com.example.root".to_owned();
    assert!(found.contains(&root), "{found:?}");
    assert!(!found.iter().any(|loss| loss.contains("name")), "{found:?}");
    let kept = losses(&image(&sandbox, &["convert", "oci", "oci:again"]));
    assert_eq!(kept, Vec::<String>::new());
}
