//! Members of history entries, ports and volumes that a format does not define: every destination
//! keeps them or reports them.

use std::{fs, path::Path};

use imgconv::{ImageOutcome, Locator, Options, convert};
use imgconv_model::{Env, Platform};
use serde_json::{Value, json};

use crate::mapping::{oci_base, write_layout};

/// The members, each with a text that nothing else holds, and the fields of which one is lost where
/// the member is.
const MEMBERS: &[(&str, &[&str])] = &[
    ("mark-step-created-by", &["history"]),
    ("mark-step-author", &["history"]),
    ("mark-step-comment", &["history"]),
    ("mark-step-unknown", &["history"]),
    ("mark-step-object", &["history"]),
    ("mark-empty-unknown", &["history"]),
    ("mark-port-unknown", &["config.ExposedPorts"]),
    ("mark-port-object", &["config.ExposedPorts"]),
    ("mark-volume-unknown", &["config.Volumes"]),
    ("mark-volume-object", &["config.Volumes"]),
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
    let options = |change: bool| {
        let mut options = Options::default();
        // Layers that change make a new config.
        options.layers.compression = change.then_some(imgconv_model::Compression::Gzip);
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
    let mut silent = Vec::new();
    for (from, source) in &sources {
        let read = bytes(Path::new(source.split_once(':').unwrap().1));
        for (to, scheme, change) in [
            ("oci", "oci", false),
            ("oci, changed", "oci", true),
            ("docker-v2s2", "docker-v2s2+dir", true),
            ("docker-v2s1", "docker-v2s1+dir", false),
            ("docker-archive", "docker-archive", false),
            ("aci", "aci", false),
        ] {
            let name = format!("out-{from}-{to}").replace([' ', ','], "");
            let extension = if scheme == "aci" { ".aci" } else { "" };
            let target = place(scheme, &format!("{name}{extension}"));
            let source = source.replace("docker-v2s2+", "");
            let images = go(&source, &target, &options(change));
            let fields: Vec<&str> = images
                .iter()
                .flat_map(|image| &image.losses)
                .map(|loss| &*loss.field)
                .collect();
            let written = bytes(Path::new(target.split_once(':').unwrap().1));
            for (text, lost) in MEMBERS {
                let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|w| w == text.as_bytes());
                if !holds(&read) {
                    continue;
                }
                // The text that an ACI carries for the way back is not the field.
                let kept = scheme != "aci" && holds(&written);
                let told = fields
                    .iter()
                    .any(|field| lost.iter().any(|start| field.starts_with(start)));
                if !kept { eprintln!("{from} to {to}: {text}: {fields:?}"); }
                if !kept && !told {
                    silent.push(format!("{from} to {to}: {text}; losses: {fields:?}"));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
