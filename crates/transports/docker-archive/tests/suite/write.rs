//! What is written.

use std::{collections::BTreeMap, fs, path::Path};

use imgconv_model::{
    Bundle, BundleSink, Child, Code, Digest, FormatId, Name, Publication, Transport,
};
use imgconv_transport_docker_archive::{ARCHIVE_IMAGE, DOCKER_ARCHIVE};
use tempfile::TempDir;

use crate::fixture::{Tar, env, hex, member, names, roots, sha256};

fn create(path: &Path) -> Box<dyn BundleSink> {
    DOCKER_ARCHIVE
        .create(path.to_str().unwrap(), &env())
        .unwrap()
}

fn open(path: &Path) -> Box<dyn Bundle> {
    DOCKER_ARCHIVE.open(path.to_str().unwrap(), &env()).unwrap()
}

fn put(sink: &dyn BundleSink, bytes: &str) -> Digest {
    let digest = sha256(bytes);
    let mut writer = sink.writer().unwrap();
    writer.write_all(bytes.as_bytes()).unwrap();
    writer.finish(&digest, bytes.len() as u64).unwrap();
    digest
}

/// The entry document, as the format writes it.
pub(crate) fn document(config: &str, layers: &[&str]) -> String {
    let blob = |body: &str| format!("\"blobs/sha256/{}\"", hex(body));
    let layers: Vec<String> = layers.iter().map(|l| blob(l)).collect();
    let (config, layers) = (blob(config), layers.join(","));
    format!(r#"{{"Config":{config},"RepoTags":null,"Layers":[{layers}]}}"#)
}

fn image(sink: &dyn BundleSink, config: &str, layers: &[&str], name: Option<&str>) -> Publication {
    for blob in layers.iter().chain([&config]) {
        put(sink, blob);
    }
    let document = document(config, layers);
    put(sink, &document);
    publication(&document, name)
}

pub(crate) fn publication(document: &str, name: Option<&str>) -> Publication {
    Publication {
        root: Child {
            kind: ARCHIVE_IMAGE.into(),
            digest: sha256(document),
            size: document.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
            raw: String::new(),
        },
        name: name.map(|name| Name::parse_reference(name).unwrap()),
        reference: None,
        file_name: None,
    }
}

/// Where an archive can be written.
fn place() -> (TempDir, std::path::PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("out.tar");
    (directory, path)
}

#[test]
fn the_bytes_are_these() {
    let (directory, path) = place();
    let sink = create(&path);
    assert_eq!(DOCKER_ARCHIVE.place().formats(), [FormatId::DOCKER_ARCHIVE]);
    let one = image(&*sink, "c1", &["a", "b", "a"], Some("busybox:1"));
    let two = image(&*sink, "c2", &["a"], Some("user/x"));
    let three = image(&*sink, "c3", &[], None);
    let again = publication(
        &document("c1", &["a", "b", "a"]),
        Some("localhost:5000/y:z"),
    );
    put(&*sink, "never named");
    assert!(sink.has(&sha256("a"), 1).unwrap());
    assert!(!sink.has(&sha256("a"), 2).unwrap());
    let places = sink.commit(&[one, two, three, again]).unwrap();
    let [a, b, c1, c2, c3] = ["a", "b", "c1", "c2", "c3"].map(hex);
    let first = format!(
        r#"{{"Config":"{c1}.json","RepoTags":["busybox:1","localhost:5000/y:z"],"Layers":["{a}.tar","{b}.tar","{a}.tar"]}}"#
    );
    let second =
        format!(r#"{{"Config":"{c2}.json","RepoTags":["user/x:latest"],"Layers":["{a}.tar"]}}"#);
    let third = format!(r#"{{"Config":"{c3}.json","RepoTags":null,"Layers":[]}}"#);
    let mut members = vec![
        (format!("{a}.tar"), "a".to_owned()),
        (format!("{b}.tar"), "b".to_owned()),
        (format!("{c1}.json"), "c1".to_owned()),
        (format!("{c2}.json"), "c2".to_owned()),
        (format!("{c3}.json"), "c3".to_owned()),
        (
            "manifest.json".to_owned(),
            format!("[{first},{second},{third}]"),
        ),
    ];
    members.sort();
    let mut expected = Tar::default();
    for (name, body) in members {
        expected = expected.file(&name, body);
    }
    assert_eq!(fs::read(&path).unwrap(), expected.bytes());
    assert_eq!(hex(fs::read(&path).unwrap()), GOLDEN);
    let place = format!("docker-archive:{}", path.display());
    let digest = sha256(&third);
    let suffixes = [
        "busybox:1",
        "user/x:latest",
        &format!("@{digest}"),
        "localhost:5000/y:z",
    ];
    assert_eq!(places, suffixes.map(|suffix| format!("{place}:{suffix}")));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// The digest of the whole archive.
const GOLDEN: &str = "1d03fc3663f661194890cac732b9cb14bfeb18d5cb00a5bd563e900255ea3910";

#[test]
fn what_was_written_is_read() {
    let (_directory, path) = place();
    let sink = create(&path);
    let one = image(&*sink, "c1", &["a", "b"], Some("busybox:1"));
    let two = image(&*sink, "c2", &["a"], None);
    sink.commit(&[one, two]).unwrap();
    assert!(DOCKER_ARCHIVE.recognise(&path).unwrap());
    let bundle = open(&path);
    let found = roots(&*bundle);
    let found: Vec<_> = found.iter().map(|(name, i, _)| (&**name, *i)).collect();
    assert_eq!(found, [("docker.io/library/busybox:1", 0), ("", 1)]);
    assert_eq!(
        member(&*bundle, &format!("{}.tar", hex("b"))).unwrap(),
        b"b"
    );
    assert_eq!(
        member(&*bundle, &format!("{}.json", hex("c2"))).unwrap(),
        b"c2"
    );
}

#[test]
fn a_reference_that_was_given_is_the_name() {
    let (_directory, path) = place();
    let sink = create(&path);
    let mut one = image(&*sink, "c1", &["a"], Some("busybox:1"));
    one.reference = Some("other".into());
    sink.commit(&[one]).unwrap();
    assert_eq!(roots(&*open(&path))[0].0, "docker.io/library/other:latest");

    let sink = create(&path);
    let mut one = image(&*sink, "c1", &["a"], None);
    one.reference = Some("../x".into());
    names(&sink.commit(&[one]).unwrap_err(), Code::BadName, &["../x"]);
    assert_eq!(roots(&*open(&path))[0].0, "docker.io/library/other:latest");
}

#[test]
fn one_name_for_two_images_is_ambiguous_and_nothing_appears() {
    let (directory, path) = place();
    let sink = create(&path);
    let one = image(&*sink, "c1", &["a"], Some("busybox"));
    let two = image(&*sink, "c2", &["a"], Some("busybox:latest"));
    let error = sink.commit(&[one, two]).unwrap_err();
    names(
        &error,
        Code::Ambiguous,
        &["busybox:latest", &hex("c1"), &hex("c2")],
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_was_never_written_is_missing_and_nothing_appears() {
    let (directory, path) = place();
    let sink = create(&path);
    put(&*sink, "c1");
    let root = document("c1", &["a"]);
    put(&*sink, &root);
    let error = sink.commit(&[publication(&root, None)]).unwrap_err();
    names(&error, Code::Missing, &[&hex("a")]);
    let sink = create(&path);
    let error = sink.commit(&[publication(&root, None)]).unwrap_err();
    names(&error, Code::Missing, &[&hex(&root)]);
    drop(create(&path));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn only_entries_are_taken() {
    let (_directory, path) = place();
    let sink = create(&path);
    let mut one = image(&*sink, "c1", &["a"], None);
    one.root.kind = "application/vnd.oci.image.index.v1+json".into();
    let error = sink.commit(&[one]).unwrap_err();
    names(&error, Code::Unsupported, &["image.index"]);
    for root in [
        r#"{"Config":"x.json","Layers":[]}"#,
        r#"{"Layers":[]}"#,
        "[]",
    ] {
        let sink = create(&path);
        put(&*sink, root);
        let error = sink.commit(&[publication(root, None)]).unwrap_err();
        assert_eq!(error.code(), Code::BadManifest, "{error}");
    }
}

#[test]
fn a_file_is_replaced_and_nothing_else_is() {
    let (directory, path) = place();
    fs::write(&path, "old").unwrap();
    let sink = create(&path);
    let one = image(&*sink, "c1", &["a"], None);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    sink.commit(&[one]).unwrap();
    assert_eq!(roots(&*open(&path)).len(), 1);
    let error = DOCKER_ARCHIVE
        .create(directory.path().to_str().unwrap(), &env())
        .unwrap_err();
    assert_eq!(error.code(), Code::Denied);
    assert_eq!(
        DOCKER_ARCHIVE.create("", &env()).unwrap_err().code(),
        Code::Usage
    );
}
