//! `--compression zstd:chunked` and `estargz`: the annotations in the manifest, the formats that can't
//! have them, and layers that are compressed again.

use std::{fs, path::Path};

use crate::sandbox::{Sandbox, state};
use serde_json::Value;

const LAYERS: [&str; 2] = [
    "dir bin\nfile bin/a \"A\"\nfile bin/z zeros=5000000",
    "whiteout bin/a\nfile c noise=100000",
];

const POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = fs::read(layout.join("blobs").join(digest.replace(':', "/"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The layers of the manifest, and the diff IDs of the config.
fn layers(layout: &Path) -> (Vec<Value>, Value) {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifest = blob(layout, &index["manifests"][0]);
    let config = blob(layout, &manifest["config"]);
    let layers = manifest["layers"].as_array().unwrap().clone();
    (layers, config["rootfs"]["diff_ids"].clone())
}

fn recompress(sandbox: &Sandbox, how: &str, from: &str, to: &str) -> (Vec<Value>, Value) {
    sandbox.ok(&["recompress", "--quiet", "--compression", how, from, to]);
    sandbox.ok(&["verify", to]);
    layers(&sandbox.path(to))
}

#[test]
fn zstd_chunked_says_in_the_manifest_where_the_table_is() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &LAYERS);
    let before = layers(&sandbox.path("in"));
    let (made, diff_ids) = recompress(&sandbox, "zstd:chunked", "in", "out");
    assert_eq!(diff_ids, before.1);
    sandbox.ok(&["diff", "in", "out"]);
    for layer in &made {
        let kind = layer["mediaType"].as_str().unwrap();
        assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar+zstd");
        assert!(layer["annotations"][POSITION].is_string(), "{layer}");
    }
    // A layer with a table of contents is kept, with its annotation.
    recompress(&sandbox, "zstd:chunked", "out", "again");
    assert_eq!(
        state(&sandbox.path("again")),
        state(&sandbox.path("out")),
        "kept"
    );
}

#[test]
fn c15_a_table_goes_with_the_bytes_and_the_diff_id_stays() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &LAYERS);
    for how in ["zstd:chunked", "estargz"] {
        let to = how.replace(':', "-");
        let (_, diff_ids) = recompress(&sandbox, how, "in", &to);
        let back = format!("{to}-none");
        sandbox.ok(&[
            "recompress",
            "--quiet",
            "--compression=none",
            "--strict",
            &to,
            &back,
        ]);
        let (plain, same) = layers(&sandbox.path(&back));
        assert_eq!(same, diff_ids);
        assert!(plain.iter().all(|layer| layer["annotations"].is_null()));
    }
}

#[test]
fn estargz_changes_the_tar_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &LAYERS);
    let before = layers(&sandbox.path("in"));
    let (made, diff_ids) = recompress(&sandbox, "estargz", "in", "out");
    assert_ne!(diff_ids, before.1);
    for layer in &made {
        let kind = layer["mediaType"].as_str().unwrap();
        assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar+gzip");
        assert!(layer["annotations"][TOC_DIGEST].is_string(), "{layer}");
    }
    let args = [
        "recompress",
        "--json",
        "--compression=estargz",
        "in",
        "twice",
    ];
    let made: Value = serde_json::from_str(&sandbox.ok(&args)).unwrap();
    for layer in made["images"][0]["layers"].as_array().unwrap() {
        assert_eq!(layer["step"], "recompress", "{layer}");
    }
}

#[test]
fn a_squashed_layer_has_a_table_too() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &LAYERS);
    sandbox.ok(&[
        "squash",
        "--quiet",
        "--compression",
        "zstd:chunked",
        "in",
        "out",
    ]);
    let (made, _) = layers(&sandbox.path("out"));
    assert_eq!(made.len(), 1);
    assert!(made[0]["annotations"][POSITION].is_string());
    sandbox.ok(&["diff", "in", "out"]);
}

#[test]
fn targets_without_annotations_are_refused_with_a_hint() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &LAYERS);
    for target in ["docker-archive:out.tar", "dir:out", "aci:out.aci"] {
        for how in ["zstd:chunked", "estargz"] {
            let target = target.replace("dir:", "docker-v2s2+dir:");
            let args = ["convert", "--compression", how, "in", &target];
            sandbox.fails(&args, 1, &["table of contents", "oci-archive:"]);
        }
    }
}
