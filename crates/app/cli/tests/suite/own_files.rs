//! Files that a migration may replace, and files of the user that options and variables name.

use std::fs;

use imgconv_testkit::build;
use serde_json::Value;

use crate::{
    migrate::images,
    sandbox::{Sandbox, labels},
};

#[test]
fn n15_a_migration_replaces_its_own_files_only() {
    for (to, file) in [("docker-archive:out/", ".tar"), ("aci:out/", ".aci")] {
        let sandbox = Sandbox::new();
        build::layout(&images(2), &sandbox.path("store")).unwrap();
        let migrate = ["migrate", "oci:store", to];
        sandbox.ok(&migrate);
        let names = fs::read_dir(sandbox.path("out")).unwrap();
        let names = names.map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = names
            .filter(|path| path.to_string_lossy().ends_with(file))
            .collect();
        names.sort();
        assert_eq!(names.len(), 2, "{to}");
        fs::remove_dir_all(sandbox.path("out")).unwrap();
        fs::create_dir(sandbox.path("out")).unwrap();
        fs::write(&names[0], "mine").unwrap();
        for _ in 0..2 {
            let output = sandbox.run(&migrate);
            assert_eq!(output.status.code(), Some(1), "{to}");
            let told = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            assert!(told.contains("the file is there already"), "{told}");
            assert_eq!(fs::read(&names[0]).unwrap(), b"mine", "{to}");
        }
        // A file of the migration that was damaged is made again.
        fs::write(&names[1], "damaged").unwrap();
        fs::remove_file(&names[0]).unwrap();
        sandbox.ok(&migrate);
        assert!(
            names
                .iter()
                .all(|path| fs::metadata(path).unwrap().len() > 512),
            "{to}"
        );
        // So is a file whose record a killed run did not write.
        let journal = sandbox.path("out/.imgconv-migrate/journal.jsonl");
        let text = fs::read_to_string(&journal).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("{\"file\":"))
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        fs::write(&journal, lines.join("\n") + "\n").unwrap();
        sandbox.ok(&migrate);
    }
}

#[test]
fn a_named_journal_makes_no_other_file_its_own() {
    let sandbox = Sandbox::new();
    build::layout(&images(1), &sandbox.path("store")).unwrap();
    let migrate =
        |to: &str| ["migrate", "oci:store", to, "--journal", "journal"].map(str::to_owned);
    let run = |to: &str| {
        let words = migrate(to);
        sandbox.run(&words.each_ref().map(|word| &**word))
    };
    assert!(run("aci:a/").status.success());
    let file = fs::read_dir(sandbox.path("a"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    fs::create_dir(sandbox.path("b")).unwrap();
    fs::write(sandbox.path("b").join(&file), "mine").unwrap();
    for _ in 0..2 {
        assert_eq!(run("aci:b/").status.code(), Some(1));
        assert_eq!(fs::read(sandbox.path("b").join(&file)).unwrap(), b"mine");
    }
    assert!(run("aci:a/").status.success());
}

#[test]
fn a_migration_into_a_layout_tells_which_names_moved() {
    let sandbox = Sandbox::new();
    build::layout(&images(1), &sandbox.path("store")).unwrap();
    sandbox.ok(&["migrate", "oci:store", "oci:out", "--journal", "one"]);
    fs::remove_dir_all(sandbox.path("store")).unwrap();
    let mut other = images(1);
    other[0].layers.pop();
    build::layout(&other, &sandbox.path("store")).unwrap();
    let output = sandbox.run(&["migrate", "oci:store", "oci:out", "--journal", "two"]);
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("moved") && told.contains("the index no longer lists it"),
        "{told}"
    );
}

#[test]
fn options_of_a_site_need_a_site() {
    let sandbox = Sandbox::new();
    build::layout(&images(1), &sandbox.path("store")).unwrap();
    for option in ["--url", "--pubkeys", "--pgp-key"] {
        let migrate = ["migrate", "oci:store", "aci:out/", option, "x"];
        sandbox.fails(&migrate, 2, &["belong to a site", "`--site`"]);
    }
}

#[test]
fn the_file_of_digests_is_that_of_a_real_run() {
    let sandbox = Sandbox::new();
    build::layout(&images(2), &sandbox.path("store")).unwrap();
    let migrate = ["migrate", "oci:store", "oci:out", "--digestfile", "digests"];
    sandbox.ok(&[&migrate[..], &["--dry-run"]].concat());
    assert!(!sandbox.path("digests").exists());
    sandbox.ok(&migrate);
    let digests = fs::read_to_string(sandbox.path("digests")).unwrap();
    let listed = sandbox.ok(&["ls", "out"]);
    assert_eq!(digests.lines().count(), 2);
    assert!(
        digests.lines().all(|digest| listed.contains(digest)),
        "{digests}{listed}"
    );
    let convert = [
        "convert",
        "oci:store",
        "oci:two",
        "--squash",
        "--digestfile",
        "digests",
    ];
    sandbox.ok(&[&convert[..], &["--dry-run"]].concat());
    assert_eq!(
        fs::read_to_string(sandbox.path("digests")).unwrap(),
        digests
    );
}

#[test]
fn the_digest_of_an_index_is_told() {
    let sandbox = Sandbox::new();
    for arch in ["amd64", "aarch64"] {
        let file = format!("{arch}.aci");
        sandbox.aci(&file, "example.com/a", &labels("1.0", arch), "file a \"1\"");
    }
    let convert = [
        "aci-to-oci",
        "amd64.aci",
        "aarch64.aci",
        "out",
        "--digestfile",
        "digests",
    ];
    let result = sandbox.ok(&[&convert[..], &["--json"]].concat());
    let result: Value = serde_json::from_str(&result).unwrap();
    let index = fs::read(sandbox.path("out/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let images = result["images"].as_array().unwrap();
    let mut expected = vec![index["manifests"][0]["digest"].as_str().unwrap()];
    for image in images {
        assert_eq!(image["index"], expected[0]);
        expected.push(image["digest"].as_str().unwrap());
    }
    let digests = fs::read_to_string(sandbox.path("digests")).unwrap();
    assert_eq!(digests.lines().collect::<Vec<_>>(), expected);
    let migrated = sandbox.ok(&["migrate", "oci:out", "oci:moved", "--json"]);
    let migrated: Value = serde_json::from_str(&migrated).unwrap();
    for image in migrated["images"][0]["outcomes"].as_array().unwrap() {
        assert_eq!(image["index"], expected[0]);
    }
    let one = sandbox.ok(&["aci-to-oci", "amd64.aci", "one", "--json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["images"][0].get("index"), None);
}

#[test]
fn a_file_of_credentials_that_is_missing_is_an_error() {
    let sandbox = Sandbox::new();
    let args = [
        "inspect",
        "docker://127.0.0.1:1/a:1",
        "--authfile",
        "absent.json",
    ];
    sandbox.fails(&args, 1, &["--authfile absent.json", "No such file"]);
}

#[test]
fn an_empty_variable_counts_as_one_that_is_not_set() {
    let sandbox = Sandbox::new();
    build::layout(&images(1), &sandbox.path("store")).unwrap();
    for variable in [
        "TMPDIR",
        "REGISTRY_AUTH_FILE",
        "CONTAINERS_REGISTRIES_CONF",
        "SOURCE_DATE_EPOCH",
    ] {
        let args = ["ls", "oci:store"];
        let output = sandbox.output(sandbox.command(&args).env(variable, ""), &args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{variable}: {told}");
    }
}
