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
