//! Writing: what is read again, all or nothing, and never over something.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use imgconv_model::{Code, FormatId, Transport};
use imgconv_transport_dir::DIR;

use crate::fixture::{
    LIST, MANIFEST, VERSION, content, create, env, facts, hash, list, manifest, open, publication,
    put,
};

#[test]
fn what_was_written_is_read_again_with_the_same_bytes() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    fs::create_dir(&path).unwrap();
    for destination in [path.clone(), tmp.path().join("new")] {
        let sink = create(&destination).unwrap();
        let formats = [FormatId::OCI, FormatId::DOCKER_V2S2, FormatId::DOCKER_V2S1];
        assert_eq!(DIR.place().formats(), formats);
        put(&*sink, b"config");
        assert!(sink.has(&hash(b"config"), 6).unwrap());
        assert!(!sink.has(&hash(b"config"), 7).unwrap());
        let root = put(&*sink, manifest().as_bytes());
        // Nothing is visible yet.
        let there = destination.exists().then(|| list(&destination));
        assert_eq!(there.unwrap_or_default(), [""; 0]);
        let places = sink.commit(&[publication(root, None)]).unwrap();
        assert_eq!(places, [format!("dir:{}", destination.display())]);
        let mut names = vec![
            hash(b"config").hex(),
            "manifest.json".into(),
            "version".into(),
        ];
        names.sort();
        assert_eq!(list(&destination), names);
        assert_eq!(
            fs::read_to_string(destination.join("version")).unwrap(),
            VERSION
        );
        assert_eq!(
            fs::read_to_string(destination.join("manifest.json")).unwrap(),
            manifest()
        );
        let bundle = open(&destination).unwrap();
        assert_eq!(content(&*bundle, &facts(b"config")).unwrap(), b"config");
        let mode = fs::metadata(&destination).unwrap().permissions().mode();
        assert_eq!(mode & 0o700, 0o700);
    }
    assert_eq!(list(tmp.path()), ["d", "new"]);
}

#[test]
fn the_manifests_of_a_list_get_names_of_their_own() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    let sink = create(&path).unwrap();
    put(&*sink, b"config");
    let child = put(&*sink, manifest().as_bytes());
    let absent = hash(b"absent");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[{{"mediaType":"{MANIFEST}","size":{},"digest":"{}"}},{{"mediaType":"{MANIFEST}","size":6,"digest":"{absent}"}}]}}"#,
        child.size, child.digest
    );
    let root = put(&*sink, text.as_bytes());
    sink.commit(&[publication(root, None)]).unwrap();
    let mut names = vec![
        hash(b"config").hex(),
        format!("{}.manifest.json", child.digest.hex()),
        "manifest.json".into(),
        "version".into(),
    ];
    names.sort();
    assert_eq!(list(&path), names);
    let bundle = open(&path).unwrap();
    assert_eq!(
        content(&*bundle, &child.facts()).unwrap(),
        manifest().as_bytes()
    );
}

#[test]
fn a_sink_that_is_dropped_or_fails_leaves_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    let sink = create(&path).unwrap();
    put(&*sink, b"x");
    drop(sink);
    assert_eq!(list(tmp.path()), [""; 0]);
    let sink = create(&path).unwrap();
    let mut root = put(&*sink, b"x");
    root.digest = hash(b"never");
    let error = sink.commit(&[publication(root, None)]).unwrap_err();
    assert_eq!(error.code(), Code::Missing, "{error}");
    assert!(error.to_string().contains("was never written"), "{error}");
    assert_eq!(list(tmp.path()), [""; 0]);
    // The root is no document that could list anything.
    let sink = create(&path).unwrap();
    let root = put(&*sink, b"{");
    let error = sink.commit(&[publication(root, None)]).unwrap_err();
    assert_eq!(error.code(), Code::BadJson, "{error}");
    assert_eq!(list(tmp.path()), [""; 0]);
    let (env, place) = (env(tmp.path()), path.to_str().unwrap());
    let sink = DIR.create(place, &env).unwrap();
    let root = put(&*sink, b"{}");
    env.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = sink.commit(&[publication(root, None)]).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert_eq!(list(tmp.path()), [""; 0]);
}

#[test]
fn what_is_there_is_never_replaced() {
    let tmp = tempfile::tempdir().unwrap();
    let refused = |name: &str, part: &str| {
        let error = create(&tmp.path().join(name)).err().unwrap();
        assert_eq!(error.code(), Code::Denied, "{error}");
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    };
    fs::create_dir(tmp.path().join("full")).unwrap();
    fs::write(tmp.path().join("full/x"), "x").unwrap();
    refused("full", "not empty");
    fs::write(tmp.path().join("file"), "x").unwrap();
    refused("file", "exists and is not a directory");
    symlink("nowhere", tmp.path().join("link")).unwrap();
    refused("link", "leads nowhere");
    assert_eq!(list(tmp.path()), ["file", "full", "link"]);
    for rest in ["", "-"] {
        let error = DIR.create(rest, &env(tmp.path())).err().unwrap();
        assert_eq!(error.code(), Code::Usage);
    }
    // Somebody was faster.
    for name in ["new", "empty"] {
        let path = tmp.path().join(name);
        if name == "empty" {
            fs::create_dir(&path).unwrap();
        }
        let sink = create(&path).unwrap();
        let root = put(&*sink, b"{}");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("y"), "y").unwrap();
        let error = sink.commit(&[publication(root, None)]).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{error}");
        assert_eq!(list(&path), ["y"]);
    }
    assert_eq!(list(tmp.path()), ["empty", "file", "full", "link", "new"]);
}

#[test]
fn a_link_to_an_empty_directory_stays() {
    let tmp = tempfile::tempdir().unwrap();
    fs::create_dir(tmp.path().join("real")).unwrap();
    symlink("real", tmp.path().join("link")).unwrap();
    let sink = create(&tmp.path().join("link")).unwrap();
    let root = put(&*sink, b"{}");
    sink.commit(&[publication(root, None)]).unwrap();
    assert_eq!(list(&tmp.path().join("real")), ["manifest.json", "version"]);
    assert!(tmp.path().join("link").is_symlink());
}

#[test]
fn names_have_no_place_and_only_one_image_fits() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    let sink = create(&path).unwrap();
    let (a, b) = (put(&*sink, b"{}"), put(&*sink, b"[]"));
    let two = [publication(a.clone(), None), publication(b, None)];
    let error = sink.commit(&two).unwrap_err();
    assert_eq!(error.code(), Code::Ambiguous);
    assert!(error.to_string().contains("2 images"), "{error}");
    let sink = create(&path).unwrap();
    let error = sink.commit(&[]).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    let sink = create(&path).unwrap();
    put(&*sink, b"{}");
    let mut named = publication(a.clone(), None);
    named.reference = Some("x:1".into());
    let error = sink.commit(&[named]).unwrap_err();
    assert_eq!(error.code(), Code::Usage);
    assert!(error.to_string().contains("\"x:1\""), "{error}");
    let (env, place) = (env(tmp.path()), path.to_str().unwrap());
    let sink = DIR.create(place, &env).unwrap();
    put(&*sink, b"{}");
    let both = [publication(a.clone(), Some("x:1")), publication(a, None)];
    assert_eq!(sink.commit(&both).unwrap().len(), 2);
}
