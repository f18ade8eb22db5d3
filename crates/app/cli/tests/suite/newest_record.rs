//! An image with several originals: the newest record is damaged, and an older one is not.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{docker_reversal::old, reversal::app, sandbox::Sandbox};

/// The records of a layout in the order of its index, the newest last.
fn records(sandbox: &Sandbox, layout: &str) -> Vec<PathBuf> {
    let folder = sandbox.path(layout);
    let read =
        |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        folder
            .join("blobs")
            .join(digest.as_str().unwrap().replace(':', "/"))
    };
    let index = read(folder.join("index.json"));
    let documents = index["manifests"].as_array().unwrap().iter();
    let artifacts = documents
        .map(|entry| read(blob(&entry["digest"])))
        .filter(|document| document["artifactType"].is_string());
    artifacts
        .map(|artifact| blob(&artifact["layers"][0]["digest"]))
        .collect()
}

/// Converts two originals that differ in their ends alone, damages the newer record, and goes back: the older original
/// comes with a warning, and not where the user wants nothing but the exact one.
fn damaged(sandbox: &Sandbox, command: &str, first: &str, to: &str) {
    let bytes = fs::read(sandbox.path(first)).unwrap();
    let second = [&bytes[..], &[0; 512]].concat();
    fs::write(sandbox.path("second"), &second).unwrap();
    for file in [first, "second"] {
        sandbox.ok(&[command, "--reversible", file, "out"]);
    }
    let destination = format!("{to}:back");
    let back = ["convert", "out", &destination, "--overwrite"];
    let output = sandbox.run(&back);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("warning[several-records]"), "{stderr}");
    assert!(fs::read(sandbox.path("back")).unwrap() == second);

    let records = records(sandbox, "out");
    assert_eq!(records.len(), 2);
    let good = fs::read(&records[1]).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 20;
    bad[last] ^= 1;
    for damage in [Some(bad), None] {
        fs::remove_file(&records[1]).unwrap();
        if let Some(bytes) = damage {
            fs::write(&records[1], bytes).unwrap();
        }
        for more in [&[][..], &["--dry-run"]] {
            let output = sandbox.run(&[&back[..], more].concat());
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{stderr}");
            assert!(stderr.contains("warning[bad-record]"), "{more:?}: {stderr}");
            assert!(stderr.contains("converted earlier"), "{more:?}: {stderr}");
            sandbox.fails(&[&back[..], more, &["--exact"]].concat(), 4, &["record"]);
            sandbox.fails(
                &[&back[..], more, &["--strict"]].concat(),
                3,
                &["`--strict` refuses"],
            );
        }
        assert!(fs::read(sandbox.path("back")).unwrap() == bytes);
        fs::write(&records[1], &good).unwrap();
    }
    // A damaged record of an older original changes nothing.
    fs::remove_file(&records[0]).unwrap();
    sandbox.ok(&[&back[..], &["--exact"]].concat());
    assert!(fs::read(sandbox.path("back")).unwrap() == second);
}

/// H9w.
#[test]
fn an_older_aci_is_told() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["convert", "app.aci", "aci:plain.aci", "--compression=none"]);
    damaged(&sandbox, "aci-to-oci", "plain.aci", "aci");
}

/// H9w.
#[test]
fn an_older_archive_is_told() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    damaged(&sandbox, "docker-to-oci", "old.tar", "docker-archive");
}
