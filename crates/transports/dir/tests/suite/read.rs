//! Reading: one root, verified blobs, regular files only (robustness D1 to D3).

use std::{fs, os::unix::fs::symlink, path::Path};

use imgconv_model::{Algorithm, Code, Digest, Error, Facts, Root, Transport};
use imgconv_transport_dir::DIR;

use crate::fixture::{LIST, MANIFEST, content, directory, env, facts, hash, manifest, open};

fn refused(path: &Path, code: Code, part: &str) {
    let error = open(path).err().unwrap();
    check(&error, code, part);
    assert!(error.to_string().starts_with("dir:"), "{error}");
}

fn check(error: &Error, code: Code, part: &str) {
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

#[test]
fn a_directory_has_one_root_without_a_name() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    directory(&path, &manifest(), &[b"config"]);
    assert!(DIR.recognise(&path).unwrap());
    let bundle = open(&path).unwrap();
    let [entry] = bundle.roots().unwrap().try_into().unwrap();
    let child = entry.child.clone().unwrap();
    assert_eq!((entry.name.clone(), entry.position), (None, 0));
    assert_eq!(child.digest, hash(manifest().as_bytes()));
    assert_eq!(
        (&*child.kind, child.size),
        (MANIFEST, manifest().len() as u64)
    );
    let Root::Document(root) = bundle.root(&entry).unwrap() else {
        panic!("expected a document")
    };
    assert_eq!(
        (&*root.kind, &*root.bytes),
        (MANIFEST, manifest().as_bytes())
    );
    let limit = ("config", 10);
    let document = bundle.document("x", &facts(b"config"), limit).unwrap();
    assert_eq!(
        (&*document.kind, &*document.bytes),
        ("x", b"config".as_slice())
    );
    assert_eq!(content(&*bundle, &facts(b"config")).unwrap(), b"config");
    let mut all = vec![hash(b"config"), child.digest];
    all.sort();
    assert_eq!(bundle.stored().unwrap(), Some(all));
    // The root is found by its digest too.
    assert_eq!(
        content(&*bundle, &child.facts()).unwrap(),
        manifest().as_bytes()
    );
}

#[test]
fn the_manifests_of_a_list_have_names_of_their_own() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    let list = format!(r#"{{"schemaVersion":2,"mediaType":"{LIST}","manifests":[]}}"#);
    directory(&path, &list, &[]);
    let name = format!("{}.manifest.json", hash(b"{}").hex());
    fs::write(path.join(name), "{}").unwrap();
    let bundle = open(&path).unwrap();
    let limit = ("manifest", 10);
    let document = bundle.document(MANIFEST, &facts(b"{}"), limit).unwrap();
    assert_eq!(&*document.bytes, b"{}");
    assert!(bundle.stored().unwrap().unwrap().contains(&hash(b"{}")));
}

#[test]
fn sha512_names_in_both_spellings() {
    let tmp = tempfile::tempdir().unwrap();
    let digest = |bytes: &[u8]| imgconv_stream::digest(Algorithm::Sha512, bytes);
    for (n, prefix) in ["", "sha512-"].into_iter().enumerate() {
        let path = tmp.path().join(n.to_string());
        directory(&path, &manifest(), &[]);
        fs::write(path.join(format!("{prefix}{}", digest(b"x").hex())), "x").unwrap();
        let bundle = open(&path).unwrap();
        let facts = Facts {
            digest: Some(digest(b"x")),
            size: Some(1),
        };
        assert_eq!(content(&*bundle, &facts).unwrap(), b"x");
        assert!(bundle.stored().unwrap().unwrap().contains(&digest(b"x")));
    }
}

#[test]
fn bytes_that_are_not_what_their_name_says() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    directory(&path, &manifest(), &[b"config"]);
    let hex = hash(b"config").hex();
    let bundle = open(&path).unwrap();
    for bytes in ["confiG", "config ", "confi"] {
        fs::write(path.join(&hex), bytes).unwrap();
        let error = content(&*bundle, &facts(b"config")).unwrap_err();
        check(&error, Code::Mismatch, &hex);
        let limit = ("config", 100);
        let error = bundle.document("x", &facts(b"config"), limit).unwrap_err();
        check(&error, Code::Mismatch, &hex);
    }
    let error = bundle
        .document("x", &facts(b"config"), ("config", 5))
        .unwrap_err();
    check(&error, Code::Limit, "`config`");
    let error = bundle.blob(&facts(b"other")).err().unwrap();
    check(&error, Code::Missing, &hash(b"other").to_string());
    let error = bundle.blob(&Facts::default()).err().unwrap();
    check(&error, Code::Missing, "none is known");
}

#[test]
fn d1_links_and_odd_files_are_not_opened() {
    let tmp = tempfile::tempdir().unwrap();
    let secret = tmp.path().join("secret");
    fs::write(&secret, "config").unwrap();
    let path = tmp.path().join("d");
    directory(&path, &manifest(), &[]);
    let blob = path.join(hash(b"config").hex());
    symlink(&secret, &blob).unwrap();
    let bundle = open(&path).unwrap();
    let error = bundle.blob(&facts(b"config")).err().unwrap();
    check(&error, Code::Escape, &hash(b"config").hex());
    fs::remove_file(&blob).unwrap();
    fs::create_dir(&blob).unwrap();
    let error = bundle.blob(&facts(b"config")).err().unwrap();
    check(&error, Code::Io, "not a regular file");
    // Swapped after the first look.
    fs::remove_dir(&blob).unwrap();
    fs::write(&blob, "config").unwrap();
    let found = bundle.blob(&facts(b"config")).unwrap();
    fs::remove_file(&blob).unwrap();
    symlink(&secret, &blob).unwrap();
    check(&found.open().err().unwrap(), Code::Escape, "symbolic link");
    for name in ["manifest.json", "version"] {
        let path = tmp.path().join(format!("with-{name}"));
        directory(&path, &manifest(), &[]);
        fs::remove_file(path.join(name)).unwrap();
        symlink(&secret, path.join(name)).unwrap();
        refused(&path, Code::Escape, name);
        assert!(!DIR.recognise(&path).unwrap());
    }
}

#[test]
fn markers_and_manifests_that_are_wrong() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    directory(&path, &manifest(), &[]);
    for (marker, code, part) in [
        (
            "Directory Transport Version: 2.0\n",
            Code::Unsupported,
            "\"2.0\"",
        ),
        ("hello", Code::BadManifest, "\"hello\""),
        ("\u{1b}[2J", Code::BadManifest, "file version"),
    ] {
        fs::write(path.join("version"), marker).unwrap();
        refused(&path, code, part);
    }
    fs::write(path.join("version"), vec![b' '; (64 << 10) + 1]).unwrap();
    refused(&path, Code::Limit, "`layout_file`");
    fs::write(path.join("version"), "Directory Transport Version: 1.2\n").unwrap();
    open(&path).unwrap();
    fs::remove_file(path.join("version")).unwrap();
    open(&path).unwrap();
    assert!(!DIR.recognise(&path).unwrap());
    fs::write(path.join("manifest.json"), "{").unwrap();
    refused(&path, Code::BadJson, "manifest.json");
    fs::write(path.join("manifest.json"), vec![b' '; (4 << 20) + 1]).unwrap();
    refused(&path, Code::Limit, "`manifest`");
    fs::remove_file(path.join("manifest.json")).unwrap();
    refused(&path, Code::Missing, "manifest.json");
    let error = open(&tmp.path().join("none")).err().unwrap();
    check(&error, Code::Missing, "no such directory");
}

#[test]
fn signatures_are_left_behind_with_a_warning() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    directory(&path, &manifest(), &[]);
    let hex = "a".repeat(64);
    for name in [
        "signature-1",
        &format!("{hex}.signature-2"),
        "signature-x",
        "mysignature-1",
    ] {
        fs::write(path.join(name), "s").unwrap();
    }
    let env = env(tmp.path());
    DIR.open(path.to_str().unwrap(), &env).unwrap();
    let [warning] = env.notes.take().warnings.try_into().unwrap();
    assert_eq!(warning.code, "signatures-ignored");
    assert!(
        warning.message.starts_with("2 signature files"),
        "{warning:?}"
    );
    assert!(warning.at.starts_with("dir:"));
}

#[test]
fn files_that_are_no_blobs_are_ignored() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("d");
    directory(&path, &manifest(), &[]);
    for name in ["README", "ABCDEF", &"A".repeat(64), &"a".repeat(63)] {
        fs::write(path.join(name), "x").unwrap();
    }
    let bundle = open(&path).unwrap();
    let found: Vec<Digest> = bundle.stored().unwrap().unwrap();
    assert_eq!(found, [hash(manifest().as_bytes())]);
}
