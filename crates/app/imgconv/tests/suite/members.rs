//! Members of history entries, ports and volumes that a format does not define: every destination
//! keeps them or reports them.

use std::{collections::BTreeSet, fs, path::Path};

use imgconv::{ImageOutcome, Locator, Options, convert};
use imgconv_model::{Env, Platform};
use serde_json::{Value, json};

use crate::mapping::{oci_base, write_layout};

/// The members, each with a text that nothing else holds, and the field of its loss.
const MEMBERS: &[(&str, &str)] = &[
    ("mark-step-created-by", "history"),
    ("mark-step-author", "history"),
    ("mark-step-comment", "history"),
    ("mark-step-unknown", "history[0].x-unknown"),
    ("mark-step-object", "history[0].x-object"),
    ("mark-empty-unknown", "history[1].x-unknown"),
    ("mark-port-unknown", "config.ExposedPorts.80/tcp.x-unknown"),
    ("mark-port-object", "config.ExposedPorts.80/tcp.x-object"),
    ("mark-volume-unknown", "config.Volumes./data.x-unknown"),
    ("mark-volume-object", "config.Volumes./data.x-object"),
];

/// The fields that only a schema 1 manifest loses: an entry of its history has no other members.
const OF_STEPS: &[&str] = &[
    "history[0].x-unknown",
    "history[0].x-object",
    "history[1].x-unknown",
];

fn image() -> Value {
    let mut image = oci_base();
    image["history"] = json!([
        {
            "created": "2020-01-01T00:00:00Z", "created_by": "mark-step-created-by",
            "author": "mark-step-author", "comment": "mark-step-comment",
            "x-unknown": "mark-step-unknown", "x-object": { "a": ["mark-step-object"] },
        },
        { "created": "2020-01-01T00:00:00Z", "empty_layer": true, "x-unknown": "mark-empty-unknown" },
    ]);
    image["config"]["ExposedPorts"] = json!({
        "80/tcp": { "x-unknown": "mark-port-unknown", "x-object": { "a": "mark-port-object" } },
    });
    image["config"]["Volumes"] = json!({
        "/data": { "x-unknown": "mark-volume-unknown", "x-object": { "a": "mark-volume-object" } },
    });
    image
}

/// The treatment of the layers.
#[derive(Clone, Copy, Debug)]
enum How {
    Copy,
    Compress,
    Squash,
}

/// All bytes of a file, or of the files below a folder.
fn bytes(path: &Path) -> Vec<u8> {
    if path.is_file() {
        return fs::read(path).unwrap();
    }
    let files = fs::read_dir(path).unwrap();
    files
        .flat_map(|file| bytes(&file.unwrap().path()))
        .collect()
}

#[test]
fn no_member_is_lost_without_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
    let place = |scheme: &str, name: &str| {
        let location = folder.path().join(name);
        format!("{scheme}:{}", location.display())
    };
    write_layout(&folder.path().join("oci"), &image());
    let options = |how: How| {
        let mut options = Options::default();
        match how {
            How::Copy => {}
            // Layers that change make a new config.
            How::Compress => {
                options.layers.compression = Some(imgconv_model::Compression::Gzip);
            }
            How::Squash => options.layers.squash = Some(imgconv::Squash::All),
        }
        options
    };
    let go = |from: &str, to: &str, options: &Options| -> Vec<ImageOutcome> {
        let (from, to) = (
            Locator::source(from).unwrap(),
            Locator::destination(to).unwrap(),
        );
        convert(&[from], &to, options, &env).unwrap().images
    };
    // Every format is a source too, as far as its own conversion keeps the members.
    let sources = [
        ("oci", place("oci", "oci")),
        ("docker-v2s2", place("docker-v2s2+dir", "v2s2")),
        ("docker-archive", place("docker-archive", "archive.tar")),
    ];
    for (_, source) in &sources[1..] {
        go(&sources[0].1, source, &Options::default());
    }
    for (from, source) in &sources {
        let read = bytes(Path::new(source.split_once(':').unwrap().1));
        for (i, (scheme, how)) in [
            ("oci", How::Copy),
            ("oci", How::Compress),
            ("oci", How::Squash),
            ("docker-v2s2+dir", How::Compress),
            ("docker-v2s2+dir", How::Squash),
            ("docker-v2s1+dir", How::Copy),
            ("docker-archive", How::Copy),
            ("docker-archive", How::Squash),
            ("aci", How::Copy),
        ]
        .into_iter()
        .enumerate()
        {
            let what = format!("{from} to {scheme}, {how:?}");
            let extension = if scheme == "aci" { ".aci" } else { "" };
            let target = place(scheme, &format!("out-{from}-{i}{extension}"));
            let images = go(&source.replace("docker-v2s2+", ""), &target, &options(how));
            let losses = images.iter().flat_map(|image| &image.losses);
            let told: BTreeSet<&str> = losses.map(|loss| &*loss.field).collect();
            let written = bytes(Path::new(target.split_once(':').unwrap().1));
            let holds = |bytes: &[u8], text: &str| {
                let mut windows = bytes.windows(text.len());
                windows.any(|window| window == text.as_bytes())
            };
            for (text, field) in MEMBERS {
                assert!(holds(&read, text), "{from}: {text}");
                let is_lost = match (scheme, how) {
                    // The text that an ACI carries for the way back is not the field.
                    ("aci", _) => true,
                    ("docker-v2s1+dir", _) => OF_STEPS.contains(field),
                    (_, How::Squash) => !holds(&written, text),
                    _ => false,
                };
                match is_lost {
                    true => assert!(told.contains(field), "{what}: {text}: {told:?}"),
                    false => assert!(holds(&written, text), "{what}: {text}: {told:?}"),
                }
            }
        }
    }
}
