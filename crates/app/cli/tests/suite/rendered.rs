//! ACIs that only a rendering gives all of their files: dependencies and path whitelists, the signatures of
//! dependencies, and what `publish` does with ACIs that an option changes.

use std::fs;

use imgconv_testkit::dump;
use serde_json::Value;

use crate::sandbox::{LABELS, Sandbox, labels};

fn key(name: &str) -> String {
    format!(
        "{}/../../core/openpgp/tests/data/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// An ACI `top.aci` that depends on `deps/base.aci`.
fn stacked() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.aci(
        "deps/base.aci",
        "example.com/base",
        LABELS,
        "file base \"1\"",
    );
    let dependency = r#","dependencies":[{"imageName":"example.com/base"}]"#;
    sandbox.aci(
        "top.aci",
        "example.com/top",
        &format!("{LABELS}{dependency}"),
        "file top \"2\"",
    );
    sandbox
}

/// The paths in a flat tar.
fn paths(sandbox: &Sandbox, file: &str) -> Vec<String> {
    let mut file = fs::File::open(sandbox.path(file)).unwrap();
    let lines = dump::tar_lines(&mut file, "test").unwrap();
    let path = |line: String| line.split(' ').nth(1).unwrap().to_owned();
    lines.into_iter().map(path).collect()
}

#[test]
fn a_flat_tar_of_an_aci_holds_its_rendered_tree() {
    let sandbox = stacked();
    sandbox.ok(&["convert", "top.aci", "rootfs:flat.tar", "--deps", "deps"]);
    assert_eq!(paths(&sandbox, "flat.tar"), ["./", "base", "top"]);
    sandbox.fails(
        &["convert", "top.aci", "rootfs:other.tar"],
        1,
        &["error[missing]", "example.com/base"],
    );
    let fields = format!(r#"{LABELS},"pathWhitelist":["/a"]"#);
    sandbox.aci(
        "list.aci",
        "example.com/list",
        &fields,
        "file a \"1\"\nfile secret \"2\"",
    );
    sandbox.ok(&["convert", "list.aci", "rootfs:list.tar"]);
    assert_eq!(paths(&sandbox, "list.tar"), ["./", "a"]);
}

/// H3d.
#[test]
fn the_signature_of_a_dependency_is_verified() {
    let sandbox = stacked();
    let keyring = key("bob.pub.asc");
    let convert = |place: &str, out: &str| {
        let ring = ["--keyring", &keyring];
        sandbox.run(&[&["aci-to-oci", "top.aci", out, "--deps", place][..], &ring].concat())
    };
    assert!(convert("deps", "unsigned").status.success());
    let signature = "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n";
    fs::write(sandbox.path("deps/base.aci.asc"), signature).unwrap();
    for place in ["deps", "deps/base.aci", "aci-tree:deps"] {
        let output = convert(place, "signed");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{place}: {told}");
        assert!(
            told.contains("base.aci") && told.contains("signature"),
            "{told}"
        );
        assert!(!sandbox.path("signed").exists());
    }
    // No key is trusted, so no signature is verified.
    sandbox.ok(&["aci-to-oci", "top.aci", "out", "--deps", "deps"]);
}

#[test]
fn the_size_of_a_dependency_may_be_that_of_its_compressed_file() {
    let sandbox = stacked();
    let inspected = sandbox.ok(&["inspect", "deps/base.aci", "--json"]);
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let id = inspected["images"][0]["image_id"].as_str().unwrap();
    let depends = |id: &str| {
        format!(r#"{LABELS},"dependencies":[{{"imageName":"example.com/base"{id},"size":300}}]"#)
    };
    let with_id = depends(&format!(r#","imageID":"{id}""#));
    sandbox.aci("id.aci", "example.com/top", &with_id, "file top \"2\"");
    sandbox.ok(&["aci-to-oci", "id.aci", "out", "--deps", "deps"]);
    sandbox.aci(
        "no-id.aci",
        "example.com/top",
        &depends(""),
        "file top \"2\"",
    );
    let args = ["aci-to-oci", "no-id.aci", "other", "--deps", "deps"];
    sandbox.fails(&args, 4, &["error[mismatch]", "300 bytes"]);
}

#[test]
fn publish_obeys_the_options_that_change_or_choose_acis() {
    let sandbox = Sandbox::new();
    for arch in ["amd64", "aarch64"] {
        let file = format!("{arch}.aci");
        sandbox.aci(
            &file,
            "example.com/app",
            &labels("1.0", arch),
            "file a \"1\"",
        );
    }
    let acis = |site: &str, name: &str| -> Vec<String> {
        let folder = sandbox.path(site).join("aci").join(name);
        let files = fs::read_dir(folder).into_iter().flatten();
        let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.filter(|file| file.ends_with(".aci")).collect();
        files.sort();
        files
    };
    sandbox.ok(&["publish", "amd64.aci", "aarch64.aci", "both"]);
    assert_eq!(acis("both", "example.com/app").len(), 2);
    let arm = [
        "publish",
        "amd64.aci",
        "aarch64.aci",
        "arm",
        "--platform",
        "linux/arm64",
    ];
    sandbox.ok(&arm);
    let found = acis("arm", "example.com/app");
    assert!(
        found.len() == 1 && found[0].contains("aarch64"),
        "{found:?}"
    );
    let given = fs::read(sandbox.path("aarch64.aci")).unwrap();
    let published = sandbox.path("arm/aci/example.com/app").join(&found[0]);
    assert_eq!(
        fs::read(published).unwrap(),
        given,
        "the ACI itself is unchanged"
    );
    // Merging changes no ACI; other changes lose the signature, which is told.
    fs::write(sandbox.path("amd64.aci.asc"), "signature").unwrap();
    sandbox.ok(&["publish", "amd64.aci", "merged", "--squash", "--strict"]);
    let signature = "aci/example.com/app/1.0-linux-amd64.aci.asc";
    assert!(sandbox.path("merged").join(signature).is_file());
    let clamped = ["publish", "amd64.aci", "clamped", "--clamp-mtime", "1"];
    sandbox.fails(
        &[&clamped[..], &["--strict"]].concat(),
        3,
        &["signature dropped"],
    );
    let output = sandbox.run(&clamped);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("signature dropped: the ACI was written anew"),
        "{told}"
    );
    assert!(!sandbox.path("clamped").join(signature).exists());
    sandbox.ok(&[
        "publish",
        "amd64.aci",
        "named",
        "--name",
        "example.com/other:2.0",
    ]);
    assert_eq!(acis("named", "example.com/app"), Vec::<String>::new());
    assert_eq!(acis("named", "example.com/other").len(), 1);
}
