//! The exact way back of old docker images: a file of `docker save` from before Docker 1.10, and a manifest of
//! schema 1 with its signatures.

use std::{fs, path::PathBuf, process::Command};

use imgconv_testkit::{
    random,
    registry::{Registry, digest_of},
    sha256_hex,
};
use serde_json::{Value, json};

use crate::{
    docker::KEY,
    sandbox::{Sandbox, state},
};

pub(crate) const ARCHIVE: &str = "application/vnd.imgconv.reversal.docker-save.v1";
const SCHEMA1: &str = "application/vnd.imgconv.reversal.schema1.v1";

/// A member of a tar with odd but valid fields: a header of the old kind, with another time and owner for each.
fn member(tar: &mut Vec<u8>, name: &str, kind: u8, body: &[u8]) {
    let number = tar.len();
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(100, "000755 ");
    put(108, &format!("{:06o} ", number % 1000));
    put(116, "000012 ");
    put(124, &format!("{:011o} ", body.len()));
    put(136, &format!("{:011o} ", 1_400_000_000 + number));
    put(148, "        ");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(body);
    // The padding is no zeros.
    tar.resize(tar.len().next_multiple_of(512), b'p');
}

/// A layer of one file.
fn layer(name: &str, body: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    member(&mut tar, name, b'0', body);
    tar.extend_from_slice(&[0; 1024]);
    tar
}

/// The id of a layer; the ids of a chain are in no order.
pub(crate) fn id(chain: &str, number: usize) -> String {
    sha256_hex(format!("{chain} {number}").as_bytes())
}

/// An archive of a chain of layers as old engines wrote it: the directories sorted by their names, with spaces in
/// the `json` files that no writer of today makes.
pub(crate) fn archive(chains: &[(&str, &[Vec<u8>])], repositories: &Value) -> Vec<u8> {
    let mut directories = Vec::new();
    for (chain, layers) in chains {
        for (i, layer) in layers.iter().enumerate() {
            let parent = match i {
                0 => String::new(),
                i => format!(r#" "parent" : "{}","#, id(chain, i - 1)),
            };
            let json = format!(
                "{{\"id\": \"{}\",{parent} \"created\":\"2014-05-0{}T01:02:03.123456789Z\",\"container\":\"{}\", \
                 \"container_config\":{{\"Cmd\":[\"/bin/sh\",\"-c\",\"#(nop) step {i}\"]}},\"docker_version\":\"1.3.2\",\
                 \"config\":{{\"Cmd\":[\"/bin/sh\"],\"Env\":[\"A=b\"]}},\"architecture\":\"amd64\",\"os\":\"linux\",\
                 \"author\":\"me\",\"Size\": {}}}\n\n",
                id(chain, i),
                i % 9 + 1,
                id("container", i),
                layer.len(),
            );
            directories.push((id(chain, i), json, layer));
        }
    }
    directories.sort();
    let mut tar = Vec::new();
    for (id, json, layer) in directories {
        member(&mut tar, &format!("{id}/"), b'5', b"");
        member(&mut tar, &format!("{id}/VERSION"), b'0', b"1.0");
        member(&mut tar, &format!("{id}/json"), b'0', json.as_bytes());
        member(&mut tar, &format!("{id}/layer.tar"), b'0', layer);
    }
    if !repositories.is_null() {
        let text = format!("{repositories}\n");
        member(&mut tar, "repositories", b'0', text.as_bytes());
    }
    // The end is longer than needed.
    tar.resize(tar.len() + 5 * 512, 0);
    tar
}

fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Four layers, two of which are docker's empty layer.
pub(crate) fn layers() -> [Vec<u8>; 4] {
    [
        layer("bin/sh", &noise(100_000, 1)),
        vec![0; 1024],
        layer("etc/motd", b"hello\n"),
        vec![0; 1024],
    ]
}

fn named() -> Value {
    json!({"team/app": {"1.0": id("app", 3), "latest": id("app", 3)}})
}

/// An archive `old.tar` of one image with two names.
pub(crate) fn old(sandbox: &Sandbox) -> Vec<u8> {
    let tar = archive(&[("app", &layers())], &named());
    fs::write(sandbox.path("old.tar"), &tar).unwrap();
    tar
}

pub(crate) fn document(sandbox: &Sandbox, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.ok(&[args, &["--json"]].concat())).unwrap()
}

pub(crate) fn read(sandbox: &Sandbox, name: &str) -> Vec<u8> {
    fs::read(sandbox.path(name)).unwrap()
}

/// The manifest of the one artifact of that type in a layout.
pub(crate) fn artifact(sandbox: &Sandbox, layout: &str, kind: &str) -> Value {
    let index: Value =
        serde_json::from_slice(&read(sandbox, &format!("{layout}/index.json"))).unwrap();
    let listed = index["manifests"].as_array().unwrap().iter();
    let mut found: Vec<&Value> = listed.filter(|it| it["artifactType"] == kind).collect();
    assert_eq!(found.len(), 1, "{index}");
    let digest = found.remove(0)["digest"].as_str().unwrap();
    let blob = format!("{layout}/blobs/{}", digest.replace(':', "/"));
    serde_json::from_slice(&read(sandbox, &blob)).unwrap()
}

/// The path of the record in a layout.
pub(crate) fn record(sandbox: &Sandbox, layout: &str, kind: &str) -> PathBuf {
    let manifest = artifact(sandbox, layout, kind);
    let digest = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let folder = sandbox.path(layout).join("blobs");
    folder.join(digest.replace(':', "/"))
}

fn read_record(sandbox: &Sandbox, layout: &str) -> Vec<u8> {
    fs::read(record(sandbox, layout, ARCHIVE)).unwrap()
}

/// Puts another record into the artifact of a layout, with the digests that belong to the record.
pub(crate) fn replace(
    sandbox: &Sandbox,
    layout: &str,
    kind: &str,
    change: impl Fn(&mut Value),
    new: &[u8],
) {
    let mut manifest = artifact(sandbox, layout, kind);
    let store = |bytes: &[u8]| {
        let digest = digest_of(bytes);
        let blob = format!("{layout}/blobs/{}", digest.replace(':', "/"));
        fs::write(sandbox.path(&blob), bytes).unwrap();
        (json!(digest), json!(bytes.len()))
    };
    let blob = &mut manifest["layers"][0];
    (blob["digest"], blob["size"]) = store(new);
    change(&mut manifest);
    let path = format!("{layout}/index.json");
    let mut index: Value = serde_json::from_slice(&read(sandbox, &path)).unwrap();
    for entry in index["manifests"].as_array_mut().unwrap() {
        if entry["artifactType"] == kind {
            (entry["digest"], entry["size"]) = store(manifest.to_string().as_bytes());
        }
    }
    fs::write(sandbox.path(&path), index.to_string()).unwrap();
}

#[test]
fn an_old_archive_comes_back_byte_for_byte() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    let made = document(
        &sandbox,
        &["docker-to-oci", "--reversible", "old.tar", "out"],
    );
    let manifest = artifact(&sandbox, "out", ARCHIVE);
    let image = &made["images"][0];
    assert_eq!(image["reversal"]["size"], manifest["layers"][0]["size"]);
    assert_eq!(manifest["subject"]["digest"], image["digest"]);
    let said = &manifest["annotations"];
    // The digest is that of the record's header, and not of the tar.
    let header = read_record(&sandbox, "out");
    assert_eq!(header[8], 2);
    let composed: String = header[32..64]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        said["imgconv.reversal.identity"],
        json!(format!("sha256:{composed}"))
    );
    assert_eq!(said["imgconv.reversal.digest"], Value::Null);
    assert_eq!(
        said["imgconv.reversal.names"],
        "team/app:1.0 team/app:latest"
    );
    assert_eq!(said["imgconv.reversal.file"], "old.tar");
    // No layer is in the record.
    assert!(manifest["layers"][0]["size"].as_u64().unwrap() < 2000);

    let lines = sandbox.ok(&["oci-to-docker", "out", "back.tar", "--exact"]);
    assert_eq!(lines.matches("  exact\n").count(), 2, "{lines}");
    assert!(read(&sandbox, "back.tar") == tar);
    sandbox.ok(&["verify", "back.tar"]);
    // Without `--exact` too, through an archive, with one of the names, and again from the new file.
    sandbox.ok(&["convert", "out", "oci-archive:all.tar"]);
    let from = "oci-archive:all.tar:docker.io/team/app:1.0";
    let told = document(&sandbox, &["convert", from, "docker-archive:one.tar"]);
    assert_eq!(told["images"][0]["exact"], json!(true));
    assert_eq!(told["images"][0]["losses"], json!([]));
    assert_eq!(
        told["images"][0]["digest"],
        json!(format!("sha256:{}", sha256_hex(&tar)))
    );
    assert!(read(&sandbox, "one.tar") == tar);
    let to = "docker-archive:named.tar:team/app:latest";
    sandbox.ok(&["convert", from, to, "--exact"]);
    assert!(read(&sandbox, "named.tar") == tar);
    let output = sandbox.run(&["convert", "out", "docker-archive:-", "--exact"]);
    assert!(output.stdout == tar);
    sandbox.ok(&["convert", "out", "docker-archive:back.tar.gz", "--exact"]);
    sandbox.ok(&["docker-to-oci", "--reversible", "back.tar.gz", "again"]);
    sandbox.ok(&["oci-to-docker", "again", "again.tar", "--exact"]);
    assert!(read(&sandbox, "again.tar") == tar);

    // The record goes along with an image that is chosen by its name, and no blob of it is free.
    sandbox.ok(&["convert", "oci:out:docker.io/team/app:1.0", "oci:copy"]);
    let removed = sandbox.ok(&["layout", "gc", "copy", "--min-age", "0s"]);
    assert!(removed.starts_with("0 blobs"), "{removed}");
    sandbox.ok(&["oci-to-docker", "copy", "copy.tar", "--exact"]);
    assert!(read(&sandbox, "copy.tar") == tar);
    // Layers in another compression are the same layers.
    let args = ["docker-to-oci", "--reversible", "old.tar", "zstd"];
    sandbox.ok(&[&args[..], &["--compression=zstd"]].concat());
    sandbox.ok(&["oci-to-docker", "zstd", "zstd.tar", "--exact"]);
    assert!(read(&sandbox, "zstd.tar") == tar);
}

#[test]
fn verify_inspect_and_a_dry_run_know_the_records() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    let args = ["docker-to-oci", "--reversible", "old.tar", "out"];
    sandbox.ok(&[&args[..], &["--dry-run"]].concat());
    assert!(!sandbox.path("out").exists());
    sandbox.ok(&args);
    sandbox.ok(&["verify", "out"]);
    let told = document(&sandbox, &["inspect", "oci:out:docker.io/team/app:1.0"]);
    let reversal = &told["images"][0]["reversal"];
    assert_eq!(reversal["kind"], "docker-save", "{told}");
    let manifest = artifact(&sandbox, "out", ARCHIVE);
    let identity = &manifest["annotations"]["imgconv.reversal.identity"];
    assert_eq!(&reversal["image_id"], identity);
    assert_eq!(reversal["signed"], json!(false));
    let told = sandbox.ok(&["oci-to-docker", "out", "back.tar", "--dry-run"]);
    assert!(told.contains("restore the archive exactly"), "{told}");
    assert!(!sandbox.path("back.tar").exists());
}

#[test]
fn records_of_archives_go_through_registries() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    for api in [true, false] {
        let registry = Registry::start();
        registry.stored().referrers = api;
        let place = registry.locator("team/app:1.0");
        let from = "docker-archive:old.tar:team/app:1.0";
        let to = format!("oci+{place}");
        sandbox.ok(&["convert", from, &to, "--reversible"]);
        let back = format!("back-{api}.tar");
        let to = format!("docker-archive:{back}");
        let line = sandbox.ok(&["convert", &place, &to, "--exact"]);
        assert!(line.trim_end().ends_with("exact"), "{line}");
        assert!(read(&sandbox, &back) == tar, "API: {api}");
        sandbox.ok(&["verify", &place]);
    }
}

/// H9m.
#[test]
fn odd_archives_come_back() {
    let sandbox = Sandbox::new();
    let all = layers();
    let plain = archive(&[("app", &all)], &named());
    let mut trailing = plain.clone();
    trailing.extend_from_slice(b"bytes behind the end");
    let mut gzip = all.to_vec();
    gzip[2] = packed(&gzip[2]);
    let mut bare = all.to_vec();
    bare[1] = Vec::new();
    let mut twice = archive(&[("app", &all)], &named());
    twice.truncate(twice.len() - 5 * 512);
    member(
        &mut twice,
        "repositories",
        b'0',
        format!("{}\n", named()).as_bytes(),
    );
    member(&mut twice, "unknown/", b'5', b"");
    twice.extend_from_slice(&[0; 512]);
    let one = [layer("a", b"a")];
    let by_id = json!({"docker.io/x": {"y": id("b", 0)}});
    let archives = [
        plain,
        trailing,
        archive(&[("app", &gzip)], &named()),
        archive(&[("app", &bare)], &named()),
        twice,
        archive(&[("app", &all)], &Value::Null),
        archive(&[("b", &one)], &by_id),
    ];
    for (i, tar) in archives.iter().enumerate() {
        let (file, out, back) = (
            format!("{i}.tar"),
            format!("out{i}"),
            format!("back{i}.tar"),
        );
        fs::write(sandbox.path(&file), tar).unwrap();
        sandbox.ok(&["docker-to-oci", "--reversible", &file, &out]);
        sandbox.ok(&["verify", &out]);
        sandbox.ok(&["oci-to-docker", &out, &back, "--exact"]);
        assert!(read(&sandbox, &back) == *tar, "archive {i}");
    }
}

/// Compresses bytes with gzip.
fn packed(bytes: &[u8]) -> Vec<u8> {
    use imgconv_stream::{Level, PieceEncoder};
    let encoder = PieceEncoder::new(imgconv::Compression::Gzip, Level::Default);
    encoder.unwrap().compress(bytes).unwrap()
}

#[test]
fn random_layers_come_back_in_archives() {
    let sandbox = Sandbox::new();
    for seed in 0..40 {
        let layers: Vec<Vec<u8>> = random::image(seed).iter().map(|it| it.tar()).collect();
        let top = id("r", layers.len() - 1);
        let tar = archive(&[("r", &layers)], &json!({"r": {"1": top}}));
        fs::write(sandbox.path("r.tar"), &tar).unwrap();
        let folder = format!("r{seed}");
        // A layer that the reader refuses is no matter of the record.
        let made = sandbox.run(&["docker-to-oci", "--reversible", "r.tar", &folder]);
        if made.status.success() {
            let back = format!("r{seed}.tar");
            sandbox.ok(&["oci-to-docker", &folder, &back, "--exact"]);
            assert!(read(&sandbox, &back) == tar, "seed {seed}");
        }
    }
}

/// H9c.
#[test]
fn what_has_no_record_is_told() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    let other = [layer("q", b"1")];
    sandbox.ok(&["convert", "old.tar", "docker-archive:new.tar"]);
    let args = ["docker-to-oci", "--reversible", "new.tar", "x"];
    sandbox.fails(&args, 1, &["--reversible", "before Docker 1.10"]);
    let args = ["convert", "old.tar", "docker-archive:x.tar", "--reversible"];
    sandbox.fails(&args, 1, &["--reversible", "artifacts"]);
    for option in ["--squash", "--clamp-mtime=5", "--compression=estargz"] {
        let args = ["docker-to-oci", "--reversible", "old.tar", "x", option];
        let text = option.split('=').next().unwrap();
        sandbox.fails(&args, 2, &["--reversible", text]);
    }
    sandbox.ok(&["docker-to-oci", "old.tar", "plain"]);
    let args = ["oci-to-docker", "plain", "x.tar", "--exact"];
    sandbox.fails(&args, 1, &["--exact", "there is none"]);
    sandbox.ok(&["oci-to-docker", "plain", "canonical.tar"]);

    // Options that want another archive.
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "out"]);
    let one = "oci:out:docker.io/team/app:1.0";
    for option in ["--name=other:1", "--squash", "--clamp-mtime=5"] {
        let args = ["convert", one, "docker-archive:x.tar", option];
        let name = option.split('=').next().unwrap();
        let text = if name == "--name" { "other:1" } else { name };
        sandbox.fails(&[&args[..], &["--exact"]].concat(), 2, &["--exact", text]);
        let told = document(&sandbox, &[&args[..], &["--overwrite"]].concat());
        assert_eq!(told["images"][0].get("exact"), None);
        let lost = told["images"][0]["losses"].to_string();
        assert!(lost.contains(ARCHIVE), "{lost}");
    }
    for (place, code) in [("oci:x", 2), ("docker-v2s2+dir:x", 2), ("aci:x.aci", 1)] {
        sandbox.fails(&["convert", one, place, "--exact"], code, &["--exact"]);
    }
    // Two images can't be one restored archive.
    fs::write(
        sandbox.path("b.tar"),
        archive(&[("other", &other)], &json!({"b": {"1": id("other", 0)}})),
    )
    .unwrap();
    sandbox.ok(&["docker-to-oci", "--reversible", "b.tar", "out"]);
    let args = ["oci-to-docker", "out", "x.tar", "--exact", "--overwrite"];
    sandbox.fails(&args, 2, &["images that it does not have"]);
    let told = document(&sandbox, &["oci-to-docker", "out", "both.tar"]);
    assert!(
        told["images"][0]["losses"].to_string().contains(ARCHIVE),
        "{told}"
    );
    sandbox.ok(&[
        "convert",
        "oci:out:docker.io/library/b:1",
        "docker-archive:b2.tar",
        "--exact",
    ]);
    assert!(read(&sandbox, "b2.tar") == read(&sandbox, "b.tar"));
    let args = ["recompress", one, "oci:x", "--compression", "zstd"];
    let told = document(&sandbox, &args);
    assert!(
        told["images"][0]["losses"].to_string().contains(ARCHIVE),
        "{told}"
    );
}

/// Runs the way back with a bad record: a warning and the canonical form, or a refusal.
fn bad(sandbox: &Sandbox, from: &str, to: &str, canonical: &dyn Fn(&Sandbox) -> bool) {
    let output = sandbox.run(&["convert", from, to]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("warning[bad-record]"), "{stderr}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("exact"));
    assert!(canonical(sandbox));
    sandbox.fails(
        &["convert", from, to, "--exact", "--overwrite"],
        4,
        &["record"],
    );
    sandbox.fails(
        &["convert", from, to, "--strict", "--overwrite"],
        3,
        &["bad-record"],
    );
    let output = sandbox.run(&["verify", "out"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

/// H9a.
#[test]
fn a_damaged_record_of_an_archive_is_a_warning_or_a_refusal() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    sandbox.ok(&["docker-to-oci", "old.tar", "plain"]);
    sandbox.ok(&["oci-to-docker", "plain", "canonical.tar"]);
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "out"]);
    let record = record(&sandbox, "out", ARCHIVE);
    let good = fs::read(&record).unwrap();
    let mut damaged = good.clone();
    let last = damaged.len() - 20;
    damaged[last] ^= 1;
    for bytes in [Some(&damaged[..]), Some(&good[..100]), None] {
        fs::remove_file(&record).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&record, bytes).unwrap();
        }
        bad(&sandbox, "out", "docker-archive:made.tar", &|sandbox| {
            let same = read(sandbox, "made.tar") == read(sandbox, "canonical.tar");
            fs::remove_file(sandbox.path("made.tar")).unwrap();
            same
        });
        if bytes.is_none() {
            fs::write(&record, &good).unwrap();
        }
    }
    sandbox.ok(&["verify", "out"]);
    sandbox.ok(&["oci-to-docker", "out", "good.tar", "--exact"]);
}

/// H9b: records that are whole, and belong to other images.
#[test]
fn a_foreign_record_of_an_archive_is_refused() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "out"]);
    let theirs = |tar: &[u8], name: &str| {
        fs::write(sandbox.path("theirs.tar"), tar).unwrap();
        sandbox.ok(&["docker-to-oci", "--reversible", "theirs.tar", name]);
        let manifest = artifact(&sandbox, name, ARCHIVE);
        (fs::read(record(&sandbox, name, ARCHIVE)).unwrap(), manifest)
    };
    let mut other = layers().to_vec();
    other[2] = layer("etc/motd", b"other\n");
    let text: String = tar.iter().map(|byte| char::from(byte & 0x7f)).collect();
    assert!(text.contains("A=b"));
    let mut config = tar.clone();
    // The config of the top layer is that of the image.
    let top = text.find(&format!("\"id\": \"{}\"", id("app", 3))).unwrap();
    let at = top + text[top..].find("A=b").unwrap();
    config[at] = b'B';
    let mut swapped = layers();
    swapped.swap(0, 2);
    for (i, tar) in [
        archive(&[("app", &other)], &named()),
        archive(&[("app", &swapped)], &named()),
        archive(
            &[("app", &layers()[..2])],
            &json!({"team/app": {"1.0": id("app", 1), "latest": id("app", 1)}}),
        ),
        config,
    ]
    .iter()
    .enumerate()
    {
        let (record, manifest) = theirs(tar, &format!("theirs{i}"));
        replace(
            &sandbox,
            "out",
            ARCHIVE,
            |ours| ours["annotations"] = manifest["annotations"].clone(),
            &record,
        );
        bad(&sandbox, "out", "docker-archive:made.tar", &|sandbox| {
            fs::remove_file(sandbox.path("made.tar")).unwrap();
            true
        });
    }
}

/// H9a: any change of a record gives the very bytes, or a refusal.
#[test]
fn changed_records_never_give_another_original() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "out"]);
    schema1(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "dir:s1", "out1"]);
    let manifest = read(&sandbox, "s1/manifest.json");
    let random = noise(20_000, 7);
    let mut random = random.chunks(4);
    for (kind, layout, to) in [
        (ARCHIVE, "out", "docker-archive:made"),
        (SCHEMA1, "out1", "docker-v2s1+dir:made"),
    ] {
        let good = fs::read(record(&sandbox, layout, kind)).unwrap();
        let mut refused = 0;
        for round in 0..300 {
            let number = random.next().unwrap();
            let at = usize::from(number[0]) << 8 | usize::from(number[1]);
            let at = at % good.len();
            let mut changed = good.clone();
            match number[2] % 4 {
                0 => changed[at] ^= 1 << (number[3] % 8),
                1 => changed.truncate(at),
                2 => drop(changed.remove(at)),
                _ => changed.insert(at, number[3]),
            }
            replace(&sandbox, layout, kind, |_| {}, &changed);
            let output = sandbox.run(&["convert", layout, to, "--exact"]);
            if !output.status.success() {
                // 4 for damage; a number may also be above a limit.
                assert!(matches!(output.status.code(), Some(1 | 4)), "{output:?}");
                assert!(!sandbox.path("made").exists(), "round {round}");
                refused += 1;
                continue;
            }
            let made = match kind {
                ARCHIVE => read(&sandbox, "made") == tar,
                _ => read(&sandbox, "made/manifest.json") == manifest,
            };
            assert!(made, "{kind} round {round}");
            let made = sandbox.path("made");
            let removed = fs::remove_file(&made).or_else(|_| fs::remove_dir_all(&made));
            removed.unwrap();
        }
        assert!(refused >= 280, "{refused}");
    }
}

/// A signed manifest of schema 1 with steps that have docker's empty layer, in the directory `s1`.
pub(crate) fn schema1(sandbox: &Sandbox) {
    fs::write(sandbox.path("key.json"), KEY).unwrap();
    let (low, high) = (
        layer("bin/sh", &noise(50_000, 3)),
        layer("etc/motd", b"hello\n"),
    );
    let step = |number: usize, empty: bool| {
        json!({"created": format!("2015-06-0{number}T01:02:03.5Z"), "empty_layer": empty,
               "created_by": format!("/bin/sh -c #(nop) step {number}")})
    };
    let diff_id = |layer: &[u8]| format!("sha256:{}", sha256_hex(layer));
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2015-06-04T01:02:03.5Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"]}, "author": "me",
        "history": [step(1, false), step(2, true), step(3, false), step(4, true)],
        "rootfs": {"type": "layers", "diff_ids": [diff_id(&low), diff_id(&high)]},
    })
    .to_string();
    let name = format!("{}.json", sha256_hex(config.as_bytes()));
    let list = json!([{"Config": name, "RepoTags": ["team/app:1.0"], "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    let mut tar = Vec::new();
    member(&mut tar, &name, b'0', config.as_bytes());
    member(&mut tar, "a/layer.tar", b'0', &low);
    member(&mut tar, "b/layer.tar", b'0', &high);
    member(&mut tar, "manifest.json", b'0', list.to_string().as_bytes());
    tar.extend_from_slice(&[0; 1024]);
    fs::write(sandbox.path("s.tar"), tar).unwrap();
    let args = ["convert", "s.tar", "docker-v2s1+dir:s1"];
    sandbox.ok(&[&args[..], &["--sign-key=key.json"]].concat());
    let text = fs::read_to_string(sandbox.path("s1/manifest.json")).unwrap();
    assert!(text.contains("signatures"));
    // The gzipped empty tar of docker.
    let empty = "a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    assert!(text.contains(empty));
    assert!(sandbox.path("s1").join(empty).exists());
}

/// H9n.
#[test]
fn a_signed_manifest_comes_back_with_its_blobs() {
    let sandbox = Sandbox::new();
    schema1(&sandbox);
    let made = document(
        &sandbox,
        &["docker-to-oci", "--reversible", "dir:s1", "out"],
    );
    let manifest = artifact(&sandbox, "out", SCHEMA1);
    assert_eq!(manifest["subject"]["digest"], made["images"][0]["digest"]);
    let said = &manifest["annotations"];
    assert_eq!(
        said["imgconv.reversal.media-type"],
        "application/vnd.docker.distribution.manifest.v1+prettyjws"
    );
    // The record is the manifest itself.
    let record = fs::read(record(&sandbox, "out", SCHEMA1)).unwrap();
    assert!(record == read(&sandbox, "s1/manifest.json"));
    let told = document(&sandbox, &["inspect", "out"]);
    assert_eq!(told["images"][0]["reversal"]["kind"], "schema1");
    assert_eq!(told["images"][0]["reversal"]["signed"], json!(true));
    sandbox.ok(&["verify", "out"]);

    let args = ["convert", "out", "docker-v2s1+dir:back", "--exact"];
    let told = sandbox.ok(&[&args[..], &["--dry-run"]].concat());
    assert!(told.contains("restore the manifest exactly"), "{told}");
    let line = sandbox.ok(&args);
    assert!(line.trim_end().ends_with("  exact"), "{line}");
    let state = |name: &str| state(&sandbox.path(name));
    assert_eq!(state("s1"), state("back"));
    let told = document(&sandbox, &["convert", "out", "docker-v2s1+dir:two"]);
    assert_eq!(told["images"][0]["exact"], json!(true));
    assert_eq!(told["images"][0]["losses"], json!([]), "{told}");
    // Through an archive and registries.
    sandbox.ok(&["convert", "out", "oci-archive:all.tar"]);
    let args = ["convert", "oci-archive:all.tar", "docker-v2s1+dir:three"];
    sandbox.ok(&[&args[..], &["--exact"]].concat());
    assert_eq!(state("s1"), state("three"));
    let registry = Registry::start();
    let place = registry.locator("team/app:1.0");
    sandbox.ok(&["convert", "out", &place]);
    sandbox.ok(&["convert", &place, "docker-v2s1+dir:four", "--exact"]);
    assert_eq!(state("s1"), state("four"));
}

#[test]
fn a_manifest_comes_from_and_goes_to_a_registry() {
    let sandbox = Sandbox::new();
    schema1(&sandbox);
    // The registry of the testkit names a manifest by all of its bytes, so the manifest is not signed.
    sandbox.ok(&["convert", "s.tar", "docker-v2s1+dir:plain"]);
    let registry = Registry::start();
    let place = registry.locator("team/app:1.0");
    sandbox.ok(&["convert", "dir:plain", &format!("docker-v2s1+{place}")]);
    sandbox.ok(&["convert", &place, "oci:out", "--reversible"]);
    sandbox.ok(&["verify", "out"]);
    sandbox.ok(&["convert", "out", "docker-v2s1+dir:back", "--exact"]);
    assert!(read(&sandbox, "back/manifest.json") == read(&sandbox, "plain/manifest.json"));
    let again = format!("docker-v2s1+{}", registry.locator("team/app:2"));
    // The manifest holds its tag.
    let args = ["convert", "out", &again, "--exact"];
    sandbox.fails(&args, 2, &["--exact", "app:2"]);
    let other = Registry::start();
    let place = other.locator("team/app:1.0");
    let line = sandbox.ok(&["convert", "out", &format!("docker-v2s1+{place}"), "--exact"]);
    assert!(line.trim_end().ends_with("exact"), "{line}");
    sandbox.ok(&["convert", &place, "docker-v2s1+dir:pulled"]);
    assert!(read(&sandbox, "pulled/manifest.json") == read(&sandbox, "plain/manifest.json"));
}

/// H9a, H9b, H9c.
#[test]
fn a_bad_record_of_a_manifest_is_a_warning_or_a_refusal() {
    let sandbox = Sandbox::new();
    schema1(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "dir:s1", "out"]);
    for (option, text) in [
        ("--compression=zstd", "--compression"),
        ("--squash", "--squash"),
    ] {
        let args = ["docker-to-oci", "--reversible", "dir:s1", "x", option];
        sandbox.fails(&args, 2, &["--reversible", text]);
    }
    for option in [
        "--sign-key=key.json",
        "--name=other:1",
        "--squash",
        "--force",
    ] {
        let args = ["convert", "out", "docker-v2s1+dir:x", "--exact", option];
        sandbox.fails(&args, 2, &["--exact"]);
    }
    let canonical = |sandbox: &Sandbox| {
        let text = read(sandbox, "made/manifest.json");
        fs::remove_dir_all(sandbox.path("made")).unwrap();
        !String::from_utf8(text).unwrap().contains("signatures")
    };
    let to = "docker-v2s1+dir:made";
    // Another manifest with the same layers: unsigned, so that no signature finds the change.
    let good = fs::read(record(&sandbox, "out", SCHEMA1)).unwrap();
    let mut document: Value = serde_json::from_slice(&good).unwrap();
    document.as_object_mut().unwrap().remove("signatures");
    let whole = document.to_string();
    assert!(whole.contains("A=b"));
    for text in [
        whole.replace("A=b", "A=c"),
        whole.replace("step 1", "step 9"),
        whole
            .replacen("sha256:", "sha256:0000", 1)
            .replacen("0000", "", 1)
            .replace("amd64", "arm64"),
    ] {
        assert_ne!(text, whole);
        let digest = digest_of(text.as_bytes());
        let change = |ours: &mut Value| {
            ours["annotations"]["imgconv.reversal.file-digest"] = json!(digest);
            ours["annotations"]["imgconv.reversal.digest"] = json!(digest);
            ours["annotations"]["imgconv.reversal.media-type"] =
                json!("application/vnd.docker.distribution.manifest.v1+json");
        };
        replace(&sandbox, "out", SCHEMA1, change, text.as_bytes());
        bad(&sandbox, "out", to, &canonical);
    }
    let path = record(&sandbox, "out", SCHEMA1);
    fs::remove_file(&path).unwrap();
    bad(&sandbox, "out", to, &canonical);
}

/// The judge of tars: GNU tar lists the restored archive as before.
#[test]
fn gnu_tar_reads_the_restored_archive() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    sandbox.ok(&["docker-to-oci", "--reversible", "old.tar", "out"]);
    sandbox.ok(&["oci-to-docker", "out", "back.tar", "--exact"]);
    let list = |file: &str| {
        let mut tar = Command::new("tar");
        let listed = tar.arg("-tvf").arg(sandbox.path(file)).output();
        listed.ok().map(|output| output.stdout)
    };
    assert_eq!(list("old.tar"), list("back.tar"));
}

/// H9o.
#[test]
fn a_record_is_found_if_its_type_is_in_its_document_alone() {
    let sandbox = Sandbox::new();
    let tar = old(&sandbox);
    let made = document(
        &sandbox,
        &["docker-to-oci", "--reversible", "old.tar", "out"],
    );
    let digest = made["images"][0]["digest"].as_str().unwrap().to_owned();
    let index = sandbox.path("out/index.json");
    let mut list: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    for entry in list["manifests"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("artifactType");
    }
    fs::write(&index, list.to_string()).unwrap();
    for (i, from) in [
        "oci:out:team/app:1.0".to_owned(),
        format!("oci:out:@{digest}"),
        "oci:out".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let to = format!("{i}.tar");
        sandbox.ok(&["convert", from, &format!("docker-archive:{to}"), "--exact"]);
        assert!(read(&sandbox, &to) == tar, "{from}");
    }
    sandbox.ok(&["convert", &format!("oci:out:@{digest}"), "oci:copy"]);
    sandbox.ok(&["convert", "oci:copy", "docker-archive:copy.tar", "--exact"]);
    assert!(read(&sandbox, "copy.tar") == tar);
}

/// H9p.
#[test]
fn the_record_of_the_chosen_name_counts() {
    let sandbox = Sandbox::new();
    let layers = layers();
    for tag in ["1.0", "2.0"] {
        let names = json!({"team/app": {tag: id("app", 3)}});
        fs::write(
            sandbox.path(&format!("{tag}.tar")),
            archive(&[("app", &layers)], &names),
        )
        .unwrap();
        sandbox.ok(&[
            "docker-to-oci",
            "--reversible",
            &format!("{tag}.tar"),
            "out",
        ]);
    }
    for tag in ["1.0", "2.0"] {
        let from = format!("oci:out:docker.io/team/app:{tag}");
        sandbox.ok(&["convert", &from, "docker-archive:again", "--exact"]);
        assert!(
            read(&sandbox, "again") == read(&sandbox, &format!("{tag}.tar")),
            "{tag}"
        );
        fs::remove_file(sandbox.path("again")).unwrap();
    }
    // No original has both names.
    sandbox.fails(
        &["convert", "oci:out", "docker-archive:again", "--exact"],
        2,
        &["the name `docker.io/team/app:"],
    );
    sandbox.ok(&["convert", "oci:out", "docker-archive:again"]);
    let listed = sandbox.ok(&["ls", "docker-archive:again"]);
    assert!(
        listed.contains("team/app:1.0") && listed.contains("team/app:2.0"),
        "{listed}"
    );
    // A name that no original has: the original comes back with its own names, and a warning.
    sandbox.ok(&[
        "layout",
        "tag",
        "out",
        "docker.io/team/app:1.0",
        "docker.io/corp/new:9",
    ]);
    let renamed = [
        "convert",
        "oci:out:docker.io/corp/new:9",
        "docker-archive:new.tar",
    ];
    sandbox.fails(&[&renamed[..], &["--strict"]].concat(), 3, &["other-name"]);
    let named = [&renamed[..], &["--name", "corp/new:9"]].concat();
    sandbox.fails(&[&named[..], &["--exact"]].concat(), 2, &["corp/new:9"]);
    sandbox.ok(&named);
    let listed = sandbox.ok(&["ls", "docker-archive:new.tar"]);
    assert!(
        listed.contains("corp/new:9") && !listed.contains("team/app"),
        "{listed}"
    );
}

/// H9q.
#[test]
fn exact_refuses_sources_that_have_no_record() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    sandbox.aci("app.aci", "example.com/app", "", "file a \"a\"");
    for from in ["old.tar", "app.aci"] {
        let args = ["convert", from, "docker-v2s1+dir:made", "--exact"];
        sandbox.fails(
            &args,
            1,
            &["`--exact` needs a record of the schema 1 manifest"],
        );
        assert!(!sandbox.path("made").exists());
    }
}
