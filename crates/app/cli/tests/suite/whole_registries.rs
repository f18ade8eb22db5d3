//! Rows L17a to L17d: `ls` and `migrate` read every repository of a registry.

use std::fs;

use crate::sandbox::Sandbox;
use imgconv_testkit::{build, registry::Registry, server::Reply};
use serde_json::Value;

/// A registry with three repositories, one of which can't be listed.
fn registry() -> (Registry, String) {
    let registry = Registry::start_with(None, |request, _| match request.path() {
        "/v2/locked/tags/list" => Some(Reply::status(403)),
        _ => None,
    });
    for (repository, tag) in [
        ("team/a", "1"),
        ("team/a", "2"),
        ("b", "1"),
        ("locked", "1"),
    ] {
        let layer = format!("{repository}:{tag}");
        let layer = build::layer(&format!("file own \"{layer}\""));
        registry.stored().image(repository, tag, &layer);
    }
    let place = registry.locator("");
    (registry, place)
}

#[test]
fn l17a_ls_lists_every_repository() {
    let sandbox = Sandbox::new();
    let (registry, place) = registry();
    let host = registry.server.authority();
    let output = sandbox.run(&["ls", &place, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let images = said["images"].as_array().unwrap();
    let names: Vec<&str> = images.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(
        names,
        ["b:1", "team/a:1", "team/a:2"].map(|name| format!("{host}/{name}"))
    );
    let unreadable = images
        .iter()
        .find(|it| it["format"] == "unreadable")
        .unwrap();
    let error = unreadable["error"].as_str().unwrap();
    assert!(error.contains("/locked"), "{error}");
}

#[test]
fn l17a_migrate_copies_every_repository_and_continues() {
    let sandbox = Sandbox::new();
    let (registry, place) = registry();
    let host = registry.server.authority();
    // The repository that can't be listed fails alone.
    let args = ["migrate", &place, "oci:all", "--report", "report.json"];
    let output = sandbox.run(&args);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/locked"));
    let report: Value =
        serde_json::from_slice(&fs::read(sandbox.path("report.json")).unwrap()).unwrap();
    let sources: Vec<&str> = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["source"].as_str().unwrap())
        .collect();
    for source in ["b:1", "team/a:1", "team/a:2", "locked"] {
        let source = format!("docker://{host}/{source}");
        assert!(sources.contains(&&*source), "{sources:?}");
    }
    let only = ["migrate", &place, "oci:all", "--exclude", "*/locked"];
    let said = sandbox.ok(&only);
    assert!(said.contains("3 images, 3 kept"), "{said}");
    let listed = sandbox.ok(&["ls", "all"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    sandbox.ok(&["verify", "all"]);
    // Images that are not wanted are not asked for.
    let count = registry.server.requests().len();
    let dry = [
        "migrate",
        &place,
        "oci:dry",
        "--dry-run",
        "--only",
        "*/team/*",
    ];
    sandbox.ok(&dry);
    assert!(!sandbox.path("dry").exists());
    let asked = registry.server.requests().split_off(count);
    assert!(
        asked
            .iter()
            .all(|it| !it.path().starts_with("/v2/b/manifests"))
    );
    // Shares of one plan are disjoint.
    let mut done = 0;
    for share in ["1/2", "2/2"] {
        let exclude = ["--exclude", "*/locked", "--shard", share];
        let args = ["migrate", &place, "docker-archive:shares/", "--json"];
        let said: Value =
            serde_json::from_str(&sandbox.ok(&[&args[..], &exclude[..]].concat())).unwrap();
        done += said["images"].as_array().unwrap().len();
    }
    assert_eq!(done, 3);
}

#[test]
fn l17d_a_registry_that_refuses_names_the_other_ways() {
    let registry = Registry::start_with(None, |request, _| {
        (request.path() == "/v2/_catalog").then(|| Reply::status(404))
    });
    let sandbox = Sandbox::new();
    for args in [
        &["ls", &registry.locator("")][..],
        &["migrate", &registry.locator(""), "oci:o"],
    ] {
        let texts = ["does not list its repositories", "`registry-storage:PATH`"];
        sandbox.fails(args, 1, &texts);
    }
    assert!(!sandbox.path("o").exists());
}

#[test]
fn l17d_no_other_command_asks_a_registry_without_a_repository() {
    let (registry, place) = registry();
    let sandbox = Sandbox::new();
    for args in [
        &["inspect", &place][..],
        &["verify", &place],
        &["unpack", &place, "o"],
        &["convert", &place, "oci:o"],
        &["convert", &place, "aci:o/", "--image-tags"],
        &["publish", &place, "o"],
        &["tags", "export", &place],
    ] {
        sandbox.fails(args, 1, &["names no repository"]);
    }
    assert_eq!(registry.server.requests().len(), 0);
}
