//! The care of a layout through the command: names, space, damage, links, many writers.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Child,
};

use serde_json::Value;

use crate::sandbox::{Sandbox, labels, state};

/// Writes an ACI of one file, and converts it into a layout.
fn add(sandbox: &Sandbox, layout: &str, name: &str, version: &str, file: &str) -> String {
    let aci = format!("{}-{version}.aci", name.replace('/', "-"));
    let rootfs = format!("dir etc\nfile etc/x \"{file}\"");
    sandbox.aci(&aci, name, &labels(version, "amd64"), &rootfs);
    let said = sandbox.ok(&["convert", &aci, layout]);
    said.trim().rsplit(' ').next().unwrap().to_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn index(sandbox: &Sandbox, layout: &str) -> Value {
    json(&fs::read_to_string(sandbox.path(layout).join("index.json")).unwrap())
}

/// The names and digests that a layout lists.
fn listed(sandbox: &Sandbox, layout: &str) -> Vec<(String, String)> {
    let index = index(sandbox, layout);
    let list = index["manifests"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    list.map(|one| {
        let name = &one["annotations"]["org.opencontainers.image.ref.name"];
        (text(name), text(&one["digest"]))
    })
    .collect()
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(name)
        .map(|name| name.into_string().unwrap())
        .collect()
}

fn blob(sandbox: &Sandbox, layout: &str, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    sandbox.path(layout).join("blobs/sha256").join(hex)
}

fn document(sandbox: &Sandbox, layout: &str, digest: &str) -> Value {
    json(&fs::read_to_string(blob(sandbox, layout, digest)).unwrap())
}

#[test]
fn names_are_taken_away_and_given() {
    let sandbox = Sandbox::new();
    let a = add(&sandbox, "out", "example.com/a", "1.0", "a");
    let b = add(&sandbox, "out", "example.com/b", "1.0", "b");
    let name = |name: &str, digest: &str| (name.to_owned(), digest.to_owned());
    let all = blobs(&sandbox.path("out"));

    // A tag of two repositories, a digest with two names, and a REF without an entry are refused.
    sandbox.fails(
        &["layout", "rm", "out", "1.0"],
        1,
        &["error[ambiguous]", "example.com/a:1.0"],
    );
    sandbox.ok(&["layout", "tag", "out", "example.com/a:1.0", "2.0"]);
    let texts = ["error[ambiguous]", "#0 \"example.com/a:1.0\"", "#2 \"2.0\""];
    sandbox.fails(&["layout", "rm", "out", &format!("@{a}")], 1, &texts);
    sandbox.fails(
        &["layout", "rm", "out", "example.com/b:1.0", "none"],
        1,
        &["error[missing]"],
    );
    sandbox.fails(&["layout", "rm", "out", "#7"], 1, &["error[missing]"]);
    sandbox.fails(&["layout", "tag", "out", "2.0", "#1"], 2, &["error[usage]"]);
    sandbox.fails(
        &["layout", "tag", "out", "2.0", "a/../b"],
        1,
        &["error[bad-name]"],
    );
    sandbox.fails(
        &["layout", "rm", "oci:out:2.0", "2.0"],
        2,
        &["error[usage]"],
    );
    sandbox.fails(
        &["layout", "rm", "example.com-a-1.0.aci", "x"],
        1,
        &["error[unsupported]"],
    );
    let expected = [
        name("example.com/a:1.0", &a),
        name("example.com/b:1.0", &b),
        name("2.0", &a),
    ];
    assert_eq!(listed(&sandbox, "out"), expected);
    let containerd =
        &index(&sandbox, "out")["manifests"][2]["annotations"]["io.containerd.image.name"];
    assert_eq!(containerd, "example.com/a:2.0");

    // A name moves away from the last entry of an image; the entry stays, with a warning.
    let moved = sandbox.run(&[
        "layout",
        "tag",
        "out",
        "2.0",
        "example.com/b:1.0",
        "--ref-name",
        "tag",
    ]);
    let said = String::from_utf8(moved.stderr).unwrap();
    assert!(
        said.contains("warning[moved]") && said.contains(&b),
        "{said}"
    );
    let expected = [
        name("example.com/a:1.0", &a),
        name("-", &b),
        name("2.0", &a),
        name("1.0", &a),
    ];
    assert_eq!(listed(&sandbox, "out"), expected);
    sandbox.ok(&["layout", "tag", "out", "#1", "example.com/b:2.0"]);

    let removed = sandbox.ok(&["layout", "rm", "out", "#2", "example.com/a:1.0", "--json"]);
    let removed = json(&removed);
    assert_eq!(removed["removed"][0]["names"][0], "example.com/a:1.0");
    assert_eq!(removed["removed"][1]["last"], false);
    let expected = [
        name("-", &b),
        name("1.0", &a),
        name("example.com/b:2.0", &b),
    ];
    assert_eq!(listed(&sandbox, "out"), expected);
    assert_eq!(blobs(&sandbox.path("out")), all, "blobs stay");
    sandbox.ok(&["verify", "out"]);
}

#[test]
fn gc_after_a_tag_moved_frees_exactly_what_nothing_refers_to() {
    let sandbox = Sandbox::new();
    let kept = add(&sandbox, "out", "example.com/kept", "1.0", "kept");
    let alone = blobs(&sandbox.path("out"));
    let old = add(&sandbox, "out", "example.com/a", "1.0", "old");
    let both = blobs(&sandbox.path("out"));
    let new = add(&sandbox, "out", "example.com/a", "1.0", "new");
    assert_ne!(old, new);
    fs::write(sandbox.path("out/blobs/notes.txt"), "mine").unwrap();
    let all = blobs(&sandbox.path("out"));

    let young = json(&sandbox.ok(&["layout", "gc", "out", "--json"]));
    let expected: BTreeSet<String> = both.difference(&alone).cloned().collect();
    assert_eq!(young["young"], expected.len());
    assert_eq!(young["blobs"], Value::Array(Vec::new()));
    let before = state(&sandbox.path("out"));
    let plan = [
        "layout",
        "gc",
        "out",
        "--dry-run",
        "--min-age",
        "0",
        "--json",
    ];
    let plan = json(&sandbox.ok(&plan));
    assert_eq!(state(&sandbox.path("out")), before);
    let size = |hex: &String| {
        fs::metadata(sandbox.path("out/blobs/sha256").join(hex))
            .unwrap()
            .len()
    };
    assert_eq!(plan["total"], expected.iter().map(size).sum::<u64>());
    let said = sandbox.ok(&["layout", "gc", "out", "--min-age", "0s"]);
    assert!(
        said.contains(&old) && said.contains("bytes removed"),
        "{said}"
    );
    assert!(!said.contains(&kept) && !said.contains(&new), "{said}");
    assert_eq!(blobs(&sandbox.path("out")), &all - &expected);
    assert!(sandbox.path("out/blobs/notes.txt").exists());
    assert!(sandbox.ok(&["verify", "out"]).contains("nothing wrong"));

    // A listed signature keeps its subject, and `rm` warns about it.
    let about = |digest: &str, layout: &str| {
        let size = fs::metadata(blob(&sandbox, layout, digest)).unwrap().len();
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}"#
        )
    };
    let signature = put(
        &sandbox,
        &format!(
            r#"{{"schemaVersion":2,"artifactType":"a/b","config":{EMPTY},"layers":[{EMPTY}],"subject":{}}}"#,
            about(&kept, "out")
        ),
    );
    put(&sandbox, "{}");
    list(&sandbox, |all| all.push(json(&about(&signature, "out"))));
    let output = sandbox.run(&["layout", "rm", "out", "example.com/kept:1.0"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("warning[kept]") && said.contains(&signature),
        "{said}"
    );
    sandbox.ok(&["layout", "gc", "out", "--min-age", "0"]);
    assert!(blob(&sandbox, "out", &kept).exists());
    sandbox.ok(&["layout", "rm", "out", &format!("@{signature}")]);
    sandbox.ok(&["layout", "gc", "out", "--min-age", "0"]);
    assert!(!blob(&sandbox, "out", &kept).exists());
    assert!(blob(&sandbox, "out", &new).exists());

    // Damage in a reachable blob stops `gc`, with the exit code of the damage.
    add(&sandbox, "out", "example.com/a", "1.0", "newer");
    let manifest = blob(&sandbox, "out", &listed(&sandbox, "out")[0].1);
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, [&whole[..], b" "].concat()).unwrap();
    let args = ["layout", "gc", "out", "--min-age", "0"];
    sandbox.fails(&args, 4, &["error[mismatch]", "nothing was removed"]);
    fs::remove_file(&manifest).unwrap();
    sandbox.fails(&args, 1, &["error[missing]", "index.json"]);
}

const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

/// Stores a blob in the layout `out`; returns its digest.
fn put(sandbox: &Sandbox, text: &str) -> String {
    let digest = imgconv_stream::digest(imgconv::Algorithm::Sha256, text.as_bytes());
    let digest = digest.to_string();
    fs::write(blob(sandbox, "out", &digest), text).unwrap();
    digest
}

/// Changes the index of the layout `out`.
fn list(sandbox: &Sandbox, change: impl FnOnce(&mut Vec<Value>)) {
    let mut index = index(sandbox, "out");
    change(index["manifests"].as_array_mut().unwrap());
    fs::write(sandbox.path("out/index.json"), index.to_string()).unwrap();
}

fn descriptor(kind: &str, digest: &str, size: usize) -> Value {
    serde_json::json!({ "mediaType": kind, "digest": digest, "size": size })
}

/// A change of a layout, with the code and a part of the message that `verify` must report.
struct Damage {
    what: &'static str,
    code: &'static str,
    plant: fn(&Sandbox) -> String,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Every damage concerns an image of its own: `example.com/N:1.0`.
const DAMAGES: &[Damage] = &[
    Damage {
        what: "a child of an index that is not there",
        code: "missing",
        plant: |sandbox| {
            let none = format!("sha256:{}", "1".repeat(64));
            let text = serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &none, 7)] });
            let text = text.to_string();
            let digest = put(sandbox, &text);
            list(sandbox, |all| {
                all.push(descriptor(OCI_INDEX, &digest, text.len()))
            });
            none
        },
    },
    Damage {
        what: "a layer that is not there",
        code: "missing",
        plant: |sandbox| {
            let layer = layer_of(sandbox, 0);
            fs::remove_file(blob(sandbox, "out", &layer)).unwrap();
            layer
        },
    },
    Damage {
        what: "a truncated layer",
        code: "mismatch",
        plant: |sandbox| {
            let layer = layer_of(sandbox, 1);
            let path = blob(sandbox, "out", &layer);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            layer
        },
    },
    Damage {
        what: "a config that is not what its name says",
        code: "mismatch",
        plant: |sandbox| {
            let manifest = document(sandbox, "out", &listed(sandbox, "out")[2].1);
            let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
            let path = blob(sandbox, "out", &config);
            let text = fs::read_to_string(&path).unwrap().replace("amd64", "amd65");
            fs::write(path, text).unwrap();
            config
        },
    },
    Damage {
        what: "two descriptors of one manifest, one with a wrong size",
        code: "mismatch",
        plant: |sandbox| {
            let digest = listed(sandbox, "out")[3].1.clone();
            list(sandbox, |all| {
                let mut again = all[3].clone();
                again["size"] = 5.into();
                again["annotations"] =
                    serde_json::json!({ "org.opencontainers.image.ref.name": "again" });
                all.push(again);
            });
            digest
        },
    },
    Damage {
        what: "a Docker layer in an OCI manifest",
        code: "mixed-media-types",
        plant: |sandbox| {
            let mut manifest = document(sandbox, "out", &listed(sandbox, "out")[4].1);
            manifest["layers"][0]["mediaType"] =
                "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
            relist(sandbox, 4, &manifest)
        },
    },
    Damage {
        what: "an index of Docker's manifests",
        code: "mixed-media-types",
        plant: |sandbox| {
            let child = listed(sandbox, "out")[5].1.clone();
            let mut manifest = document(sandbox, "out", &child);
            let docker = "application/vnd.docker.distribution.manifest.v2+json";
            manifest["mediaType"] = docker.into();
            let text = manifest.to_string();
            let child = put(sandbox, &text);
            let index = serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor(docker, &child, text.len())] });
            let index = index.to_string();
            let digest = put(sandbox, &index);
            list(sandbox, |all| {
                all.push(descriptor(OCI_INDEX, &digest, index.len()))
            });
            digest
        },
    },
    Damage {
        what: "a history of another number of layers, of an image that can't be read",
        code: "history-mismatch",
        plant: |sandbox| {
            let mut manifest = document(sandbox, "out", &listed(sandbox, "out")[6].1);
            let config = manifest["config"]["digest"].as_str().unwrap();
            let mut config = document(sandbox, "out", config);
            config["history"] = serde_json::json!([{}, {}]);
            let text = config.to_string();
            manifest["config"]["digest"] = put(sandbox, &text).into();
            manifest["config"]["size"] = text.len().into();
            fs::remove_file(blob(sandbox, "out", &layer_of(sandbox, 6))).unwrap();
            relist(sandbox, 6, &manifest);
            "the history names 2 layers, but the image has 1".to_owned()
        },
    },
    Damage {
        what: "a blob that nothing refers to",
        code: "unreferenced-blob",
        plant: |sandbox| put(sandbox, "nobody's"),
    },
    Damage {
        what: "a blob that nothing refers to and that is not what its name says",
        code: "mismatch",
        plant: |sandbox| {
            let digest = format!("sha256:{}", "2".repeat(64));
            fs::write(blob(sandbox, "out", &digest), "something").unwrap();
            digest
        },
    },
    Damage {
        what: "two images of one name",
        code: "ambiguous",
        plant: |sandbox| {
            list(sandbox, |all| {
                let (mut one, other) = (all[7].clone(), all[8].clone());
                one["annotations"] = other["annotations"].clone();
                all.push(one);
            });
            "example.com/8:1.0".to_owned()
        },
    },
    Damage {
        what: "one image listed twice, with other annotations",
        code: "repeated-entry",
        plant: |sandbox| {
            list(sandbox, |all| {
                let mut again = all[9].clone();
                again["annotations"]["k"] = "v".into();
                all.push(again);
            });
            "annotations.k".to_owned()
        },
    },
    Damage {
        what: "a name that is none",
        code: "bad-name",
        plant: |sandbox| {
            list(sandbox, |all| {
                let mut one = all[9].clone();
                one["annotations"] =
                    serde_json::json!({ "org.opencontainers.image.ref.name": "../../x" });
                all.push(one);
            });
            "../../x".to_owned()
        },
    },
];

fn layer_of(sandbox: &Sandbox, image: usize) -> String {
    let manifest = document(sandbox, "out", &listed(sandbox, "out")[image].1);
    manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
}

/// Stores a manifest and lists it in the place of another.
fn relist(sandbox: &Sandbox, image: usize, manifest: &Value) -> String {
    let text = manifest.to_string();
    let digest = put(sandbox, &text);
    list(sandbox, |all| {
        all[image]["digest"] = digest.clone().into();
        all[image]["size"] = text.len().into();
    });
    digest
}

/// A layout of ten images.
fn ten(sandbox: &Sandbox) {
    let acis: Vec<String> = (0..10)
        .map(|i| {
            let (file, name) = (format!("{i}.aci"), format!("example.com/{i}"));
            let rootfs = format!("dir etc\nfile etc/x \"{i}\"");
            sandbox.aci(&file, &name, &labels("1.0", "amd64"), &rootfs);
            file
        })
        .collect();
    let mut args = vec!["aci-to-oci"];
    args.extend(acis.iter().map(String::as_str));
    args.push("out");
    sandbox.ok(&args);
}

/// Demands that `verify` names a damage.
fn is_named(verdict: &Value, damage: &Damage, text: &str) {
    let lists = [&verdict["problems"], &verdict["warnings"]];
    let all: Vec<&Value> = lists
        .iter()
        .flat_map(|list| list.as_array().unwrap())
        .collect();
    let named = all.iter().any(|finding| {
        let at = finding["at"].as_str().unwrap();
        let message = finding["message"].as_str().unwrap();
        finding["code"] == damage.code && (at.contains(text) || message.contains(text))
    });
    assert!(
        named,
        "{} ({} {text}) is not in {all:#?}",
        damage.what, damage.code
    );
}

fn verify(sandbox: &Sandbox, layout: &str) -> (i32, Value) {
    let output = sandbox.run(&["verify", layout, "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked at"), "{stderr}");
    let verdict = json(std::str::from_utf8(&output.stdout).unwrap());
    (output.status.code().unwrap(), verdict)
}

#[test]
fn verify_names_every_damage_alone_and_all_together() {
    let sandbox = Sandbox::new();
    ten(&sandbox);
    let (code, verdict) = verify(&sandbox, "out");
    assert_eq!(code, 0, "{verdict:#}");
    assert_eq!(verdict["warnings"], Value::Array(Vec::new()));
    let copy = |from: &str, to: &str| {
        let status = std::process::Command::new("cp")
            .args(["-a", from, to])
            .current_dir(sandbox.folder.path())
            .status();
        assert!(status.unwrap().success());
    };
    copy("out", "good");
    let wrong = ["missing", "mismatch", "ambiguous", "bad-name"];
    for damage in DAMAGES {
        fs::remove_dir_all(sandbox.path("out")).unwrap();
        copy("good", "out");
        let text = (damage.plant)(&sandbox);
        let (code, verdict) = verify(&sandbox, "out");
        is_named(&verdict, damage, &text);
        let history = damage.code == "history-mismatch";
        let expected = if wrong.contains(&damage.code) || history {
            4
        } else {
            0
        };
        assert_eq!(code, expected, "{}: {verdict:#}", damage.what);
    }
    fs::remove_dir_all(sandbox.path("out")).unwrap();
    copy("good", "out");
    let texts: Vec<String> = DAMAGES
        .iter()
        .map(|damage| (damage.plant)(&sandbox))
        .collect();
    let (code, verdict) = verify(&sandbox, "out");
    assert_eq!(code, 4);
    for (damage, text) in DAMAGES.iter().zip(&texts) {
        is_named(&verdict, damage, text);
    }
    // No problem is reported twice.
    let problems = verdict["problems"].as_array().unwrap();
    let messages: BTreeSet<String> = problems.iter().map(|p| p["message"].to_string()).collect();
    assert_eq!(messages.len(), problems.len(), "{problems:#?}");

    // An unreadable `index.json` or `oci-layout` does not hide problems of blobs.
    fs::write(sandbox.path("out/index.json"), "{").unwrap();
    fs::write(sandbox.path("out/oci-layout"), "{}").unwrap();
    let (code, verdict) = verify(&sandbox, "out");
    assert_eq!(code, 4);
    let found = verdict["problems"].to_string();
    for text in ["index.json", "oci-layout", &"2".repeat(64)] {
        assert!(found.contains(text), "{text}: {found}");
    }
}

#[test]
fn c8e_a_malformed_name_affects_only_its_own_image() {
    let sandbox = Sandbox::new();
    let digest = add(&sandbox, "out", "example.com/a", "1.0", "a");
    list(&sandbox, |all| {
        let mut one = all[0].clone();
        one["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "a b" });
        all.push(one);
    });
    sandbox.ok(&["convert", "oci:out:example.com/a:1.0", "oci:copy"]);
    let by_digest = format!("oci:out:@{digest}");
    sandbox.ok(&[
        "convert",
        &by_digest,
        "oci:named",
        "--name",
        "example.com/b:1",
    ]);
    sandbox.fails(
        &["convert", "oci:out:#1", "oci:bad"],
        1,
        &["error[bad-name]", "--name"],
    );
    // The entry stays byte for byte when images are added, and `layout rm` removes it.
    add(&sandbox, "out", "example.com/c", "1.0", "c");
    assert_eq!(listed(&sandbox, "out")[1].0, "a b");
    sandbox.ok(&["layout", "rm", "out", "#1"]);
    assert!(sandbox.ok(&["verify", "out"]).contains("nothing wrong"));
}

#[test]
fn what_is_said_twice_of_one_image_is_a_loss() {
    let sandbox = Sandbox::new();
    add(&sandbox, "out", "example.com/a", "1.0", "a");
    list(&sandbox, |all| {
        let mut again = all[0].clone();
        again["annotations"]["k"] = "v".into();
        all.push(again);
    });
    let texts = ["index.manifests[1].annotations.k"];
    sandbox.fails(&["convert", "oci:out", "oci:copy", "--strict"], 3, &texts);
    sandbox.ok(&["convert", "oci:out", "oci:copy"]);
    assert_eq!(listed(&sandbox, "copy").len(), 1);
}

/// The inode and the number of links of every blob of a layout that is a layer.
fn inode(sandbox: &Sandbox, layout: &str, digest: &str) -> (u64, u64) {
    let metadata = fs::metadata(blob(sandbox, layout, digest)).unwrap();
    (metadata.ino(), metadata.nlink())
}

/// Tells whether the file system of the tests supports clones, which are then made instead of links.
fn clones(sandbox: &Sandbox) -> bool {
    let path = sandbox.path("clone");
    fs::write(&path, "x").unwrap();
    let target = fs::File::create(sandbox.path("cloned")).unwrap();
    rustix::fs::ioctl_ficlone(&target, fs::File::open(path).unwrap()).is_ok()
}

#[test]
fn blobs_are_linked_only_where_that_is_safe() {
    let sandbox = Sandbox::new();
    add(&sandbox, "in", "example.com/a", "1.0", "a");
    let layer = {
        let manifest = document(&sandbox, "in", &listed(&sandbox, "in")[0].1);
        manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
    };
    let source = blob(&sandbox, "in", &layer);
    let links = || fs::metadata(&source).unwrap().nlink();
    let clones = clones(&sandbox);
    let convert = |to: &str, how: &str| sandbox.ok(&["convert", "oci:in", to, "--link", how]);
    convert("oci:hard", "hard");
    assert_eq!(
        inode(&sandbox, "hard", &layer),
        inode(&sandbox, "in", &layer)
    );
    assert_eq!(links(), 2);
    convert("oci:copied", "copy");
    assert_eq!(inode(&sandbox, "copied", &layer).1, 1);
    convert("oci:auto", "auto");
    assert_eq!(links(), if clones { 2 } else { 3 });
    if !clones {
        let args = ["convert", "oci:in", "oci:no", "--link", "reflink"];
        sandbox.fails(&args, 1, &["error[unsupported]", &layer, "--link auto"]);
    }
    // Into a layout that is there, and from a folder of plain files.
    sandbox.ok(&["convert", "oci:in", "dir:plain"]);
    sandbox.ok(&[
        "convert",
        "dir:plain",
        "oci:hard2",
        "--name",
        "example.com/a:1",
        "--link",
        "hard",
    ]);
    let hex = layer.strip_prefix("sha256:").unwrap();
    assert_eq!(
        fs::metadata(sandbox.path("plain").join(hex))
            .unwrap()
            .nlink(),
        2
    );
    // Members of an archive can't be linked, and only layouts receive links.
    sandbox.ok(&["convert", "oci:in", "oci-archive:in.tar"]);
    let args = ["convert", "oci-archive:in.tar", "oci:no", "--link", "hard"];
    sandbox.fails(&args, 1, &["error[unsupported]", "not a separate file"]);
    sandbox.fails(
        &["convert", "oci:in", "x.aci", "--link", "hard"],
        2,
        &["error[usage]"],
    );
    let args = ["convert", "oci:in", "dir:x", "--blob-pool", "pool"];
    sandbox.fails(&args, 2, &["error[usage]", "--blob-pool"]);

    // Files that others can write to, and targets of symbolic links, are copied; `--link hard` refuses them.
    let refuse = |text: &str| {
        let args = [
            "convert",
            "oci:in",
            "oci:no",
            "--link",
            "hard",
            "--allow-symlinked-blobs",
        ];
        sandbox.fails(&args, 1, &["error[unsupported]", text]);
    };
    fs::set_permissions(&source, fs::Permissions::from_mode(0o664)).unwrap();
    let args = ["convert", "oci:in", "oci:no", "--link", "hard"];
    sandbox.fails(&args, 1, &["error[unsupported]", "others can write to it"]);
    let before = links();
    convert("oci:auto2", "auto");
    assert_eq!(links(), before);
    assert_eq!(fs::metadata(&source).unwrap().mode() & 0o777, 0o664);
    fs::set_permissions(&source, fs::Permissions::from_mode(0o644)).unwrap();
    fs::rename(&source, sandbox.path("elsewhere")).unwrap();
    symlink(sandbox.path("elsewhere"), &source).unwrap();
    refuse("not a separate file");
    fs::remove_file(&source).unwrap();
    fs::rename(sandbox.path("elsewhere"), &source).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&source, Some(4242), None).unwrap();
        sandbox.fails(&args, 1, &["error[unsupported]", "belongs to another user"]);
        std::os::unix::fs::chown(&source, Some(0), None).unwrap();
    }

    // Every way of placing blobs finds a damaged blob and leaves nothing behind.
    let copy = fs::read(&source).unwrap();
    let mut damaged = copy.clone();
    damaged[20] ^= 1;
    fs::remove_file(&source).unwrap();
    fs::write(&source, damaged).unwrap();
    for how in ["auto", "hard", "copy"] {
        let args = ["convert", "oci:in", "oci:no", "--link", how];
        sandbox.fails(&args, 4, &["error[mismatch]", hex]);
        assert_eq!(links(), 1);
    }
}

#[test]
fn many_layouts_share_one_pool() {
    let sandbox = Sandbox::new();
    add(&sandbox, "in", "example.com/a", "1.0", "a");
    let manifest = document(&sandbox, "in", &listed(&sandbox, "in")[0].1);
    let layer = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
    let pooled = sandbox
        .path("pool/sha256")
        .join(layer.strip_prefix("sha256:").unwrap());
    let convert = |to: &str| {
        let args = [
            "convert",
            "oci:in",
            to,
            "--blob-pool",
            "pool",
            "--link",
            "hard",
        ];
        sandbox.ok(&args);
    };
    convert("oci:one");
    let all = blobs(&sandbox.path("one"));
    let names = fs::read_dir(sandbox.path("pool/sha256")).unwrap();
    assert_eq!(names.count(), all.len());
    // A blob in the pool is taken from the pool.
    convert("oci:two");
    let links = || fs::metadata(&pooled).unwrap().nlink();
    assert_eq!(links(), 4, "in, one, two, pool");
    // A damaged blob of the pool is not used, and is replaced.
    fs::remove_file(&pooled).unwrap();
    fs::write(
        &pooled,
        vec![0; fs::metadata(blob(&sandbox, "in", &layer)).unwrap().len() as usize],
    )
    .unwrap();
    convert("oci:three");
    assert_eq!(
        inode(&sandbox, "three", &layer),
        inode(&sandbox, "in", &layer)
    );
    assert_eq!(
        fs::read(&pooled).unwrap(),
        fs::read(blob(&sandbox, "in", &layer)).unwrap()
    );
    // With copies only, the pool still saves the work of making blobs again.
    sandbox.ok(&[
        "convert",
        "oci:in",
        "oci:four",
        "--blob-pool",
        "pool",
        "--link",
        "copy",
    ]);
    assert_eq!(inode(&sandbox, "four", &layer).1, 1);
    let left: Vec<_> = fs::read_dir(sandbox.path("pool")).unwrap().collect();
    assert_eq!(left.len(), 1, "only sha256");
    for layout in ["one", "two", "three", "four"] {
        assert!(sandbox.ok(&["verify", layout]).contains("nothing wrong"));
    }
}

#[test]
fn d8_sixteen_processes_write_to_one_new_layout_and_lose_nothing() {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 20;
    let sandbox = Sandbox::new();
    for i in 0..WRITERS {
        let layout = format!("in{i}");
        let own = format!("file own \"{}\"", i / 2);
        sandbox.layout(
            &layout,
            &format!("example.com/i{i}"),
            &["dir etc\nfile etc/x \"shared\"", &own],
        );
    }
    for round in 0..ROUNDS {
        // Half of the rounds begin with an empty directory, and one has a sweeper among them.
        if round % 2 == 0 {
            fs::create_dir(sandbox.path("out")).unwrap();
        }
        let writers: Vec<Child> = (0..WRITERS)
            .map(|i| {
                let source = format!("oci:in{i}");
                let mut command = sandbox.command(&["convert", &source, "oci:out", "--jobs", "1"]);
                command.stdout(std::process::Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut writer in writers {
            assert!(writer.wait().unwrap().success(), "round {round}");
        }
        let names: BTreeSet<String> = listed(&sandbox, "out")
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let expected: BTreeSet<String> = (0..WRITERS)
            .map(|i| format!("example.com/i{i}:1.0"))
            .collect();
        assert_eq!(names, expected, "round {round}");
        let (code, verdict) = verify(&sandbox, "out");
        assert_eq!(code, 0, "round {round}: {verdict:#}");
        assert_eq!(
            verdict["warnings"],
            Value::Array(Vec::new()),
            "round {round}"
        );
        fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
}
