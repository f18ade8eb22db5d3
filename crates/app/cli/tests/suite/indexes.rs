//! Indexes below indexes, and blobs that are listed again and again (sections C7 and C13 of the
//! robustness document).

use std::fs;

use crate::sandbox::Sandbox;
use imgconv_testkit::sha256_hex;
use serde_json::{Value, json};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Stores a text as the blob of its digest; returns its descriptor.
fn put(sandbox: &Sandbox, kind: &str, text: &str) -> Value {
    let hex = sha256_hex(text.as_bytes());
    fs::write(sandbox.path(&format!("out/blobs/sha256/{hex}")), text).unwrap();
    json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": text.len() })
}

/// Changes the one descriptor of the layout `out`.
fn edit(sandbox: &Sandbox, change: impl FnOnce(Value) -> Value) {
    let path = sandbox.path("out/index.json");
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut child = document["manifests"][0].take();
    let annotations = child.as_object_mut().unwrap().remove("annotations");
    let mut root = change(child);
    root["annotations"] = annotations.unwrap();
    document["manifests"] = json!([root]);
    fs::write(&path, document.to_string()).unwrap();
}

/// A layout `out` whose root is an index of that many levels, each of which lists the next `width`
/// times; the last lists an image.
fn nested(sandbox: &Sandbox, levels: usize, width: usize) {
    sandbox.layout("out", "example.com/x", &["file a \"1\""]);
    edit(sandbox, |mut child| {
        for _ in 0..levels {
            let list =
                json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": vec![child; width] });
            child = put(sandbox, INDEX, &list.to_string());
        }
        child
    });
}

#[test]
fn c7a_the_depth_of_indexes_is_bounded() {
    for (levels, width, fits) in [
        (3, 1, true),
        (8, 1, true),
        (9, 1, false),
        (50, 1, false),
        (40, 2, false),
    ] {
        let sandbox = Sandbox::new();
        nested(&sandbox, levels, width);
        if fits {
            sandbox.ok(&["convert", "oci:out", "oci:copy"]);
            sandbox.ok(&["oci-to-aci", "out", "x.aci"]);
            continue;
        }
        for args in [
            &["convert", "oci:out", "oci:copy"][..],
            &["oci-to-aci", "out", "x.aci"],
            &["inspect", "out"],
        ] {
            sandbox.fails(args, 1, &["error[limit]", "index_depth"]);
        }
    }
}

#[test]
fn c7b_shared_indexes_are_visited_once() {
    let sandbox = Sandbox::new();
    // 40^7 paths lead to the image: to follow each would never end.
    nested(&sandbox, 7, 40);
    for args in [
        &["ls", "out"][..],
        &["inspect", "out"],
        &["verify", "out"],
        &["unpack", "oci:out", "root"],
        &["diff", "oci:out", "oci:out"],
        &["oci-to-aci", "out", "x.aci"],
    ] {
        sandbox.ok(args);
    }
    let report = sandbox.ok(&["convert", "--json", "oci:out", "oci:copy"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["images"].as_array().unwrap().len(), 1);
}

/// No hashes fit a circle, so at least one digest of a circle is wrong.
#[test]
fn c7c_a_circle_is_a_digest_that_does_not_fit() {
    let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
    let store = |sandbox: &Sandbox, c: char, text: &str| {
        let path = format!("out/blobs/sha256/{}", c.to_string().repeat(64));
        fs::write(sandbox.path(&path), text).unwrap();
    };
    let listing = |of: Value| {
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [of] }).to_string()
    };
    let size = listing(json!({ "mediaType": INDEX, "digest": digest('a'), "size": 999 })).len();
    let descriptor = |c: char| json!({ "mediaType": INDEX, "digest": digest(c), "size": size });
    let sandbox = Sandbox::new();
    sandbox.layout("out", "example.com/x", &["file a \"1\""]);
    store(&sandbox, 'a', &listing(descriptor('b')));
    store(&sandbox, 'b', &listing(descriptor('a')));
    edit(&sandbox, |_| descriptor('a'));
    let verified = sandbox.run(&["verify", "out"]);
    assert_eq!(verified.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&verified.stdout).contains("mismatch"));
    sandbox.fails(&["convert", "out", "oci:copy"], 4, &["error[mismatch]"]);

    // A manifest whose subject is the index that lists it.
    let sandbox = Sandbox::new();
    sandbox.layout("out", "example.com/x", &["file a \"1\""]);
    edit(&sandbox, |child| {
        let path = child["digest"].as_str().unwrap().replace(':', "/");
        let manifest = fs::read(sandbox.path("out/blobs").join(path)).unwrap();
        let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
        manifest["subject"] = json!({ "mediaType": INDEX, "digest": digest('a'), "size": size });
        let index = listing(put(&sandbox, MANIFEST, &manifest.to_string()));
        store(&sandbox, 'a', &index);
        json!({ "mediaType": INDEX, "digest": digest('a'), "size": index.len() })
    });
    sandbox.fails(
        &["convert", "out", "oci:copy"],
        4,
        &["error[mismatch]", &digest('a')],
    );
}

#[test]
fn c13b_one_layer_a_thousand_times_is_stored_once_and_counted_each_time() {
    let sandbox = Sandbox::new();
    sandbox.layout("out", "example.com/x", &["file a \"1\""]);
    edit(&sandbox, |child| {
        let blob = |descriptor: &Value| -> Value {
            let path = descriptor["digest"].as_str().unwrap().replace(':', "/");
            let bytes = fs::read(sandbox.path("out/blobs").join(path)).unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        let mut manifest = blob(&child);
        let mut config = blob(&manifest["config"]);
        config["rootfs"]["diff_ids"] = json!(vec![config["rootfs"]["diff_ids"][0].clone(); 1000]);
        config.as_object_mut().unwrap().remove("history");
        let kind = manifest["config"]["mediaType"].as_str().unwrap().to_owned();
        manifest["config"] = put(&sandbox, &kind, &config.to_string());
        manifest["layers"] = json!(vec![manifest["layers"][0].clone(); 1000]);
        put(&sandbox, MANIFEST, &manifest.to_string())
    });
    sandbox.ok(&["convert", "oci:out", "oci:copy"]);
    let blobs = fs::read_dir(sandbox.path("copy/blobs/sha256")).unwrap();
    assert_eq!(blobs.count(), 3, "a manifest, a config, a layer");
    sandbox.ok(&["oci-to-aci", "out", "x.aci"]);
    // One layer is a header, a block and the end.
    let limit = ["--limit", "image_bytes=1000000"];
    let whole = [&["oci-to-aci", "out", "y.aci"][..], &limit].concat();
    sandbox.fails(&whole, 1, &["error[limit]", "image_bytes"]);
}
