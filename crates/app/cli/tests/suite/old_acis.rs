//! Rows K17 and K29 to K33 through the command: ACIs of old tools are converted as their manifests
//! say, and the group of a user is that of the image's own files.

use std::fs;

use crate::sandbox::Sandbox;
use imgconv_testkit::{ImageRecipe, build, docker, recipe};
use serde_json::Value;

/// Writes an ACI with that manifest.
fn aci(sandbox: &Sandbox, file: &str, version: &str, name: &str, fields: &str) {
    let image = ImageRecipe {
        manifest: Some(format!(
            r#"{{"acKind":"ImageManifest","acVersion":"{version}","name":"{name}"{fields}}}"#
        )),
        layers: vec![recipe::parse("dir bin\nfile bin/sh \"#!\"", file).unwrap()],
        ..ImageRecipe::default()
    };
    fs::write(sandbox.path(file), build::aci_bytes(&image).unwrap()).unwrap();
}

fn image(sandbox: &Sandbox, args: &[&str]) -> Value {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    document["images"][0].clone()
}

fn losses(image: &Value) -> String {
    image["losses"].to_string()
}

#[test]
fn k29_k30_k31_what_old_tools_wrote_becomes_what_it_says() {
    let sandbox = Sandbox::new();
    let app =
        |fields: &str| format!(r#","app":{{"exec":["/bin/sh"],"user":"0","group":"0",{fields}}}"#);
    aci(&sandbox, "base.aci", "0.5.2", "example.com/base", "");
    let labels = r#","labels":[{"name":"version","val":"10.1"},{"name":"os","val":"freebsd"},
        {"name":"arch","val":"amd64"}],"annotations":{"authors":"A. Writer"},
        "dependencies":[{"app":"example.com/base"}]"#;
    let isolators = r#""isolators":[{"name":"memory/limit","val":"1G"}],"environment":{"A":"b"},
        "mountPoints":[{"name":"volume-/data","path":"/data"}],
        "ports":[{"name":"6379/tcp","protocol":"tcp","port":6379}]"#;
    let fields = format!("{labels}{}", app(isolators));
    aci(&sandbox, "old.aci", "0.1.1", "example.com/old", &fields);
    let deps = ["--deps", "base.aci"];
    let done = image(
        &sandbox,
        &[&["aci-to-oci", "old.aci", "o"][..], &deps].concat(),
    );
    assert_eq!(done["platform"], "freebsd/amd64");
    assert_eq!(done["name"], "example.com/old:10.1");
    for field in [
        "app.isolators",
        "app.mountPoints[volume-/data].name",
        "app.ports[6379/tcp].name",
    ] {
        assert!(losses(&done).contains(field), "{field}: {done}");
    }
    let found = image(&sandbox, &["inspect", "o"]);
    assert_eq!(found["author"], "A. Writer");
    assert_eq!(found["config"]["volumes"][0], "/data");
    assert_eq!(found["config"]["ports"][0], "6379/tcp");
    assert_eq!(found["config"]["env"][0], "A=b");
    // To Docker and back to an ACI: the new ACI has the current schema and valid names.
    for back in [
        &["oci-to-aci", "o", "back.aci"][..],
        &["convert", "o", "aci:again.aci"],
    ] {
        sandbox.ok(back);
        let raw = sandbox.ok(&["inspect", back[2], "--raw"]);
        let manifest: Value = serde_json::from_str(&raw).unwrap();
        assert_eq!(manifest["acVersion"], "0.8.11", "{raw}");
        assert_eq!(manifest["labels"][1]["value"], "freebsd");
        assert_eq!(manifest["app"]["mountPoints"][0]["name"], "volume-data");
        assert_eq!(manifest["app"]["ports"][0]["name"], "6379-tcp");
        assert!(!raw.contains("\"val\""), "{raw}");
    }
    // An ACI stays as it was.
    sandbox.ok(&["convert", "base.aci", "copy.aci"]);
    assert_eq!(
        fs::read(sandbox.path("copy.aci")).unwrap(),
        fs::read(sandbox.path("base.aci")).unwrap()
    );
    aci(
        &sandbox,
        "none.aci",
        "0.8.11",
        "example.com/none",
        r#","labels":[{"name":"os"}]"#,
    );
    sandbox.fails(
        &["aci-to-oci", "none.aci", "x"],
        1,
        &["labels[0].value: is required"],
    );
    let verdict = sandbox.run(&["verify", "none.aci"]);
    assert_eq!(verdict.status.code(), Some(4));
}

#[test]
fn k17_k33_odd_names_pass_and_odd_values_are_told() {
    let sandbox = Sandbox::new();
    for (i, name) in ["team/a__b", "team/a--b", "example.com/~bob/database"]
        .iter()
        .enumerate()
    {
        let file = format!("{i}.aci");
        aci(&sandbox, &file, "0.8.11", name, "");
        sandbox.ok(&["verify", &file]);
        let out = format!("o{i}");
        sandbox.ok(&["aci-to-oci", &file, &out]);
        sandbox.ok(&["oci-to-aci", &out, &format!("back{i}.aci")]);
        let raw = sandbox.ok(&["inspect", &format!("back{i}.aci"), "--raw"]);
        assert!(raw.contains(&format!("\"name\":\"{name}\"")), "{raw}");
    }
    let app = r#","app":{"exec":["/a"],"user":"0","group":"0",
        "isolators":[{"name":"os/linux/cpu-shares","value":"pants"}]}"#;
    aci(&sandbox, "x.aci", "0.8.11", "example.com/x", app);
    let output = sandbox.run(&["verify", "x.aci"]);
    assert!(output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("bad-isolator") && said.contains("cpu-shares"),
        "{said}"
    );
    sandbox.fails(
        &["inspect", "appc:example.com/app,channel=beta:1.2.3"],
        2,
        &["has a colon that does not stand after the name"],
    );
}

/// A file of `docker save` with those layers and that user.
fn saved(sandbox: &Sandbox, user: &str, layers: &[&str]) {
    let mut image = ImageRecipe {
        layers: layers
            .iter()
            .map(|text| recipe::parse(text, "in").unwrap())
            .collect(),
        ..ImageRecipe::default()
    };
    image.head.name = "example.com/x".into();
    image.head.version = "1".into();
    image.head.os = "linux".into();
    image.head.arch = "amd64".into();
    image.head.config.user = user.into();
    image.head.config.cmd = vec!["/a".into()];
    fs::write(sandbox.path("in.tar"), docker::archive(&[image]).unwrap()).unwrap();
}

const PASSWD: &str =
    r#"file etc/passwd "root:x:0:0::/:/bin/sh\nnobody:x:65534:99::/:/x\nbad:x:7:y\n""#;

#[test]
fn k32_a_user_without_a_group_has_that_of_the_images_passwd() {
    let passwd = format!("dir etc\n{PASSWD}");
    let other = "file etc/passwd \"nobody:x:1:42::/:\\n\"";
    let linked = format!(
        "dir etc\ndir usr\nsymlink etc/passwd -> ../../usr/./pw\n{}",
        PASSWD.replace("etc/passwd", "usr/pw")
    );
    for (user, layers, group) in [
        ("nobody", &[&*passwd][..], "99"),
        ("nobody:", &[&passwd], "99"),
        ("65534", &[&passwd], "99"),
        ("65534", &["dir etc"], "0"),
        ("1000", &[&passwd], "0"),
        ("root", &[&passwd], "0"),
        ("bad", &[&passwd], "0"),
        ("nobody:500", &[&passwd], "500"),
        ("nobody:users", &[&passwd], "users"),
        ("nobody", &[&passwd, other], "42"),
        ("nobody", &[&linked], "99"),
        ("65534", &[&passwd, "whiteout etc/passwd"], "0"),
        ("", &[&passwd], "0"),
    ] {
        let sandbox = Sandbox::new();
        saved(&sandbox, user, layers);
        for flag in ["--strict", "--no-squash"] {
            let mut args = vec!["docker-to-aci", "in.tar", "acis"];
            args.extend((flag == "--no-squash").then_some(flag));
            sandbox.ok(&args);
            let mut files: Vec<String> = fs::read_dir(sandbox.path("acis"))
                .unwrap()
                .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
                .filter(|path| path.ends_with(".aci"))
                .collect();
            files.sort();
            let manifests: Vec<Value> = files
                .iter()
                .map(|file| serde_json::from_str(&sandbox.ok(&["inspect", file, "--raw"])).unwrap())
                .collect();
            let app = manifests
                .iter()
                .find(|it| it["app"]["exec"][0] == "/a")
                .unwrap();
            assert_eq!(app["app"]["group"], group, "{user} {layers:?} {flag}");
            fs::remove_dir_all(sandbox.path("acis")).unwrap();
        }
        // The way back restores the user.
        sandbox.ok(&["docker-to-aci", "in.tar", "x.aci"]);
        let done = image(&sandbox, &["aci-to-docker", "x.aci", "back.tar"]);
        assert!(!losses(&done).contains("User"), "{done}");
        let found = image(&sandbox, &["inspect", "back.tar"]);
        let before = image(&sandbox, &["inspect", "in.tar"]);
        assert_eq!(found["config"]["user"], before["config"]["user"], "{user}");
    }
}

#[test]
fn k32_a_user_who_is_nowhere_is_told() {
    let sandbox = Sandbox::new();
    saved(&sandbox, "absent", &[&format!("dir etc\n{PASSWD}")]);
    let done = image(&sandbox, &["docker-to-aci", "in.tar", "x.aci"]);
    assert!(done["warnings"].to_string().contains("absent"), "{done}");
    let text = sandbox.ok(&["inspect", "x.aci", "--raw"]);
    assert!(text.contains(r#""user":"absent","group":"0""#), "{text}");
}
