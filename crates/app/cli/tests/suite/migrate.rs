//! Migrating whole stores: the results, the refusals before anything is written, the effect of one
//! bad image, and migrations that are killed at any point and continue.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::sandbox::Sandbox;
use imgconv_testkit::{
    Head, ImageRecipe, build, docker, recipe, registry::Registry, sha512_hex, snapshot, stores,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// An image with a base that others share and a layer of its own.
pub(crate) fn image(name: &str, version: &str, base: &str, own: &str) -> ImageRecipe {
    let head = Head {
        name: name.into(),
        version: version.into(),
        os: "linux".into(),
        arch: "amd64".into(),
        created: "2015-01-02T03:04:05Z".into(),
        ..Head::default()
    };
    let layers = [base, own].map(|text| recipe::parse(text, "test").unwrap());
    ImageRecipe {
        head,
        layers: layers.to_vec(),
        manifest: None,
    }
}

const BASE: &str = "dir etc\nfile etc/a 0644 1:2 @7 \"base\"";

/// `count` images over two bases, in four repositories.
pub(crate) fn images(count: usize) -> Vec<ImageRecipe> {
    let base = |i: usize| format!("dir usr\nfile usr/base \"{}\"", i % 2);
    (0..count)
        .map(|i| {
            let own = format!(
                "dir etc\nfile etc/own \"{i}{}\"",
                "x".repeat(2000 * (i % 5))
            );
            let name = format!("example.com/team/app{}", i % 4);
            image(&name, &format!("1.{i}"), &base(i), &own)
        })
        .collect()
}

/// The storage of a registry with these images.
fn storage(sandbox: &Sandbox, count: usize) {
    build::layout(&images(count), &sandbox.path("made")).unwrap();
    stores::registry_v2(&sandbox.path("made"), &sandbox.path("store")).unwrap();
    fs::remove_dir_all(sandbox.path("made")).unwrap();
}

/// Everything below a folder but the journal, with the hashes of the bytes.
pub(crate) fn result(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            if name == ".imgconv-migrate" {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push((name, sha512_hex(&fs::read(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}

fn report(sandbox: &Sandbox, file: &str) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path(file)).unwrap()).unwrap()
}

fn totals(report: &Value, what: &str) -> u64 {
    report["totals"][what].as_u64().unwrap()
}

#[test]
fn a_store_becomes_one_layout_with_the_same_fields() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 12);
    let before = snapshot(&sandbox.path("store")).unwrap();
    let said = sandbox.ok(&[
        "migrate",
        "store",
        "oci:out",
        "--compression",
        "zstd",
        "--report",
        "report.json",
    ]);
    assert!(said.contains("12 images, 12 done"), "{said}");
    assert!(
        sandbox
            .ok(&["verify", "oci:out"])
            .contains("12 checked, nothing wrong")
    );
    for i in [0, 5, 11] {
        let name = format!("example.com/team/app{}:1.{i}", i % 4);
        sandbox.ok(&[
            "diff",
            &format!("registry-storage:store:{name}"),
            &format!("oci:out:{name}"),
        ]);
    }
    // Two bases and twelve layers of their own, each once; a config and a manifest each.
    let blobs = fs::read_dir(sandbox.path("out/blobs/sha256"))
        .unwrap()
        .count();
    assert_eq!(blobs, 2 + 12 + 12 + 12);
    let report = report(&sandbox, "report.json");
    assert_eq!(totals(&report, "done"), 12);
    let first = &report["images"][0]["outcomes"][0];
    assert_ne!(first["source_digest"], first["digest"]);
    assert_eq!(first["layers"][0]["step"], "recompress");
    assert_ne!(first["layers"][0]["source"], first["layers"][0]["digest"]);
    assert_eq!(snapshot(&sandbox.path("store")).unwrap(), before);
    // The order is that of the store, whatever the number of threads.
    for jobs in ["1", "4"] {
        let out = format!("oci:out{jobs}");
        sandbox.ok(&[
            "migrate",
            "store",
            &out,
            "--compression",
            "zstd",
            "--jobs",
            jobs,
        ]);
        let out = sandbox.path(&format!("out{jobs}"));
        assert_eq!(result(&out), result(&sandbox.path("out")), "{jobs} jobs");
    }
}

#[test]
fn every_kind_of_destination_gets_every_image() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 8);
    sandbox.ok(&["migrate", "store", "oci:split", "--split", "repo"]);
    for i in 0..4 {
        let layout = format!("oci:split/example.com+team+app{i}");
        let said = sandbox.ok(&["verify", &layout]);
        assert!(
            said.contains("2 checked, nothing wrong"),
            "{layout}: {said}"
        );
    }
    // Four layouts, two bases: each is one file.
    let blobs = result(&sandbox.path("split"))
        .into_iter()
        .filter(|(name, _)| name.contains("/blobs/"));
    let mut links: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (name, hash) in blobs {
        let found = fs::metadata(sandbox.path("split").join(name)).unwrap();
        links.entry(hash).or_default().push(found.ino());
    }
    links.retain(|_, inodes| inodes.len() > 1);
    assert_eq!(links.len(), 2);
    for inodes in links.values() {
        assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    }
    sandbox.ok(&["migrate", "store", "docker-archive:archives/"]);
    sandbox.ok(&["migrate", "store", "aci:acis/"]);
    for i in 0..8 {
        let (repository, tag) = (format!("example.com/team/app{}", i % 4), format!("1.{i}"));
        let stored = format!("registry-storage:store:{repository}:{tag}");
        let archive = format!("archives/example.com+team+app{}@{tag}.tar", i % 4);
        sandbox.ok(&["diff", &stored, &archive]);
        let aci = format!("acis/example.com-team-app{}-{tag}-linux-amd64.aci", i % 4);
        sandbox.ok(&["inspect", &aci]);
    }
    for (destination, folder) in [
        ("docker-archive:archives/", "archives"),
        ("aci:acis/", "acis"),
    ] {
        let before = result(&sandbox.path(folder));
        assert_eq!(before.len(), 8, "{destination}");
        let said = sandbox.ok(&["migrate", "store", destination]);
        assert!(said.contains("8 images, 8 kept"), "{destination}: {said}");
        assert_eq!(result(&sandbox.path(folder)), before, "{destination}");
    }
    for (destination, split) in [
        ("oci:x:name", false),
        ("dir:x", false),
        ("aci:x.aci", false),
    ] {
        let mut args = vec!["migrate", "store", destination];
        args.extend(split.then_some("--split=repo"));
        sandbox.fails(&args, 2, &["error[usage]"]);
    }
    sandbox.fails(
        &["migrate", "store", "aci:x/", "--split", "repo"],
        2,
        &["error[usage]", "`--split repo` is for layouts"],
    );
}

#[test]
fn names_are_chosen_and_changed_by_rules() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 8);
    let said = sandbox.ok(&[
        "migrate",
        "store",
        "oci:out",
        "--only",
        "*/app1:*",
        "--only",
        "*:1.2",
        "--exclude",
        "*.5",
        "--rename",
        "^example.com/team/(.*):=new.example.com/$1:v",
    ]);
    let names: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split(' ').find(|w| w.contains('/')))
        .collect();
    assert_eq!(
        names,
        ["new.example.com/app1:v1.1", "new.example.com/app2:v1.2"]
    );
    sandbox.ok(&["inspect", "oci:out:new.example.com/app2:v1.2"]);
    // Nothing is written if two images would have one name, or if no image is selected.
    let clash = ["migrate", "store", "oci:x", "--rename", ":1.*$=:same"];
    sandbox.fails(
        &clash,
        1,
        &[
            "error[ambiguous]",
            "example.com/team/app0:1.0",
            "example.com/team/app0:1.4",
            "--rename",
        ],
    );
    sandbox.fails(
        &["migrate", "store", "oci:x", "--only", "nothing"],
        1,
        &["error[missing]"],
    );
    sandbox.fails(
        &["migrate", "store", "oci:x", "--rename", "(=y"],
        2,
        &["error[usage]"],
    );
    // A dry run prints the whole plan and writes nothing.
    let dry = [
        "migrate",
        "store",
        "oci:x",
        "--dry-run",
        "--compression",
        "zstd",
    ];
    let said = sandbox.ok(&dry);
    assert!(said.contains("8 images, 8 planned"), "{said}");
    assert!(!sandbox.path("x").exists());
}

// INV-9
#[test]
fn m1_one_poisoned_image_is_named_and_the_rest_arrives() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 10);
    // A layer that only one image has: the largest blob of image 9 is its own layer.
    let list = sandbox.ok(&[
        "inspect",
        "--json",
        "registry-storage:store:example.com/team/app1:1.9",
    ]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let digest = list["images"][0]["layers"][1]["digest"].as_str().unwrap();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let blob = format!(
        "store/docker/registry/v2/blobs/sha256/{}/{hex}/data",
        &hex[..2]
    );
    let mut bytes = fs::read(sandbox.path(&blob)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(sandbox.path(&blob), &bytes).unwrap();
    let args = ["migrate", "store", "oci:out", "--report", "report.json"];
    let output = sandbox.run(&args);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("error[mismatch]") && stderr.contains("app1:1.9"),
        "{stderr}"
    );
    let told = report(&sandbox, "report.json");
    assert_eq!((totals(&told, "done"), totals(&told, "failed")), (9, 1));
    assert!(
        sandbox
            .ok(&["verify", "oci:out"])
            .contains("9 checked, nothing wrong")
    );
    // After the repair, the same command adds only the missing images.
    bytes[middle] ^= 1;
    fs::write(sandbox.path(&blob), &bytes).unwrap();
    let said = sandbox.ok(&args);
    assert!(said.contains("10 images, 1 done, 9 kept"), "{said}");
    assert!(
        sandbox
            .ok(&["verify", "oci:out"])
            .contains("10 checked, nothing wrong")
    );
}

#[test]
fn what_was_damaged_at_the_destination_is_found_and_made_again() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 6);
    let args = ["migrate", "store", "oci:out", "--compression", "zstd"];
    sandbox.ok(&args);
    let before = result(&sandbox.path("out"));
    let zstd = |name: &str| {
        let bytes = fs::read(sandbox.path("out").join(name)).unwrap();
        bytes.starts_with(b"\x28\xb5\x2f\xfd")
    };
    let (name, _) = before.iter().find(|(name, _)| zstd(name)).unwrap();
    fs::write(sandbox.path("out").join(name), "damage").unwrap();
    let said = sandbox.ok(&args);
    assert!(said.contains("done") && said.contains("kept"), "{said}");
    assert_eq!(result(&sandbox.path("out")), before);
    fs::remove_file(sandbox.path("out").join(name)).unwrap();
    sandbox.ok(&args);
    assert_eq!(result(&sandbox.path("out")), before);
    // The index alone.
    fs::remove_file(sandbox.path("out/index.json")).unwrap();
    let said = sandbox.ok(&args);
    assert!(said.contains("6 images, 6 kept"), "{said}");
    assert_eq!(result(&sandbox.path("out")), before);
}

/// Runs the command and kills it after a while; says whether it had ended before.
fn killed(sandbox: &Sandbox, args: &[&str], after: Duration) -> bool {
    let mut child = sandbox
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < after {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{args:?}: {status}");
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    child.wait().unwrap().success()
}

// INV-4: after each kill the index is absent or complete.
#[test]
fn m2_killed_at_any_point_the_same_command_goes_on_and_ends_the_same() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 24);
    for split in [false, true] {
        let migrate = |out: &'static str| {
            let mut args = vec![
                "migrate",
                "store",
                out,
                "--compression",
                "zstd",
                "--jobs",
                "2",
            ];
            args.extend(split.then_some("--split=repo"));
            args
        };
        let (undisturbed, out) = match split {
            false => ("oci:undisturbed", "oci:out"),
            true => ("oci:undisturbed-split", "oci:out-split"),
        };
        let began = Instant::now();
        sandbox.ok(&migrate(undisturbed));
        let whole = began.elapsed();
        let expected = result(&sandbox.path(&undisturbed[4..]));
        let (mut kills, mut rounds) = (0u32, 0);
        // From the start each time a little later, until fifty kills were survived.
        while kills < 50 {
            rounds += 1;
            assert!(rounds < 60, "it never ends before it is killed");
            let mut after = whole.mul_f64(0.05 + 0.03 * f64::from(rounds % 20));
            while !killed(&sandbox, &migrate(out), after) {
                kills += 1;
                // The images become visible only all together.
                let index = |folder: &str| fs::read(sandbox.path(folder).join("index.json")).ok();
                if !split && let Some(found) = index("out") {
                    assert_eq!(Some(found), index("undisturbed"));
                }
                after += whole.mul_f64(0.02);
            }
            assert_eq!(
                result(&sandbox.path(&out[4..])),
                expected,
                "after {kills} kills"
            );
            fs::remove_dir_all(sandbox.path(&out[4..])).unwrap();
        }
    }
}

#[test]
fn m6_a_signal_ends_it_cleanly_and_nothing_is_lost() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 24);
    let args = [
        "migrate",
        "store",
        "oci:out",
        "--compression",
        "zstd",
        "--level",
        "19",
    ];
    let mut child = sandbox
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The signal comes when something is being written: before that the program may not have begun.
    let names = || fs::read_dir(sandbox.folder.path()).unwrap().count();
    let before = names();
    while names() == before && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A migration that has ended meanwhile gets no signal, and is looked at all the same.
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let _ = kill(pid, Signal::SIGTERM);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked at"), "{stderr}");
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(143), "{stderr}");
        assert!(!sandbox.path("out/index.json").exists());
    }
    sandbox.ok(&args);
    assert!(
        sandbox
            .ok(&["verify", "oci:out"])
            .contains("24 checked, nothing wrong")
    );
}

#[test]
fn a_pod_does_the_share_of_its_index() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 4);
    let pod = |index: &str, share: &str, to: &str| {
        let mut command = sandbox.command(&["migrate", "store", to, "--shard", share]);
        command.env("JOB_COMPLETION_INDEX", index).output().unwrap()
    };
    for (index, share) in [("0", "1/2"), ("1", "2/2")] {
        let (ours, theirs) = (format!("oci:job-{index}"), format!("oci:share-{index}"));
        assert!(pod(index, "job/2", &ours).status.success());
        sandbox.ok(&["migrate", "store", &theirs, "--shard", share]);
        let all = [&ours[4..], &theirs[4..]].map(|folder| result(&sandbox.path(folder)));
        assert_eq!(all[0], all[1], "{index}");
    }
    for (index, said) in [
        ("2", "\"3/2\" is no share"),
        ("", "JOB_COMPLETION_INDEX"),
        ("x", "JOB_COMPLETION_INDEX"),
    ] {
        let output = pod(index, "job/2", "oci:none");
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn shares_of_one_plan_are_done_apart_and_their_reports_are_joined() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 16);
    sandbox.ok(&["migrate", "store", "oci:whole"]);
    let mut reports = Vec::new();
    let mut children = Vec::new();
    for i in 1..=3 {
        let (shard, report) = (format!("{i}/3"), format!("report-{i}.json"));
        let args = [
            "migrate", "store", "oci:out", "--shard", &shard, "--report", &report,
        ];
        // All at once, into one layout.
        children.push(
            sandbox
                .command(&args)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        reports.push(report);
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let blobs = |folder: &str| -> Vec<(String, String)> {
        let all = result(&sandbox.path(folder));
        all.into_iter()
            .filter(|(name, _)| name != "index.json")
            .collect()
    };
    assert_eq!(blobs("out"), blobs("whole"));
    let names = |layout: &str| {
        let said = sandbox.ok(&["ls", layout]);
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(names("oci:out"), names("oci:whole"));
    let merge = [
        "migrate",
        "merge-reports",
        &reports[0],
        &reports[1],
        &reports[2],
        "--json",
    ];
    let merged: Value = serde_json::from_str(&sandbox.ok(&merge)).unwrap();
    assert_eq!(totals(&merged, "done"), 16);
    assert_eq!(merged["missing"], Value::Array(Vec::new()));
    let positions = merged["images"].as_array().unwrap().iter();
    let positions: Vec<u64> = positions
        .map(|image| image["position"].as_u64().unwrap())
        .collect();
    assert_eq!(positions, (0..16).collect::<Vec<u64>>());
    sandbox.fails(
        &["migrate", "merge-reports", &reports[0], &reports[2]],
        1,
        &["there is no report of the share 2/3"],
    );
}

#[test]
fn a_folder_of_everything_is_migrated_with_what_belongs_together() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("old/deep")).unwrap();
    let amd64 = image("example.com/both", "1", BASE, "file b \"amd64\"");
    let mut arm64 = image("example.com/both", "1", BASE, "file b \"arm64\"");
    arm64.head.arch = "arm64".into();
    let one_layer = |image: &ImageRecipe| {
        let mut image = image.clone();
        image.layers.truncate(1);
        image
    };
    for (file, image) in [
        ("old/a.aci", &amd64),
        ("old/deep/b.aci", &arm64),
        ("old/deep/copy", &amd64),
    ] {
        fs::write(
            sandbox.path(file),
            build::aci_bytes(&one_layer(image)).unwrap(),
        )
        .unwrap();
    }
    let saved = [image("example.com/saved", "1", BASE, "file s \"saved\"")];
    fs::write(
        sandbox.path("old/saved.tar"),
        docker::archive(&saved).unwrap(),
    )
    .unwrap();
    let older = [image("example.com/older", "1", BASE, "file o \"older\"")];
    fs::write(
        sandbox.path("old/older.tar"),
        docker::archive_v1(&older).unwrap(),
    )
    .unwrap();
    fs::write(sandbox.path("old/notes.txt"), b"not an image").unwrap();
    stores::rkt(
        &[one_layer(&image("example.com/rkt", "2", BASE, ""))],
        &sandbox.path("old/rkt"),
    )
    .unwrap();
    let output = sandbox.run(&["migrate", "old", "oci:out", "--report", "report.json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("left-out") && stderr.contains("the same bytes as"),
        "{stderr}"
    );
    let said = sandbox.ok(&["ls", "oci:out"]);
    let mut names: Vec<String> = said
        .lines()
        .map(|line| {
            line.split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "example.com/both:1 linux/amd64",
            "example.com/both:1 linux/arm64",
            "example.com/older:1 linux/amd64",
            "example.com/rkt:2 linux/amd64",
            "example.com/saved:1 linux/amd64",
        ]
    );
    sandbox.ok(&["diff", "old/older.tar", "oci:out:example.com/older:1"]);
    let said = sandbox.ok(&["migrate", "old", "oci:out"]);
    assert!(said.contains("5 images, 4 kept, 1 left out"), "{said}");
}

#[test]
fn a_registry_gets_every_image_under_a_prefix_and_each_blob_once() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 8);
    let registry = Registry::start();
    let destination = registry.locator("old");
    let args = [
        "migrate",
        "store",
        &destination,
        "--journal",
        "journal",
        "--jobs",
        "1",
    ];
    let said = sandbox.ok(&args);
    assert!(said.contains("8 images, 8 done"), "{said}");
    let uploads = |registry: &Registry| {
        let requests = registry.server.requests();
        let put = requests.iter().filter(|request| request.method == "PUT");
        put.filter(|request| request.target.contains("/blobs/uploads/"))
            .count()
    };
    // Two bases and eight layers of their own, compressed as they were, and eight configs: what
    // another repository has is mounted and not sent again.
    assert_eq!(uploads(&registry), 2 + 8 + 8);
    for i in 0..8 {
        let pushed = registry.locator(&format!("old/team/app{}:1.{i}", i % 4));
        let stored = format!("registry-storage:store:example.com/team/app{}:1.{i}", i % 4);
        assert_eq!(
            sandbox.ok(&["inspect", "--raw", &pushed]),
            sandbox.ok(&["inspect", "--raw", &stored])
        );
    }
    // Again: asked for, and not sent.
    let said = sandbox.ok(&args);
    assert!(said.contains("8 images, 8 kept"), "{said}");
    assert_eq!(uploads(&registry), 2 + 8 + 8);
    // A tag that was moved is set again.
    let other = {
        let mut stored = registry.stored();
        let key = ("old/team/app0".to_owned(), "1.0".to_owned());
        let moved = ("old/team/app0".to_owned(), "1.4".to_owned());
        let manifest = stored.manifests[&moved].clone();
        stored.manifests.insert(key.clone(), manifest);
        key
    };
    let said = sandbox.ok(&args);
    assert!(said.contains("8 images, 1 done, 7 kept"), "{said}");
    let raw = sandbox.ok(&[
        "inspect",
        "--raw",
        "registry-storage:store:example.com/team/app0:1.0",
    ]);
    assert_eq!(registry.stored().manifests[&other].1, raw.as_bytes());
    sandbox.fails(
        &["migrate", "store", &registry.locator("old:tag")],
        2,
        &["error[usage]", "a tag names one image"],
    );
}

#[test]
fn a_site_is_what_publish_makes_and_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 8);
    let args = ["migrate", "store", "aci:site/", "--site", "--image-tags"];
    let said = sandbox.ok(&args);
    assert!(said.contains("8 images, 8 done"), "{said}");
    sandbox.ok(&["publish", "store", "published", "--image-tags"]);
    let site = result(&sandbox.path("site"));
    assert_eq!(site, result(&sandbox.path("published")));
    let file = "site/aci/example.com/team/app1/imagetags.json";
    let labels = sandbox.ok(&["tags", "resolve", file, "1.5"]);
    assert!(labels.contains("dockerimageid"), "{labels}");
    // Files that are missing on the site are written again, without another conversion.
    fs::remove_file(sandbox.path(file)).unwrap();
    let said = sandbox.ok(&args);
    assert!(said.contains("8 images, 8 kept"), "{said}");
    assert_eq!(result(&sandbox.path("site")), site);
    sandbox.fails(
        &["migrate", "store", "aci:x/", "--image-tags"],
        2,
        &["error[usage]", "`--site`"],
    );
    sandbox.fails(
        &["migrate", "store", "oci:x", "--site"],
        2,
        &["error[usage]"],
    );
}

/// Runs a script in a mount namespace of its own; `None` where that is not allowed.
fn unshared(sandbox: &Sandbox, script: &str) -> Option<String> {
    let mut probe = std::process::Command::new("unshare");
    let allowed = probe
        .args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no mount namespace can be made here"
        );
        return None;
    }
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-euc", script, env!("CARGO_BIN_EXE_imgconv")])
        .current_dir(sandbox.folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("panicked at"), "{stderr}");
    Some(stderr.into_owned())
}

#[test]
fn d7_a_run_at_a_full_or_read_only_destination_ends_cleanly_and_continues() {
    let sandbox = Sandbox::new();
    storage(&sandbox, 16);
    sandbox.ok(&["migrate", "store", "oci:undisturbed"]);
    fs::create_dir(sandbox.path("disk")).unwrap();
    let script = "
        mount -t tmpfs -o size=100k none disk
        rc=0; \"$0\" migrate store oci:disk/out --ignore-space >/dev/null || rc=$?
        test $rc = 1
        test ! -e disk/out/index.json
        mount -o remount,size=20m disk
        mount -o remount,ro disk
        rc=0; \"$0\" migrate store oci:disk/out >/dev/null || rc=$?
        test $rc = 1
        mount -o remount,rw disk
        \"$0\" migrate store oci:disk/out >said
        cp -r disk/out out";
    if let Some(stderr) = unshared(&sandbox, script) {
        assert!(stderr.contains("No space left"), "{stderr}");
        assert!(stderr.contains("Read-only file system"), "{stderr}");
        let (out, undisturbed) = (sandbox.path("out"), sandbox.path("undisturbed"));
        assert_eq!(result(&out), result(&undisturbed));
        let said = fs::read_to_string(sandbox.path("said")).unwrap();
        assert!(said.contains("16 images"), "{said}");
    }
    // A destination that seems too small is refused first.
    let script = "
        mount -t tmpfs -o size=20k none disk
        rc=0; \"$0\" migrate store oci:disk/out || rc=$?
        test $rc = 1
        test ! -e disk/out";
    if let Some(stderr) = unshared(&sandbox, script) {
        assert!(stderr.contains("--ignore-space"), "{stderr}");
    }
}

#[test]
fn two_images_that_would_be_one_file_are_an_error_before_anything_is_written() {
    let sandbox = Sandbox::new();
    let both = [
        image("example.com/a-b", "1", BASE, "file x \"1\""),
        image("example.com/a/b", "1", BASE, "file x \"2\""),
    ];
    build::layout(&both, &sandbox.path("in")).unwrap();
    sandbox.fails(
        &["migrate", "in", "aci:out/"],
        1,
        &["error[ambiguous]", "example.com-a-b-1-linux-amd64.aci"],
    );
    sandbox.ok(&["migrate", "in", "aci:out/", "--rename", "/a-b:=/c:"]);
    sandbox.ok(&["migrate", "in", "docker-archive:saved/"]);
    assert_eq!(fs::read_dir(sandbox.path("saved")).unwrap().count(), 3);
}

#[test]
fn a_store_that_is_gone_or_empty_says_so() {
    let sandbox = Sandbox::new();
    sandbox.fails(
        &["migrate", "oci:nowhere", "oci:out"],
        1,
        &["error[missing]"],
    );
    fs::create_dir_all(sandbox.path("cas/cas")).unwrap();
    sandbox.fails(
        &["migrate", "rkt:cas", "oci:out"],
        1,
        &["error[missing]", "the place has no images"],
    );
    storage(&sandbox, 2);
    sandbox.fails(
        &["migrate", "store", "oci:store/out"],
        1,
        &["error[denied]"],
    );
}

#[test]
fn what_the_index_of_a_layout_says_of_itself_goes_along_or_is_told() {
    let sandbox = Sandbox::new();
    build::layout(&images(3), &sandbox.path("in")).unwrap();
    let index = sandbox.path("in/index.json");
    let text = fs::read_to_string(&index).unwrap();
    let said = r#"{"annotations":{"org.example.of":"all"},"#;
    fs::write(&index, text.replacen('{', said, 1)).unwrap();
    sandbox.ok(&["migrate", "in", "oci:out"]);
    let text = fs::read_to_string(sandbox.path("out/index.json")).unwrap();
    assert!(text.contains("org.example.of"), "{text}");
    for (destination, split) in [("oci:split", true), ("docker-archive:saved/", false)] {
        let mut args = vec!["migrate", "in", destination, "--report", "report.json"];
        args.extend(split.then_some("--split=repo"));
        sandbox.ok(&args);
        let told = report(&sandbox, "report.json");
        let losses = |i: usize| told["images"][i]["outcomes"][0]["losses"].to_string();
        let field = "index.annotations.org.example.of";
        assert!(losses(0).contains(field), "{destination}: {}", losses(0));
        assert!(!losses(1).contains(field), "{destination}: {}", losses(1));
    }
}

/// The archive names a layer by its member alone, and the journal records each layer that is made.
#[test]
fn a_layer_of_an_archive_that_images_share_is_made_once() {
    let sandbox = Sandbox::new();
    let saved = docker::archive(&images(12)).unwrap();
    fs::write(sandbox.path("saved.tar"), saved).unwrap();
    sandbox.ok(&["migrate", "docker-archive:saved.tar", "oci:out"]);
    let journal = fs::read_to_string(sandbox.path("out/.imgconv-migrate/journal.jsonl")).unwrap();
    let of = |kind: &str| journal.lines().filter(|line| line.contains(kind)).count();
    assert_eq!(of(r#" {"image":["#), 12);
    // Two bases, and a layer of each image.
    assert_eq!(of(r#" {"layer":["#), 2 + 12);
}

#[test]
fn quiet_keeps_the_errors() {
    let sandbox = Sandbox::new();
    sandbox.aci("store/good.aci", "example.com/good", "", "dir etc");
    fs::write(sandbox.path("store/bad.aci"), "no ACI").unwrap();
    let output = sandbox.run(&["migrate", "tree:store", "oci:out", "--quiet"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error[") && stderr.contains("bad.aci"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("warning") && !stderr.contains("hint: `--report"),
        "{stderr}"
    );
}
