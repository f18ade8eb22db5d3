//! Reports about the records of old docker images: what the records keep, their faults, and their platforms.

use std::fs;

use imgconv_testkit::registry::digest_of;
use serde_json::{Value, json};

use crate::{
    docker_reversal::{
        ARCHIVE, archive, artifact, document, id, layers, old, read, record, replace, schema1,
    },
    sandbox::Sandbox,
};

/// The codes of the warnings about the first image, and the fields that were lost.
fn told(told: &Value) -> (Vec<&str>, Vec<&str>) {
    let list = |what: &str, member: &str| -> Vec<&str> {
        let all = told["images"][0][what].as_array();
        let all = all.into_iter().flatten();
        all.map(|one| one[member].as_str().unwrap()).collect()
    };
    (list("warnings", "code"), list("losses", "field"))
}

/// H9v: what the record keeps is no loss, and the fault of a record is told once.
#[test]
fn losses_and_faults_of_records_are_told_once() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    let strict = ["docker-to-oci", "old.tar", "x", "--strict"];
    sandbox.fails(&strict, 3, &["v1Compatibility"]);
    // The config of the image keeps what engines since 1.10 kept when they loaded such a file.
    let plain = document(&sandbox, &["docker-to-oci", "old.tar", "plain"]);
    let digest = plain["images"][0]["config"].as_str().unwrap();
    let config = sandbox.path("plain/blobs").join(digest.replace(':', "/"));
    let config: Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    assert_eq!(config["docker_version"], "1.3.2");
    assert_eq!(config["container_config"]["Cmd"][2], "#(nop) step 3");
    for absent in ["id", "parent", "Size"] {
        assert_eq!(config.get(absent), None, "{absent}");
    }
    let kept = document(
        &sandbox,
        &[
            "docker-to-oci",
            "--reversible",
            "old.tar",
            "out",
            "--strict",
        ],
    );
    assert_eq!(told(&kept), (vec![], vec![]), "{kept}");
    schema1(&sandbox);
    sandbox.ok(&[
        "docker-to-oci",
        "--reversible",
        "dir:s1",
        "out1",
        "--strict",
    ]);
    let good = fs::read(record(&sandbox, "out", ARCHIVE)).unwrap();
    let mut flipped = good.clone();
    let last = flipped.len() - 3;
    flipped[last] ^= 1;
    let mut long = good.clone();
    long[20] = 9;
    let args = ["convert", "out", "docker-archive:made.tar"];
    let bad = |bytes: &[u8], dry: &[&str], text: &str| {
        replace(&sandbox, "out", ARCHIVE, |_| {}, bytes);
        let (warned, exact) = (
            [&args[..], dry].concat(),
            [&args[..], &["--exact"], dry].concat(),
        );
        let made = document(&sandbox, &warned);
        assert_eq!(told(&made).0, ["bad-record"], "{made}");
        assert!(
            told(&made).1.iter().all(|field| !field.contains(ARCHIVE)),
            "{made}"
        );
        assert!(made.to_string().contains(text), "{made}");
        assert!(!made.to_string().contains("restore the archive"), "{made}");
        sandbox.fails(&exact, 4, &["record"]);
    };
    // H9k: a dry run reads the whole record.
    bad(b"junk", &["--dry-run"], "too early");
    bad(&flipped, &["--dry-run"], "record");
    bad(&good[..good.len() - 9], &["--dry-run"], "record");
    // H9s: a size that the layers can't give.
    bad(&long, &["--dry-run"], "give");
    bad(&long, &["--overwrite"], "give");
    bad(b"junk", &["--overwrite"], "too early");
    replace(&sandbox, "out", ARCHIVE, |_| {}, &good);
    sandbox.ok(&[&args[..], &["--exact", "--overwrite"]].concat());
    // A fault of the artifact's manifest.
    let no_digest = |ours: &mut Value| {
        let said = ours["annotations"].as_object_mut().unwrap();
        said.remove("imgconv.reversal.identity");
    };
    replace(&sandbox, "out", ARCHIVE, no_digest, &good);
    let made = document(&sandbox, &[&args[..], &["--overwrite"]].concat());
    assert_eq!(told(&made).0, ["bad-record"], "{made}");
    assert!(!told(&made).1.join(" ").contains(ARCHIVE), "{made}");
}

/// H9l: an image of another platform takes its record along, also if an index lists both.
#[test]
fn a_platform_takes_its_own_archive_along() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    let mut arm = archive(
        &[("app", &layers())],
        &json!({"team/arm": {"1": id("app", 3)}}),
    );
    let (from, to) = (b"\"amd64\"", b"\"arm64\"");
    for at in 0..arm.len() - from.len() {
        if arm[at..].starts_with(from) {
            arm[at..at + to.len()].copy_from_slice(to);
        }
    }
    fs::write(sandbox.path("arm.tar"), &arm).unwrap();
    for file in ["old.tar", "arm.tar"] {
        sandbox.ok(&["docker-to-oci", "--reversible", file, "out"]);
    }
    for index in [false, true] {
        if index {
            let path = "out/index.json";
            let mut list: Value = serde_json::from_slice(&read(&sandbox, path)).unwrap();
            let entries = list["manifests"].as_array().unwrap().iter().cloned();
            let (mut images, records): (Vec<Value>, Vec<Value>) =
                entries.partition(|entry| entry["artifactType"].is_null());
            images.dedup_by(|one, other| one["digest"] == other["digest"]);
            let inner = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                               "manifests": images});
            let text = inner.to_string();
            let digest = digest_of(text.as_bytes());
            let blob = format!("out/blobs/{}", digest.replace(':', "/"));
            fs::write(sandbox.path(&blob), &text).unwrap();
            let top =
                json!({"mediaType": inner["mediaType"], "digest": digest, "size": text.len()});
            list["manifests"] = [&[top], &records[..]].concat().into();
            fs::write(sandbox.path(path), list.to_string()).unwrap();
        }
        for (platform, tar) in [("linux/amd64", &tar), ("linux/arm64", &arm)] {
            let args = [
                "convert",
                "out",
                "docker-archive:back.tar",
                "--platform",
                platform,
            ];
            let made = document(&sandbox, &[&args[..], &["--exact", "--overwrite"]].concat());
            let lost = told(&made).1.join(" ");
            assert!(!lost.contains(ARCHIVE), "{made}");
            assert!(
                read(&sandbox, "back.tar") == *tar,
                "{platform}, index: {index}"
            );
            sandbox.ok(&[
                "convert",
                "out",
                "oci:one",
                "--platform",
                platform,
                "--strict",
            ]);
            artifact(&sandbox, "one", ARCHIVE);
            fs::remove_dir_all(sandbox.path("one")).unwrap();
        }
    }
    let args = ["convert", "out", "dir:plain", "--platform", "linux/arm64"];
    let made = document(&sandbox, &args);
    let lost = told(&made)
        .1
        .iter()
        .filter(|field| field.contains(ARCHIVE))
        .count();
    assert_eq!(lost, 1, "{made}");
}
