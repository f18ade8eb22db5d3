//! `squash` and `recompress`, and the same options of `convert`: which layers are merged, which bytes stay
//! unchanged, and which referrers are left out because the image gets another digest.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::sandbox::{Sandbox, state};
use imgconv_testkit::{dump, sha256_hex};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Four layers: a base, a link into the base, a deletion in it, and a deletion in a squashed layer.
const LAYERS: [&str; 4] = [
    "dir bin\nfile bin/a \"A\"\nfile bin/z \"Z\"\nfile old \"1\"",
    "file tmp/x \"2\"\nlink b -> bin/a",
    "whiteout old\nfile c @2000 \"3\"",
    "whiteout tmp/x\nfile d @3000 \"4\" xattr user.a=\"x\" pax atime=\"5000.5\"",
];

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    read(&layout.join("blobs").join(digest.replace(':', "/")))
}

fn put(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let hex = sha256_hex(bytes);
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).unwrap();
    json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
}

/// The config of the first image of a layout.
fn config(layout: &Path) -> Value {
    let manifest = blob(layout, &read(&layout.join("index.json"))["manifests"][0]);
    blob(layout, &manifest["config"])
}

/// A layout `in` with an image of [`LAYERS`] and a history, in which two steps made no layer.
fn four(sandbox: &Sandbox) {
    sandbox.layout("in", "example.com/a", &LAYERS);
    let layout = sandbox.path("in");
    let mut index = read(&layout.join("index.json"));
    let mut manifest = blob(&layout, &index["manifests"][0]);
    let mut config = blob(&layout, &manifest["config"]);
    let step = |by: &str| json!({ "created_by": by });
    let empty = |by: &str| json!({ "created_by": by, "empty_layer": true });
    config["history"] = json!([
        step("one"),
        empty("ENV"),
        step("two"),
        step("three"),
        empty("CMD"),
        step("four"),
    ]);
    let kind = manifest["config"]["mediaType"].as_str().unwrap().to_owned();
    manifest["config"] = put(&layout, &kind, config.to_string().as_bytes());
    let root = put(&layout, MANIFEST, manifest.to_string().as_bytes());
    let annotations = index["manifests"][0]["annotations"].clone();
    index["manifests"][0] = root;
    index["manifests"][0]["annotations"] = annotations;
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

/// The one image of `--json`.
fn image(sandbox: &Sandbox, args: &[&str]) -> Value {
    let text = sandbox.ok(&[args, &["--json"]].concat());
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["images"].as_array().unwrap().len(), 1, "{text}");
    document["images"][0].clone()
}

fn column(image: &Value, key: &str) -> Vec<String> {
    let layers = image["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer[key].as_str().unwrap().to_owned())
        .collect()
}

fn history(layout: &Path) -> Vec<String> {
    let config = config(layout);
    let steps = config["history"].as_array().unwrap().iter();
    let word = |step: &Value, key: &str| step[key].as_str().unwrap_or("").to_owned();
    steps
        .map(|step| {
            let empty = if step["empty_layer"] == true { "-" } else { "" };
            format!(
                "{empty}{}{}",
                word(step, "created_by"),
                word(step, "comment")
            )
        })
        .collect()
}

#[test]
fn every_choice_of_layers_gives_the_same_files() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let base = column(&image(&sandbox, &["inspect", "in"]), "digest");
    let rows: &[(&[&str], &[&str])] = &[
        (&[], &["squash"]),
        (&["--all"], &["squash"]),
        (&["--last", "1"], &["keep", "keep", "keep", "squash"]),
        (&["--last", "3"], &["keep", "squash"]),
        (&["--last", "9"], &["squash"]),
        (&["--keep-base", "0"], &["squash"]),
        (&["--keep-base", "2"], &["keep", "keep", "squash"]),
        (&["--keep-base", "9"], &["keep", "keep", "keep", "keep"]),
        (&["--max-layers", "1"], &["squash"]),
        (&["--max-layers", "2"], &["keep", "squash"]),
        (&["--max-layers", "4"], &["keep", "keep", "keep", "keep"]),
    ];
    for (i, (options, steps)) in rows.iter().enumerate() {
        let out = format!("oci:out-{i}");
        let squashed = image(
            &sandbox,
            &[&["squash", "oci:in", &out][..], options].concat(),
        );
        assert_eq!(column(&squashed, "step"), *steps, "{options:?}");
        let kept = steps.iter().filter(|step| **step == "keep").count();
        assert_eq!(
            column(&squashed, "digest")[..kept],
            base[..kept],
            "{options:?}"
        );
        assert_eq!(sandbox.ok(&["diff", "in", &out]), "", "{options:?}");
        assert!(sandbox.ok(&["verify", &out]).contains("nothing wrong"));
        // The options of `convert` give the same result.
        let all: &[&str] = if options.is_empty() || *options == ["--all"] {
            &["--squash"]
        } else {
            options
        };
        let args = [&["convert", "oci:in", "oci:again"][..], all].concat();
        assert_eq!(image(&sandbox, &args)["digest"], squashed["digest"]);
    }
}

#[test]
fn f5_the_output_of_a_partial_squash() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let args = [
        "squash",
        "oci:in",
        "oci:out",
        "--keep-base",
        "1",
        "--compression",
        "none",
    ];
    let squashed = image(&sandbox, &args);
    let digest = column(&squashed, "digest")[1].replace(':', "/");
    let tar = fs::read(sandbox.path("out/blobs").join(digest)).unwrap();
    let lines = dump::tar_lines(&mut &tar[..], "layer").unwrap();
    assert_eq!(
        lines,
        [
            "file .wh.old 0644 0:0 @0 \"\"",
            "file b 0644 0:0 @0 \"A\"",
            "dir bin 0755 0:0 @0",
            "link bin/a -> b 0644 0:0 @0",
            "file c 0644 0:0 @2000 \"3\"",
            "file d 0644 0:0 @3000 \"4\" xattr user.a=\"x\" pax atime=\"5000.5\"",
            "dir tmp 0755 0:0 @0",
        ]
    );
}

#[test]
fn the_history_fits_the_layers_and_squashing_again_adds_nothing() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    sandbox.ok(&["squash", "oci:in", "oci:once", "--last", "2"]);
    let merged = |n: u32| format!("imgconv squashmerged {n} layers to one");
    assert_eq!(
        history(&sandbox.path("once")),
        ["one", "-ENV", "two", "-three", "-CMD", "-four", &merged(2)]
    );
    sandbox.ok(&["squash", "oci:once", "oci:twice", "--last", "2"]);
    assert_eq!(
        history(&sandbox.path("twice")),
        ["one", "-ENV", "-two", "-three", "-CMD", "-four", &merged(2)]
    );
    sandbox.ok(&["squash", "oci:twice", "oci:thrice"]);
    assert_eq!(
        history(&sandbox.path("thrice")),
        [
            "-one",
            "-ENV",
            "-two",
            "-three",
            "-CMD",
            "-four",
            &merged(2)
        ]
    );
    for layout in ["once", "twice", "thrice"] {
        assert!(sandbox.ok(&["verify", layout]).contains("nothing wrong"));
        assert_eq!(sandbox.ok(&["diff", "in", layout]), "", "{layout}");
    }
    let at_once = image(&sandbox, &["squash", "oci:in", "oci:all"]);
    let in_steps = image(&sandbox, &["inspect", "thrice"]);
    assert_eq!(column(&at_once, "digest"), column(&in_steps, "digest"));
}

#[test]
fn f10_a_partial_squash_is_the_same_with_any_number_of_threads() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let states = ["1", "2", "64"].map(|jobs| {
        let out = format!("out-{jobs}");
        let args = ["squash", "oci:in", &out, "--keep-base", "1", "--jobs", jobs];
        sandbox.ok(&args);
        state(&sandbox.path(&out))
    });
    assert!(states[0] == states[1] && states[1] == states[2]);
}

#[test]
fn every_place_can_be_squashed_to_every_other() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let places = [
        "oci-archive:a.tar",
        "docker-archive:d.tar",
        "dir:d",
        "docker-v2s2+dir:d2",
        "docker-v2s1+dir:d1",
    ];
    for place in places {
        sandbox.ok(&["squash", "oci:in", place, "--max-layers", "2"]);
        let plain = place
            .replace("docker-v2s2+", "")
            .replace("docker-v2s1+", "");
        assert_eq!(sandbox.ok(&["diff", "in", &plain]), "", "{place}");
        sandbox.ok(&["squash", &plain, "oci:back", "--last", "2"]);
        assert_eq!(sandbox.ok(&["diff", "in", "oci:back"]), "", "{place}");
        sandbox.ok(&["squash", &plain, "one.aci"]);
        assert_eq!(sandbox.ok(&["diff", &plain, "one.aci"]), "", "{place}");
        for made in ["back", "one.aci"] {
            let made = sandbox.path(made);
            fs::remove_file(&made)
                .or_else(|_| fs::remove_dir_all(&made))
                .unwrap();
        }
    }
    // One ACI for each remaining layer.
    sandbox.ok(&[
        "convert",
        "in",
        "aci:stack/",
        "--no-squash",
        "--keep-base",
        "2",
    ]);
    assert_eq!(fs::read_dir(sandbox.path("stack")).unwrap().count(), 3);
    let top = fs::read_dir(sandbox.path("stack")).unwrap();
    let top = top
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| !name.contains("layer"))
        .unwrap();
    let args = ["diff", "in", &format!("stack/{top}"), "--deps", "stack"];
    assert_eq!(sandbox.ok(&args), "");
}

/// Uncompressed layers of an archive are read in place, also the contents that are fetched from a kept
/// layer.
#[test]
fn the_layers_of_an_archive_are_squashed_like_all_others() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let keep = [
        "convert",
        "oci:in",
        "docker-archive:four.tar",
        "--compression",
        "none",
    ];
    sandbox.ok(&keep);
    for from in ["0", "1", "2", "3"] {
        let to = ["--keep-base", from, "--compression", "none"];
        let squashed = |source: &str, out: &str| {
            let args = [&["squash", source, out][..], &to].concat();
            column(&image(&sandbox, &args), "diff_id")
        };
        let (layout, archive) = (squashed("oci:in", "oci:a"), squashed("four.tar", "oci:b"));
        assert_eq!(layout, archive, "{from}");
        assert_eq!(sandbox.ok(&["diff", "in", "b"]), "", "{from}");
        fs::remove_dir_all(sandbox.path("a")).unwrap();
        fs::remove_dir_all(sandbox.path("b")).unwrap();
    }
    for source in ["oci:in", "four.tar"] {
        sandbox.ok(&["convert", source, "aci:stack/", "--no-squash"]);
        let mut acis = fs::read_dir(sandbox.path("stack")).unwrap();
        let top = acis
            .find_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                (!name.contains("layer")).then_some(name)
            })
            .unwrap();
        let args = ["diff", "in", &format!("stack/{top}"), "--deps", "stack"];
        assert_eq!(sandbox.ok(&args), "", "{source}");
        fs::remove_dir_all(sandbox.path("stack")).unwrap();
    }
}

#[test]
fn a_level_has_the_attributes_of_an_implied_directory_and_not_of_a_deleted_one() {
    let base = "dir d 0700 5:5 @9\nfile d/o \"1\"";
    for upper in ["whiteout d\nfile d/x \"2\"", "file d \"2\"\nfile d/x \"2\""] {
        for options in [&[][..], &["--clamp-mtime", "4"]] {
            let sandbox = Sandbox::new();
            sandbox.layout("in", "example.com/a", &[base, upper]);
            let args = ["convert", "oci:in", "aci:stack/", "--no-squash", "--strict"];
            sandbox.ok(&[&args[..], options].concat());
            let top = "stack/example.com-a-1.0-linux-amd64.aci";
            sandbox.ok(&["unpack", top, "root", "--deps", "stack"]);
            let mode = fs::metadata(sandbox.path("root/d")).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o755, "{upper}");
            // The file is clamped too, so the root file systems are the same only without the option.
            if options.is_empty() {
                assert_eq!(sandbox.ok(&["diff", "in", top, "--deps", "stack"]), "");
            }
        }
    }
}

/// Adds a cosign signature of the one image, named by its tag; returns its digest.
fn sign(layout: &Path, tag: &str) -> String {
    let mut index = read(&layout.join("index.json"));
    let payload = put(
        layout,
        "application/vnd.dev.cosign.simplesigning.v1+json",
        b"{\"critical\":{}}",
    );
    let config = put(
        layout,
        "application/vnd.oci.image.config.v1+json",
        b"{\"architecture\":\"\",\"os\":\"\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"config\":{}}",
    );
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [payload] });
    let mut child = put(layout, MANIFEST, manifest.to_string().as_bytes());
    let digest = child["digest"].as_str().unwrap().to_owned();
    child["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    // The signature is listed before its subject.
    index["manifests"].as_array_mut().unwrap().insert(0, child);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    digest
}

#[test]
fn a_cosign_signature_is_left_out_with_its_subject() {
    for command in [
        &["squash", "oci:in", "oci:out"][..],
        &["recompress", "oci:in", "oci:out", "--compression", "zstd"],
        &["squash", "oci:in", "docker-archive:out.tar"],
        &["squash", "oci:in", "out.aci"],
    ] {
        let sandbox = Sandbox::new();
        four(&sandbox);
        let layout = sandbox.path("in");
        let index = read(&layout.join("index.json"));
        let subject = index["manifests"][0]["digest"].as_str().unwrap();
        let tag = format!("{}.sig", subject.replace(':', "-"));
        sign(&layout, &tag);
        let changed = image(&sandbox, command);
        let losses = changed["losses"].as_array().unwrap();
        let loss = losses
            .iter()
            .find(|loss| loss["field"].as_str().unwrap().contains(&tag));
        let loss = loss.unwrap_or_else(|| panic!("{command:?}: {losses:?}"));
        assert_eq!(loss["outcome"], "dropped");
        let strict = [command, &["--strict"]].concat();
        assert_eq!(sandbox.run(&strict).status.code(), Some(3), "{command:?}");
    }
}

#[test]
fn a_cosign_signature_stays_with_its_subject() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let layout = sandbox.path("in");
    let index = read(&layout.join("index.json"));
    let subject = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let tag = format!("{}.sig", subject.replace(':', "-"));
    let signature = sign(&layout, &tag);
    // Nothing changes: the image has four layers already, with the right compression.
    for command in [
        &["convert", "oci:in", "oci:a"][..],
        &["squash", "oci:in", "oci:b", "--max-layers", "4"],
        &["recompress", "oci:in", "oci:c", "--compression", "none"],
    ] {
        sandbox.ok(command);
        let lines = sandbox.ok(&["ls", command[2]]);
        assert!(
            lines.contains(&subject) && lines.contains(&signature),
            "{lines}"
        );
    }
}

#[test]
fn an_attestation_is_left_out_with_its_subject() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let layout = sandbox.path("in");
    let mut index = read(&layout.join("index.json"));
    let mut image_of = index["manifests"][0].clone();
    let subject = image_of["digest"].clone();
    image_of["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let statement = put(&layout, "application/vnd.in-toto+json", b"{\"x\":1}");
    let config = put(&layout, "application/vnd.oci.empty.v1+json", b"{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
        "config": config, "layers": [statement],
    });
    let mut about = put(&layout, MANIFEST, manifest.to_string().as_bytes());
    about["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    about["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": subject,
    });
    let list = json!({ "schemaVersion": 2, "manifests": [image_of, about] });
    let kind = "application/vnd.oci.image.index.v1+json";
    index["manifests"] = json!([put(&layout, kind, list.to_string().as_bytes())]);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let squashed = image(&sandbox, &["squash", "oci:in", "oci:out", "--last", "2"]);
    let field = squashed["losses"][0]["field"].as_str().unwrap();
    assert!(field.starts_with("attestation sha256:"), "{field}");
    let out = sandbox.path("out");
    let index = blob(&out, &read(&out.join("index.json"))["manifests"][0]);
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert!(sandbox.ok(&["verify", "out"]).contains("nothing wrong"));
}

#[test]
fn recompress_changes_only_layers_of_another_compression() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let before = image(&sandbox, &["inspect", "in"]);
    let diff_ids = column(&before, "diff_id");
    let steps = |options: &[&str]| {
        let out = format!("oci:out{}", options.join(""));
        let args = [&["recompress", "oci:in", &out][..], options].concat();
        let found = image(&sandbox, &args);
        assert_eq!(column(&found, "diff_id"), diff_ids, "{options:?}");
        assert!(sandbox.ok(&["verify", &out]).contains("nothing wrong"));
        let mut all = column(&found, "step");
        all.dedup();
        assert_eq!(all.len(), 1, "{options:?}");
        let mut compressions = column(&found, "compression");
        compressions.dedup();
        (
            all.remove(0),
            compressions.join(" "),
            found["digest"].clone(),
        )
    };
    let (step, compression, digest) = steps(&[]);
    assert_eq!(
        (&*step, &*compression, &digest),
        ("keep", "none", &before["digest"])
    );
    assert_eq!(steps(&["--compression", "none"]).0, "keep");
    assert_eq!(steps(&["--force"]).0, "recompress");
    let zstd = steps(&["--compression", "zstd"]);
    assert_eq!((&*zstd.0, &*zstd.1), ("recompress", "zstd"));
    let gzip = |level| steps(&["--compression", "gzip", "--level", level]);
    let (stored, fast, best) = (gzip("0"), gzip("fast"), gzip("12"));
    assert_eq!((&*fast.0, &*fast.1), ("recompress", "gzip"));
    assert!(stored.2 != fast.2 && fast.2 != best.2);
    // The layers have the right compression already: only `--force` compresses them again.
    let again = ["recompress", "oci:out--compressionzstd", "oci:z"];
    let args = [&again[..], &["--compression", "zstd", "--level", "19"]].concat();
    assert_eq!(image(&sandbox, &args)["digest"], zstd.2);
    let forced = image(&sandbox, &[&args[..], &["--force"]].concat());
    assert_eq!(column(&forced, "step"), ["recompress"; 4]);
}

#[test]
fn what_can_not_be_written_is_refused_before_anything_is() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let fails = |args: &[&str], exit, texts: &[&str]| {
        sandbox.fails(&[&["recompress", "oci:in"][..], args].concat(), exit, texts);
    };
    let zstd = [
        "error[unsupported]",
        "compressed with zstd",
        "it can hold: gzip",
    ];
    fails(
        &["docker-archive:a.tar", "--compression", "zstd"],
        1,
        &zstd[..2],
    );
    fails(&["docker-v2s2+dir:d", "--compression", "zstd"], 1, &zstd);
    fails(
        &["a.aci", "--compression", "zstd"],
        1,
        &["compressed with zstd"],
    );
    for level in ["23", "-1", "quick", ""] {
        fails(&["oci:o", "--level", level], 2, &["--level"]);
    }
    let gzip = ["oci:o", "--compression", "gzip", "--level", "13"];
    fails(&gzip, 2, &["levels are 0 to 12"]);
    let zstd = ["oci:o", "--compression", "zstd", "--level", "0"];
    fails(&zstd, 2, &["levels are 1 to 22"]);
    fails(&["a.aci", "--level", "13"], 2, &["levels are 0 to 12"]);
    let squash = |args: &[&str]| {
        sandbox.fails(&[&["squash", "in", "oci:o"][..], args].concat(), 2, &["--"]);
    };
    squash(&["--last", "0"]);
    squash(&["--max-layers", "0"]);
    squash(&["--keep-base", "-1"]);
    squash(&["--last", "1", "--keep-base", "1"]);
    squash(&["--all", "--max-layers", "1"]);
    sandbox.fails(
        &["convert", "in", "oci:o", "--squash", "--no-squash"],
        2,
        &[],
    );
}

// robustness C14b: a blob that is no tar is copied and never changed.
#[test]
fn c14b_layers_of_unknown_types_are_not_changed() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let layout = sandbox.path("in");
    let mut index = read(&layout.join("index.json"));
    let mut manifest = blob(&layout, &index["manifests"][0]);
    manifest["layers"][1]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+encrypted");
    index["manifests"] = json!([put(&layout, MANIFEST, manifest.to_string().as_bytes())]);
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    sandbox.ok(&["convert", "oci:in", "oci:copy"]);
    for args in [
        &["squash", "oci:in", "oci:o"][..],
        &["recompress", "oci:in", "oci:o", "--compression", "zstd"],
        &["recompress", "oci:in", "oci:o", "--force"],
        &["convert", "oci:in", "oci:o", "--clamp-mtime", "0"],
    ] {
        sandbox.fails(args, 1, &["error[unsupported]", "tar+encrypted"]);
    }
}

#[test]
fn times_are_clamped_in_every_layer() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let tars = |layout: &str| -> String {
        let text = dump::output(&sandbox.path(layout)).unwrap();
        let lines = text.lines().filter(|line| line.contains(" @"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let args = ["recompress", "oci:in", "oci:out", "--clamp-mtime", "2500"];
    let clamped = image(&sandbox, &args);
    assert_eq!(column(&clamped, "compression"), ["none"; 4]);
    assert!(sandbox.ok(&["verify", "out"]).contains("nothing wrong"));
    assert_eq!(
        tars("out"),
        tars("in")
            .replace("@3000", "@2500")
            .replace("5000.5", "2500")
    );
    let squash = [
        "squash",
        "oci:in",
        "--keep-base",
        "1",
        "--clamp-mtime",
        "2500",
    ];
    sandbox.ok(&[&squash[..], &["oci:small"]].concat());
    assert_eq!(sandbox.ok(&["diff", "out", "small"]), "");
    sandbox.ok(&["convert", "oci:in", "a.aci", "--clamp-mtime", "2500"]);
    assert_eq!(sandbox.ok(&["diff", "out", "a.aci"]), "");
    assert_ne!(sandbox.run(&["diff", "in", "a.aci"]).status.code(), Some(0));
    // The plan of a dry run says so too; without the option layers are kept.
    let dry = image(&sandbox, &[&args[..], &["--dry-run"]].concat());
    assert!(
        dry["plan"]
            .as_str()
            .unwrap()
            .starts_with("recompress layer 0 as none")
    );
    let plain = image(&sandbox, &["recompress", "oci:in", "oci:plain"]);
    assert_eq!(column(&plain, "step"), ["keep"; 4]);
}
