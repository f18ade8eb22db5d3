//! Stores of engines, through the command: what is made anew, what is said, and what `--strict`
//! refuses.

use std::fs;

use crate::sandbox::Sandbox;
use imgconv_testkit::{
    build::tar_bytes,
    engines::{self, EngineImage},
    recipe, sha256_hex,
};

fn image(name: &str) -> EngineImage {
    let layer = |text: &str| tar_bytes(&recipe::parse(text, "test").unwrap()).unwrap();
    EngineImage {
        names: vec![name.to_owned()],
        layers: vec![
            layer("dir etc\nfile etc/a \"aaa\"\nfile etc/b \"b\""),
            layer("file etc/c \"c\""),
        ],
        command: "/x".to_owned(),
    }
}

fn standard_error(sandbox: &Sandbox, args: &[&str]) -> String {
    let output = sandbox.run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

// D16g
#[test]
fn a_discarded_layer_of_containerd_is_made_of_its_snapshot() {
    let sandbox = Sandbox::new();
    let image = image("docker.io/library/x:1");
    let root = sandbox.path("store");
    engines::containerd(&[(image.clone(), vec!["default".to_owned()])], &root).unwrap();
    engines::containerd_snapshots(std::slice::from_ref(&image), &root).unwrap();
    let blobs = root.join("io.containerd.content.v1.content/blobs/sha256");
    fs::remove_file(blobs.join(sha256_hex(&image.layers[0]))).unwrap();
    let source = "containerd:store:x:1";
    sandbox.fails(
        &["convert", source, "oci:out"],
        1,
        &["is not in the content store", "--from-snapshots"],
    );
    let strict = ["convert", source, "oci:out", "--from-snapshots", "--strict"];
    sandbox.fails(&strict, 3, &["layers.0.diff_id"]);
    let said = standard_error(
        &sandbox,
        &["convert", source, "oci:out", "--from-snapshots"],
    );
    assert!(said.contains("layers.0.diff_id"), "{said}");
    let verified = sandbox.ok(&["verify", "oci:out"]);
    assert!(verified.contains("1 checked, nothing wrong"), "{verified}");
    sandbox.ok(&["unpack", "oci:out", "tree"]);
    for (file, content) in [("etc/a", "aaa"), ("etc/b", "b"), ("etc/c", "c")] {
        assert_eq!(
            fs::read_to_string(sandbox.path("tree").join(file)).unwrap(),
            content
        );
    }
    // The second layer is kept as it is stored.
    let kept = sha256_hex(&image.layers[1]);
    let listed = sandbox.ok(&["inspect", "--json", "oci:out"]);
    assert!(listed.contains(&kept), "{listed}");
}

// D16c
#[test]
fn ls_warns_of_a_damaged_database() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("store");
    let images = [(image("docker.io/library/x:1"), vec!["default".to_owned()])];
    engines::containerd(&images, &root).unwrap();
    let said = standard_error(&sandbox, &["ls", "containerd:store"]);
    assert_eq!(said, "");
    fs::write(
        root.join("io.containerd.metadata.v1.bolt/meta.db"),
        [0xa5; 9000],
    )
    .unwrap();
    let said = standard_error(&sandbox, &["ls", "containerd:store"]);
    assert!(said.contains("without names"), "{said}");
    let said = standard_error(&sandbox, &["ls", "--quiet", "containerd:store"]);
    assert_eq!(said, "");
}

// D16d
#[test]
fn a_root_from_before_docker_1_10_is_a_place_like_any_other() {
    let sandbox = Sandbox::new();
    let image = image("x:1");
    let root = sandbox.path("store");
    engines::docker_graph(std::slice::from_ref(&image), "aufs", true, &root).unwrap();
    let listed = sandbox.ok(&["ls", "store"]);
    assert!(listed.starts_with("docker.io/library/x:1"), "{listed}");
    let verified = sandbox.ok(&["verify", "docker-root:store"]);
    assert!(verified.contains("1 checked, nothing wrong"), "{verified}");
    sandbox.ok(&["convert", "--compression", "none", "store:x:1", "oci:out"]);
    for layer in &image.layers {
        let blob = sandbox.path("out/blobs/sha256").join(sha256_hex(layer));
        assert!(fs::read(blob).unwrap() == *layer);
    }
    // Without the records the layers are made anew, and a strict run refuses.
    for id in fs::read_dir(root.join("graph")).unwrap() {
        fs::remove_file(id.unwrap().path().join("tar-data.json.gz")).unwrap();
    }
    let strict = ["convert", "--strict", "store:x:1", "oci:strict"];
    sandbox.fails(&strict, 3, &["layers.0.diff_id", "layers.1.diff_id"]);
    let said = standard_error(&sandbox, &["convert", "store:x:1", "oci:remade"]);
    assert!(said.contains("no record of the layer's tar"), "{said}");
    sandbox.ok(&["unpack", "oci:remade", "tree"]);
    assert_eq!(fs::read_to_string(sandbox.path("tree/etc/c")).unwrap(), "c");
}

// D16e
#[test]
fn a_name_of_two_stores_is_refused_and_all_images_are_verified() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("store");
    let mut other = image("docker.io/library/x:1");
    engines::docker_root(&[image("x:1"), image("y:1")], "overlay2", &root).unwrap();
    other.command = "/other".to_owned();
    let images = [(other, vec!["moby".to_owned()])];
    engines::containerd(&images, &root.join("containerd/daemon")).unwrap();
    let verified = sandbox.run(&["verify", "--json", "store"]);
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(!text.contains("\"missing\""), "{text}");
    sandbox.fails(
        &["convert", "docker-root:store:x:1", "oci:out"],
        1,
        &["matches several images"],
    );
    sandbox.ok(&["convert", "docker-root:store:y:1", "oci:out"]);
    sandbox.ok(&[
        "convert",
        "docker-root:store:moby/docker.io/library/x:1",
        "oci:other",
    ]);
}

// robustness D16k
#[test]
fn platforms_that_an_engine_did_not_fetch_are_a_warning_and_missing_elsewhere() {
    let sandbox = Sandbox::new();
    let root = sandbox.path("store");
    let one = image("docker.io/library/x:1");
    engines::containerd(&[(one, vec!["default".to_owned()])], &root).unwrap();
    let blobs = root.join("io.containerd.content.v1.content/blobs/sha256");
    let is_manifest = |path: &std::path::PathBuf| {
        fs::read(path)
            .unwrap()
            .windows(8)
            .any(|text| text == b"\"schemaV")
    };
    let files = fs::read_dir(&blobs).unwrap().map(|it| it.unwrap().path());
    let manifest = files.into_iter().find(is_manifest).unwrap();
    let digest = manifest.file_name().unwrap().to_str().unwrap().to_owned();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let child = |digest: &str, size: u64, arch: &str| {
        serde_json::json!({
            "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size,
            "platform": { "os": "linux", "architecture": arch },
        })
    };
    let size = fs::metadata(&manifest).unwrap().len();
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind,
        "manifests": [child(&digest, size, "amd64"), child(&"ab".repeat(32), 500, "arm64")],
    });
    let index = index.to_string().into_bytes();
    let hex = sha256_hex(&index);
    fs::write(blobs.join(&hex), &index).unwrap();
    let name = engines::ContainerdName {
        namespace: "default".to_owned(),
        name: "docker.io/library/x:1".to_owned(),
        kind: kind.to_owned(),
        digest: format!("sha256:{hex}"),
        size: index.len() as u64,
    };
    engines::containerd_database(&[name], &root).unwrap();
    let output = sandbox.run(&["verify", "containerd:store"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("warning[not-fetched]: "), "{said}");
    assert!(said.contains("(linux/arm64): "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "1 checked, nothing wrong\n");
    // In a layout the same is damage.
    sandbox.ok(&[
        "convert",
        "containerd:store",
        "oci:lay",
        "--missing",
        "keep",
    ]);
    let output = sandbox.run(&["verify", "oci:lay"]);
    assert_eq!(output.status.code(), Some(4));
    // An image of a store whose own document is gone is damage there too.
    fs::remove_file(blobs.join(&hex)).unwrap();
    let output = sandbox.run(&["verify", "containerd:store"]);
    assert_ne!(output.status.code(), Some(0));
}
