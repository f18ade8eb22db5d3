//! Partly damaged archives of docker: the reported problems, and the images that stay usable (section A of
//! the robustness document).

use std::{
    fs::{self, File},
    process::Command,
};

use crate::sandbox::{LABELS, Sandbox, labels};
use imgconv_testkit::{ImageRecipe, build, docker, recipe};
use serde_json::Value;

fn recipe(name: &str, arch: &str, file: &str) -> ImageRecipe {
    let mut image = ImageRecipe::default();
    image.head.name = name.into();
    image.head.version = "1".into();
    (image.head.os, image.head.arch) = ("linux".into(), arch.into());
    image.layers = ["dir etc", &format!("file etc/{file} \"x\"")]
        .map(|text| recipe::parse(text, "image").unwrap())
        .into();
    image
}

/// Writes a file with each `from` replaced by a text of the same length.
fn write(sandbox: &Sandbox, name: &str, bytes: Vec<u8>, changes: &[(&str, &str)]) {
    let mut bytes = bytes;
    for (from, to) in changes {
        assert_eq!(from.len(), to.len());
        let found = bytes
            .windows(from.len())
            .position(|part| part == from.as_bytes());
        let at = found.unwrap_or_else(|| panic!("{from} is not there"));
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(sandbox.path(name), bytes).unwrap();
}

/// An archive of two images; the name of the first is none.
fn one_bad_name(sandbox: &Sandbox) {
    let images = [
        recipe("example.com/one", "amd64", "one"),
        recipe("example.com/two", "arm64", "two"),
    ];
    let bytes = docker::archive(&images).unwrap();
    write(
        sandbox,
        "saved",
        bytes,
        &[("example.com/one:1", "EXAMPLE/../one:1;")],
    );
}

#[test]
fn a12_a_bad_name_is_reported_and_the_rest_is_usable() {
    let sandbox = Sandbox::new();
    one_bad_name(&sandbox);
    let bad = "EXAMPLE/../one:1;";
    let listed = sandbox.run(&["ls", "saved"]);
    assert_eq!(listed.status.code(), Some(1));
    let text = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("example.com/two:1"), "{text}");
    assert!(String::from_utf8_lossy(&listed.stderr).contains(bad));
    let inspected = sandbox.run(&["inspect", "saved", "--json"]);
    assert_eq!(inspected.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert!(
        found["images"][0]["error"].as_str().unwrap().contains(bad),
        "{found}"
    );
    assert_eq!(found["images"][1]["error"], Value::Null);
    let verified = sandbox.run(&["verify", "saved"]);
    assert_eq!(verified.status.code(), Some(4));
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(
        text.contains("bad-name") && text.contains("2 checked, 1 wrong"),
        "{text}"
    );

    for command in [
        &["convert", "saved", "oci:out"][..],
        &["docker-to-aci", "saved", "out"],
    ] {
        sandbox.fails(command, 1, &["error[bad-name]", bad, "--name"]);
    }
    sandbox.ok(&[
        "convert",
        "docker-archive:saved:example.com/two:1",
        "oci:by-ref",
    ]);
    sandbox.ok(&[
        "convert",
        "saved",
        "oci:by-platform",
        "--platform",
        "linux/arm64",
    ]);
    assert!(
        sandbox
            .ok(&["ls", "by-platform"])
            .starts_with("example.com/two:1 ")
    );
    let name = ["--name", "example.com/saved:2"];
    sandbox.ok(&[
        &["convert", "docker-archive:saved:#0", "oci:named"][..],
        &name,
    ]
    .concat());
    sandbox.ok(&[
        &["docker-to-aci", "docker-archive:saved:#0", "named.aci"][..],
        &name,
    ]
    .concat());
    assert!(
        sandbox
            .ok(&["ls", "named"])
            .starts_with("example.com/saved:2 ")
    );
    assert!(
        sandbox
            .ok(&["ls", "named.aci"])
            .starts_with("example.com/saved:2 ")
    );
    sandbox.ok(&["unpack", "docker-archive:saved:#0", "tree"]);
    assert!(sandbox.path("tree/etc/one").exists());
}

#[test]
fn a2b_a_broken_chain_is_reported_and_the_rest_is_usable() {
    let sandbox = Sandbox::new();
    let images = [
        recipe("example.com/one", "amd64", "one"),
        recipe("example.com/two", "amd64", "two"),
    ];
    let bytes = docker::archive_v1(&images).unwrap();
    // The layer on top of the second image loses its parent.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let start = text.rfind(r#""parent":""#).unwrap() + 10;
    let parent = text[start..start + 64].to_owned();
    let mut bytes = bytes;
    bytes[start..start + 64].copy_from_slice("f".repeat(64).as_bytes());
    fs::write(sandbox.path("saved"), bytes).unwrap();
    assert_ne!(parent, "f".repeat(64));
    let listed = sandbox.run(&["ls", "saved"]);
    assert_eq!(listed.status.code(), Some(1));
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(
        text.contains("unreadable") && text.contains("example.com/one:1"),
        "{text}"
    );
    let inspected = sandbox.run(&["inspect", "saved"]);
    assert_eq!(inspected.status.code(), Some(1));
    let text = String::from_utf8(inspected.stdout).unwrap();
    assert!(
        text.contains("format: docker-v1") && text.contains(&"f".repeat(64)),
        "{text}"
    );
    let verified = sandbox.run(&["verify", "saved"]);
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(
        text.contains("missing: ") && text.contains("1 checked, 1 wrong"),
        "{text}"
    );
    sandbox.fails(
        &["convert", "saved", "oci:out"],
        1,
        &["error[missing]", &"f".repeat(64)],
    );
    sandbox.ok(&[
        "convert",
        "docker-archive:saved:example.com/one:1",
        "oci:out",
    ]);
    assert!(sandbox.ok(&["ls", "out"]).starts_with("example.com/one:1 "));
}

/// The codes of the warnings of the one image of `--json`.
fn warnings(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    let list = document["images"][0]["warnings"].as_array().unwrap();
    list.iter()
        .map(|warning| warning["code"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a5b_warnings_of_opening_an_archive_are_in_the_report() {
    let sandbox = Sandbox::new();
    let bytes = docker::archive(&[recipe("example.com/one", "amd64", "one")]).unwrap();
    // Every member twice, with the same bytes.
    let end = bytes.len() - 1024;
    let twice = [&bytes[..end], &bytes[..]].concat();
    fs::write(sandbox.path("saved"), twice).unwrap();
    for target in ["oci:out", "docker-archive:out.tar", "aci:out.aci"] {
        let found = warnings(&sandbox, &["convert", "saved", target]);
        assert!(
            found.iter().any(|code| code == "duplicate-member"),
            "{target}: {found:?}"
        );
    }
    sandbox.fails(
        &["convert", "saved", "oci:strict", "--strict"],
        3,
        &["duplicate-member"],
    );
    let verified = sandbox.run(&["verify", "saved"]);
    assert!(String::from_utf8_lossy(&verified.stderr).contains("duplicate-member"));
}

#[test]
fn a_warning_of_a_dependency_is_in_the_report_of_the_image() {
    let sandbox = Sandbox::new();
    let top = labels("2.0", "amd64") + r#","dependencies":[{"imageName":"example.com/base"}]"#;
    sandbox.aci("top.aci", "example.com/top", &top, "file a \"a\"");
    fs::create_dir(sandbox.path("deps")).unwrap();
    let app =
        r#","app":{"exec":["/b"],"user":"0","group":"0","mountPoints":[{"name":"d","path":"d"}]}"#;
    let base = format!("{LABELS}{app}");
    sandbox.aci("deps/base.aci", "example.com/base", &base, "file b \"b\"");
    let alone = warnings(&sandbox, &["convert", "deps/base.aci", "oci:alone"]);
    let found = warnings(
        &sandbox,
        &["convert", "top.aci", "oci:out", "--deps", "deps"],
    );
    assert!(
        !alone.is_empty(),
        "the example has something to be warned of"
    );
    for code in alone {
        assert!(found.contains(&code), "{code} is not in {found:?}");
    }
}

#[test]
fn a11b_a_file_that_is_no_tar_is_no_empty_layer() {
    let sandbox = Sandbox::new();
    let bytes = docker::archive_v1(&[recipe("example.com/one", "amd64", "one")]).unwrap();
    let text = "this is not a tar archive".repeat(50);
    let name = b"etc/one";
    let at = bytes
        .windows(name.len())
        .position(|part| part == name)
        .unwrap();
    let mut bytes = bytes;
    bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    fs::write(sandbox.path("saved"), bytes).unwrap();
    for target in ["oci:out", "docker-archive:out.tar", "aci:out.aci"] {
        sandbox.fails(
            &["convert", "saved", target],
            1,
            &["error[bad-tar]", "layer 1"],
        );
    }
    let verified = sandbox.run(&["verify", "saved"]);
    assert!(String::from_utf8_lossy(&verified.stdout).contains("bad-tar"));
}

/// An archive from before 1.10 with one image of one layer.
fn one_layer(sandbox: &Sandbox, layer: &[u8]) {
    let id = "a".repeat(64);
    let json = format!(r#"{{"id":"{id}","os":"linux","architecture":"amd64","config":{{}}}}"#);
    let members = [
        ("json", json.as_bytes()),
        ("VERSION", b"1.0"),
        ("layer.tar", layer),
    ];
    let mut items = Vec::new();
    for (name, body) in members {
        let mut item = recipe::parse(&format!("file {id}/{name}"), "saved").unwrap();
        item[0].entry.size = body.len() as u64;
        item[0].body = body.to_vec();
        items.append(&mut item);
    }
    fs::write(sandbox.path("saved"), build::tar_bytes(&items).unwrap()).unwrap();
}

#[test]
fn a10_a_layer_is_compressed_once_and_not_twice() {
    let sandbox = Sandbox::new();
    let tar = build::tar_bytes(&recipe::parse("file a \"1\"", "layer").unwrap()).unwrap();
    fs::write(sandbox.path("tar"), tar).unwrap();
    let gzip = |from: &str, to: &str| {
        let output = Command::new("gzip")
            .args(["-n", "-c"])
            .stdin(File::open(sandbox.path(from)).unwrap())
            .output()
            .unwrap();
        fs::write(sandbox.path(to), output.stdout).unwrap();
    };
    gzip("tar", "once");
    gzip("once", "twice");
    let name = ["--name", "example.com/a:1"];
    one_layer(&sandbox, &fs::read(sandbox.path("once")).unwrap());
    sandbox.ok(&[&["convert", "saved", "oci:good"][..], &name].concat());
    assert!(sandbox.ok(&["verify", "good"]).contains("nothing wrong"));
    one_layer(&sandbox, &fs::read(sandbox.path("twice")).unwrap());
    for target in ["oci:out", "docker-archive:out.tar", "aci:out.aci"] {
        let args = [&["convert", "saved", target][..], &name].concat();
        sandbox.fails(&args, 1, &["error[bad-tar]", "layer 0"]);
    }
}

#[test]
fn a11a_a_layer_of_no_bytes_is_empty_in_the_oldest_archives_too() {
    let sandbox = Sandbox::new();
    one_layer(&sandbox, b"");
    let name = ["--name", "example.com/empty:1", "--json"];
    let text = sandbox.ok(&[&["convert", "saved", "oci:out"][..], &name].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        document["images"][0]["layers"][0]["diff_id"],
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
    sandbox.ok(&["verify", "out"]);
    sandbox.ok(&[&["docker-to-aci", "saved", "out.aci"][..], &name].concat());
    sandbox.ok(&["verify", "out.aci"]);
}

/// As docker 25 and later save: a layout, and `manifest.json` beside it.
#[test]
fn a12_a_bad_name_beside_a_layout_is_reported_and_the_rest_is_usable() {
    let sandbox = Sandbox::new();
    let images = [
        recipe("example.com/one", "amd64", "one"),
        recipe("example.com/two", "arm64", "two"),
    ];
    build::layout(&images, &sandbox.path("in")).unwrap();
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(sandbox.path(path)).unwrap()).unwrap()
    };
    let path = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        format!("blobs/{digest}")
    };
    let mut index = read("in/index.json");
    let mut items = Vec::new();
    for (i, name) in ["EXAMPLE/../one:1;", "example.com/two:1"]
        .iter()
        .enumerate()
    {
        let child = &mut index["manifests"][i];
        child["annotations"] = serde_json::json!({ "io.containerd.image.name": name });
        let manifest = read(&format!("in/{}", path(child)));
        let layers: Vec<_> = manifest["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(path)
            .collect();
        let config = path(&manifest["config"]);
        items.push(serde_json::json!({ "Config": config, "RepoTags": [name], "Layers": layers }));
    }
    let manifest = serde_json::to_string(&items).unwrap();
    fs::write(sandbox.path("in/manifest.json"), manifest).unwrap();
    // Only `manifest.json` has the name, or both lists have it.
    for both in [false, true] {
        if !both {
            let mut only = index.clone();
            only["manifests"][0]
                .as_object_mut()
                .unwrap()
                .remove("annotations");
            fs::write(sandbox.path("in/index.json"), only.to_string()).unwrap();
        } else {
            fs::write(sandbox.path("in/index.json"), index.to_string()).unwrap();
        }
        let saved = format!("saved-{both}");
        let packed = Command::new("tar")
            .current_dir(sandbox.path("in"))
            .args(["--format=ustar", "-cf", &format!("../{saved}")])
            .args(["blobs", "index.json", "manifest.json", "oci-layout"])
            .status()
            .unwrap();
        assert!(packed.success());
        let source = format!("docker-archive:{saved}");
        let bad = "EXAMPLE/../one:1;";
        let listed = sandbox.run(&["ls", &source]);
        assert_eq!(listed.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&listed.stderr).contains(bad));
        assert!(String::from_utf8_lossy(&listed.stdout).contains("example.com/two:1"));
        let inspected = sandbox.run(&["inspect", &source]);
        assert!(String::from_utf8_lossy(&inspected.stdout).contains(bad));
        let verified = sandbox.run(&["verify", &source]);
        assert_eq!(verified.status.code(), Some(4));
        assert!(String::from_utf8_lossy(&verified.stdout).contains("2 checked, 1 wrong"));
        let output = format!("oci:out-{both}");
        let refused = ["error[bad-name]", bad, "--name"];
        sandbox.fails(&["convert", &source, &output], 1, &refused);
        sandbox.ok(&["convert", &format!("{source}:example.com/two:1"), &output]);
        let name = ["--name", "example.com/one:2"];
        let first = format!("{source}:{bad}");
        sandbox.ok(&[&["convert", &first, &output][..], &name].concat());
        assert!(sandbox.ok(&["ls", &output]).contains("example.com/one:2"));
    }
    // K22: a file of `docker save` is Docker's, also where its documents are OCI's.
    let two = "saved-true:example.com/two:1";
    sandbox.ok(&["docker-to-oci", two, "pair"]);
    sandbox.ok(&["docker-to-aci", two, "pair.aci"]);
    let input = fs::File::open(sandbox.path("saved-true")).unwrap();
    let piped = sandbox
        .command(&[
            "docker-to-oci",
            "docker-archive:-:example.com/two:1",
            "piped",
        ])
        .stdin(input)
        .output()
        .unwrap();
    assert!(piped.status.success(), "{piped:?}");
}

/// A global PAX header that sets the time of every member: readers do not agree about its effect.
fn global_time() -> Vec<u8> {
    let payload = b"11 mtime=5\n";
    let mut block = [0u8; 1024];
    block[..7].copy_from_slice(b"globals");
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", payload.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = b'g';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block[512..][..payload.len()].copy_from_slice(payload);
    block.to_vec()
}

#[test]
fn k49_an_archive_whose_first_member_is_bad_is_refused_with_its_fault() {
    let sandbox = Sandbox::new();
    let image = recipe("example.com/one", "amd64", "one");
    let archive = docker::archive(std::slice::from_ref(&image)).unwrap();
    fs::write(sandbox.path("one.tar"), archive).unwrap();
    sandbox.ok(&["convert", "one.tar", "oci-archive:layout.tar"]);
    sandbox.aci("one.aci", "example.com/one", "", "dir etc");
    for name in ["one.tar", "one.aci", "layout.tar"] {
        let stored = fs::read(sandbox.path(name)).unwrap();
        fs::write(sandbox.path(name), [global_time(), stored].concat()).unwrap();
        let fault = "offset 0: a global PAX header sets \"mtime\"";
        sandbox.fails(
            &["convert", name, "oci:out"],
            1,
            &["error[ambiguous]", fault],
        );
    }
}
