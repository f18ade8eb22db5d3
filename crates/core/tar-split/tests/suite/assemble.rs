//! Records are put together again, and every damage is refused and named.

use std::{
    fs,
    io::{Read, Write},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_fs::Directory;
use imgconv_model::{Code, Error, Limits, Open};
use imgconv_tar_split::Layer;

/// A header of a regular file with only the fields that the test needs.
fn header(name: &[u8], size: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block
}

fn segment(bytes: &[u8]) -> String {
    format!(
        "{{\"type\":2,\"payload\":\"{}\",\"position\":0}}\n",
        STANDARD.encode(bytes)
    )
}

/// An entry of a file.
fn file(name: &str, size: usize, crc: u64) -> String {
    let crc = STANDARD.encode(crc.to_be_bytes());
    format!(
        "{{\"type\":1,\"name\":\"{name}\",\"size\":{size},\"payload\":\"{crc}\",\"position\":1}}\n"
    )
}

fn gzip(text: &str) -> Arc<[u8]> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap().into()
}

fn read(record: &str, folder: &tempfile::TempDir) -> Result<Vec<u8>, Error> {
    let layer = Layer {
        record: Arc::new(gzip(record)),
        files: Arc::new(Directory::open(folder.path()).unwrap()),
        limits: Limits::default(),
        what: "tar-split.json.gz".to_owned(),
    };
    let mut bytes = Vec::new();
    let mut reader = layer.open()?;
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            // A failed layer must not look complete.
            assert!(reader.read(&mut [0; 8]).is_err());
            Err(Error::from_io(error))
        }
    }
}

// From Go's hash/crc64 tests, and the check value of CRC-64/GO-ISO in the catalogue of CRCs.
const CRC_OF_ABC: u64 = 0x3776_c420_0000_0000;
const CRC_OF_DIGITS: u64 = 0xb909_56c7_75a4_1001;

#[test]
fn segments_and_files_become_the_tar() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    fs::write(folder.path().join("etc/abc"), "abc").unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let name_raw = STANDARD.encode(b"etc/\xff");
    fs::write(
        folder
            .path()
            .join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"etc/\xff")),
        "abc",
    )
    .unwrap();
    let crc = STANDARD.encode(CRC_OF_ABC.to_be_bytes());
    let record = [
        segment(&header(b"./etc/abc", 3)),
        file("./etc/abc", 3, CRC_OF_ABC),
        segment(&[0; 509]),
        segment(&header(b"empty", 0)),
        "{\"type\":1,\"name\":\"empty\",\"payload\":null,\"position\":4}\n".to_owned(),
        segment(&header(b"etc/\xff", 3)),
        format!("{{\"type\":1,\"name_raw\":\"{name_raw}\",\"size\":3,\"payload\":\"{crc}\",\"position\":5}}\n"),
        segment(&[0; 509 + 1024]),
    ]
    .concat();
    let mut expected = header(b"./etc/abc", 3);
    expected.extend(b"abc");
    expected.extend([0; 509]);
    expected.extend(header(b"empty", 0));
    expected.extend(header(b"etc/\xff", 3));
    expected.extend(b"abc");
    expected.extend([0; 509 + 1024]);
    assert!(read(&record, &folder).unwrap() == expected);
}

#[test]
fn a_changed_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (content, what) in [("abd", "CRC-64"), ("ab", "size"), ("abcd", "size")] {
        fs::write(folder.path().join("abc"), content).unwrap();
        let error = read(&file("abc", 3, CRC_OF_ABC), &folder).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch, "{content}: {error}");
        let text = error.to_string();
        assert!(
            text.contains("file \"abc\"") && text.contains(what),
            "{text}"
        );
    }
    fs::write(folder.path().join("long"), "123456789").unwrap();
    let whole = read(&file("/long", 9, CRC_OF_DIGITS), &folder).unwrap();
    assert_eq!(whole, b"123456789");
}

#[test]
fn what_leads_out_or_is_no_file_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("abc"), "abc").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("abc", folder.path().join("alias")).unwrap();
    fs::create_dir(folder.path().join("directory")).unwrap();
    for (name, code) in [
        ("../abc", Code::Escape),
        ("a/../../abc", Code::Escape),
        ("link/abc", Code::Missing),
        ("alias", Code::Escape),
        ("directory", Code::Io),
        ("none", Code::Missing),
    ] {
        let error = read(&file(name, 3, CRC_OF_ABC), &folder).unwrap_err();
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(
            error.to_string().starts_with("tar-split.json.gz › line 1"),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_record_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (line, why) in [
        ("{\"type\":3,\"payload\":\"\"}\n", "the type of an entry"),
        (
            "{\"type\":2,\"payload\":\"%\"}\n",
            "`payload` is not base64",
        ),
        (
            "{\"type\":1,\"size\":-1,\"name\":\"a\",\"payload\":\"\"}\n",
            "below zero",
        ),
        (
            "{\"type\":1,\"size\":1,\"payload\":\"AAAAAAAAAAA=\"}\n",
            "has no name",
        ),
        (
            "{\"type\":1,\"size\":1,\"name\":\"a\",\"payload\":\"AAAA\"}\n",
            "has 8 bytes",
        ),
        ("nonsense\n", "not an entry of tar-split"),
        (
            "{\"type\":2,\"type\":2,\"payload\":\"\"}\n",
            "duplicate field",
        ),
    ] {
        let error = read(&(segment(b"x") + line), &folder).unwrap_err();
        assert_eq!(error.code(), Code::BadManifest, "{line}");
        let text = error.to_string();
        assert!(text.contains("line 2") && text.contains(why), "{text}");
    }
    let long = format!("{{\"type\":2,\"payload\":\"{}\"}}\n", "A".repeat(33 << 20));
    assert_eq!(read(&long, &folder).unwrap_err().code(), Code::Limit);
    // A record whose gzip stream ends early.
    let mut cut = gzip(&segment(&[7; 4096])).to_vec();
    cut.truncate(cut.len() - 6);
    let layer = Layer {
        record: Arc::new(Arc::<[u8]>::from(cut)),
        files: Arc::new(Directory::open(folder.path()).unwrap()),
        limits: Limits::default(),
        what: "tar-split.json.gz".to_owned(),
    };
    let error = std::io::copy(&mut layer.open().unwrap(), &mut std::io::sink()).unwrap_err();
    assert_eq!(Error::from_io(error).code(), Code::BadCompression);
}

// D16j
/// Docker and podman note the whole content of a sparse file, whose header states the stored bytes.
#[test]
fn a_sparse_file_can_not_be_put_together_again() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("holes"), "123456789").unwrap();
    let ustar = |size: usize, kind: u8| {
        let mut block = header(b"holes", size);
        block[156] = kind;
        block[257..262].copy_from_slice(b"ustar");
        block
    };
    let mut records = vec![0; 1024];
    records[512..540].copy_from_slice(b"28 GNU.sparse.realsize=9....");
    let by_records = [records, ustar(5, b'0')].concat();
    for start in [by_records, ustar(5, b'S')] {
        let record = segment(&start) + &file("holes", 9, CRC_OF_DIGITS);
        let error = read(&record, &folder).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        let text = error.to_string();
        assert!(
            text.contains("file \"holes\": the engine kept the content of this sparse"),
            "{text}"
        );
    }
    // A member of another file is between the records and the file.
    let record = segment(&ustar(9, b'S')) + &file("holes", 9, CRC_OF_DIGITS);
    assert!(read(&record, &folder).is_ok());
}
