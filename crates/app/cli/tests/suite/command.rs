//! The command from outside: exit codes, leftovers, and output, which tests of the library can't see. The
//! corpus and the tests of the other crates check the formats.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::sandbox::{LABELS, Sandbox, labels, state};

fn blobs(layout: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

#[test]
fn exit_codes_are_the_contract() {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "a.aci",
        "example.com/a",
        LABELS,
        "dir etc\nfile etc/x \"1\"",
    );
    let memory = r#","app":{"exec":["/x"],"user":"0","group":"0","isolators":[{"name":"resource/memory","value":{"limit":"1G"}}]}"#;
    sandbox.aci(
        "loss.aci",
        "example.com/l",
        &format!("{LABELS}{memory}"),
        "dir etc",
    );
    sandbox.ok(&["aci-to-oci", "a.aci", "good", "--strict"]);
    sandbox.fails(&["aci-to-oci"], 2, &["Usage"]);
    sandbox.fails(&["convert", "a.aci", "nope+x:out"], 1, &["unsupported"]);
    sandbox.fails(
        &["convert", "a.aci", "out", "--limit", "nope=1"],
        2,
        &["nope"],
    );
    sandbox.fails(
        &["inspect", "missing.aci"],
        1,
        &["error[missing]", "missing.aci"],
    );
    sandbox.fails(
        &["aci-to-oci", "loss.aci", "out", "--strict"],
        3,
        &["app.isolators", "dropped"],
    );
    let blob = blobs(&sandbox.path("good"))[0].clone();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[5] ^= 1;
    fs::write(&blob, bytes).unwrap();
    sandbox.fails(&["convert", "oci:good", "oci:out"], 4, &["error[mismatch]"]);
    sandbox.fails(&["verify", "good"], 4, &[]);
}

// INV-2: a wrong byte, a byte more and a byte less, in each document and each layer.
#[test]
fn every_blob_that_is_damaged_is_refused_and_named() {
    let sandbox = Sandbox::new();
    sandbox.layout(
        "good",
        "example.com/a",
        &["dir etc\nfile etc/x noise=3000", "file etc/y \"1\""],
    );
    sandbox.ok(&["verify", "good"]);
    let all = blobs(&sandbox.path("good"));
    assert_eq!(all.len(), 4, "a manifest, a config and two layers");
    for blob in all {
        let hex = blob.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&blob).unwrap();
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x20;
        let mut longer = bytes.clone();
        longer.push(0);
        let damages = [flipped, longer, bytes[..bytes.len() - 1].to_vec()];
        for damage in damages {
            fs::write(&blob, damage).unwrap();
            let texts = ["error[mismatch]", &hex];
            sandbox.fails(&["convert", "oci:good", "oci:copy"], 4, &texts);
            sandbox.fails(
                &["convert", "oci:good", "oci-archive:copy.tar", "--squash"],
                4,
                &texts,
            );
            sandbox.fails(&["oci-to-aci", "good", "acis"], 4, &texts);
            sandbox.fails(&["unpack", "oci:good", "root"], 4, &texts);
            let verdict = sandbox.run(&["verify", "good"]);
            assert_eq!(verdict.status.code(), Some(4));
            let printed = String::from_utf8(verdict.stdout).unwrap();
            assert!(
                printed.contains("mismatch") && printed.contains(&hex),
                "{printed}"
            );
        }
        fs::write(&blob, bytes).unwrap();
    }
    sandbox.ok(&["verify", "good"]);
}

#[test]
fn a_damaged_aci_leaves_nothing_at_any_destination() {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "good.aci",
        "example.com/a",
        LABELS,
        "dir etc\nfile etc/x noise=5000\nfile etc/y \"1\"",
    );
    let good = fs::read(sandbox.path("good.aci")).unwrap();
    fs::write(sandbox.path("short.aci"), &good[..good.len() - 3000]).unwrap();
    sandbox.ok(&["aci-to-oci", "good.aci", "there"]);
    for out in ["new", "there"] {
        let texts = ["error[bad-tar]", "short.aci"];
        sandbox.fails(
            &["aci-to-oci", "short.aci", out, "--name", "example.com/b:1"],
            1,
            &texts,
        );
    }
    sandbox.fails(
        &["unpack", "short.aci", "root"],
        1,
        &["error[bad-tar]", "short.aci"],
    );
    for size in [0, 1, 511] {
        fs::write(sandbox.path("tiny.aci"), &good[..size]).unwrap();
        sandbox.fails(&["aci-to-oci", "aci:tiny.aci", "new"], 1, &["tiny.aci"]);
    }
    // The tree of a hostile archive never reaches the disk.
    sandbox.aci("up.aci", "example.com/a", LABELS, "file ../../up \"x\"");
    sandbox.fails(
        &["unpack", "up.aci", "root"],
        1,
        &["error[escape]", "up.aci"],
    );
    sandbox.aci(
        "hidden.aci",
        "example.com/a",
        LABELS,
        "dir etc\nfile etc/.wh.x \"x\"",
    );
    sandbox.fails(
        &["aci-to-oci", "hidden.aci", "new"],
        1,
        &["error[unsupported]", ".wh.x"],
    );
}

// INV-8
#[test]
fn output_does_not_depend_on_the_number_of_threads() {
    let sandbox = Sandbox::new();
    let rootfs =
        "dir d\nfile d/noise noise=7000000\nfile d/zeros zeros=9000000\nlink d/l -> d/noise";
    sandbox.aci("a.aci", "example.com/a", LABELS, rootfs);
    for profile in [
        &[][..],
        &["--compression", "zstd"],
        &["--level", "fast"],
        &["--squash"],
    ] {
        let mut seen = Vec::new();
        for jobs in ["1", "2", "8"] {
            let out = format!("out-{jobs}-{}", profile.join(""));
            let args = [&["aci-to-oci", "a.aci", &out, "--jobs", jobs], profile].concat();
            let said = sandbox.ok(&args).replace(&out, "out");
            seen.push((said, state(&sandbox.path(&out))));
        }
        assert_eq!(seen[0], seen[1], "{profile:?}");
        assert_eq!(seen[0], seen[2], "{profile:?}");
    }
}

#[test]
fn an_aci_comes_back_from_a_layout_without_a_difference() {
    let sandbox = Sandbox::new();
    let app = r#","app":{"exec":["/bin/x","-v"],"user":"1000","group":"100","supplementaryGIDs":[7],"environment":[{"name":"A","value":"1"}],"workingDirectory":"/w","mountPoints":[{"name":"data","path":"/data","readOnly":true}],"ports":[{"name":"http","protocol":"tcp","port":80,"count":2,"socketActivated":true}]},"annotations":[{"name":"homepage","value":"https://example.com"},{"name":"x/y","value":"z"}],"unheard":{"of":[1,2]}"#;
    let rootfs = "dir . 0750 1:2 @77\ndir bin\nfile bin/x 4755 0:0 @5.25 \"#!\" xattr user.a=\"\\n\\xff\"\n\
                  link bin/y -> bin/x\nsymlink s -> ../../up\nfifo p\nchar c 0666 0:0 @0 1:3\nfile n\\xff \"1\"";
    sandbox.aci("a.aci", "example.com/a", &format!("{LABELS}{app}"), rootfs);
    sandbox.ok(&["aci-to-oci", "a.aci", "out"]);
    sandbox.ok(&["oci-to-aci", "out", "back.aci", "--compression", "none"]);
    assert_eq!(sandbox.ok(&["diff", "a.aci", "back.aci"]), "");
    let raw = |file: &str| sandbox.ok(&["inspect", "--raw", file]);
    assert_eq!(
        raw("a.aci"),
        raw("back.aci"),
        "the manifest is the same bytes"
    );
}

#[test]
fn an_oci_image_comes_back_from_an_aci_without_a_difference() {
    let sandbox = Sandbox::new();
    sandbox.layout(
        "in",
        "example.com/a",
        &[
            "dir etc\nfile etc/x \"1\"\nfile etc/y \"2\"",
            "whiteout etc/x",
        ],
    );
    sandbox.ok(&["oci-to-aci", "in", "one.aci"]);
    sandbox.ok(&["aci-to-oci", "one.aci", "back"]);
    assert_eq!(sandbox.ok(&["diff", "oci:in", "oci:back"]), "");
    // Not squashed: the ACIs render to the same tree through their dependencies.
    sandbox.ok(&["oci-to-aci", "in", "stack", "--no-squash"]);
    let files: Vec<_> = fs::read_dir(sandbox.path("stack")).unwrap().collect();
    assert_eq!(files.len(), 2);
    let top = "stack/example.com-a-1.0-linux-amd64.aci";
    sandbox.fails(
        &["aci-to-oci", top, "lost"],
        1,
        &["error[missing]", "example.com/a-layer-1"],
    );
    sandbox.ok(&["aci-to-oci", top, "rendered", "--deps", "stack"]);
    assert_eq!(sandbox.ok(&["diff", "oci:in", "oci:rendered"]), "");
    sandbox.ok(&["unpack", top, "root", "--deps", "stack"]);
    assert!(sandbox.path("root/etc/y").exists() && !sandbox.path("root/etc/x").exists());
}

#[test]
fn an_unchanged_copy_keeps_every_byte() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &["dir etc", "file etc/x \"1\""]);
    sandbox.ok(&["convert", "oci:in", "oci:copy"]);
    let names = |layout: &str| -> Vec<_> {
        blobs(&sandbox.path(layout))
            .iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("in"), names("copy"));
    sandbox.ok(&["convert", "oci:in", "oci-archive:copy.tar"]);
    sandbox.ok(&["convert", "oci-archive:copy.tar", "oci:again"]);
    assert_eq!(names("in"), names("again"));
}

#[test]
fn several_images_do_not_fit_one_file_or_one_name() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", &labels("1.0", "amd64"), "dir etc");
    sandbox.aci(
        "b.aci",
        "example.com/a",
        &labels("1.0", "aarch64"),
        "dir usr",
    );
    sandbox.ok(&["aci-to-oci", "a.aci", "b.aci", "both"]);
    let texts = [
        "error[ambiguous]",
        "linux/amd64",
        "linux/arm64",
        "--platform",
    ];
    sandbox.fails(&["oci-to-aci", "both", "one.aci"], 1, &texts);
    sandbox.ok(&["oci-to-aci", "both", "one.aci", "--platform", "linux/arm64"]);
    assert_eq!(sandbox.ok(&["diff", "b.aci", "one.aci"]), "");
    sandbox.fails(
        &["unpack", "both", "root"],
        1,
        &["error[ambiguous]", "linux/amd64"],
    );
    sandbox.fails(
        &["oci-to-aci", "both", "x/", "--platform", "linux/s390x"],
        1,
        &["linux/arm64"],
    );
    sandbox.aci(
        "c.aci",
        "example.com/a",
        &labels("1.0", "amd64"),
        "dir other",
    );
    sandbox.fails(
        &["aci-to-oci", "a.aci", "c.aci", "x"],
        1,
        &["error[ambiguous]", "a.aci", "c.aci"],
    );
    sandbox.aci(
        "d.aci",
        "example.com/d",
        &labels("1.0", "amd64"),
        "dir other",
    );
    sandbox.fails(
        &["aci-to-oci", "a.aci", "d.aci", "oci:x:name"],
        2,
        &["name"],
    );
}

#[test]
fn a_dependency_is_checked_on_the_way() {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "base.aci",
        "example.com/base",
        LABELS,
        "dir etc\nfile etc/a \"base\"\nfile etc/b \"1\"",
    );
    let size = fs::metadata(sandbox.path("base.aci")).unwrap().len();
    let inspected = sandbox.ok(&["inspect", "base.aci", "--json"]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    let id = inspected["images"][0]["image_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(id.len(), "sha512-".len() + 128);
    let depends = |id: &str, size: u64| {
        format!(
            r#"{LABELS},"dependencies":[{{"imageName":"example.com/base","imageID":"{id}","size":{size}}}]"#
        )
    };
    let rootfs = "dir etc\nfile etc/a \"app\"";
    sandbox.aci("app.aci", "example.com/app", &depends(&id, size), rootfs);
    sandbox.ok(&["aci-to-oci", "app.aci", "out", "--deps", "base.aci"]);
    sandbox.ok(&["unpack", "oci:out", "root"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("root/etc/a")).unwrap(),
        "app"
    );
    assert_eq!(fs::read_to_string(sandbox.path("root/etc/b")).unwrap(), "1");
    let other = format!("sha512-{}", "0".repeat(128));
    sandbox.aci("id.aci", "example.com/app", &depends(&other, size), rootfs);
    sandbox.fails(
        &["aci-to-oci", "id.aci", "bad", "--deps", "base.aci"],
        4,
        &["error[mismatch]", &other],
    );
    sandbox.aci(
        "size.aci",
        "example.com/app",
        &depends(&id, size + 1),
        rootfs,
    );
    sandbox.fails(
        &["aci-to-oci", "size.aci", "bad", "--deps", "base.aci"],
        4,
        &["error[mismatch]"],
    );
    sandbox.aci(
        "short.aci",
        "example.com/app",
        &depends(&id[..40], size),
        rootfs,
    );
    sandbox.fails(
        &["aci-to-oci", "short.aci", "bad", "--deps", "base.aci"],
        1,
        &["error[bad-digest]"],
    );
    sandbox.fails(
        &["aci-to-oci", "app.aci", "bad"],
        1,
        &["error[missing]", "example.com/base", "--deps"],
    );
}

// robustness H5c: the order of ace.md, D B D C A, with a whitelist for each image.
#[test]
fn whitelists_hold_at_every_level() {
    let sandbox = Sandbox::new();
    let image = |name: &str, deps: &[&str], list: &str, rootfs: &str| {
        let deps: Vec<String> = deps
            .iter()
            .map(|d| format!(r#"{{"imageName":"example.com/{d}"}}"#))
            .collect();
        let mut fields = labels("1.0", "amd64");
        if !deps.is_empty() {
            fields.push_str(&format!(r#","dependencies":[{}]"#, deps.join(",")));
        }
        if !list.is_empty() {
            fields.push_str(&format!(r#","pathWhitelist":[{list}]"#));
        }
        sandbox.aci(
            &format!("{name}.aci"),
            &format!("example.com/{name}"),
            &fields,
            rootfs,
        );
    };
    image(
        "d",
        &[],
        "",
        "file d1 \"d\"\nfile d2 \"d\"\nfile both \"d\"\nfile hidden \"d\"\nlink hard -> hidden",
    );
    image(
        "b",
        &["d"],
        r#""/b1","/d1","/both""#,
        "file b1 \"b\"\nfile b2 \"b\"\nfile both \"b\"",
    );
    image("c", &["d"], r#""/c1","/d2","/hard""#, "file c1 \"c\"");
    image(
        "a",
        &["b", "c"],
        r#""/b1","/c1","/d1","/d2","/both","/hard""#,
        "file a1 \"a\"",
    );
    sandbox.ok(&["aci-to-oci", "a.aci", "out", "--deps", "."]);
    sandbox.ok(&["unpack", "oci:out:example.com/a:1.0", "root"]);
    let mut names: Vec<String> = fs::read_dir(sandbox.path("root"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["b1", "both", "c1", "d1", "d2", "hard"]);
    assert_eq!(fs::read_to_string(sandbox.path("root/both")).unwrap(), "b");
    assert_eq!(
        fs::read_to_string(sandbox.path("root/hard")).unwrap(),
        "d",
        "materialised"
    );
    // The error names a cycle.
    image("x", &["y"], "", "dir x");
    image("y", &["x"], "", "dir y");
    sandbox.fails(
        &["aci-to-oci", "x.aci", "y.aci", "bad"],
        1,
        &["error[cycle]", "example.com/x"],
    );
}

/// A directory that only the path of a removed file implied has the attributes that the dependency gives, and is made if no
/// dependency has the directory.
#[test]
fn h5a_a_directory_of_a_dependency_keeps_its_attributes_without_files() {
    let sandbox = Sandbox::new();
    let base = "dir etc 0700\ndir etc/a 0710\nfile etc/a/base \"d\"";
    sandbox.aci("base.aci", "example.com/base", LABELS, base);
    let fields = format!(
        r#"{LABELS},"dependencies":[{{"imageName":"example.com/base"}}],"pathWhitelist":["/etc/a/no","/own/no","/file"]"#
    );
    let own = "file etc/a/x \"x\"\nfile own/x \"x\"\nfile file \"f\"";
    sandbox.aci("app.aci", "example.com/app", &fields, own);
    for (out, more) in [("out", &[][..]), ("one", &["--squash"])] {
        let words = ["aci-to-oci", "app.aci", out, "--deps", ".", "--reversible"];
        let words: Vec<&str> = match more {
            [] => words.to_vec(),
            more => [&words[..5], more].concat(),
        };
        sandbox.ok(&words);
        let root = format!("{out}-root");
        sandbox.ok(&["unpack", &format!("oci:{out}:example.com/app:1.0"), &root]);
        let mode = |path: &str| {
            let path = sandbox.path(&root).join(path);
            fs::metadata(path).unwrap().permissions().mode() & 0o7777
        };
        let found = ["etc", "etc/a", "own"].map(mode);
        assert_eq!(found, [0o700, 0o710, 0o755], "{out}");
    }
    let back = sandbox.ok(&[
        "oci-to-aci",
        "oci:out:example.com/app:1.0",
        "back/",
        "--exact",
    ]);
    assert!(back.contains("exact"), "{back}");
}

#[test]
fn names_follow_the_destination() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    let names = |layout: &str| {
        let index = fs::read_to_string(sandbox.path(layout).join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_str(&index).unwrap();
        let notes = &index["manifests"][0]["annotations"];
        [
            notes["org.opencontainers.image.ref.name"]
                .as_str()
                .unwrap_or("-")
                .to_owned(),
            notes["io.containerd.image.name"]
                .as_str()
                .unwrap_or("-")
                .to_owned(),
        ]
    };
    sandbox.ok(&["aci-to-oci", "a.aci", "full"]);
    assert_eq!(names("full"), ["example.com/a:1.0", "example.com/a:1.0"]);
    sandbox.ok(&["aci-to-oci", "a.aci", "tag", "--ref-name", "tag"]);
    assert_eq!(names("tag"), ["1.0", "example.com/a:1.0"]);
    sandbox.ok(&["aci-to-oci", "a.aci", "oci:given:latest"]);
    assert_eq!(names("given")[0], "latest");
    sandbox.ok(&["aci-to-oci", "a.aci", "named", "--name", "busybox:2"]);
    assert_eq!(names("named")[1], "docker.io/library/busybox:2");
    for reference in ["example.com/a:1.0", "1.0", "#0"] {
        sandbox.ok(&["inspect", &format!("oci:full:{reference}")]);
    }
    sandbox.fails(
        &["inspect", "oci:full:2.0"],
        1,
        &["error[missing]", "example.com/a:1.0"],
    );
}

#[test]
fn a_missing_child_of_an_index_is_left_out_or_refused() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", &labels("1.0", "amd64"), "dir etc");
    sandbox.aci(
        "b.aci",
        "example.com/a",
        &labels("1.0", "aarch64"),
        "dir usr",
    );
    let printed = sandbox.ok(&["aci-to-oci", "a.aci", "b.aci", "both"]);
    let digest = printed
        .lines()
        .last()
        .unwrap()
        .split("sha256:")
        .nth(1)
        .unwrap();
    fs::remove_file(sandbox.path("both/blobs/sha256").join(digest)).unwrap();
    sandbox.fails(
        &["convert", "oci:both", "oci:out", "--missing", "fail"],
        1,
        &["error[missing]", digest],
    );
    sandbox.fails(
        &["convert", "oci:both", "oci:out", "--strict"],
        3,
        &["missing-child"],
    );
    let output = sandbox.run(&["convert", "oci:both", "oci:out"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("missing-child"));
    sandbox.ok(&["verify", "out"]);
    assert_eq!(sandbox.ok(&["ls", "out"]).lines().count(), 1);
    assert_eq!(sandbox.run(&["verify", "both"]).status.code(), Some(4));
}

// robustness G6b: a bomb is stopped by a budget, and the layer is named.
#[test]
fn a_budget_stops_large_layers() {
    let sandbox = Sandbox::new();
    sandbox.layout(
        "in",
        "example.com/a",
        &["file a zeros=300000", "file b zeros=300000"],
    );
    let squash = ["convert", "oci:in", "oci:out", "--squash", "--limit"];
    let layer = [&squash[..], &["layer_bytes=200000"]].concat();
    sandbox.fails(&layer, 1, &["error[limit]", "layer_bytes", "layer 0"]);
    let image = [&squash[..], &["image_bytes=500000"]].concat();
    sandbox.fails(&image, 1, &["error[limit]", "image_bytes", "layer 1"]);
    let entries = [&squash[..], &["entries=1"]].concat();
    sandbox.fails(&entries, 1, &["error[limit]", "entries"]);
    sandbox.ok(&["convert", "oci:in", "oci:out", "--squash"]);
}

#[test]
fn a_pipe_can_be_read_and_written() {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "a.aci",
        "example.com/a",
        LABELS,
        "dir etc\nfile etc/x \"1\"",
    );
    let mut child = sandbox
        .command(&["aci-to-oci", "-", "oci-archive:-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = fs::read(sandbox.path("a.aci")).unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::write(sandbox.path("out.tar"), output.stdout).unwrap();
    assert_eq!(sandbox.ok(&["diff", "a.aci", "oci-archive:out.tar"]), "");
}

#[test]
fn a_dry_run_prints_the_plan_of_each_document_and_layer_with_reasons() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &["dir etc", "file etc/x \"1\""]);
    let args = ["convert", "oci:in", "oci:out", "--dry-run", "--json"];
    let planned = |more: &[&str]| -> serde_json::Value {
        let printed = sandbox.ok(&[&args[..], more].concat());
        let mut value: serde_json::Value = serde_json::from_str(&printed).unwrap();
        value["images"][0]["planned"].take()
    };
    let kept = planned(&[]);
    let documents = kept["documents"].as_array().unwrap();
    let of = |document: &serde_json::Value| (document["role"].clone(), document["becomes"].clone());
    let expected = [("config", "kept"), ("manifest", "kept")].map(|(a, b)| (a.into(), b.into()));
    assert_eq!(documents.iter().map(of).collect::<Vec<_>>(), expected);
    assert!(
        documents[1]["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(kept["layers"][1]["from"], serde_json::json!([1]));
    assert_eq!(
        kept["layers"][1]["why"],
        "the target takes the stored bytes"
    );
    let squashed = planned(&["--squash"]);
    assert_eq!(squashed["documents"][1]["becomes"], "new");
    assert_eq!(
        squashed["layers"],
        serde_json::json!([{
            "from": [0, 1], "step": "squash", "compression": "gzip", "why": "merging was requested"
        }])
    );
    // An ACI, and the text of both.
    let aci = sandbox.ok(&["convert", "oci:in", "a.aci", "--dry-run"]);
    assert!(aci.contains(
        "  manifest: new\n  layers 0 to 1: squash (gzip): the format holds one file tree"
    ));
    let text = sandbox.ok(&args[..4]);
    assert!(text.contains("\n  config: kept sha256:"), "{text}");
    assert!(
        text.contains(": keep (none): the target takes the stored bytes\n"),
        "{text}"
    );
    assert!(!sandbox.path("out").exists());
}

#[test]
fn a_dry_run_writes_nothing_and_prints_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.layout("in", "example.com/a", &["dir etc", "file etc/x \"1\""]);
    let before = state(sandbox.folder.path());
    let printed = sandbox.ok(&[
        "convert",
        "oci:in",
        "oci:out",
        "--compression",
        "zstd",
        "--dry-run",
    ]);
    assert!(printed.contains("recompress layer 0 as zstd"), "{printed}");
    let printed = sandbox.ok(&["oci-to-aci", "in", "acis", "--dry-run"]);
    assert!(printed.contains("squash 2 layers"), "{printed}");
    assert_eq!(state(sandbox.folder.path()), before);
}

#[test]
fn the_report_is_the_documented_json() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    let printed = sandbox.ok(&[
        "aci-to-oci",
        "a.aci",
        "out",
        "--json",
        "--report",
        "report.json",
    ]);
    assert_eq!(
        printed,
        fs::read_to_string(sandbox.path("report.json")).unwrap()
    );
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let image = &printed["images"][0];
    for key in [
        "source",
        "destination",
        "name",
        "format",
        "platform",
        "digest",
        "config",
        "image_id",
    ] {
        assert!(image[key].is_string(), "{key}: {image}");
    }
    let layer = &image["layers"][0];
    for key in ["diff_id", "digest", "compression", "step"] {
        assert!(layer[key].is_string(), "{key}: {layer}");
    }
    assert!(layer["size"].is_u64() && image["losses"].is_array());
}

#[test]
fn unpack_needs_a_new_or_empty_directory() {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "a.aci",
        "example.com/a",
        LABELS,
        "dir etc\nfile etc/x \"1\"",
    );
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/mine"), "keep").unwrap();
    sandbox.fails(&["unpack", "a.aci", "full"], 1, &["error[denied]", "full"]);
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.ok(&["unpack", "a.aci", "empty"]);
    assert_eq!(
        fs::read_to_string(sandbox.path("empty/etc/x")).unwrap(),
        "1"
    );
}

#[test]
fn source_and_destination_are_not_the_same_place() {
    let sandbox = Sandbox::new();
    sandbox.aci("a.aci", "example.com/a", LABELS, "dir etc");
    sandbox.ok(&["aci-to-oci", "a.aci", "out"]);
    sandbox.fails(&["convert", "a.aci", "aci:./a.aci"], 1, &["error[denied]"]);
    sandbox.fails(&["convert", "oci:out", "oci:./out"], 1, &["error[denied]"]);
}
