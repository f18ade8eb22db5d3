//! Parts of documents and layers that the model has no field for, or that break a rule: named by
//! `verify`, never lost without a word.

use std::fs;

use imgconv_stream::digest;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const FILES: &[&str] = &["dir etc\nfile etc/a \"a\"", "file etc/b \"b\""];

fn read(sandbox: &Sandbox, path: &str) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path(path)).unwrap()).unwrap()
}

/// Where a descriptor leads to.
fn blob(layout: &str, descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().unwrap();
    format!("{layout}/blobs/{}", digest.replace(':', "/"))
}

/// Writes a document, and makes its descriptor lead to it.
fn store(sandbox: &Sandbox, layout: &str, descriptor: &mut Value, document: &Value) {
    let bytes = document.to_string();
    let digest = digest(imgconv::Algorithm::Sha256, bytes.as_bytes());
    descriptor["digest"] = json!(digest.to_string());
    descriptor["size"] = json!(bytes.len());
    fs::write(sandbox.path(&blob(layout, descriptor)), bytes).unwrap();
}

/// A layout `in` whose config, manifest and index `change` has changed, in this order.
fn changed(sandbox: &Sandbox, change: impl FnOnce(&mut Value, &mut Value, &mut Value)) {
    let _ = fs::remove_dir_all(sandbox.path("in"));
    sandbox.layout("in", "example.com/app", FILES);
    let mut index = read(sandbox, "in/index.json");
    let mut manifest = read(sandbox, &blob("in", &index["manifests"][0]));
    let mut config = read(sandbox, &blob("in", &manifest["config"]));
    let before = manifest.clone();
    change(&mut config, &mut manifest, &mut index);
    if manifest["config"] == before["config"] {
        store(sandbox, "in", &mut manifest["config"], &config);
    }
    store(sandbox, "in", &mut index["manifests"][0], &manifest);
    fs::write(sandbox.path("in/index.json"), index.to_string()).unwrap();
}

/// The warnings of `verify`, each with its place.
fn warnings(sandbox: &Sandbox, place: &str) -> String {
    let text = sandbox.ok(&["verify", place, "--json"]);
    let verdict: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(verdict["problems"], json!([]), "{text}");
    verdict["warnings"].to_string()
}

fn report(sandbox: &Sandbox, args: &[&str]) -> Value {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    document["images"][0].clone()
}

/// The config of the only image of a layout.
fn config_of(sandbox: &Sandbox, layout: &str) -> Value {
    let index = read(sandbox, &format!("{layout}/index.json"));
    let manifest = read(sandbox, &blob(layout, &index["manifests"][0]));
    read(sandbox, &blob(layout, &manifest["config"]))
}

// robustness K36
#[test]
fn k36_members_of_a_config_that_no_engine_can_load() {
    let sandbox = Sandbox::new();
    changed(&sandbox, |config, _, _| {
        config["os.features"] = json!("x");
        config["config"] = json!({
            "Volumes": { "/a": 1, "/b": null, "/c": {} },
            "OnBuild": "RUN x",
            "Healthcheck": { "Test": ["NONE"], "Interval": "30s", "Retries": 3 },
            "Env": ["A=b", null],
        });
    });
    let members = [
        "os.features",
        "config.Volumes./a",
        "config.OnBuild",
        "config.Healthcheck.Interval",
    ];
    let found = warnings(&sandbox, "in");
    assert_eq!(found.matches("config-type").count(), 4, "{found}");
    for member in members {
        assert!(found.contains(member), "{member}: {found}");
    }

    // A copy keeps its bytes, and says so.
    let copied = report(&sandbox, &["convert", "in", "oci:copy"]);
    assert_eq!(config_of(&sandbox, "copy"), config_of(&sandbox, "in"));
    assert!(copied["warnings"].to_string().contains("config.OnBuild"));

    // The result can be loaded: the other members stay, and each bad member is a loss.
    let made = report(&sandbox, &["convert", "in", "docker-archive:made.tar"]);
    let losses = made["losses"].to_string();
    for member in members {
        assert!(losses.contains(member), "{member}: {losses}");
    }
    sandbox.ok(&["convert", "made.tar", "oci:back", "--strict"]);
    let back = config_of(&sandbox, "back");
    assert_eq!(back["os.features"], Value::Null);
    assert_eq!(
        back["config"],
        json!({
            "Volumes": { "/a": {}, "/b": null, "/c": {} },
            "Healthcheck": { "Test": ["NONE"], "Retries": 3 },
            "Env": ["A=b", null],
        })
    );
    // So does a config that is written anew for the same format.
    let squashed = report(&sandbox, &["squash", "in", "oci:squashed"]);
    assert!(squashed["losses"].to_string().contains("config.OnBuild"));
    assert_eq!(config_of(&sandbox, "squashed")["config"], back["config"]);
}

// robustness K37
#[test]
fn k37_verify_names_each_broken_rule() {
    let sandbox = Sandbox::new();
    type Change = fn(&mut Value, &mut Value, &mut Value);
    let rows: [(Change, &str); 12] = [
        (
            |_, _, index| index["manifests"][0]["platform"] = json!({ "os": "linux" }),
            "field descriptor.platform.architecture",
        ),
        (
            |config, _, _| config["config"] = json!({ "Env": ["A=b", "foo"] }),
            "field config.Env[1]",
        ),
        (
            |config, _, _| config["config"] = json!({ "Env": ["=b"] }),
            "field config.Env[0]",
        ),
        (
            |_, manifest, _| manifest["layers"][0]["mediaType"] = json!("application"),
            "field layers[0].mediaType",
        ),
        (
            |_, manifest, _| manifest["layers"][0]["urls"] = json!(["value"]),
            "field layers[0].urls[0]",
        ),
        (
            |_, manifest, _| manifest["artifactType"] = json!("no type"),
            "field artifactType",
        ),
        (
            |_, manifest, _| manifest["annotations"] = json!({ "": "x" }),
            "an annotation has an empty key",
        ),
        (
            |_, manifest, _| {
                manifest["annotations"] = json!({ "org.opencontainers.image.created": "today" });
            },
            "is no date by RFC 3339",
        ),
        (
            |config, _, _| config["config"] = json!({ "Labels": { "": "x" } }),
            "a label has an empty key",
        ),
        (
            |config, _, _| config["config"] = json!({ "ExposedPorts": { "web": {} } }),
            "field config.ExposedPorts.web",
        ),
        (
            |config, _, _| config["config"] = json!({ "WorkingDir": "srv" }),
            "field config.WorkingDir",
        ),
        (
            |config, _, _| config["config"] = json!({ "Healthcheck": { "Interval": -1 } }),
            "field config.Healthcheck.Interval",
        ),
    ];
    for (change, says) in rows {
        changed(&sandbox, change);
        let found = warnings(&sandbox, "in");
        assert!(found.contains(says), "{says}: {found}");
        assert!(found.contains("against-specification"), "{found}");
    }
    changed(&sandbox, |_, _, _| {});
    assert_eq!(warnings(&sandbox, "in"), "[]");
}

// robustness K34
#[test]
fn k34_the_header_of_a_hard_link_counts_everywhere() {
    let sandbox = Sandbox::new();
    let layer = "file a 644 @1000 \"x\"\nlink b -> a 755 @2000\nlink c -> a 755 @2000";
    sandbox.layout("in", "example.com/app", &[layer]);
    let says = ["link-header", "entry", "mode 0755 for 0644", "time 2000"];
    let found = warnings(&sandbox, "in");
    for text in says {
        assert!(found.contains(text), "{text}: {found}");
    }
    // The second link has the current attributes of the file.
    assert_eq!(found.matches("link-header").count(), 1, "{found}");
    sandbox.ok(&["unpack", "in", "tree"]);
    for target in ["oci:squashed", "aci:made.aci"] {
        let command = if target.starts_with("oci") {
            "squash"
        } else {
            "convert"
        };
        let said = report(&sandbox, &[command, "in", target]);
        assert!(
            said["warnings"].to_string().contains("link-header"),
            "{said}"
        );
        let place = target.replace("oci:", "");
        sandbox.ok(&["unpack", &place, &format!("tree-{command}")]);
    }
    for tree in ["tree", "tree-squash", "tree-convert"] {
        use std::os::unix::fs::MetadataExt as _;
        let file = fs::metadata(sandbox.path(&format!("{tree}/a"))).unwrap();
        assert_eq!(
            (file.mode() & 0o7777, file.mtime()),
            (0o755, 2000),
            "{tree}"
        );
    }
    // The result is the same, and has no odd parts any more.
    assert!(!warnings(&sandbox, "squashed").contains("link-header"));
    sandbox.ok(&["diff", "in", "squashed"]);
    sandbox.ok(&["diff", "in", "made.aci"]);
}

// robustness K39
#[test]
fn k39_the_size_of_the_output_counts_too() {
    let sandbox = Sandbox::new();
    let deep = |first: &str| format!("file {first}/{} \"\"", vec!["d"; 1990].join("/"));
    let lines: Vec<String> = (0..3).map(|i| deep(&format!("{i}0"))).collect();
    sandbox.layout("in", "example.com/app", &[&lines.join("\n")]);
    let limit = ["--limit", "image_bytes=5000000"];
    for command in [
        &["convert", "in", "aci:a.aci"][..],
        &["squash", "in", "oci:out"],
        &["convert", "in", "aci:d/", "--no-squash"],
    ] {
        let args = [&limit[..], command].concat();
        sandbox.fails(&args, 1, &["error[limit]", "image_bytes"]);
    }
    // A path that no system can open.
    let long = format!("file {}d \"\"", vec!["d"; 2048].join("/"));
    sandbox.layout("long", "example.com/app", &[&long]);
    for args in [
        &["convert", "long", "aci:a.aci"][..],
        &["squash", "long", "oci:out"],
        &["unpack", "long", "tree"],
    ] {
        sandbox.fails(args, 1, &["error[limit]", "`path` of 4095"]);
    }
}

#[test]
fn an_image_with_a_layer_of_an_unknown_type_is_named_with_the_type() {
    let sandbox = Sandbox::new();
    changed(&sandbox, |_, manifest, _| {
        let kind = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        manifest["layers"][0]["mediaType"] = json!(kind);
    });
    for args in [&["unpack", "in", "out"][..], &["diff", "in", "in"]] {
        let texts = [
            "error[unsupported]",
            "no image that can be read",
            "tar+gzip+encrypted",
        ];
        sandbox.fails(args, 1, &texts);
    }
}

/// C14a. The written types are true, also where the bytes come out the same.
#[test]
fn a_wrong_media_type_is_mended_by_the_compression_that_the_layer_has() {
    let sandbox = Sandbox::new();
    for (compression, right) in [("none", ""), ("gzip", "+gzip"), ("zstd:chunked", "+zstd")] {
        sandbox.layout("plain", "example.com/app", FILES);
        let written = ["convert", "plain", "oci:in", "--compression", compression];
        sandbox.ok(&written);
        let mut index = read(&sandbox, "in/index.json");
        let mut manifest = read(&sandbox, &blob("in", &index["manifests"][0]));
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let wrong = if compression == "gzip" {
            "+zstd"
        } else {
            "+gzip"
        };
        for layer in manifest["layers"].as_array_mut().unwrap() {
            layer["mediaType"] = json!(format!("{kind}{wrong}"));
        }
        store(&sandbox, "in", &mut index["manifests"][0], &manifest);
        fs::write(sandbox.path("in/index.json"), index.to_string()).unwrap();
        let out = format!("oci:{}", compression.replace(':', "-"));
        let output = sandbox.run(&["recompress", "in", &out, "--compression", compression]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !told.contains("unchanged"),
            "{told}"
        );
        let out = out.strip_prefix("oci:").unwrap();
        let index = read(&sandbox, &format!("{out}/index.json"));
        let mended = read(&sandbox, &blob(out, &index["manifests"][0]));
        for (layer, old) in mended["layers"]
            .as_array()
            .unwrap()
            .iter()
            .zip(manifest["layers"].as_array().unwrap())
        {
            assert_eq!(layer["mediaType"], format!("{kind}{right}"));
            assert_eq!(layer["digest"], old["digest"]);
        }
        for folder in ["plain", "in"] {
            fs::remove_dir_all(sandbox.path(folder)).unwrap();
        }
    }
}
