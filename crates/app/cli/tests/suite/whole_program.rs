//! A batch and the whole program (section M of robustness.md): layers that images share, files that
//! change during a run, few resources, and independence of the output from the environment.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Output},
};

use imgconv_testkit::{
    build,
    registry::{self, Registry},
};
use serde_json::Value;

use crate::{
    migrate::{image, images},
    sandbox::{LABELS, Sandbox, state},
};

#[test]
fn m3_a_blob_of_many_images_is_converted_once() {
    let sandbox = Sandbox::new();
    let all: Vec<_> = (0..120)
        .map(|i| {
            let own = format!("file own \"{i}\"");
            let name = format!("example.com/app{i}");
            image(&name, "1", "file base noise=50000", &own)
        })
        .collect();
    build::layout(&all, &sandbox.path("in")).unwrap();
    let args = ["migrate", "in", "oci:out", "--compression", "zstd"];
    let said = sandbox.ok(&[&args[..], &["--jobs", "8"]].concat());
    assert!(said.contains("120 images, 120 done"), "{said}");
    // The journal has a line for each layer that was made.
    let journal = fs::read_to_string(sandbox.path("out/.imgconv-migrate/journal.jsonl")).unwrap();
    let lines = journal.lines().filter_map(|line| line.split_once(' '));
    let lines = lines.map(|(_, text)| serde_json::from_str::<Value>(text).unwrap());
    let layers: Vec<Value> = lines.filter(|line| !line["layer"].is_null()).collect();
    assert_eq!(
        layers.len(),
        121,
        "one layer that all images share, and one layer of each image"
    );
}

#[test]
fn m4_an_image_that_goes_during_the_run_is_missing_alone() {
    let sandbox = Sandbox::new();
    // The layer of `gone` is deleted, and the tag `moved` is set anew, as soon as their manifests were
    // asked for.
    let registry = Registry::start_with(None, |request, stored| {
        let repository = || "r".to_owned();
        if request.method != "GET" && request.method != "HEAD" {
            return None;
        }
        let tag = request.path().strip_prefix("/v2/r/manifests/")?;
        let reply = registry::answer(request, stored);
        if tag == "gone" {
            let digest = registry::digest_of(b"gone");
            stored.blobs.retain(|(_, other), _| *other != digest);
        }
        if tag == "moved" {
            let other = stored.manifests[&(repository(), "other".to_owned())].clone();
            stored
                .manifests
                .insert((repository(), "moved".to_owned()), other);
        }
        Some(reply)
    });
    let empty = vec![0; 1024];
    let first = registry.stored().image("r", "moved", &empty);
    registry.stored().image("r", "gone", b"gone");
    registry.stored().image("r", "other", &[0; 2048]);
    let output = sandbox.run(&["migrate", &registry.locator("r"), "oci:out"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}{stderr}");
    assert!(stderr.contains("error[missing]"), "{stderr}");
    assert!(stderr.contains("r:gone"), "{stderr}");
    assert!(said.contains(&format!("r:moved {first}\n")), "{said}");
    assert!(said.contains("3 images, 2 done, 1 failed"), "{said}");
}

/// Runs in a shell that sets limits before.
fn limited(sandbox: &Sandbox, limits: &str, args: &[&str]) -> Output {
    let script = format!("{limits}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_imgconv")])
        .args(args)
        .current_dir(sandbox.folder.path())
        // The allocator of the C library would reserve an arena for each thread.
        .env("MALLOC_ARENA_MAX", "1");
    sandbox.output(&mut command, args)
}

#[test]
fn m5_few_resources_are_enough() {
    let sandbox = Sandbox::new();
    build::layout(&images(64), &sandbox.path("in")).unwrap();
    let args = ["migrate", "in", "oci:free", "--compression", "zstd"];
    sandbox.ok(&args);
    let index = |folder: &str| fs::read(sandbox.path(folder).join("index.json")).unwrap();
    for (i, limits) in ["ulimit -v 1500000", "ulimit -n 64"].iter().enumerate() {
        let out = format!("out-{i}");
        let destination = format!("oci:{out}");
        let args = ["migrate", "in", &destination, "--compression", "zstd"];
        let args = [&args[..], &["--jobs=64"]].concat();
        let output = limited(&sandbox, limits, &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{limits}: {stderr}");
        assert_eq!(index(&out), index("free"), "{limits}");
    }
}

#[test]
fn m5_a_folder_has_more_archives_than_the_soft_limit_has_files() {
    let sandbox = Sandbox::new();
    build::layout(&images(64), &sandbox.path("in")).unwrap();
    sandbox.ok(&["migrate", "in", "docker-archive:many/"]);
    let args = ["convert", "tree:many", "oci:out"];
    let output = limited(&sandbox, "ulimit -Sn 64", &args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let listed = sandbox.ok(&["ls", "oci:out"]);
    assert_eq!(listed.lines().count(), 64, "{listed}");
}

#[test]
fn m8_nothing_around_the_program_changes_its_output() {
    let sandbox = Sandbox::new();
    let rootfs = "dir d\nfile d/noise noise=3000000\nlink d/l -> d/noise";
    sandbox.aci("a.aci", "example.com/a", LABELS, rootfs);
    sandbox.aci("b.aci", "example.com/b", LABELS, "file b \"1\"");
    fs::create_dir(sandbox.path("elsewhere")).unwrap();
    let mut found = BTreeSet::new();
    for (i, (jobs, environment)) in [
        ("1", &[][..]),
        ("64", &[("LC_ALL", "tr_TR.UTF-8"), ("TZ", "Asia/Kathmandu")]),
        ("2", &[("TMPDIR", "elsewhere"), ("HOME", "/nowhere")]),
    ]
    .iter()
    .enumerate()
    {
        let out = format!("out-{i}");
        let args = ["aci-to-oci", "a.aci", "b.aci", &out, "--jobs", jobs];
        let mut command = sandbox.command(&args);
        command.envs(environment.iter().copied());
        command.env("SOURCE_DATE_EPOCH", "1500000000");
        let output = sandbox.output(&mut command, &args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        found.insert(state(&sandbox.path(&out)));
    }
    assert_eq!(found.len(), 1);
    assert_eq!(fs::read_dir(sandbox.path("elsewhere")).unwrap().count(), 0);
}

#[test]
fn m10_messages_quote_what_a_terminal_would_obey() {
    let sandbox = Sandbox::new();
    let name = "x\u{1b}[2J\ny.aci";
    fs::write(sandbox.path(name), "this is no archive").unwrap();
    for args in [
        &["ls", name][..],
        &["verify", name],
        &["--json", "convert", name, "oci:out"],
        &["aci-to-oci", name, "out"],
    ] {
        let output = sandbox.run(args);
        let text = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_ne!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("y.aci"), "{args:?}: {text}");
        for bad in ["\u{1b}", "\ny.aci", "panicked at"] {
            assert!(!text.contains(bad), "{args:?}: {text}");
        }
    }
}

/// A name with all that a terminal, a viewer or a page would act on: an escape sequence, a line end, an
/// override of the direction, C1 controls, and markup.
const HOSTILE: &str = "x\u{1b}[2J\n\u{202e}y\u{9b}\u{200f}<b>\u{7f}\u{2028}";

#[test]
fn m10_no_command_prints_what_a_name_tells_a_terminal() {
    let sandbox = Sandbox::new();
    let note = serde_json::to_string(HOSTILE).unwrap();
    let fields = format!(r#"{LABELS},"annotations":[{{"name":"note","value":{note}}}]"#);
    let aci = format!("in/{HOSTILE}.aci");
    sandbox.aci(&aci, "example.com/x", &fields, "file a \"2\"");
    sandbox.aci("in/z.aci", "example.com/z", LABELS, "file a \"1\"");
    fs::write(sandbox.path("in/bad\u{202e}.aci"), "no archive").unwrap();
    let z = "in/z.aci";
    for args in [
        &["ls", "tree:in"][..],
        &["ls", &aci],
        &["ls", &aci, "--format", "table"],
        &["ls", &aci, "--format", "{{.Labels}} {{.File}}"],
        &["inspect", &aci],
        &["verify", "tree:in"],
        &["diff", &aci, z],
        &["aci-to-oci", &aci, "oci:out", "--dry-run", "-v"],
        &["aci-to-oci", &aci, "oci:out", "-v", "--report", "r.json"],
        &["unpack", "in/bad\u{202e}.aci", "root"],
        &[
            "migrate",
            "tree:in",
            "oci:all",
            "--report",
            "m.json",
            "--report-html",
            "m.html",
        ],
        &["report", "m.json", &format!("{HOSTILE}/page.html")],
        &["layout", "rm", "oci:out", HOSTILE],
        &["tags", "list", &aci],
        &["frobnicate\u{1b}[2J"],
    ] {
        let json = [args, &["--json"]].concat();
        let events = [args, &["--progress", "json"]].concat();
        let runs = [args, &json, &events].map(|args| (args.to_vec(), sandbox.run(args)));
        for (args, output) in runs {
            let text = [&output.stdout[..], &output.stderr].concat();
            let text = String::from_utf8(text).unwrap();
            let acts =
                |c: &char| c.is_control() && *c != '\n' || "\u{202e}\u{200f}\u{2028}".contains(*c);
            assert_eq!(text.chars().find(acts), None, "{args:?}: {text}");
            assert!(!text.contains("panicked at"), "{args:?}: {text}");
        }
    }
    let page = fs::read_to_string(sandbox.path("m.html")).unwrap();
    assert!(page.contains("\\u{202e}") && !page.contains("<b>y") && !page.contains('\u{202e}'));
}
