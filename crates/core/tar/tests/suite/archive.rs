//! Archives on disk: bodies are skipped, not read, and bytes that are read by position must not
//! change.

use std::{fs, path::Path};

use imgconv_model::{Code, Env, Error, Platform};
use imgconv_tar::{Archive, Member};

use crate::build::ent;

fn open(path: &Path) -> Result<Archive, Error> {
    let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    Archive::open(path, &env, &|_, _, _| Ok(true))
}

/// Two members, the first longer than the read-ahead buffer.
fn tar() -> Vec<u8> {
    let mut bytes = ent(b"long", &[b'x'; 200_000]).bytes();
    bytes.extend(ent(b"short", b"abc").bytes());
    bytes.extend([0; 1024]);
    bytes
}

#[test]
fn members_behind_long_bodies_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    fs::write(&path, tar()).unwrap();
    let archive = open(&path).unwrap();
    let Some(&Member::File { offset, size }) = archive.member("short") else {
        panic!("{archive:?}");
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut archive.bytes(offset, size), &mut text).unwrap();
    assert_eq!(text, "abc");
}

#[test]
fn a_skipped_body_must_be_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    for length in [513, 100_000, 200_511] {
        fs::write(&path, &tar()[..length]).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{length}: {error}");
        assert!(error.to_string().contains("long"), "{length}: {error}");
    }
}

#[test]
fn what_is_read_by_position_must_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let bytes = tar();
    fs::write(&path, &bytes).unwrap();
    let archive = open(&path).unwrap();
    let Some(&Member::File { offset, size }) = archive.member("short") else {
        panic!("{archive:?}");
    };
    let place = archive.positioned(offset, size).unwrap();
    let mut found = [0; 2];
    place.read_exact_at(&mut found, 1).unwrap();
    assert_eq!(&found, b"bc");
    // Not even the padding after it can be reached.
    assert!(place.read_exact_at(&mut found, 2).is_err());
    // K41: changed in place, with its time put back.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    std::os::unix::fs::FileExt::write_all_at(&file, b"X", offset).unwrap();
    let back = fs::FileTimes::new().set_modified(modified);
    file.set_times(back).unwrap();
    let error = Error::from_io(place.read_exact_at(&mut found, 1).unwrap_err());
    assert_eq!(error.code(), Code::Mismatch);
    // Later readers get the error, too: the bytes that were read first may be gone.
    let late = archive.positioned(offset, size).unwrap();
    assert!(late.read_exact_at(&mut found, 1).is_err());
    file.set_len(bytes.len() as u64 + 512).unwrap();
    let error = Error::from_io(place.read_exact_at(&mut found, 1).unwrap_err());
    assert_eq!(error.code(), Code::Mismatch);
}
