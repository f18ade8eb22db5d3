//! What a place of the scheme `rootfs` gives and takes.

use std::{fs, path::Path};

use imgconv_model::{Blob, Code, Env, Facts, Platform, Root, Transport as _};
use imgconv_testkit::laws;
use imgconv_transport_rootfs::ROOTFS;

fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

/// Returns the one stream of a place.
fn stream(path: &Path) -> Blob {
    let bundle = ROOTFS.open(path.to_str().unwrap(), &env()).unwrap();
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 1);
    match bundle.root(&roots[0]).unwrap() {
        Root::Stream(blob) => blob,
        Root::Document(document) => panic!("a document: {}", document.kind),
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    laws::read(&stream(path)).unwrap()
}

#[test]
fn a_directory_is_the_tar_of_its_tree_and_a_file_is_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("etc")).unwrap();
    fs::write(tree.join("etc/name"), "value").unwrap();
    let tar = bytes(&tree);
    assert_eq!(tar.len() % 512, 0);
    assert_eq!(tar, bytes(&tree));
    let has = |text: &[u8]| tar.windows(text.len()).any(|window| window == text);
    assert!(has(b"etc/name") && has(b"value"));
    let file = folder.path().join("any");
    fs::write(&file, b"any bytes").unwrap();
    assert_eq!(bytes(&file), b"any bytes");
}

#[test]
fn nothing_but_the_one_stream_is_there() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!ROOTFS.recognise(folder.path()).unwrap());
    let bundle = ROOTFS
        .open(folder.path().to_str().unwrap(), &env())
        .unwrap();
    let facts = Facts::default();
    assert_eq!(bundle.blob(&facts).unwrap_err().code(), Code::Missing);
    let document = bundle.document("application/x", &facts, ("manifest", 1));
    assert_eq!(document.unwrap_err().code(), Code::Missing);
    let missing = ROOTFS.open("/nowhere/at/all", &env()).unwrap_err();
    assert_eq!(missing.code(), Code::Missing);
}

#[test]
fn a_directory_is_refused_as_a_destination() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_str().unwrap(), "new/"] {
        let error = ROOTFS.create(path, &env()).unwrap_err();
        assert_eq!(error.code(), Code::Usage, "{error}");
        assert!(
            error.advice().unwrap().contains("imgconv unpack"),
            "{error}"
        );
    }
}
