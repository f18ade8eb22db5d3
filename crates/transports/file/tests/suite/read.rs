//! Reading one file: what is refused, and what is noticed when it changes (robustness section D).

use std::{fs, io::Read, os::unix::fs::symlink, path::Path};

use imgconv_file::from_reader;
use imgconv_model::{Blob, Code, Env, Error, Facts, Platform, Root, Transport};
use imgconv_testkit::laws::read;
use imgconv_transport_file::FILE;
use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

fn env(directory: &Path) -> Env {
    Env::new(directory, Platform::new("linux", "amd64"))
}

fn blob(path: &Path) -> Blob {
    let bundle = FILE
        .open(path.to_str().unwrap(), &env(Path::new("/nowhere")))
        .unwrap();
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert!(roots[0].name.is_none() && roots[0].child.is_none());
    match bundle.root(&roots[0]).unwrap() {
        Root::Stream(blob) => blob,
        Root::Document(document) => panic!("{document:?}"),
    }
}

#[test]
fn a_file_is_one_stream_that_can_be_read_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.aci");
    fs::write(&path, b"0123456789").unwrap();
    let blob = blob(&path);
    assert_eq!(
        blob.facts,
        Facts {
            digest: None,
            size: Some(10)
        }
    );
    assert_eq!(read(&blob).unwrap(), b"0123456789");
    assert_eq!(read(&blob).unwrap(), b"0123456789");
    assert!(FILE.recognise(&path).unwrap() && !FILE.recognise(dir.path()).unwrap());
    fs::write(&path, b"").unwrap();
    assert_eq!(read(&self::blob(&path)).unwrap(), b"");
}

#[test]
fn d1b_a_link_that_the_user_names_is_followed() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a"), b"x").unwrap();
    symlink("a", dir.path().join("link")).unwrap();
    assert_eq!(read(&blob(&dir.path().join("link"))).unwrap(), b"x");
}

#[test]
fn d2_what_is_no_regular_file_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        rustix::fs::mknodat(CWD, path(name), kind, Mode::RWXU, 0).unwrap();
    }
    fs::create_dir(path("directory")).unwrap();
    symlink("fifo", path("link")).unwrap();
    symlink("/dev/zero", path("device")).unwrap();
    for name in ["fifo", "socket", "directory", "link", "device"] {
        let error = FILE
            .open(path(name).to_str().unwrap(), &env(dir.path()))
            .unwrap_err();
        assert_eq!(error.code(), Code::Io, "{name}");
        assert!(error.to_string().contains("not a regular file"), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = FILE
        .open(path("absent").to_str().unwrap(), &env(dir.path()))
        .unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn d4_a_file_that_changes_between_passes_is_a_mismatch() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.aci");
    let cases: [(&str, &dyn Fn()); 5] = [
        ("to 11 bytes", &|| fs::write(&path, b"0123456789x").unwrap()),
        ("to 9 bytes", &|| fs::write(&path, b"012345678").unwrap()),
        ("written to", &|| {
            fs::write(&path, b"9876543210").unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }),
        ("replaced by another", &|| {
            fs::write(dir.path().join("b"), b"0123456789").unwrap();
            fs::rename(dir.path().join("b"), &path).unwrap();
        }),
        ("not a regular file", &|| {
            fs::remove_file(&path).unwrap();
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }),
    ];
    for (what, change) in cases {
        let _ = fs::remove_file(&path);
        fs::write(&path, b"0123456789").unwrap();
        let blob = blob(&path);
        change();
        let error = read(&blob).unwrap_err();
        let code = if what == "not a regular file" {
            Code::Io
        } else {
            Code::Mismatch
        };
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("a.aci"), "{error}");
    }
}

#[test]
fn d4_a_file_that_changes_during_a_pass_is_a_mismatch() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.aci");
    let cases: [(&[u8], &str); 3] = [
        (b"0123456789x", "10 to 11 bytes"),
        (b"01234", "10 to 5 bytes"),
        (b"01234x6789", "written to"),
    ];
    for (after, what) in cases {
        fs::write(&path, b"0123456789").unwrap();
        let mut reader = blob(&path).open().unwrap();
        let mut start = [0; 4];
        reader.read_exact(&mut start).unwrap();
        fs::write(&path, after).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let mut rest = Vec::new();
        let error = Error::from_io(reader.read_to_end(&mut rest).unwrap_err());
        assert_eq!(error.code(), Code::Mismatch, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(rest.len() <= 6, "more than was there at first");
    }
}

#[test]
fn standard_input_is_spooled_and_can_be_read_again() {
    let dir = TempDir::new().unwrap();
    let bytes = vec![7; (1 << 20) + 5];
    let bundle = from_reader(&bytes[..], &env(dir.path())).unwrap();
    let root =
        imgconv_model::Bundle::root(&bundle, &imgconv_model::Bundle::roots(&bundle).unwrap()[0]);
    let Root::Stream(blob) = root.unwrap() else {
        panic!("a stream is expected")
    };
    assert_eq!(blob.facts.size, Some(bytes.len() as u64));
    // Two passes at once do not disturb each other.
    let (mut one, mut two) = (blob.open().unwrap(), blob.open().unwrap());
    let mut start = [0; 3];
    one.read_exact(&mut start).unwrap();
    let mut all = Vec::new();
    two.read_to_end(&mut all).unwrap();
    assert!(all == bytes);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "the spool has no name"
    );
}

#[test]
fn m7_a_temporary_directory_that_fails_is_named() {
    let dir = TempDir::new().unwrap();
    let absent = dir.path().join("absent");
    let error = from_reader(&b"x"[..], &env(&absent)).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(
        error.to_string().contains(absent.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn a_cancelled_run_stops_spooling() {
    let dir = TempDir::new().unwrap();
    let env = env(dir.path());
    env.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = from_reader(std::io::repeat(0), &env).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
}

#[test]
fn a_file_holds_nothing_by_digest() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.aci");
    fs::write(&path, b"x").unwrap();
    let bundle = FILE.open(path.to_str().unwrap(), &env(dir.path())).unwrap();
    let facts = Facts {
        digest: Some(imgconv_stream::digest(
            imgconv_model::Algorithm::Sha256,
            b"x",
        )),
        size: Some(1),
    };
    assert_eq!(bundle.blob(&facts).unwrap_err().code(), Code::Missing);
    let error = bundle.document("a/b", &facts, ("manifest", 9)).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert_eq!(bundle.stored().unwrap(), None);
}
