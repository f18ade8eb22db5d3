//! The members of a layout's `index.json` and of its descriptors (robustness INV-3).

use std::fs;

use crate::sandbox::Sandbox;
use serde_json::{Value, json};

fn index(sandbox: &Sandbox, layout: &str) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path(layout).join("index.json")).unwrap()).unwrap()
}

/// A layout `in` whose index and descriptor have every member.
fn annotated(sandbox: &Sandbox) -> Value {
    sandbox.layout("in", "example.com/app", &["dir etc", "file etc/a \"a\""]);
    let mut top = index(sandbox, "in");
    let child = &mut top["manifests"][0];
    child["annotations"]["com.example.signature"] = json!("s");
    child["artifactType"] = json!("application/x");
    child["urls"] = json!(["https://example.com/m"]);
    child["com.example.field"] = json!({ "a": 1 });
    child["platform"] = json!({
        "architecture": "amd64", "os": "linux", "os.version": "1.2", "os.features": ["f"],
    });
    top["annotations"] = json!({ "com.example.index": "i" });
    top["com.example.top"] = json!([1]);
    fs::write(sandbox.path("in/index.json"), top.to_string()).unwrap();
    top
}

fn losses(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    let list = document["images"][0]["losses"].as_array().unwrap();
    list.iter()
        .map(|loss| loss["field"].as_str().unwrap().to_owned())
        .collect()
}

fn without_names(mut child: Value) -> Value {
    let annotations = child["annotations"].as_object_mut().unwrap();
    annotations.remove("org.opencontainers.image.ref.name");
    annotations.remove("io.containerd.image.name");
    child
}

#[test]
fn a_copy_keeps_all_fields_of_the_index() {
    let sandbox = Sandbox::new();
    let source = annotated(&sandbox);
    sandbox.ok(&["convert", "in", "oci-archive:a.tar", "--strict"]);
    sandbox.ok(&["convert", "a.tar", "oci:out", "--strict"]);
    let copy = index(&sandbox, "out");
    let [old, new] = [&source, &copy].map(|top| without_names(top["manifests"][0].clone()));
    assert_eq!(new, old);
    for key in ["annotations", "com.example.top"] {
        assert_eq!(copy[key], source[key]);
    }
    let name = ["--name", "example.com/other:2"];
    sandbox.ok(&[&["convert", "in", "oci:named", "--strict"][..], &name].concat());
    let named = index(&sandbox, "named");
    let child = &named["manifests"][0];
    assert_eq!(
        child["annotations"]["io.containerd.image.name"],
        "example.com/other:2"
    );
    assert_eq!(child["annotations"]["com.example.signature"], "s");
}

#[test]
fn of_a_manifest_that_changes_only_what_would_lie_is_lost() {
    let sandbox = Sandbox::new();
    let source = annotated(&sandbox);
    let change = ["convert", "in", "oci:out", "--compression", "zstd"];
    let dry = losses(&sandbox, &[&change[..], &["--dry-run"]].concat());
    assert_eq!(losses(&sandbox, &change), ["index.manifests.urls"]);
    assert_eq!(dry, ["index.manifests.urls"]);
    let [mut old, mut new] =
        [source, index(&sandbox, "out")].map(|top| without_names(top["manifests"][0].clone()));
    assert_ne!(old["digest"], new["digest"]);
    for child in [&mut old, &mut new] {
        for key in ["urls", "digest", "size"] {
            child.as_object_mut().unwrap().remove(key);
        }
    }
    assert_eq!(new, old);
}

#[test]
fn an_index_that_is_there_keeps_its_own_annotations() {
    let sandbox = Sandbox::new();
    annotated(&sandbox);
    sandbox.layout("out", "example.com/old", &["dir old"]);
    let top = [
        "index.annotations.com.example.index",
        "index.com.example.top",
    ];
    let args = ["convert", "in", "oci:out"];
    let dry = losses(&sandbox, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(dry, top);
    assert_eq!(losses(&sandbox, &args), top);
    let merged = index(&sandbox, "out");
    assert_eq!(merged["annotations"], Value::Null);
    assert_eq!(merged["manifests"].as_array().unwrap().len(), 2);
    // The same image again, with more annotations.
    let mut source = index(&sandbox, "in");
    source["manifests"][0]["annotations"]["com.example.more"] = json!("m");
    fs::write(sandbox.path("in/index.json"), source.to_string()).unwrap();
    sandbox.ok(&args);
    let again = index(&sandbox, "out");
    let annotations = &again["manifests"][1]["annotations"];
    assert_eq!(annotations["com.example.more"], "m");
    assert_eq!(annotations["com.example.signature"], "s");
}

#[test]
fn other_places_report_what_they_have_no_room_for() {
    let sandbox = Sandbox::new();
    annotated(&sandbox);
    for target in ["docker-archive:a.tar", "oci+dir:d", "aci:a.aci"] {
        let found = losses(&sandbox, &["convert", "in", target]);
        for field in [
            "index.annotations.com.example.index",
            "index.com.example.top",
            "index.manifests.annotations.com.example.signature",
            "index.manifests.artifactType",
            "index.manifests.com.example.field",
            "index.manifests.platform.os.features",
            "index.manifests.platform.os.version",
            "index.manifests.urls",
        ] {
            assert!(
                found.iter().any(|f| f == field),
                "{target} {field}: {found:?}"
            );
        }
    }
}

#[test]
fn a_text_that_is_no_name_stays_where_the_image_has_none() {
    let sandbox = Sandbox::new();
    let mut top = annotated(&sandbox);
    let names = json!({ "org.opencontainers.image.ref.name": "My/Thing+1" });
    top["manifests"][0]["annotations"] = names.clone();
    fs::write(sandbox.path("in/index.json"), top.to_string()).unwrap();
    sandbox.ok(&["convert", "in", "oci:out", "--strict"]);
    assert_eq!(index(&sandbox, "out")["manifests"][0]["annotations"], names);
}
