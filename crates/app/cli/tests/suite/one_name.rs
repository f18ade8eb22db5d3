//! Names that meet: in a layout that is there, in a store with names that no reference holds, and of one image with
//! several names.

use std::fs;

use imgconv_testkit::registry::Registry;
use serde_json::{Value, json};

use crate::sandbox::{LABELS, Sandbox, labels};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The entries of a layout: tag or reference, full name, digest.
fn entries(sandbox: &Sandbox, layout: &str) -> Vec<(String, String, String)> {
    let index = read(&sandbox.path(layout).join("index.json"));
    let text = |entry: &Value, key: &str| {
        let text = entry["annotations"][key].as_str();
        text.unwrap_or("-").to_owned()
    };
    let entry = |entry: &Value| {
        let digest = entry["digest"].as_str().unwrap().to_owned();
        (text(entry, REF_NAME), text(entry, FULL_NAME), digest)
    };
    index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(entry)
        .collect()
}

/// Gives the only image of a layout these name annotations.
fn rename(sandbox: &Sandbox, layout: &str, names: Value) {
    let path = sandbox.path(layout).join("index.json");
    let mut index = read(&path);
    index["manifests"][0]["annotations"] = names;
    fs::write(path, index.to_string()).unwrap();
}

/// A layout `docker` with two images of one tag, as engines write it, and a layout `tag` with another image that
/// has the tag alone, as skopeo and umoci write it.
fn layouts() -> Sandbox {
    let sandbox = Sandbox::new();
    for name in ["x", "y"] {
        sandbox.layout(name, "example.com/a", &[&format!("file {name}")]);
        rename(
            &sandbox,
            name,
            json!({ REF_NAME: "1.0", FULL_NAME: format!("example.com/{name}:1.0") }),
        );
        sandbox.ok(&["convert", name, "oci:docker", "--ref-name", "tag"]);
    }
    sandbox.layout("tag", "example.com/a", &["file z"]);
    rename(&sandbox, "tag", json!({ REF_NAME: "1.0" }));
    sandbox
}

/// K58.
#[test]
fn a_tag_alone_takes_no_full_name_away() {
    let sandbox = layouts();
    let [x, y, z] = ["x", "y", "tag"].map(|layout| entries(&sandbox, layout)[0].2.clone());
    let all = [
        ("-", "example.com/x:1.0", &x),
        ("-", "example.com/y:1.0", &y),
        ("1.0", "-", &z),
    ];
    let all = all.map(|(tag, name, digest)| (tag.into(), name.into(), digest.clone()));
    let output = sandbox.run(&["convert", "tag", "oci:docker"]);
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    for digest in [&x, &y] {
        let warning = format!("{digest} was called \"1.0\"\n");
        assert!(told.contains(&warning), "{told}");
    }
    assert_eq!(entries(&sandbox, "docker"), all);
    // A second run changes nothing.
    sandbox.ok(&["convert", "tag", "oci:docker", "--strict"]);
    assert_eq!(entries(&sandbox, "docker"), all);
    let found = sandbox.ok(&["ls", "oci:docker:1.0"]);
    assert!(found.contains(&z), "{found}");
    sandbox.ok(&["layout", "gc", "docker", "--min-age", "0s"]);
    sandbox.ok(&["verify", "docker"]);
}

#[test]
fn a_full_name_leaves_the_image_of_the_tag_without_a_name() {
    let sandbox = layouts();
    let [x, z] = ["x", "tag"].map(|layout| entries(&sandbox, layout)[0].2.clone());
    let none = || "-".to_owned();
    let named = ("1.0".to_owned(), "example.com/x:1.0".to_owned(), x);
    let output = sandbox.run(&["convert", "x", "oci:tag", "--ref-name", "tag"]);
    let told = String::from_utf8(output.stderr).unwrap();
    let warning = format!(
        "{z} was called \"1.0\"; it has no other name and stays in the index without a name"
    );
    assert!(told.contains(&warning), "{told}");
    assert_eq!(
        entries(&sandbox, "tag"),
        [(none(), none(), z), named.clone()]
    );
    // The image that has the full name already loses its place in the index, which is told.
    let other = entries(&sandbox, "y")[0].2.clone();
    let output = sandbox.run(&["convert", "y", "oci:tag", "--name", "example.com/x:1.0"]);
    let told = String::from_utf8(output.stderr).unwrap();
    let warning = format!(
        "{} was called \"1.0\" = \"example.com/x:1.0\"; it has no other name, and the index no longer lists it",
        named.2
    );
    assert!(told.contains(&warning), "{told}");
    assert_eq!(entries(&sandbox, "tag")[1].2, other);
    // `layout tag` follows the same rule.
    sandbox.ok(&["layout", "tag", "docker", "#0", "1.0"]);
    let names: Vec<String> = entries(&sandbox, "docker")
        .into_iter()
        .map(|entry| entry.1)
        .collect();
    assert_eq!(names, ["example.com/x:1.0", "example.com/y:1.0"]);
}

/// K58.
#[test]
fn a_name_that_no_reference_holds_replaces_itself() {
    let sandbox = Sandbox::new();
    let rootfs = "file a \"1\"";
    sandbox.aci(
        "plus.aci",
        "example.com/app",
        &labels("1.0+git", "amd64"),
        rootfs,
    );
    sandbox.aci("short.aci", "busybox", LABELS, rootfs);
    for (file, name) in [
        ("plus.aci", "example.com/app:1.0_git"),
        ("short.aci", "docker.io/library/busybox:1.0"),
    ] {
        let out = format!("oci:{file}.out");
        for _ in 0..2 {
            sandbox.ok(&["aci-to-oci", file, &out]);
        }
        let found = entries(&sandbox, &format!("{file}.out"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&*found[0].0, &*found[0].1), (name, name));
    }
    sandbox.aci(
        "other.aci",
        "example.com/app",
        &labels("1.0_git", "amd64"),
        "file a \"2\"",
    );
    let both = ["aci-to-oci", "plus.aci", "other.aci", "out"];
    sandbox.fails(
        &both,
        1,
        &[
            "error[ambiguous]",
            "would get the name \"example.com/app:1.0_git\"",
        ],
    );
    // The names of lists and of hints choose the image.
    fs::create_dir(sandbox.path("acis")).unwrap();
    for file in ["plus.aci", "short.aci"] {
        fs::rename(sandbox.path(file), sandbox.path("acis").join(file)).unwrap();
    }
    for name in [
        "busybox:1.0",
        "docker.io/library/busybox:1.0",
        "example.com/app:1.0+git",
        "example.com/app:1.0_git",
    ] {
        let text = sandbox.ok(&["ls", &format!("aci-tree:acis:{name}")]);
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
    }
    let registry = Registry::start();
    let place = format!("docker://{}/team/app", registry.server.authority());
    let push = [
        "convert",
        "acis/plus.aci",
        &place,
        "--plain-http",
        &registry.server.authority(),
    ];
    let dry = sandbox.ok(&[&push[..], &["--dry-run"]].concat());
    assert!(dry.contains("/team/app:1.0_git"), "{dry}");
    let done = sandbox.ok(&push);
    assert!(done.contains("/team/app:1.0_git"), "{done}");
}

/// An image keeps no descriptor without a name beside one with a name.
#[test]
fn k58_an_image_with_another_name_needs_no_descriptor_without_one() {
    let sandbox = layouts();
    let z = entries(&sandbox, "tag")[0].2.clone();
    sandbox.ok(&["layout", "tag", "tag", "1.0", "example.com/z:2"]);
    assert_eq!(entries(&sandbox, "tag").len(), 2);
    let output = sandbox.run(&["convert", "x", "oci:tag", "--ref-name", "tag"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains(&format!("{z} was called \"1.0\"\n")),
        "{told}"
    );
    let names: Vec<String> = entries(&sandbox, "tag")
        .into_iter()
        .map(|entry| entry.1)
        .collect();
    assert_eq!(names, ["example.com/z:2", "example.com/x:1.0"]);
}

#[test]
fn c8c_one_image_with_two_names_is_one_image() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &["file a"]);
    let names = ["--name", "example.com/a:1", "--name", "example.com/a:2"];
    sandbox.ok(&[&["convert", "in", "docker-archive:two.tar"][..], &names].concat());
    sandbox.ok(&[
        "convert",
        "two.tar",
        "oci:named",
        "--name",
        "example.com/b:1",
    ]);
    assert_eq!(entries(&sandbox, "named")[0].1, "example.com/b:1");
    sandbox.ok(&["convert", "two.tar", "oci:ref:example.com/c:1"]);
    assert_eq!(entries(&sandbox, "ref").len(), 1);
    sandbox.ok(&["convert", "two.tar", "docker-archive:d.tar:example.com/d:1"]);
    sandbox.ok(&["convert", "two.tar", "rootfs:flat.tar"]);
    sandbox.ok(&["inspect", "--raw", "two.tar"]);
    let output = sandbox.run(&["convert", "two.tar", "aci:a.aci"]);
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the file holds one name"), "{told}");
    // Two images are still two.
    sandbox.layout("in", "example.com/b", &["file b"]);
    sandbox.ok(&["convert", "in", "oci:both"]);
    sandbox.ok(&["convert", "two.tar", "oci:both"]);
    let one = ["convert", "both", "oci:x", "--name", "example.com/b:1"];
    sandbox.fails(&one, 2, &["the source has 2 images"]);
}

#[test]
fn the_hub_of_docker_has_one_name() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &["file a"]);
    for (i, name) in [
        "docker.io/busybox:1",
        "index.docker.io/busybox:1",
        "busybox:1",
    ]
    .iter()
    .enumerate()
    {
        let out = format!("out{i}");
        sandbox.ok(&["convert", "in", &format!("oci:{out}"), "--name", name]);
        assert_eq!(entries(&sandbox, &out)[0].1, "docker.io/library/busybox:1");
    }
}
