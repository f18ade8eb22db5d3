//! An image with several originals: which one is the newest, and what comes back if its record is damaged.

use std::{fs, path::PathBuf};

use serde_json::Value;

use imgconv_testkit::registry::Registry;

use crate::{
    docker_reversal::old,
    records::{both, index, store, warnings},
    reversal::{app, document, record},
    sandbox::Sandbox,
};

/// The records of a layout in the order of its index, the newest last.
fn records(sandbox: &Sandbox, layout: &str) -> Vec<PathBuf> {
    let folder = sandbox.path(layout);
    let read =
        |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        folder
            .join("blobs")
            .join(digest.as_str().unwrap().replace(':', "/"))
    };
    let index = read(folder.join("index.json"));
    let documents = index["manifests"].as_array().unwrap().iter();
    let artifacts = documents
        .map(|entry| read(blob(&entry["digest"])))
        .filter(|document| document["artifactType"].is_string());
    artifacts
        .map(|artifact| blob(&artifact["layers"][0]["digest"]))
        .collect()
}

/// Converts two originals that differ in their ends alone, damages the newer record, and goes back: the older original
/// comes with a warning, and not where the user wants nothing but the exact one.
fn damaged(sandbox: &Sandbox, command: &str, first: &str, to: &str) {
    let bytes = fs::read(sandbox.path(first)).unwrap();
    let second = [&bytes[..], &[0; 512]].concat();
    fs::write(sandbox.path("second"), &second).unwrap();
    for file in [first, "second"] {
        sandbox.ok(&[command, "--reversible", file, "out"]);
    }
    let destination = format!("{to}:back");
    let back = ["convert", "out", &destination, "--overwrite"];
    let output = sandbox.run(&back);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("warning[several-records]"), "{stderr}");
    assert!(fs::read(sandbox.path("back")).unwrap() == second);

    let records = records(sandbox, "out");
    assert_eq!(records.len(), 2);
    let good = fs::read(&records[1]).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 20;
    bad[last] ^= 1;
    for damage in [Some(bad), None] {
        fs::remove_file(&records[1]).unwrap();
        if let Some(bytes) = damage {
            fs::write(&records[1], bytes).unwrap();
        }
        for more in [&[][..], &["--dry-run"]] {
            let output = sandbox.run(&[&back[..], more].concat());
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{stderr}");
            assert!(stderr.contains("warning[bad-record]"), "{more:?}: {stderr}");
            assert!(stderr.contains("converted earlier"), "{more:?}: {stderr}");
            sandbox.fails(&[&back[..], more, &["--exact"]].concat(), 4, &["record"]);
            sandbox.fails(
                &[&back[..], more, &["--strict"]].concat(),
                3,
                &["`--strict` refuses"],
            );
        }
        assert!(fs::read(sandbox.path("back")).unwrap() == bytes);
        fs::write(&records[1], &good).unwrap();
    }
    // A damaged record of an older original changes nothing.
    fs::remove_file(&records[0]).unwrap();
    sandbox.ok(&[&back[..], &["--exact"]].concat());
    assert!(fs::read(sandbox.path("back")).unwrap() == second);
}

/// H9w.
#[test]
fn an_older_aci_is_told() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["convert", "app.aci", "aci:plain.aci", "--compression=none"]);
    damaged(&sandbox, "aci-to-oci", "plain.aci", "aci");
}

/// H9w.
#[test]
fn an_older_archive_is_told() {
    let sandbox = Sandbox::new();
    old(&sandbox);
    damaged(&sandbox, "docker-to-oci", "old.tar", "docker-archive");
}

/// Two ACIs with the same manifest and files, `a.aci` and `b.aci`.
fn two(sandbox: &Sandbox) {
    app(sandbox);
    sandbox.ok(&["convert", "app.aci", "aci:a.aci", "--compression=none"]);
    longer(sandbox, "a.aci", "b.aci");
}

/// Writes the same ACI with a longer end.
fn longer(sandbox: &Sandbox, from: &str, to: &str) {
    let bytes = fs::read(sandbox.path(from)).unwrap();
    fs::write(sandbox.path(to), [&bytes[..], &[0; 512]].concat()).unwrap();
}

/// Asserts that a place gives back an ACI.
fn gives(sandbox: &Sandbox, place: &str, file: &str) {
    sandbox.ok(&["convert", place, "aci:back", "--exact", "--overwrite"]);
    let same = fs::read(sandbox.path("back")).unwrap() == fs::read(sandbox.path(file)).unwrap();
    assert!(same, "{place}: not {file}");
}

/// H9x.
#[test]
fn an_original_that_is_converted_again_is_the_newest() {
    let sandbox = Sandbox::new();
    two(&sandbox);
    sandbox.aci("other.aci", "example.com/other", "", "file a \"b\"");
    for file in ["a.aci", "other.aci", "b.aci"] {
        sandbox.ok(&["aci-to-oci", "--reversible", file, "out"]);
    }
    gives(&sandbox, "oci:out:1.0", "b.aci");
    let order = |layout: &str| -> Vec<String> {
        let index = index(&sandbox, layout);
        let listed = index["manifests"].as_array().unwrap().iter();
        listed.map(|entry| entry["digest"].to_string()).collect()
    };
    let before = order("out");
    sandbox.ok(&["aci-to-oci", "--reversible", "a.aci", "out"]);
    gives(&sandbox, "oci:out:1.0", "a.aci");
    let after = order("out");
    // Only the two records of this image have another place.
    let changed: Vec<usize> = (0..before.len())
        .filter(|i| before[*i] != after[*i])
        .collect();
    assert_eq!(changed.len(), 2, "{before:?} {after:?}");
    let text = fs::read(sandbox.path("out/index.json")).unwrap();
    sandbox.ok(&["aci-to-oci", "--reversible", "a.aci", "out"]);
    sandbox.ok(&["aci-to-oci", "--reversible", "other.aci", "out"]);
    assert!(fs::read(sandbox.path("out/index.json")).unwrap() == text);

    // In one run, and to an archive.
    let all = ["aci-to-oci", "--reversible", "a.aci", "b.aci", "a.aci"];
    sandbox.ok(&[&all[..], &["run"]].concat());
    gives(&sandbox, "run", "a.aci");
    sandbox.ok(&["convert", "out", "oci-archive:out.tar"]);
    gives(&sandbox, "oci-archive:out.tar:1.0", "a.aci");

    // A migration of a store that was migrated before.
    for (store, file) in [("one", "a.aci"), ("two", "b.aci")] {
        fs::create_dir(sandbox.path(store)).unwrap();
        fs::copy(sandbox.path(file), sandbox.path(store).join("app.aci")).unwrap();
    }
    for store in ["one", "two", "one", "one", "two"] {
        let from = format!("tree:{store}");
        sandbox.ok(&["migrate", &from, "oci:moved", "--reversible"]);
        gives(&sandbox, "oci:moved", &format!("{store}/app.aci"));
    }
}

/// H9x.
#[test]
fn an_original_that_is_pushed_again_is_the_newest() {
    let sandbox = Sandbox::new();
    two(&sandbox);
    let registry = Registry::start();
    registry.stored().referrers = false;
    let place = registry.locator("team/app:1.0");
    let storage = sandbox.path("storage");
    for file in ["a.aci", "b.aci", "a.aci", "b.aci"] {
        sandbox.ok(&["convert", file, &place, "--reversible"]);
        gives(&sandbox, &place, file);
        // The storage also has the older lists, which no tag names.
        store(&registry.stored(), &storage);
        gives(&sandbox, "registry-storage:storage", file);
        gives(&sandbox, "registry-storage:storage:team/app:1.0", file);
        fs::remove_dir_all(&storage).unwrap();
    }
    let requests = registry.server.requests().len();
    sandbox.ok(&["convert", "b.aci", &place, "--reversible"]);
    let all = registry.server.requests();
    let puts = all[requests..].iter().filter(|it| it.method == "PUT");
    let lists = puts.filter(|it| it.path().contains("/manifests/sha256-"));
    assert_eq!(lists.count(), 0);
}

/// H9y.
#[test]
fn a_list_without_its_tag_is_found() {
    let sandbox = Sandbox::new();
    two(&sandbox);
    let registry = Registry::start();
    registry.stored().referrers = false;
    let place = registry.locator("team/app:1.0");
    sandbox.ok(&["convert", "a.aci", &place, "--reversible"]);
    registry
        .stored()
        .manifests
        .retain(|(_, name), _| !name.starts_with("sha256-"));
    store(&registry.stored(), &sandbox.path("storage"));
    gives(&sandbox, "registry-storage:storage", "a.aci");
    gives(&sandbox, "registry-storage:storage:team/app:1.0", "a.aci");
}

/// H9z.
#[test]
fn a_named_record_is_chosen_for_its_own_image() {
    let sandbox = Sandbox::new();
    both(&sandbox);
    sandbox.ok(&["convert", "0.aci", "aci:plain.aci", "--compression=none"]);
    longer(&sandbox, "plain.aci", "longer.aci");
    let images = ["aci-to-oci", "--reversible", "longer.aci", "1.aci", "all"];
    sandbox.ok(&images);
    let back = |record: &str| {
        let _ = fs::remove_dir_all(sandbox.path("back"));
        let args = ["convert", "all", "aci:back/", "--exact", "--record", record];
        let told = document(&sandbox, &args);
        let ids = told["images"].as_array().unwrap().iter();
        let ids: Vec<Value> = ids.map(|image| image["image_id"].clone()).collect();
        (ids, warnings(&told))
    };
    let (old, quiet) = back("0.aci");
    let (new, _) = back("longer.aci");
    assert!(quiet.is_empty(), "{quiet:?}");
    assert_ne!(old[0], new[0]);
    assert_eq!(old[1], new[1]);
    // The record of the other platform leaves the first one its newest ACI.
    let (other, told) = back("1.aci");
    assert_eq!((other, &*told), (new, &["several-records".to_owned()][..]));

    let none = ["convert", "all", "aci:none/", "--record", "none.aci"];
    sandbox.fails(&none, 1, &["none.aci", "0.aci", "longer.aci", "1.aci"]);
    sandbox.ok(&["aci-to-oci", "0.aci", "plain"]);
    let none = ["convert", "plain", "aci:none/", "--record", "0.aci"];
    sandbox.fails(&none, 1, &["error[missing]", "0.aci"]);
    let other = [
        "convert",
        "all",
        "aci:none/",
        "--record=0.aci",
        "--clamp-mtime=4",
    ];
    sandbox.fails(&other, 2, &["--record", "--clamp-mtime"]);
    assert!(!sandbox.path("none").exists());
}

/// H10a.
#[test]
fn a_resumed_migration_restores_what_was_made_anew() {
    let sandbox = Sandbox::new();
    app(&sandbox);
    sandbox.ok(&["aci-to-oci", "--reversible", "app.aci", "out"]);
    let path = record(&sandbox, "out");
    let good = fs::read(&path).unwrap();
    for (to, damage) in [("aci:damaged/", Some("junk")), ("aci:missing/", None)] {
        fs::remove_file(&path).unwrap();
        if let Some(text) = damage {
            fs::write(&path, text).unwrap();
        }
        let run = || sandbox.ok(&["migrate", "out", to, "--json"]);
        for _ in 0..2 {
            let told = run();
            assert!(told.contains("\"bad-record\""), "{told}");
        }
        fs::write(&path, &good).unwrap();
        let told = run();
        assert!(!told.contains("\"bad-record\""), "{told}");
        assert!(told.contains("\"done\": 1"), "{told}");
        let folder = to.trim_start_matches("aci:");
        let aci = format!("{folder}example.com-app-1.0-linux-amd64.aci");
        let ids = ["app.aci", &*aci].map(|file| crate::reversal::image_id(&sandbox.path(file)));
        assert_eq!(ids[0], ids[1]);
        let told = run();
        assert!(told.contains("\"kept\": 1"), "{told}");
    }
}
