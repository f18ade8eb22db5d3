//! Layout archives: written the same each time, read in every spelling (robustness A5, A6, A10,
//! A15, D1a, D13a; users A9).

use std::{
    fs,
    io::{Read, Seek, Write},
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use imgconv_model::{Bundle, Code, Compression, Env, Error, Result, Transport};
use imgconv_stream::{Encoding, Level, Pool, encode};
use imgconv_tar::{END, Entry, EntryKind, Time, head, padding};
use imgconv_transport_oci_layout::{OCI_ARCHIVE, OCI_LAYOUT, RefName, create_archive_with};
use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

use crate::fixture::{MANIFEST, descriptor, env, facts, publication, put, read, sha256, tree};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// One member of a tar.
fn member(name: &str, kind: EntryKind, link: &str, bytes: &[u8]) -> Vec<u8> {
    let entry = Entry {
        size: bytes.len() as u64,
        link: link.as_bytes().to_vec(),
        ..Entry::new(name.as_bytes().to_vec(), kind)
    };
    let mut out = head(&entry).unwrap();
    out.extend(bytes);
    out.extend(&END[..padding(bytes.len() as u64)]);
    out
}

fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    member(name, EntryKind::Regular, "", bytes)
}

fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut out = members.concat();
    out.extend(END);
    out
}

fn index() -> Vec<u8> {
    let one = descriptor(
        b"one",
        r#","annotations":{"org.opencontainers.image.ref.name":"v1"}"#,
    );
    format!(r#"{{"schemaVersion":2,"manifests":[{one}]}}"#).into_bytes()
}

fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", sha256(bytes).hex())
}

/// The members of a small layout, with a prefix before each name.
fn members(prefix: &str) -> Vec<Vec<u8>> {
    vec![
        file(&format!("{prefix}{}", blob_name(b"layer")), b"layer"),
        file(&format!("{prefix}index.json"), &index()),
        file(&format!("{prefix}{}", blob_name(b"one")), b"one"),
        file(&format!("{prefix}oci-layout"), LAYOUT),
    ]
}

fn open(dir: &TempDir, bytes: &[u8]) -> Result<Box<dyn Bundle>> {
    open_with(dir, bytes, &env())
}

fn open_with(dir: &TempDir, bytes: &[u8], env: &Env) -> Result<Box<dyn Bundle>> {
    let path = dir.path().join("a.tar");
    fs::write(&path, bytes).unwrap();
    OCI_ARCHIVE.open(path.to_str().unwrap(), env)
}

/// Everything that reading does.
fn check(bundle: &dyn Bundle) {
    let roots = bundle.roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].texts[0], "v1");
    bundle.root(&roots[0]).unwrap();
    let blob = bundle.blob(&facts(b"layer")).unwrap();
    assert_eq!(read(&blob).unwrap(), b"layer");
    assert_eq!(read(&blob).unwrap(), b"layer");
    let mut expected = [sha256(b"layer"), sha256(b"one")];
    expected.sort();
    assert_eq!(bundle.stored().unwrap().unwrap(), expected);
}

fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let encoding = Encoding {
        compression,
        level: Level::Default,
    };
    let mut out = Vec::new();
    let pool = Pool::new(1).unwrap();
    encode(&mut &bytes[..], &mut out, &encoding, &[], &pool, &env(), 0).unwrap();
    out
}

#[test]
fn a9_every_prefix_is_read() {
    for prefix in ["", "./", ".//./", "/"] {
        let dir = TempDir::new().unwrap();
        check(&*open(&dir, &tar(&members(prefix))).unwrap());
    }
}

#[test]
fn a10_one_compression_outside_is_read() {
    let dir = TempDir::new().unwrap();
    let plain = tar(&members(""));
    let tmpdir = TempDir::new().unwrap();
    let mut env = env();
    env.tmpdir = tmpdir.path().to_owned();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let bytes = compress(&plain, compression);
        check(&*open_with(&dir, &bytes, &env).unwrap());
        assert!(
            OCI_ARCHIVE.recognise(&dir.path().join("a.tar")).unwrap(),
            "{compression}"
        );
        assert_eq!(tree(tmpdir.path()).len(), 0, "the spool has no name");
    }
    // Two are not.
    let twice = compress(&compress(&plain, Compression::Gzip), Compression::Gzip);
    let error = open(&dir, &twice).unwrap_err();
    assert!(
        matches!(error.code(), Code::BadTar | Code::BadCompression),
        "{error}"
    );
}

#[test]
fn a10_bzip2_and_xz_are_read() {
    let dir = TempDir::new().unwrap();
    for program in ["bzip2", "xz"] {
        let child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            let _ = writeln!(std::io::stderr(), "skipped: there is no {program}");
            continue;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&tar(&members("")))
            .unwrap();
        let bytes = child.wait_with_output().unwrap().stdout;
        check(&*open(&dir, &bytes).unwrap());
    }
}

#[test]
fn long_names_and_extension_headers_are_stepped_over() {
    // A PAX header before a member: its body starts one block and a body later.
    let entry = Entry {
        mtime: Time {
            seconds: 1,
            nanos: 5,
        },
        size: 5,
        pax: vec![(b"comment".to_vec(), vec![b'x'; 2000])],
        ..Entry::new(blob_name(b"layer"), EntryKind::Regular)
    };
    let mut with_header = head(&entry).unwrap();
    assert!(with_header.len() > 2048);
    with_header.extend(b"layer");
    with_header.extend(&END[..padding(5)]);
    let mut list = members("");
    list.remove(0);
    // Once as the first member, and once as the last.
    for position in [0, list.len()] {
        let mut list = list.clone();
        list.insert(position, with_header.clone());
        let dir = TempDir::new().unwrap();
        check(&*open(&dir, &tar(&list)).unwrap());
    }
}

#[test]
fn d1a_links_in_an_archive_are_refused() {
    for (name, target) in [
        (blob_name(b"layer"), "/etc/passwd"),
        (blob_name(b"layer"), "../../x"),
        ("index.json".to_owned(), "other"),
        ("oci-layout".to_owned(), "other"),
    ] {
        let dir = TempDir::new().unwrap();
        let mut list = members("");
        list.retain(|bytes| !bytes.starts_with(name.as_bytes()));
        list.push(member(&name, EntryKind::Symlink, target, b""));
        let opened = open(&dir, &tar(&list));
        let error = opened
            .and_then(|bundle| bundle.blob(&facts(b"layer")))
            .unwrap_err();
        assert_eq!(error.code(), Code::Escape, "{name}: {error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
    let dir = TempDir::new().unwrap();
    let mut list = members("");
    list.push(file("blobs/../../x", b"x"));
    let error = open(&dir, &tar(&list)).unwrap_err();
    assert_eq!(error.code(), Code::Escape);
    assert!(error.to_string().contains("blobs/../../x"), "{error}");
}

#[test]
fn a4a_a_hard_link_is_another_name_of_a_member() {
    let dir = TempDir::new().unwrap();
    let mut list = members("");
    list[0] = file("./blobs/sha256/other", b"layer");
    list.push(member(
        &blob_name(b"layer"),
        EntryKind::HardLink,
        "blobs/sha256/other",
        b"",
    ));
    check(&*open(&dir, &tar(&list)).unwrap());
}

#[test]
fn d2_members_that_are_no_files_are_refused() {
    let dir = TempDir::new().unwrap();
    for kind in [EntryKind::Fifo, EntryKind::CharDevice, EntryKind::HardLink] {
        let mut list = members("");
        let link = if kind == EntryKind::HardLink {
            "/etc/passwd"
        } else {
            ""
        };
        list[0] = member(&blob_name(b"layer"), kind, link, b"");
        let error = open(&dir, &tar(&list))
            .unwrap()
            .blob(&facts(b"layer"))
            .unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{error}");
        assert!(error.to_string().contains(&blob_name(b"layer")), "{error}");
    }
    // The archive itself.
    let path = dir.path().join("fifo");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let error = OCI_ARCHIVE
        .open(path.to_str().unwrap(), &env())
        .unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a5a_a_member_twice_with_other_bytes_is_ambiguous() {
    let other = String::from_utf8(index()).unwrap().replace("v1", "v2");
    for (name, bytes) in [
        ("index.json", other.as_bytes()),
        ("./index.json", b"{}"),
        (&*blob_name(b"layer"), b"LAYER"),
    ] {
        let dir = TempDir::new().unwrap();
        let mut list = members("");
        list.push(file(name, bytes));
        let error = open(&dir, &tar(&list)).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous, "{error}");
        assert!(
            error.to_string().contains("duplicate archive member"),
            "{error}"
        );
        assert!(
            error.to_string().contains(name.trim_start_matches("./")),
            "{error}"
        );
    }
}

#[test]
fn a5b_a_member_twice_with_the_same_bytes_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let mut list = members("");
    list.extend(members("./"));
    let env = env();
    check(&*open_with(&dir, &tar(&list), &env).unwrap());
    let warnings = env.notes.take().warnings;
    assert_eq!(warnings.len(), 4);
    assert!(
        warnings
            .iter()
            .all(|warning| warning.code == "duplicate-member")
    );
    assert!(
        warnings
            .iter()
            .any(|warning| warning.at.contains("index.json"))
    );
}

#[test]
fn a14_a_wrong_blob_is_a_mismatch() {
    let dir = TempDir::new().unwrap();
    let mut list = members("");
    list[0] = file(&blob_name(b"layer"), b"LAYER");
    let bundle = open(&dir, &tar(&list)).unwrap();
    let error = read(&bundle.blob(&facts(b"layer")).unwrap()).unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    assert!(
        error.to_string().contains(&sha256(b"layer").to_string()),
        "{error}"
    );
}

#[test]
fn a15_a_truncated_archive_is_refused() {
    let dir = TempDir::new().unwrap();
    let bytes = tar(&members(""));
    for length in [100, 515, 2000] {
        let error = open(&dir, &bytes[..length]).unwrap_err();
        assert_eq!(error.code(), Code::BadTar, "{length}: {error}");
    }
    let packed = compress(&bytes, Compression::Gzip);
    let error = open(&dir, &packed[..packed.len() - 20]).unwrap_err();
    assert_eq!(error.code(), Code::BadCompression, "{error}");
}

#[test]
fn d4_an_archive_that_changes_is_a_mismatch() {
    let dir = TempDir::new().unwrap();
    let bundle = open(&dir, &tar(&members(""))).unwrap();
    let blob = bundle.blob(&facts(b"layer")).unwrap();
    let path = dir.path().join("a.tar");
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.seek(std::io::SeekFrom::Start(512)).unwrap();
    file.write_all(b"LAYER").unwrap();
    assert_eq!(read(&blob).unwrap_err().code(), Code::Mismatch);
    file.set_len(514).unwrap();
    assert_eq!(read(&blob).unwrap_err().code(), Code::Mismatch);
}

#[test]
fn d10_what_is_missing_is_named() {
    for name in ["oci-layout", "index.json"] {
        let dir = TempDir::new().unwrap();
        let mut list = members("");
        list.retain(|bytes| !bytes.starts_with(name.as_bytes()));
        let error = open(&dir, &tar(&list)).unwrap_err();
        assert_eq!(error.code(), Code::Missing, "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains("a.tar"), "{error}");
    }
}

#[test]
fn a6_the_index_is_bounded_by_its_size_in_the_tar() {
    let dir = TempDir::new().unwrap();
    let mut env = env();
    env.limits.root_index = 100;
    let error = open_with(&dir, &tar(&members("")), &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    env.limits.root_index = 10_000;
    env.limits.image_bytes = 3000;
    let packed = compress(&tar(&members("")), Compression::Gzip);
    let error = open_with(&dir, &packed, &env).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
    assert!(error.advice().unwrap().contains("image_bytes"), "{error}");
}

#[test]
fn what_is_no_layout_is_not_recognised() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x");
    for bytes in [
        tar(&[file("manifest", b"{}"), file("rootfs/blobs/x", b"")]),
        b"text".to_vec(),
        Vec::new(),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(!OCI_ARCHIVE.recognise(&path).unwrap());
    }
    assert!(!OCI_ARCHIVE.recognise(dir.path()).unwrap());
    // The blob is longer than what is looked at.
    let large = vec![0; 2 << 20];
    fs::write(
        &path,
        tar(&[file(&blob_name(&large), &large), file("oci-layout", LAYOUT)]),
    )
    .unwrap();
    assert!(OCI_ARCHIVE.recognise(&path).unwrap());
}

fn write(path: &Path, order: &[&[u8]]) -> Vec<String> {
    let sink = create_archive_with(path.to_str().unwrap(), &env(), RefName::Tag).unwrap();
    for bytes in order {
        put(&*sink, bytes);
    }
    assert!(sink.has(&sha256(b"one"), 3).unwrap());
    sink.commit(&[publication(b"one", Some("a.io/x:v1"))])
        .unwrap()
}

#[test]
fn inv8_an_archive_has_one_form() {
    let dir = TempDir::new().unwrap();
    let (first, second) = (dir.path().join("first.tar"), dir.path().join("second.tar"));
    let places = write(&first, &[b"one", b"layer"]);
    assert_eq!(
        places,
        [format!("oci-archive:{}:a.io/x:v1", first.display())]
    );
    write(&second, &[b"layer", b"one", b"layer"]);
    let bytes = fs::read(&first).unwrap();
    assert!(bytes == fs::read(&second).unwrap());
    assert_eq!(tree(dir.path()).len(), 2);
    let one = descriptor(
        b"one",
        r#","annotations":{"io.containerd.image.name":"a.io/x:v1","org.opencontainers.image.ref.name":"v1"}"#,
    );
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{one}]}}"#
    );
    assert!(one.contains(MANIFEST));
    let mut blobs = [
        (blob_name(b"layer"), &b"layer"[..]),
        (blob_name(b"one"), b"one"),
    ];
    blobs.sort();
    let directory = |name: &str| {
        let mut bytes = member(name, EntryKind::Directory, "", b"");
        // Mode 0755: one digit and the checksum differ.
        bytes[100..108].copy_from_slice(b"0000755\0");
        let sum: u32 = bytes[..512]
            .iter()
            .enumerate()
            .map(|(i, byte)| {
                if (148..156).contains(&i) {
                    32
                } else {
                    u32::from(*byte)
                }
            })
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let expected = tar(&[
        directory("blobs/"),
        directory("blobs/sha256/"),
        file(&blobs[0].0, blobs[0].1),
        file(&blobs[1].0, blobs[1].1),
        file("index.json", index.as_bytes()),
        file("oci-layout", LAYOUT),
    ]);
    assert!(bytes == expected);
    check(&*OCI_ARCHIVE.open(first.to_str().unwrap(), &env()).unwrap());
}

#[test]
fn users_b6_a_directory_and_its_archive_are_the_same() {
    let dir = TempDir::new().unwrap();
    let archive = dir.path().join("a.tar");
    write(&archive, &[b"one", b"layer"]);
    let status = Command::new("tar")
        .args(["-xf", "a.tar", "--one-top-level=layout"])
        .current_dir(dir.path())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        let _ = writeln!(std::io::stderr(), "skipped: there is no GNU tar");
        return;
    }
    let one = OCI_ARCHIVE.open(archive.to_str().unwrap(), &env()).unwrap();
    let layout = dir.path().join("layout");
    let other = OCI_LAYOUT.open(layout.to_str().unwrap(), &env()).unwrap();
    let describe = |bundle: &dyn Bundle| format!("{:?} {:?}", bundle.roots(), bundle.stored());
    assert_eq!(describe(&*one), describe(&*other));
}

#[test]
fn an_archive_that_exists_is_replaced_at_the_commit() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.tar");
    fs::write(&path, "old").unwrap();
    let before = tree(dir.path());
    let sink = OCI_ARCHIVE.create(path.to_str().unwrap(), &env()).unwrap();
    put(&*sink, b"one");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    // A root that nobody wrote.
    let error = sink.commit(&[publication(b"absent", None)]).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert_eq!(tree(dir.path()), before);
    let sink = OCI_ARCHIVE.create(path.to_str().unwrap(), &env()).unwrap();
    put(&*sink, b"one");
    drop(sink);
    assert_eq!(tree(dir.path()), before);
    write(&path, &[b"one", b"layer"]);
    check(&*OCI_ARCHIVE.open(path.to_str().unwrap(), &env()).unwrap());
}

#[test]
fn d13a_a_link_at_the_output_is_replaced_and_other_things_are_not() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("target"), "old").unwrap();
    let path = dir.path().join("a.tar");
    symlink("target", &path).unwrap();
    write(&path, &[b"one"]);
    assert!(!path.is_symlink());
    assert_eq!(fs::read(dir.path().join("target")).unwrap(), b"old");
    for odd in ["/dev/null", dir.path().to_str().unwrap()] {
        let error = OCI_ARCHIVE.create(odd, &env()).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{error}");
        assert!(error.to_string().contains(odd), "{error}");
    }
}

/// Runs one of the tests below in a process of its own, where it does its work.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--quiet"])
        .env("TEST_ARCHIVE", "-");
    command
}

#[test]
fn users_a9_standard_input_and_output() {
    let output = child("archive::write_to_standard_output_here")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // The test harness prints around it.
    let bytes = output.stdout;
    let start = bytes
        .windows(6)
        .position(|window| window == b"blobs/")
        .unwrap();
    let end = start + 512 * 12;
    for compression in [Compression::None, Compression::Gzip] {
        let mut reader = child("archive::read_from_standard_input_here")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let archive = compress(&bytes[start..end], compression);
        reader.stdin.take().unwrap().write_all(&archive).unwrap();
        let output = reader.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn write_to_standard_output_here() {
    if std::env::var_os("TEST_ARCHIVE").is_some() {
        write(Path::new("-"), &[b"one", b"layer"]);
    }
}

#[test]
fn read_from_standard_input_here() {
    if std::env::var_os("TEST_ARCHIVE").is_some() {
        check(&*OCI_ARCHIVE.open("-", &env()).unwrap());
    }
}

#[test]
fn m7_a_temporary_directory_that_fails_is_named() {
    let dir = TempDir::new().unwrap();
    let mut env = env();
    env.tmpdir = dir.path().join("absent");
    let packed = compress(&tar(&members("")), Compression::Gzip);
    let error: Error = open_with(&dir, &packed, &env).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(error.to_string().contains("absent"), "{error}");
    // A plain archive needs none.
    let bundle = open_with(&dir, &tar(&members("")), &env).unwrap();
    let mut bytes = Vec::new();
    bundle
        .blob(&facts(b"layer"))
        .unwrap()
        .open()
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, b"layer");
}
