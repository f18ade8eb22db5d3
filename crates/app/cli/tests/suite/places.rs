//! Layers that go to their places in a docker archive: the file has the bytes that standard output
//! gets, where nothing has a place, whatever the stored layers say of their sizes.

use std::fs;

use crate::sandbox::{Sandbox, state};
use imgconv::Compression;
use imgconv_stream::{Level, PieceEncoder};
use imgconv_testkit::{build, recipe, sha256_hex};
use serde_json::{Value, json};

fn tar(seed: u32, size: usize) -> Vec<u8> {
    let mut next = seed;
    let text: String = (0..size)
        .map(|_| {
            next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (next >> 24) as u8 % 16)
        })
        .collect();
    let items = recipe::parse(&format!("file f{seed} \"{text}\""), "test").unwrap();
    build::tar_bytes(&items).unwrap()
}

/// Compresses a piece as a member of its own, with a time in its header.
fn member(piece: &[u8], time: u32) -> Vec<u8> {
    let encoder = PieceEncoder::new(Compression::Gzip, Level::Default).unwrap();
    let mut member = encoder.compress(piece).unwrap();
    member[4..8].copy_from_slice(&time.to_le_bytes());
    member
}

fn members(tar: &[u8], piece: usize, time: impl Fn(usize) -> u32) -> Vec<u8> {
    let pieces = tar.chunks(piece).enumerate();
    pieces
        .flat_map(|(i, piece)| member(piece, time(i)))
        .collect()
}

fn blob(sandbox: &Sandbox, kind: &str, bytes: &[u8]) -> Value {
    let hex = sha256_hex(bytes);
    fs::create_dir_all(sandbox.path("in/blobs/sha256")).unwrap();
    fs::write(sandbox.path(&format!("in/blobs/sha256/{hex}")), bytes).unwrap();
    json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
}

/// Writes a layout with one image of layers, each a tar and its stored form.
fn layout(sandbox: &Sandbox, layers: &[(Vec<u8>, Vec<u8>)]) {
    let _ = fs::remove_dir_all(sandbox.path("in"));
    let diff_ids = layers
        .iter()
        .map(|(tar, _)| format!("sha256:{}", sha256_hex(tar)));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
    });
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let stored = layers.iter().map(|(_, stored)| blob(sandbox, gzip, stored));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "layers": stored.collect::<Vec<_>>(),
        "config": blob(
            sandbox,
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        ),
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let mut entry = blob(sandbox, kind, manifest.to_string().as_bytes());
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "example.com/a:1" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(sandbox.path("in/index.json"), index.to_string()).unwrap();
    let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
    fs::write(sandbox.path("in/oci-layout"), marker).unwrap();
}

fn same_as_a_pipe(sandbox: &Sandbox) {
    let piped = sandbox.run(&["-q", "convert", "oci:in", "docker-archive:-"]);
    assert!(piped.status.success());
    for jobs in ["1", "2", "7"] {
        let to = "docker-archive:out.tar";
        sandbox.ok(&["--jobs", jobs, "convert", "oci:in", to]);
        assert!(fs::read(sandbox.path("out.tar")).unwrap() == piped.stdout);
        fs::remove_file(sandbox.path("out.tar")).unwrap();
    }
}

#[test]
fn the_bytes_are_those_of_a_pipe_whatever_the_layers_state() {
    let sandbox = Sandbox::new();
    let tars: Vec<Vec<u8>> = (1..6).map(|i| tar(i, 300_000 * i as usize)).collect();
    let same = |_| 0;
    let whole = |tar: &[u8]| members(tar, usize::MAX, same);
    let stored = |last: fn(&[u8]) -> Vec<u8>| -> Vec<(Vec<u8>, Vec<u8>)> {
        let all = tars.iter().enumerate();
        all.map(|(i, tar)| {
            let stored = match i {
                0 => tar.clone(),
                1 => members(tar, 65_536, same),
                2 => last(tar),
                _ => whole(tar),
            };
            (tar.clone(), stored)
        })
        .collect()
    };
    for last in [
        // True sizes.
        |tar: &[u8]| members(tar, usize::MAX, |_| 0),
        // Headers differ, so only the last member is counted: a small one, and almost all.
        |tar: &[u8]| members(tar, tar.len() - 512, |i| i as u32),
        |tar: &[u8]| members(tar, tar.len() / 2, |i| i as u32),
        |tar: &[u8]| {
            let mut out = members(&tar[..512], 512, |_| 1);
            out.extend(members(&tar[512..], usize::MAX, |_| 2));
            out
        },
        // The last member is empty.
        |tar: &[u8]| {
            let mut out = members(tar, usize::MAX, |_| 0);
            out.extend(member(b"", 0));
            out
        },
    ] {
        layout(&sandbox, &stored(last));
        same_as_a_pipe(&sandbox);
    }
}

#[test]
fn a_damaged_layer_leaves_no_archive() {
    let sandbox = Sandbox::new();
    let (one, two) = (tar(1, 400_000), tar(2, 400_000));
    let good = members(&one, usize::MAX, |_| 0);
    let whole = members(&two, usize::MAX, |_| 0);
    let mut lying = whole.clone();
    let end = lying.len();
    lying[end - 4..].copy_from_slice(&7u32.to_le_bytes());
    for bad in [whole[..whole.len() / 2].to_vec(), lying] {
        layout(&sandbox, &[(one.clone(), good.clone()), (two.clone(), bad)]);
        let args = ["convert", "oci:in", "docker-archive:out.tar"];
        sandbox.fails(&args, 1, &["gzip"]);
    }
    assert!(
        !state(sandbox.folder.path())
            .iter()
            .any(|line| line.contains("out.tar"))
    );
}
