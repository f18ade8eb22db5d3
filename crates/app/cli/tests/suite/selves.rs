//! K42b: what former releases wrote (`testdata/selves`, made by `cargo xtask selves`): the program of today reads it,
//! or names its version. Each folder there is one version.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::sandbox::Sandbox;

/// The versions, each with a sandbox that holds a copy of its files.
fn selves() -> Vec<(String, Sandbox)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/selves");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let sandbox = Sandbox::new();
        copy(&entry.path(), sandbox.folder.path());
        found.push((entry.file_name().into_string().unwrap(), sandbox));
    }
    assert!(!found.is_empty());
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => {
                fs::copy(entry.path(), &target).unwrap();
                // Git keeps no other modes than these two.
                fs::set_permissions(target, fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
    }
}

/// Every file below a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

fn is_current(version: &str) -> bool {
    version == env!("CARGO_PKG_VERSION")
}

#[test]
fn records_of_former_releases_give_back_what_was_recorded() {
    for (version, sandbox) in selves() {
        sandbox.ok(&["verify", "oci:reversible"]);
        sandbox.ok(&["oci-to-aci", "reversible", "back.aci", "--exact"]);
        sandbox.ok(&["verify", "oci:reversible-archive"]);
        sandbox.ok(&["oci-to-docker", "reversible-archive", "back.tar", "--exact"]);
        let same = |a: &str, b: &str| {
            fs::read(sandbox.path(a)).unwrap() == fs::read(sandbox.path(b)).unwrap()
        };
        assert!(same("back.aci", "inputs/app.aci"), "{version}");
        assert!(same("back.tar", "inputs/old.tar"), "{version}");
    }
}

/// A migration that a former release began is continued: with its own version nothing that is done is done
/// again, and another version says that it begins anew.
#[test]
fn journals_of_former_releases_are_continued_or_named() {
    for (version, sandbox) in selves() {
        let all = migrate(&sandbox, "source", "whole", "no-journal");
        let total = all["images"].as_array().unwrap().len();
        for (journal, done) in [
            ("journal", total),
            ("journal-half", 0),
            ("journal-failed", 0),
        ] {
            let text =
                fs::read_to_string(sandbox.path(&format!("{journal}/journal.jsonl"))).unwrap();
            let recorded = text
                .lines()
                .filter(|line| line.contains(r#"{"image":"#))
                .count();
            assert!(recorded >= done, "{journal}");
            // The journal is about `migrated`, and nothing of it is damaged.
            let report = migrate(&sandbox, "source", "migrated", journal);
            let kept = report["images"].as_array().unwrap().iter();
            let kept = kept.filter(|image| image["status"] == "kept").count();
            let warnings = report["warnings"].to_string();
            match is_current(&version) {
                true if journal == "journal-failed" => assert_eq!(warnings, "null", "{journal}"),
                true => assert_eq!((kept, &*warnings), (recorded, "null"), "{journal}"),
                false => {
                    assert_eq!(kept, 0, "{version}: {journal}");
                    let named = format!("imgconv {version} converted");
                    assert!(recorded == 0 || warnings.contains(&named), "{warnings}");
                }
            }
            assert_eq!(report["images"].as_array().unwrap().len(), total);
            sandbox.ok(&["verify", "oci:migrated"]);
            if is_current(&version) {
                assert_eq!(
                    fs::read(sandbox.path("migrated/index.json")).unwrap(),
                    fs::read(sandbox.path("whole/index.json")).unwrap()
                );
            }
        }
    }
}

/// Runs a migration and returns its report.
fn migrate(sandbox: &Sandbox, from: &str, to: &str, journal: &str) -> Value {
    let (from, to) = (format!("oci:{from}"), format!("oci:{to}"));
    let text = sandbox.ok(&["migrate", &from, &to, "--journal", journal, "--json"]);
    serde_json::from_str(&text).unwrap()
}

/// Lines of a newer and of the first version are named with the version that is read; the images of such lines
/// are made once more.
#[test]
fn a_journal_of_a_version_that_is_not_read_is_named() {
    for (_, sandbox) in selves() {
        let path = sandbox.path("journal/journal.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        let newer = text.replace("2:", "3:");
        // Version 1 had no checksums.
        let first: String = text
            .lines()
            .map(|line| format!("{}\n", line.split_once(' ').unwrap().1))
            .collect();
        for (number, text) in [("3", newer), ("1", first)] {
            fs::write(&path, text).unwrap();
            let report = migrate(&sandbox, "source", "migrated", "journal");
            let warnings = report["warnings"].to_string();
            let said = format!("{lines} lines of the journal have version {number}");
            for part in [&*said, "reads version 2"] {
                assert!(warnings.contains(part), "{warnings}");
            }
            let images = report["images"].as_array().unwrap();
            assert!(images.iter().all(|image| image["status"] == "done"));
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn reports_of_former_releases_are_read() {
    for (_, sandbox) in selves() {
        for report in ["report.json", "failed.json", "json/merged.json"] {
            sandbox.ok(&[
                "report",
                report,
                &format!("{}.html", report.replace('/', "-")),
            ]);
        }
        let merge = [
            "migrate",
            "merge-reports",
            "share-1.json",
            "share-2.json",
            "--json",
        ];
        let merged: Value = serde_json::from_str(&sandbox.ok(&merge)).unwrap();
        let old = fs::read(sandbox.path("json/merged.json")).unwrap();
        let old: Value = serde_json::from_slice(&old).unwrap();
        let images = |report: &Value| -> Vec<[Value; 3]> {
            let images = report["images"].as_array().unwrap().iter();
            images
                .map(|image| ["source", "digest", "status"].map(|it| image[it].clone()))
                .collect()
        };
        assert_eq!(images(&merged), images(&old));
        // A report from before there were versions has the members of version 1.
        let text = fs::read_to_string(sandbox.path("report.json")).unwrap();
        let before = text.replacen("\"version\":1,", "", 1);
        let before = before.replacen("\"version\": 1,", "", 1);
        assert_ne!(before, text);
        fs::write(sandbox.path("before.json"), before).unwrap();
        sandbox.ok(&["report", "before.json", "before.html"]);
    }
}

#[test]
fn a_site_of_a_former_release_is_read_and_published_again() {
    for (version, sandbox) in selves() {
        let mut tags = 0;
        for path in files(&sandbox.path("site")) {
            let path = path.to_str().unwrap();
            if path.ends_with("imagetags.json") {
                tags += 1;
                sandbox.ok(&["tags", "validate", path]);
                assert!(!sandbox.ok(&["tags", "list", path]).is_empty());
            } else if path.ends_with(".aci") {
                sandbox.ok(&["verify", path]);
            }
        }
        assert!(tags > 0, "{version}");
        let state = || -> Vec<(PathBuf, Vec<u8>)> {
            let files = files(&sandbox.path("site")).into_iter();
            files
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .collect()
        };
        let before = state();
        sandbox.ok(&[
            "publish",
            "oci:source",
            "site/",
            "--host",
            "example.com",
            "--image-tags",
        ]);
        if is_current(&version) {
            assert!(state() == before);
        }
    }
}

/// A document has the version of its release, and names it where the reader looks first.
#[test]
fn documents_of_former_releases_have_versions() {
    for (version, sandbox) in selves() {
        let documents = files(&sandbox.path("json"));
        assert!(documents.len() >= 9, "{version}");
        for path in documents {
            let document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(document["version"], 1, "{version}: {}", path.display());
        }
    }
}

/// The output of a former release for the corpus. A release whose version is still today's gives the same bytes;
/// for others, CHANGELOG.md names each case whose bytes changed.
#[test]
fn the_output_of_former_releases_is_that_of_today_or_its_change_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let read = |path: PathBuf| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .filter(|line| line.starts_with('"'))
            .map(str::to_owned)
            .collect()
    };
    let today = read(root.join("testdata/digests.toml"));
    let told = fs::read_to_string(root.join("CHANGELOG.md")).unwrap();
    for (version, sandbox) in selves() {
        for line in read(sandbox.path("digests.toml")) {
            let case = line.split('"').nth(1).unwrap();
            let same = today.contains(&line);
            assert!(same || !is_current(&version), "{version}: {case}");
            assert!(
                same || told.contains(case),
                "{version}: CHANGELOG.md does not name {case}"
            );
        }
    }
}
