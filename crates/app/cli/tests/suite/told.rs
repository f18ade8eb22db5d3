//! What commands tell at their end: what was saved, what was left out, and where damage is; and several
//! names for one image.

use std::fs;

use serde_json::Value;

use crate::sandbox::{LABELS, Sandbox, columns};

fn said(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.run(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

/// A layout of three layers, in which one file replaces another one.
fn layers(sandbox: &Sandbox) {
    let layers = ["file a noise=40000", "file a noise=30000", "file b \"b\""];
    sandbox.layout("in", "example.com/app", &layers);
}

#[test]
fn squash_and_recompress_tell_what_they_saved() {
    let sandbox = Sandbox::new();
    layers(&sandbox);
    let text = said(
        &sandbox,
        &["squash", "oci:in", "oci:out", "--compression", "none"],
    );
    assert!(
        text.contains("example.com/app:1.0 (linux/amd64): "),
        "{text}"
    );
    assert!(text.contains(" saved ("), "{text}");
    assert!(text.contains(", 3 layers became 1\n"), "{text}");
    let text = said(&sandbox, &["squash", "oci:in", "oci:quiet", "--quiet"]);
    assert_eq!(text, "");
    let json = sandbox.ok(&["squash", "oci:in", "oci:json", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let change = &json["images"][0]["change"];
    assert_eq!(
        (&change["source_layers"], &change["layers"]),
        (&3.into(), &1.into())
    );
    let bytes = change["bytes"].as_u64().unwrap();
    assert_eq!(json["images"][0]["layers"][0]["size"], bytes);
    let source = fs::read_dir(sandbox.path("in/blobs/sha256")).unwrap();
    let source: u64 = source.map(|it| it.unwrap().metadata().unwrap().len()).sum();
    let before = change["source_bytes"].as_u64().unwrap();
    assert!(
        before > bytes && before < source,
        "{before} {bytes} {source}"
    );
    // More bytes are told, too.
    sandbox.ok(&["recompress", "oci:in", "oci:small", "--compression", "gzip"]);
    let text = said(
        &sandbox,
        &[
            "recompress",
            "oci:small",
            "oci:large",
            "--compression",
            "none",
        ],
    );
    assert!(text.contains(" more ("), "{text}");
    assert!(!text.contains("3 layers"), "{text}");
    // A conversion tells nothing of this.
    let json = sandbox.ok(&["convert", "oci:in", "oci:copy", "--json"]);
    assert!(!json.contains("\"change\""), "{json}");
    let text = said(&sandbox, &["squash", "oci:in", "app.aci"]);
    assert!(text.contains("3 layers became 1"), "{text}");
}

#[test]
fn unpack_tells_what_was_left_out() {
    let sandbox = Sandbox::new();
    let files = "file a \"1234\"\nchar null 0666 0:0 @0 1:3\nfile s 4755 0:0 \"s\"";
    sandbox.aci("app.aci", "example.com/app", LABELS, files);
    let text = sandbox.ok(&["unpack", "app.aci", "root"]);
    let cells = columns(&text);
    assert_eq!(cells[0], "root", "{text}");
    assert_eq!(cells[1], "2 entries", "{text}");
    assert_eq!(cells[2], "5 B", "{text}");
    assert!(cells[3].starts_with("left out: "), "{text}");
    assert!(cells[3].contains("1 devices"), "{text}");
    assert!(cells[3].contains("1 set-user-ID bits"), "{text}");
    assert_eq!(sandbox.ok(&["unpack", "app.aci", "quiet", "--quiet"]), "");
    let json: Value =
        serde_json::from_str(&sandbox.ok(&["unpack", "app.aci", "json", "--json"])).unwrap();
    assert_eq!(json["left_out"]["special_files"], 1);
    assert_eq!(json["left_out"]["privileges"], 1);
}

#[test]
fn verify_of_a_folder_names_the_damaged_file() {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        let file = format!("images/deep/{name}.aci");
        sandbox.aci(
            &file,
            &format!("example.com/{name}"),
            LABELS,
            "file a noise=5000",
        );
    }
    sandbox.layout("images/layout", "example.com/lay", &["file a noise=5000"]);
    let path = sandbox.path("images/deep/two.aci");
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    fs::write(&path, bytes).unwrap();
    let blobs = fs::read_dir(sandbox.path("images/layout/blobs/sha256")).unwrap();
    let largest = blobs.map(|it| it.unwrap().path());
    let largest = largest
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let output = sandbox.run(&["verify", "images"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("images/deep/two.aci"), "{text}");
    assert!(!text.contains("one.aci"), "{text}");
    let digest = largest.file_name().unwrap().to_str().unwrap();
    let line = text.lines().find(|line| line.contains(digest)).unwrap();
    let file = format!("file \"images/layout/blobs/sha256/{digest}\"");
    assert!(line.contains(&file), "{text}");
}

// robustness N6a
#[test]
fn n6a_an_image_gets_several_names_where_the_destination_can_hold_them() {
    let sandbox = Sandbox::new();
    layers(&sandbox);
    let names = [
        "--name",
        "example.com/new:1",
        "--name",
        "example.com/new:latest",
        "--name",
        "other.example.com/x:2",
    ];
    let to = |destination: &'static str| [&["convert", "oci:in", destination][..], &names].concat();
    for destination in ["oci:out", "oci-archive:out.tar", "docker-archive:saved.tar"] {
        let text = sandbox.ok(&to(destination));
        let (_, path) = destination.split_once(':').unwrap();
        let listed = sandbox.ok(&["ls", path]);
        for text in [&text, &listed] {
            let names: Vec<&str> = text.lines().map(|line| columns(line)[0]).collect();
            let expected = [
                "example.com/new:1",
                "example.com/new:latest",
                "other.example.com/x:2",
            ];
            assert_eq!(names, expected, "{destination}: {text}");
        }
        let digests: Vec<&str> = listed.lines().map(|line| columns(line)[3]).collect();
        assert!(
            digests.iter().all(|digest| *digest == digests[0]),
            "{listed}"
        );
    }
    let planned = sandbox.ok(&[&to("oci:dry")[..], &["--dry-run"]].concat());
    assert!(planned.contains("example.com/new:latest"), "{planned}");
    for (destination, text) in [
        ("aci:out.aci", "one name only"),
        ("dir:flat", "one name only"),
        ("docker-v2s1+dir:old", "one name only"),
    ] {
        sandbox.fails(&to(destination), 2, &["`--name` is given 3 times", text]);
    }
    sandbox.fails(&to("oci:out:stable"), 2, &["two names"]);
    let tags = [
        "convert",
        "oci:in",
        "oci:out:1",
        "--name",
        "a:1",
        "--name",
        "b:1",
    ];
    sandbox.fails(&tags, 2, &["`--name` is given 2 times", "is one name"]);
    let digest = format!("example.com/new@sha256:{}", "ab".repeat(32));
    let args = [
        "convert", "oci:in", "oci:bad", "--name", "a:1", "--name", &digest,
    ];
    sandbox.fails(&args, 1, &["error[bad-name]", "holds a digest"]);
    let args = [
        "convert", "oci:in", "oci:bad", "--name", "a:1", "--name", "A:1",
    ];
    sandbox.fails(&args, 1, &["error[bad-name]"]);
}

#[test]
fn n6a_a_registry_gets_a_tag_for_each_name() {
    let registry = imgconv_testkit::registry::Registry::start();
    let sandbox = Sandbox::new();
    layers(&sandbox);
    let host = registry.server.authority();
    let names = ["1", "latest"].map(|tag| format!("{host}/app:{tag}"));
    let to = format!("docker://{host}/app");
    let args = [
        "convert", "oci:in", &to, "--name", &names[0], "--name", &names[1],
    ];
    let text = sandbox.ok(&args);
    assert_eq!(text.lines().count(), 2, "{text}");
    let listed = sandbox.ok(&["ls", &to]);
    for name in &names {
        assert!(listed.contains(name), "{listed}");
    }
    let elsewhere = [
        "convert",
        "oci:in",
        &to,
        "--name",
        &names[0],
        "--name",
        "x.test/app:2",
    ];
    sandbox.fails(&elsewhere, 2, &["two names"]);
}

// robustness K48
#[test]
fn k48_mistyped_commands_options_and_schemes_get_the_word_that_was_meant() {
    let sandbox = Sandbox::new();
    for (args, meant) in [
        (&["covnert", "a", "oci:b"][..], "'convert'"),
        (&["aci-2-oci", "a", "b"], "'aci-to-oci'"),
        (
            &["convert", "a", "oci:b", "--compresion", "zstd"],
            "'--compression'",
        ),
        (
            &["convert", "a", "oci:b", "--compression", "zsdt"],
            "'zstd'",
        ),
        (&["convert", "docker-archve:a", "oci:b"], "`docker-archive:"),
        (&["ls", "contianerd:/x"], "`containerd:"),
        (&["tags", "exprot", "x"], "'export'"),
    ] {
        sandbox.fails(args, 2, &[meant]);
    }
}

#[test]
fn k09_a_damaged_aci_of_a_folder_is_named() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("s")).unwrap();
    sandbox.aci("s/good.aci", "example.com/good", LABELS, "file a \"a\"");
    let good = fs::read(sandbox.path("s/good.aci")).unwrap();
    let mut flipped = good.clone();
    flipped[30] ^= 1;
    let damaged: [(&str, &[u8]); 4] = [
        ("cut.ACI", &good[..60]),
        ("empty.aci", b""),
        ("flipped.aci", &flipped),
        ("other.aci", b"no image at all"),
    ];
    for (name, bytes) in damaged {
        fs::write(sandbox.path("s").join(name), bytes).unwrap();
    }
    let commands: [&[&str]; 4] = [
        &["ls", "s"],
        &["verify", "s"],
        &["verify", "aci-tree:s"],
        &["migrate", "s", "oci:out"],
    ];
    for args in commands {
        let output = sandbox.run(args);
        assert!(!output.status.success(), "{args:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        for (name, _) in damaged {
            assert!(text.contains(name), "{args:?} does not name {name}: {text}");
        }
    }
}

#[test]
fn an_error_of_the_arguments_is_json_too() {
    let sandbox = Sandbox::new();
    for (args, message, hint) in [
        (
            &["squash", "--json", "oci:in", "oci:out", "--plattform", "x"][..],
            "unexpected argument '--plattform' found",
            Some("'--platform'"),
        ),
        (
            &["inspect", "--json"],
            "the following required arguments were not provided: <SRC>",
            None,
        ),
        (
            &["nothing", "--json"],
            "unrecognized subcommand 'nothing'",
            None,
        ),
        (
            &["convert", "--json", "--creds", "a=b:secret", "--such"],
            "unexpected argument '--such' found",
            None,
        ),
    ] {
        let output = sandbox.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["version"], 1);
        assert_eq!(document["error"]["code"], "usage", "{text}");
        let told = document["error"]["message"].as_str().unwrap();
        assert!(told.starts_with(message), "{told}");
        if let Some(hint) = hint {
            let told = document["error"]["hint"].as_str().unwrap();
            assert!(told.contains(hint), "{told}");
        }
        assert!(
            !text.contains("secret") && !text.contains("Usage:"),
            "{text}"
        );
    }
}
