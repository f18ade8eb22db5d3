//! Names that are listed twice, invalid names, names by digest, and names from the user. A bad entry of a
//! list does not affect the others (robustness K11 to K14, K40, N2, N6).

use std::fs;

use crate::sandbox::{Sandbox, columns, labels};
use imgconv_testkit::{Head, ImageRecipe, build, recipe};
use serde_json::{Value, json};

const REF: &str = "org.opencontainers.image.ref.name";
const CONTAINERD: &str = "io.containerd.image.name";

fn index(sandbox: &Sandbox, layout: &str) -> Value {
    let path = sandbox.path(layout).join("index.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn write(sandbox: &Sandbox, layout: &str, index: &Value) {
    fs::write(sandbox.path(layout).join("index.json"), index.to_string()).unwrap();
}

/// A layout of images `example.com/0:1.0` and so on; returns its index.
fn layout(sandbox: &Sandbox, folder: &str, images: usize) -> Value {
    let image = |i: usize| {
        let text = format!("dir etc\nfile etc/x \"{i}\"");
        ImageRecipe {
            head: Head {
                name: format!("example.com/{i}"),
                version: "1.0".into(),
                os: "linux".into(),
                arch: "amd64".into(),
                ..Head::default()
            },
            layers: vec![recipe::parse(&text, folder).unwrap()],
            manifest: None,
        }
    };
    let images: Vec<ImageRecipe> = (0..images).map(image).collect();
    build::layout(&images, &sandbox.path(folder)).unwrap();
    index(sandbox, folder)
}

fn digests(index: &Value) -> Vec<String> {
    let list = index["manifests"].as_array().unwrap().iter();
    list.map(|one| one["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// The two names of each image of an index.
fn called(index: &Value) -> Vec<[String; 2]> {
    let list = index["manifests"].as_array().unwrap().iter();
    let text = |one: &Value, key| one["annotations"][key].as_str().unwrap_or("-").to_owned();
    list.map(|one| [REF, CONTAINERD].map(|key| text(one, key)))
        .collect()
}

fn losses(sandbox: &Sandbox, args: &[&str]) -> Vec<(String, String)> {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    let images = document["images"].as_array().unwrap().iter();
    let losses = images.flat_map(|image| image["losses"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    losses
        .map(|loss| (text(&loss["field"]), text(&loss["outcome"])))
        .collect()
}

fn tags(sandbox: &Sandbox, archive: &str) -> Vec<Value> {
    let text = sandbox.ok(&["inspect", &format!("docker-archive:{archive}"), "--json"]);
    let document: Value = serde_json::from_str(&text).unwrap();
    let images = document["images"].as_array().unwrap().iter();
    images.map(|image| image["name"].clone()).collect()
}

// K11
#[test]
fn what_the_lists_of_a_folder_say_of_themselves_goes_along() {
    let sandbox = Sandbox::new();
    for (folder, key, text) in [("a", "com.example.a", "1"), ("b", "com.example.b", "2")] {
        let place = format!("tree/{folder}");
        sandbox.layout(&place, &format!("example.com/{folder}"), &["dir etc"]);
        let mut top = index(&sandbox, &place);
        top["annotations"] = json!({ "com.example.both": text, key: text });
        write(&sandbox, &place, &top);
    }
    let fields = losses(&sandbox, &["convert", "tree:tree", "oci:out"]);
    let other = (
        "index.annotations.com.example.both".to_owned(),
        "dropped".to_owned(),
    );
    assert_eq!(fields, std::slice::from_ref(&other));
    let said = json!({ "com.example.a": "1", "com.example.b": "2", "com.example.both": "1" });
    assert_eq!(index(&sandbox, "out")["annotations"], said);
    // For a single image only its own list counts.
    sandbox.ok(&[
        "convert",
        "tree:tree:example.com/b:1.0",
        "oci:one",
        "--strict",
    ]);
    let said = json!({ "com.example.b": "2", "com.example.both": "2" });
    assert_eq!(index(&sandbox, "one")["annotations"], said);
    // The destination has the annotations already, so nothing is lost.
    sandbox.ok(&[
        "convert",
        "tree:tree:example.com/b:1.0",
        "oci:one",
        "--strict",
    ]);
    sandbox.ok(&["migrate", "tree:tree", "oci:m"]);
    assert_eq!(
        index(&sandbox, "m")["annotations"],
        index(&sandbox, "out")["annotations"]
    );
    sandbox.fails(
        &["convert", "tree:tree", "docker-archive:x.tar", "--strict"],
        3,
        &["index.annotations.com.example.a"],
    );
}

// K12
#[test]
fn a_name_that_occurs_twice_is_ambiguous_and_affects_no_other() {
    let sandbox = Sandbox::new();
    let mut top = layout(&sandbox, "in", 3);
    top["manifests"][1]["annotations"] = top["manifests"][0]["annotations"].clone();
    write(&sandbox, "in", &top);
    let all = digests(&top);
    let listed = sandbox.ok(&["ls", "oci:in"]);
    assert!(all.iter().all(|digest| listed.contains(digest)), "{listed}");
    for digest in &all {
        sandbox.ok(&["convert", &format!("oci:in:@{digest}"), "oci:one"]);
        assert!(digests(&index(&sandbox, "one")).contains(digest));
        fs::remove_dir_all(sandbox.path("one")).unwrap();
    }
    sandbox.ok(&[
        "convert",
        "oci:in:example.com/2:1.0",
        "docker-archive:x.tar",
        "--strict",
    ]);
    let both = [&*all[0], &all[1]];
    let texts = [&["error[ambiguous]"][..], &both].concat();
    for args in [
        &["inspect", "oci:in:example.com/0:1.0"][..],
        &["convert", "oci:in:example.com/0:1.0", "oci:no"],
        &["convert", "oci:in", "oci:no"],
        &["convert", "oci:in", "docker-archive:no.tar"],
    ] {
        sandbox.fails(args, 1, &texts);
    }
    // A migration leaves out images that can't be distinguished, with a warning; a digest selects
    // one of them.
    let output = sandbox.run(&["migrate", "oci:in", "oci:m"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(digests(&index(&sandbox, "m")), [&*all[2]]);
    let chosen = format!("@{}", all[0]);
    sandbox.ok(&["migrate", "oci:in", "oci:m", "--exclude", &chosen]);
    assert_eq!(digests(&index(&sandbox, "m")).len(), 2);
    assert!(!digests(&index(&sandbox, "m")).contains(&all[0]));
    // The `layout` commands still work.
    sandbox.ok(&["layout", "tag", "in", &chosen, "example.com/new:1"]);
    sandbox.ok(&["layout", "rm", "in", "#1"]);
    sandbox.ok(&["inspect", "oci:in:example.com/0:1.0"]);
}

// K13
#[test]
fn what_a_layout_cannot_list_is_not_written() {
    let sandbox = Sandbox::new();
    let rootfs = "dir etc\nfile etc/x \"odd\"";
    sandbox.aci(
        "acis/good.aci",
        "example.com/good",
        &labels("1.0", "amd64"),
        "dir etc",
    );
    sandbox.aci(
        "acis/odd.aci",
        "example.com/odd",
        &labels("1.0", "x!"),
        rootfs,
    );
    sandbox.ok(&["aci-to-oci", "acis/good.aci", "out"]);
    let fields = losses(&sandbox, &["aci-to-oci", "acis/odd.aci", "out"]);
    let lost = ("index.manifests.platform".to_owned(), "dropped".to_owned());
    assert!(fields.contains(&lost), "{fields:?}");
    let texts = ["index.manifests.platform", "x!"];
    sandbox.fails(&["aci-to-oci", "acis/odd.aci", "no", "--strict"], 3, &texts);
    // Both are listed and read, and more images can be added.
    for (folder, args) in [
        ("out", None),
        ("m", Some(["migrate", "aci-tree:acis", "oci:m"])),
    ] {
        if let Some(args) = args {
            sandbox.ok(&args);
        }
        let listed = sandbox.ok(&["ls", folder]);
        assert!(
            listed.contains("linux/amd64") && listed.contains("linux/x!"),
            "{listed}"
        );
        assert_eq!(
            index(&sandbox, folder)["manifests"][1]["platform"],
            Value::Null
        );
        sandbox.ok(&["convert", folder, &format!("oci:{folder}-copy")]);
        sandbox.ok(&["verify", &format!("{folder}-copy")]);
        sandbox.ok(&[
            "aci-to-oci",
            "acis/good.aci",
            folder,
            "--name",
            "example.com/more:1",
        ]);
    }
    // A name that is no valid reference is changed, with a loss.
    let long = format!("example.com/{}", "a".repeat(300));
    sandbox.aci("long.aci", &long, &labels("1.0", "amd64"), "dir etc");
    for to in [
        "oci:long",
        "docker-archive:long.tar",
        "oci-archive:long-oci.tar",
    ] {
        let fields = losses(&sandbox, &["convert", "long.aci", to]);
        assert!(
            fields.contains(&("name".to_owned(), "approximated".to_owned())),
            "{fields:?}"
        );
    }
    let name = &called(&index(&sandbox, "long"))[0][0];
    assert!(
        name.starts_with("example.com/aaaa") && name.ends_with(":1.0"),
        "{name}"
    );
    sandbox.ok(&["inspect", &format!("oci:long:{name}")]);
}

// K13
#[test]
fn an_entry_that_cannot_be_used_hides_no_other() {
    let sandbox = Sandbox::new();
    let mut top = layout(&sandbox, "in", 3);
    top["manifests"][1]["platform"] = json!({ "os": "linux", "architecture": "x!" });
    let bad = [json!(null), json!(1), json!({ "digest": "sha256:x" })];
    top["manifests"].as_array_mut().unwrap().extend(bad);
    write(&sandbox, "in", &top);
    let all = digests(&layout(&sandbox, "same", 3));
    let output = sandbox.run(&["ls", "in"]);
    assert_eq!(output.status.code(), Some(1));
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(all.iter().all(|digest| listed.contains(digest)), "{listed}");
    assert_eq!(listed.matches("unreadable").count(), 4, "{listed}");
    sandbox.ok(&["convert", "oci:in:example.com/0:1.0", "oci:one", "--strict"]);
    for reference in ["example.com/1:1.0", &format!("@{}", all[1]), "#3", "#5"] {
        let place = format!("oci:in:{reference}");
        sandbox.fails(
            &["convert", &place, "oci:no"],
            1,
            &["error[bad-", "index.json"],
        );
    }
    let verified = sandbox.run(&["verify", "in"]);
    assert_eq!(verified.status.code(), Some(4));
    let said = String::from_utf8(verified.stdout).unwrap();
    for what in [
        "manifests[1].platform",
        "manifests[3]",
        "manifests[4]",
        "manifests[5]",
    ] {
        assert!(said.contains(what), "{said}");
    }
    assert_eq!(
        sandbox.run(&["migrate", "oci:in", "oci:m"]).status.code(),
        Some(1)
    );
    assert_eq!(digests(&index(&sandbox, "m")), [&*all[0], &all[2]]);
    // A new image does not change the bad entries, and `gc` refuses to run until they are gone.
    sandbox.ok(&["convert", "oci:one", "oci:in:example.com/more:1"]);
    let after = index(&sandbox, "in");
    assert_eq!(
        after["manifests"].as_array().unwrap()[..6],
        top["manifests"].as_array().unwrap()[..]
    );
    sandbox.fails(
        &["layout", "gc", "in"],
        1,
        &["manifests[1].platform", "layout rm"],
    );
    sandbox.ok(&["layout", "rm", "in", "#1", "#3", "#4", "#5"]);
    sandbox.ok(&["layout", "gc", "in"]);
    sandbox.ok(&["ls", "in"]);
}

// K14
#[test]
fn a_name_by_digest_gets_no_tag() {
    let sandbox = Sandbox::new();
    let mut top = layout(&sandbox, "in", 2);
    let all = digests(&top);
    for (i, digest) in all.iter().enumerate() {
        top["manifests"][i]["annotations"] = json!({
            REF: format!("@{digest}"), CONTAINERD: format!("docker.io/library/alpine@{digest}"),
        });
    }
    write(&sandbox, "in", &top);
    let full = |digest: &str| format!("docker.io/library/alpine@{digest}");
    sandbox.ok(&["convert", "in", "oci:out", "--strict"]);
    let names = called(&index(&sandbox, "out"));
    assert_eq!(
        names,
        [&all[0], &all[1]].map(|digest| [full(digest), full(digest)])
    );
    sandbox.ok(&["inspect", &format!("oci:out:alpine@{}", all[1])]);
    sandbox.fails(&["inspect", "oci:out:alpine"], 1, &["error[missing]"]);
    // An archive has no tag for it, and neither has an ACI a version.
    let one = format!("oci:in:@{}", all[0]);
    let lost = ("name".to_owned(), "dropped".to_owned());
    assert_eq!(
        losses(&sandbox, &["convert", &one, "docker-archive:a.tar"]),
        [lost]
    );
    assert_eq!(tags(&sandbox, "a.tar"), [Value::Null]);
    sandbox.fails(
        &["convert", &one, "docker-archive:b.tar", "--strict"],
        3,
        &["alpine@sha256"],
    );
    let fields = losses(&sandbox, &["convert", "in", "aci:acis/"]);
    assert!(
        fields.contains(&("name".to_owned(), "approximated".to_owned())),
        "{fields:?}"
    );
    assert_eq!(fs::read_dir(sandbox.path("acis")).unwrap().count(), 2);
    // An image that is written anew has another digest.
    sandbox.ok(&["recompress", &one, "oci:new", "--compression", "zstd"]);
    let new = index(&sandbox, "new");
    assert_eq!(called(&new)[0][1], full(&digests(&new)[0]));
    assert_ne!(digests(&new)[0], all[0]);
    let wrong = format!("alpine@{}", all[1]);
    sandbox.fails(
        &["convert", &one, "oci:no", "--name", &wrong],
        4,
        &["error[mismatch]"],
    );
    sandbox.fails(
        &["convert", &one, &format!("oci:no:{wrong}")],
        4,
        &["error[mismatch]"],
    );
    // A tag beside the digest is one; the ID of an image is not the name of a repository.
    let both = format!("docker.io/library/alpine:3@{}", all[0]);
    top["manifests"][0]["annotations"] = json!({ CONTAINERD: both });
    top["manifests"][1]["annotations"] = json!({ CONTAINERD: all[0], REF: all[0] });
    write(&sandbox, "in", &top);
    sandbox.ok(&["convert", "in", "oci:ids", "--strict"]);
    let names = called(&index(&sandbox, "ids"));
    assert_eq!(
        names,
        [[both.clone(), both], [all[0].clone(), all[0].clone()]]
    );
    let fields = losses(&sandbox, &["convert", "in", "docker-archive:ids.tar"]);
    assert_eq!(fields.len(), 2, "{fields:?}");
    assert_eq!(
        tags(&sandbox, "ids.tar"),
        [json!("docker.io/library/alpine:3"), Value::Null]
    );
}

// K40: this took minutes once.
#[test]
fn many_names_of_one_image_take_their_time_once() {
    let sandbox = Sandbox::new();
    let mut top = layout(&sandbox, "in", 1);
    let one = top["manifests"][0].clone();
    let named = |i: usize| {
        let mut one = one.clone();
        one["annotations"] = json!({ REF: format!("example.com/a:{i}") });
        one
    };
    top["manifests"] = (0..20_000).map(named).collect();
    write(&sandbox, "in", &top);
    for args in [
        &["convert", "-q", "in", "oci:out"][..],
        &["convert", "-q", "in", "oci:out"],
        &["convert", "-q", "in", "oci:dry", "--dry-run"],
        &["convert", "-q", "in", "docker-archive:x.tar"],
        &["migrate", "-q", "in", "oci:m"],
        &["verify", "in"],
        &["ls", "in"],
        &["layout", "tag", "in", "example.com/a:7", "example.com/b:1"],
        &["layout", "gc", "in"],
        &["convert", "-q", "in", "aci:acis/", "--image-tags"],
    ] {
        let output = sandbox.run(args);
        assert!(output.status.success(), "{args:?}");
    }
    assert_eq!(index(&sandbox, "out"), index(&sandbox, "m"));
}

// N2
#[test]
fn a_tag_alone_is_no_name_of_an_archive() {
    let sandbox = Sandbox::new();
    let mut top = layout(&sandbox, "in", 1);
    for text in ["v7", "My/Thing+1"] {
        top["manifests"][0]["annotations"] = json!({ REF: text });
        write(&sandbox, "in", &top);
        for to in ["docker-archive:x.tar", "dir:d"] {
            sandbox.fails(
                &["convert", "in", to, "--strict"],
                3,
                &["name dropped", text],
            );
            let lost = ("name".to_owned(), "dropped".to_owned());
            assert_eq!(losses(&sandbox, &["convert", "in", to]), [lost], "{to}");
        }
        fs::remove_dir_all(sandbox.path("d")).unwrap();
        fs::remove_file(sandbox.path("x.tar")).unwrap();
    }
    // The digest and the name that are printed choose the image.
    let said = sandbox.ok(&["convert", "in", "docker-archive:x.tar"]);
    let digest = columns(&said)[3];
    sandbox.ok(&["inspect", &format!("docker-archive:x.tar:@{digest}")]);
    let name = ["--name", "example.com/x:1"];
    let said = sandbox.ok(&[&["convert", "in", "docker-archive:y.tar"][..], &name].concat());
    let [name, _, _, digest] = columns(&said)[..4] else {
        panic!("{said}")
    };
    for reference in [name, &format!("@{digest}")] {
        sandbox.ok(&["inspect", &format!("docker-archive:y.tar:{reference}")]);
    }
}

// N6
#[test]
fn two_given_names_must_be_equal() {
    let sandbox = Sandbox::new();
    layout(&sandbox, "in", 1);
    for to in [
        "oci:no:foo",
        "oci:no:example.com/other:1",
        "docker-archive:no.tar:example.com/other:1",
        "docker://127.0.0.1:1/cc/x:1",
        "docker://127.0.0.1:1/cc/x",
    ] {
        let args = ["convert", "in", to, "--name", "example.com/bar:1"];
        sandbox.fails(
            &args,
            2,
            &["error[usage]", "example.com/bar:1", "two names"],
        );
    }
    sandbox.ok(&["convert", "in", "oci:a:foo", "--name", "example.com/bar"]);
    let full = "example.com/bar:foo".to_owned();
    assert_eq!(called(&index(&sandbox, "a")), [["foo".to_owned(), full]]);
    sandbox.ok(&["convert", "in", "oci:b:1", "--name", "example.com/bar:1"]);
    let full = "example.com/bar:1".to_owned();
    assert_eq!(called(&index(&sandbox, "b")), [["1".to_owned(), full]]);
}

#[test]
fn an_image_that_is_listed_again_is_told_with_its_name_or_without_one() {
    let sandbox = Sandbox::new();
    let mut list = layout(&sandbox, "in", 1);
    let mut again = list["manifests"][0].clone();
    again["annotations"]["k"] = "v".into();
    list["manifests"].as_array_mut().unwrap().push(again);
    let said = |list: &Value, to: &str, text: &str| {
        write(&sandbox, "in", list);
        let output = sandbox.run(&["convert", "oci:in", &format!("oci:{to}"), "-v"]);
        let error = String::from_utf8(output.stderr).unwrap();
        let text = format!("the index lists the image twice {text}");
        assert!(output.status.success() && error.contains(&text), "{error}");
        let output = sandbox.run(&["verify", "oci:in"]);
        let warnings = String::from_utf8(output.stderr).unwrap();
        assert!(warnings.contains(&text), "{warnings}");
    };
    said(&list, "named", "under this name");
    for entry in list["manifests"].as_array_mut().unwrap() {
        entry["annotations"].as_object_mut().unwrap().remove(REF);
    }
    said(&list, "nameless", "without a name");
}
