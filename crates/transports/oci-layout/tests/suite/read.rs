//! Reading a layout directory: links, odd files, changes (robustness D1 to D4, D9 to D11).

use std::{
    fs,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use imgconv_model::{Algorithm, Code, Error, Facts, Limits, Root, Transport};
use imgconv_transport_oci_layout::OCI_LAYOUT;
use rustix::fs::{CWD, FileType, Mode};

use crate::fixture::{Layout, descriptor, env, facts, read};

#[test]
fn a_layout_is_read() {
    let layout = Layout::new();
    let one = layout.manifest(b"one", r#""org.opencontainers.image.ref.name":"v1""#);
    let layer = layout.blob(b"layer");
    layout.list(&[&one]);
    assert!(OCI_LAYOUT.recognise(&layout.path("")).unwrap());
    assert!(!OCI_LAYOUT.recognise(layout.directory.path()).unwrap());
    let bundle = layout.open();
    assert_eq!(
        bundle.locator(),
        format!("oci:{}", layout.path("").display())
    );
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].texts, ["v1"]);
    assert_eq!(roots[0].child.as_ref().unwrap().raw, one);
    match bundle.root(&roots[0]).unwrap() {
        Root::Document(document) => {
            assert_eq!(&*document.bytes, b"one");
            assert_eq!(document.kind, crate::fixture::MANIFEST);
        }
        Root::Stream(blob) => panic!("{blob:?}"),
    }
    let blob = bundle.blob(&layer).unwrap();
    assert_eq!(blob.facts, layer);
    assert_eq!(read(&blob).unwrap(), b"layer");
    assert_eq!(read(&blob).unwrap(), b"layer");
    let stored = bundle.stored().unwrap().unwrap();
    let mut expected = vec![facts(b"one").digest.unwrap(), layer.digest.unwrap()];
    expected.sort();
    assert_eq!(stored, expected);
}

/// Puts a link where something was, which moves out of the layout.
fn replace_by_link(layout: &Layout, name: &str) {
    let away = layout.directory.path().join("away");
    fs::rename(layout.path(name), &away).unwrap();
    symlink(&away, layout.path(name)).unwrap();
}

/// Everything that reading does.
fn read_all(layout: &Layout, follow: bool) -> Result<Vec<u8>, Error> {
    let mut env = env();
    env.places.follow_blob_links = follow;
    let bundle = layout.open_with(&env)?;
    let roots = bundle.roots()?;
    bundle.root(&roots[0])?;
    read(&bundle.blob(&facts(b"layer"))?)
}

#[test]
fn d1a_links_are_refused_and_d1b_followed_on_request() {
    let layer = format!("blobs/sha256/{}", facts(b"layer").digest.unwrap().hex());
    for name in ["index.json", "oci-layout", "blobs", "blobs/sha256", &layer] {
        let layout = Layout::new();
        let one = layout.manifest(b"one", "");
        layout.blob(b"layer");
        layout.list(&[&one]);
        replace_by_link(&layout, name);
        let error = read_all(&layout, false).unwrap_err();
        assert_eq!(error.code(), Code::Escape, "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(
            error.advice().unwrap().contains("--allow-symlinked-blobs"),
            "{error}"
        );
        assert_eq!(read_all(&layout, true).unwrap(), b"layer", "{name}");
    }
}

#[test]
fn d1a_links_to_devices_and_other_files_are_refused() {
    for (target, code) in [("/dev/zero", Code::Io), ("/etc/passwd", Code::Mismatch)] {
        let layout = Layout::new();
        let one = layout.manifest(b"one", "");
        layout.list(&[&one]);
        symlink(target, layout.blob_path(b"layer")).unwrap();
        assert_eq!(read_all(&layout, false).unwrap_err().code(), Code::Escape);
        // Even if links are followed: neither a device nor other bytes.
        assert_eq!(read_all(&layout, true).unwrap_err().code(), code);
    }
}

#[test]
fn d1b_the_path_that_the_user_names_may_be_a_link() {
    let layout = Layout::new();
    let link = layout.directory.path().join("link");
    symlink("layout", &link).unwrap();
    assert!(OCI_LAYOUT.open(link.to_str().unwrap(), &env()).is_ok());
    assert!(OCI_LAYOUT.recognise(&link).unwrap());
}

#[test]
fn d2_what_is_no_regular_file_is_refused_at_once() {
    let mut kinds = vec![("fifo", FileType::Fifo), ("socket", FileType::Socket)];
    if rustix::process::geteuid().is_root() {
        kinds.push(("device", FileType::CharacterDevice));
    }
    for (what, kind) in kinds {
        let layout = Layout::new();
        let path = layout.blob_path(b"layer");
        // Device 1, 5 is /dev/zero.
        let device = rustix::fs::makedev(1, 5);
        rustix::fs::mknodat(CWD, &path, kind, Mode::RUSR, device).unwrap();
        not_a_file(&layout, what);
    }
    let layout = Layout::new();
    fs::create_dir(layout.blob_path(b"layer")).unwrap();
    not_a_file(&layout, "directory");
}

fn not_a_file(layout: &Layout, what: &str) {
    let error = layout.open().blob(&facts(b"layer")).unwrap_err();
    assert_eq!(error.code(), Code::Io, "{what}: {error}");
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let hex = facts(b"layer").digest.unwrap().hex();
    assert!(error.to_string().contains(&hex), "{error}");
}

// INV-1
#[test]
fn d3_nothing_from_outside_is_read_while_links_are_swapped_in() {
    for directory in [false, true] {
        let layout = Layout::new();
        layout.blob(b"layer");
        let outside = layout.directory.path().join("outside");
        fs::create_dir_all(outside.join("sha256")).unwrap();
        let hex = facts(b"layer").digest.unwrap().hex();
        fs::write(outside.join("sha256").join(&hex), b"SECRET").unwrap();
        let (place, good, bad) = if directory {
            (layout.path("blobs"), layout.path("good"), outside)
        } else {
            let bad = outside.join("sha256").join(&hex);
            (layout.blob_path(b"layer"), layout.path("good"), bad)
        };
        fs::rename(&place, &good).unwrap();
        let stop = AtomicBool::new(false);
        let bundle = layout.open();
        let digest = Facts {
            digest: facts(b"layer").digest,
            size: None,
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    fs::rename(&good, &place).unwrap();
                    fs::rename(&place, &good).unwrap();
                    symlink(&bad, &place).unwrap();
                    fs::remove_file(&place).unwrap();
                }
            });
            for _ in 0..10_000 {
                match bundle.blob(&digest).and_then(|blob| read(&blob)) {
                    Ok(bytes) => assert_eq!(bytes, b"layer"),
                    // A mismatch would mean that bytes from outside were read.
                    Err(error) => assert!(
                        matches!(error.code(), Code::Escape | Code::Missing),
                        "{error}"
                    ),
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn d4_a_blob_that_changes_during_the_read_is_a_mismatch() {
    for after in [
        "layer!",
        "lay",
        "LAYER",
        "layer with much more than there was",
    ] {
        let layout = Layout::new();
        let facts = layout.blob(b"layer");
        let mut reader = layout.open().blob(&facts).unwrap().open().unwrap();
        fs::write(layout.blob_path(b"layer"), after).unwrap();
        let mut bytes = Vec::new();
        let error = Error::from_io(reader.read_to_end(&mut bytes).unwrap_err());
        assert_eq!(error.code(), Code::Mismatch, "{error}");
        let digest = facts.digest.unwrap().to_string();
        assert!(error.to_string().contains(&digest), "{error}");
        assert!(bytes.len() <= 5, "{bytes:?}");
    }
}

#[test]
fn c4b_sizes_and_digests_are_verified() {
    let layout = Layout::new();
    let right = layout.blob(b"layer");
    for size in [4, 6] {
        let wrong = Facts {
            size: Some(size),
            ..right.clone()
        };
        let bundle = layout.open();
        let error = bundle
            .blob(&wrong)
            .and_then(|blob| read(&blob))
            .unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{error}");
        let error = bundle
            .document("a/b", &wrong, ("manifest", 100))
            .unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{error}");
    }
    fs::write(layout.blob_path(b"layer"), b"LAYER").unwrap();
    let error = layout
        .open()
        .document("a/b", &right, ("manifest", 100))
        .unwrap_err();
    assert_eq!(error.code(), Code::Mismatch, "{error}");
}

#[test]
fn c13a_a_document_is_bounded_before_it_is_read() {
    let layout = Layout::new();
    let facts = layout.blob(b"0123456789");
    let bundle = layout.open();
    assert!(bundle.document("a/b", &facts, ("manifest", 10)).is_ok());
    for size in [Some(10), None] {
        let facts = Facts {
            size,
            ..facts.clone()
        };
        let error = bundle.document("a/b", &facts, ("manifest", 9)).unwrap_err();
        assert_eq!(error.code(), Code::Limit, "{error}");
        assert!(error.advice().unwrap().contains("manifest"), "{error}");
    }
}

#[test]
fn d9_a_read_only_layout_is_read() {
    let layout = Layout::new();
    let one = layout.manifest(b"one", "");
    layout.blob(b"layer");
    layout.list(&[&one]);
    for name in ["blobs/sha256", "blobs", ""] {
        fs::set_permissions(layout.path(name), fs::Permissions::from_mode(0o555)).unwrap();
    }
    assert_eq!(read_all(&layout, false).unwrap(), b"layer");
    for name in ["", "blobs", "blobs/sha256"] {
        fs::set_permissions(layout.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn d10_the_layout_file() {
    let layout = Layout::new();
    let long = format!(r#"{{"imageLayoutVersion":"1.0.0"{}}}"#, " ".repeat(1 << 16));
    for (text, code, what) in [
        ("{}", Code::BadJson, "imageLayoutVersion"),
        ("[]", Code::BadJson, "object"),
        ("", Code::BadJson, "oci-layout"),
        ("1.0.0", Code::BadJson, "oci-layout"),
        (r#"{"imageLayoutVersion":1}"#, Code::BadJson, "string"),
        (
            r#"{"imageLayoutVersion":"2.0.0"}"#,
            Code::Unsupported,
            "2.0.0",
        ),
        (
            r#"{"ImageLayoutVersion":"1.0.0"}"#,
            Code::BadJson,
            "ImageLayoutVersion",
        ),
        (&long, Code::Limit, "layout_file"),
    ] {
        layout.write("oci-layout", text);
        let error = layout.fails();
        assert_eq!(error.code(), code, "{text:.60}: {error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("oci-layout"), "{error}");
    }
    layout.write(
        "oci-layout",
        "{\"imageLayoutVersion\": \"1.0.0\", \"x\": [1]}\n",
    );
    layout.open();
    // To read 4 TB would never end.
    let file = fs::File::create(layout.path("oci-layout")).unwrap();
    file.set_len(1 << 42).unwrap();
    assert_eq!(layout.fails().code(), Code::Limit);
    fs::remove_file(layout.path("oci-layout")).unwrap();
    let error = layout.fails();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("oci-layout"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let layout = Layout::new();
    fs::remove_file(layout.path("index.json")).unwrap();
    let error = layout.fails();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("index.json"), "{error}");
    let absent = layout.directory.path().join("absent");
    let error = OCI_LAYOUT
        .open(absent.to_str().unwrap(), &env())
        .unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("absent"), "{error}");
    let error = OCI_LAYOUT.open("/etc/passwd", &env()).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(error.to_string().contains("/etc/passwd"), "{error}");
}

#[test]
fn d11a_unknown_files_are_kept_and_absent_blobs_named() {
    let layout = Layout::new();
    layout.write("manifest.json", "[]");
    layout.write("blobs/README", "x");
    layout.write("blobs/sha256/not-a-digest", "x");
    fs::create_dir(layout.path("blobs/sha512")).unwrap();
    let long = imgconv_stream::digest(Algorithm::Sha512, b"long");
    layout.write(&format!("blobs/sha512/{}", long.hex()), "long");
    layout.list(&[&descriptor(b"absent", "")]);
    let bundle = layout.open();
    assert_eq!(bundle.stored().unwrap().unwrap(), [long]);
    let facts_of_long = Facts {
        digest: Some(long),
        size: Some(4),
    };
    assert_eq!(
        read(&bundle.blob(&facts_of_long).unwrap()).unwrap(),
        b"long"
    );
    for error in [
        bundle.blob(&facts(b"absent")).unwrap_err(),
        bundle.root(&bundle.roots().unwrap()[0]).unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Missing);
        let digest = facts(b"absent").digest.unwrap().to_string();
        assert!(error.to_string().contains(&digest), "{error}");
    }
    // No directory for blobs at all.
    fs::remove_dir_all(layout.path("blobs")).unwrap();
    let bundle = layout.open();
    assert_eq!(bundle.stored().unwrap().unwrap(), []);
    assert_eq!(
        bundle.blob(&facts(b"absent")).unwrap_err().code(),
        Code::Missing
    );
}

#[test]
fn the_index_is_bounded() {
    let layout = Layout::new();
    let mut env = env();
    env.limits = Limits {
        root_index: 40,
        ..Limits::default()
    };
    assert!(layout.open_with(&env).is_ok());
    layout.write(
        "index.json",
        r#"{"schemaVersion":2,"manifests":[]      }"#.to_owned() + " ",
    );
    let error = layout.open_with(&env).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(error.to_string().contains("index.json"), "{error}");
    assert!(Path::new(&layout.path("index.json")).exists());
}
