//! A manifest that `skopeo copy --format v2s1` made of an OCI image, signed by docker's own library.

use imgconv_format_docker_v2s1::{SignatureState, manifest_digest, verify_document};
use imgconv_model::{Exec, History};

use crate::bundle::{decode, encode, kept, text};

const MANIFEST: &str = include_str!("data/skopeo-v2s1.json");

#[test]
fn its_signature_is_valid() {
    let state = verify_document(MANIFEST.as_bytes()).unwrap();
    let SignatureState::Valid(keys) = state else {
        panic!("it is signed");
    };
    let ids: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    let id = "FKIQ:XY3Z:MYOZ:KS3K:LBIZ:L7L3:C622:P7HM:P5K3:2LBR:H5VU:IOFS";
    assert_eq!(ids, [id]);
    // That of the first 1204 bytes and a brace, by sha256sum.
    assert_eq!(
        manifest_digest(MANIFEST.as_bytes()).unwrap().to_string(),
        "sha256:dc92d9bd90a7e8c089c9546ce3115195fe9a7e148e8a11a66b5ccacd832ffd9d"
    );
}

#[test]
fn it_is_read_and_copied() {
    let (image, report) = decode(MANIFEST).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(image.name, None);
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(image.author.as_deref(), Some("A <a@b>"));
    assert_eq!(image.config.env, ["PATH=/bin"]);
    assert_eq!(image.config.labels["k"], "<v>");
    let exec = Exec {
        entrypoint: vec![],
        cmd: vec!["/bin/sh".into()],
    };
    assert_eq!(image.config.exec, Some(exec));
    let digests: Vec<String> = image
        .layers
        .iter()
        .map(|layer| layer.blob.facts.digest.unwrap().to_string())
        .collect();
    assert_eq!(
        digests,
        [
            "sha256:edaa62eb9b79544f7ff7929b295e5560211d0de49ffedb473205cdc0841faa9d",
            "sha256:0e7bb44b077434e3d2c5e46bb8ae13064b67a8d24774f23bdfe8735ad04b3f80"
        ]
    );
    let step = |created: &str, by: Option<&str>, author: Option<&str>, empty_layer| History {
        created: Some(created.into()),
        created_by: by.map(str::to_owned),
        author: author.map(str::to_owned),
        comment: None,
        empty_layer,
    };
    assert_eq!(
        image.history,
        [
            step("2020-01-01T00:00:00Z", Some("ADD a"), None, false),
            step("2020-01-01T00:00:01Z", Some("ENV PATH=/bin"), None, true),
            step("2020-01-02T03:04:05Z", None, Some("A <a@b>"), false),
        ]
    );
    let paths: Vec<&str> = image.extensions.keys().map(|(_, path)| &**path).collect();
    assert_eq!(paths, ["id", "parent"]);
    let (root, documents, report) = encode(&image, &kept(&image));
    assert_eq!(text(&root), MANIFEST);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(documents.len(), 1);
}

// The ids that skopeo computed, below the top one, are those that are computed here.
#[test]
fn ids_are_the_same() {
    let mut image = decode(MANIFEST).unwrap().0;
    image.author = None;
    let (root, _, _) = encode(&image, &kept(&image));
    for id in [
        "d21238f8fe11d500445a8170ac3d51dcf60a6b2a4478c6ed64fce4ff9b8c1a7d",
        "7adeb6e7ab113febf0a755e6dd373a3863beefb3a89bf9bc5d5ca8810250c1ab",
    ] {
        assert_eq!(text(&root).matches(id).count(), 2, "{id}");
    }
}
