//! Registries that speak the API v1 (robustness L19), through the commands.

use std::fs;

use imgconv_testkit::{ImageRecipe, registry_v1::RegistryV1};
use serde_json::Value;

use crate::sandbox::Sandbox;

/// A registry with the tags 1.0 and 2.0 of `example.com/app`, whose storage is the folder `storage`.
fn registry(sandbox: &Sandbox) -> (RegistryV1, String) {
    let folder = sandbox.path("storage");
    let (registry, _) = RegistryV1::of(&ImageRecipe::samples(false), &folder).unwrap();
    let place = registry.locator("example.com/app");
    (registry, place)
}

#[test]
fn images_are_listed_inspected_verified_and_converted() {
    let sandbox = Sandbox::new();
    let (registry, place) = registry(&sandbox);
    let host = registry.server.authority();
    let said: Value = serde_json::from_str(&sandbox.ok(&["ls", &place, "--json"])).unwrap();
    let images = said["images"].as_array().unwrap();
    let names: Vec<&str> = images.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(
        names,
        ["1.0", "2.0"].map(|tag| format!("{host}/example.com/app:{tag}"))
    );
    let one = format!("{place}:2.0");
    assert!(sandbox.ok(&["inspect", &one]).contains("amd64"));
    sandbox.ok(&["verify", &one]);
    // The storage of the same registry holds the same image.
    sandbox.ok(&["convert", &one, "oci:served"]);
    let stored = "registry-storage:storage:example.com/app:2.0";
    sandbox.ok(&["convert", stored, "oci:stored"]);
    sandbox.ok(&["diff", "served", "stored"]);
    assert!(
        fs::read_dir(sandbox.path("served/blobs/sha256"))
            .unwrap()
            .all(|file| sandbox
                .path("stored/blobs/sha256")
                .join(file.unwrap().file_name())
                .is_file())
    );
    sandbox.ok(&["convert", &one, "app.aci"]);
}

#[test]
fn migrate_copies_every_tag() {
    let sandbox = Sandbox::new();
    let (registry, place) = registry(&sandbox);
    let host = registry.server.authority();
    let args = ["migrate", &place, "oci:all", "--report", "report.json"];
    let said = sandbox.ok(&args);
    assert!(said.contains("2 images"), "{said}");
    let report: Value =
        serde_json::from_slice(&fs::read(sandbox.path("report.json")).unwrap()).unwrap();
    let sources: Vec<&str> = report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["source"].as_str().unwrap())
        .collect();
    for tag in ["1.0", "2.0"] {
        let source = format!("dockerv1://{host}/example.com/app:{tag}");
        assert!(sources.contains(&&*source), "{sources:?}");
    }
    assert_eq!(sandbox.ok(&["ls", "all"]).lines().count(), 2);
    sandbox.ok(&["verify", "all"]);
}

#[test]
fn l19g_a_whole_host_and_a_destination_are_refused() {
    let sandbox = Sandbox::new();
    let (registry, place) = registry(&sandbox);
    let host = format!("dockerv1://{}", registry.server.authority());
    for args in [
        ["ls", &host].as_slice(),
        &["migrate", &host, "oci:all"],
        &["convert", &host, "oci:all"],
    ] {
        let output = sandbox.run(args);
        assert_ne!(output.status.code(), Some(0));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/v1/search"), "{said}");
    }
    let stored = "registry-storage:storage:example.com/app:2.0";
    let output = sandbox.run(&["convert", stored, &place]);
    assert_ne!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("dockerv1"), "{said}");
    assert!(registry.server.requests().is_empty());
}

#[test]
fn l19e_a_wrong_checksum_leaves_no_output() {
    let sandbox = Sandbox::new();
    let (_registry, place) = registry(&sandbox);
    let images = sandbox.path("storage/images");
    for image in fs::read_dir(images).unwrap() {
        let sum = format!("sha256:{}", "0".repeat(64));
        fs::write(image.unwrap().path().join("_checksum"), sum).unwrap();
    }
    let one = format!("{place}:1.0");
    for args in [["convert", &one, "oci:out"].as_slice(), &["verify", &one]] {
        let output = sandbox.run(args);
        assert_eq!(output.status.code(), Some(4));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("digest of json and layer"), "{said}");
    }
    assert!(!sandbox.path("out").exists());
}
