//! Writing files: all at once or not at all (robustness section D).

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use imgconv_file::overlaps;
use imgconv_model::{
    Algorithm, BundleSink, Child, Code, Digest, Env, Error, FormatId, Platform, Publication,
    Transport,
};
use imgconv_transport_file::FILE;
use tempfile::TempDir;

fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

fn create(path: &Path) -> Box<dyn BundleSink> {
    FILE.create(path.to_str().unwrap(), &env()).unwrap()
}

fn put(sink: &dyn BundleSink, bytes: &[u8]) -> Digest {
    let digest = imgconv_stream::digest(Algorithm::Sha256, bytes);
    let mut writer = sink.writer().unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish(&digest, bytes.len() as u64).unwrap();
    digest
}

fn publication(digest: Digest, file_name: Option<&str>) -> Publication {
    Publication {
        root: Child {
            kind: "application/x".into(),
            digest,
            size: 1,
            platform: None,
            annotations: BTreeMap::new(),
            raw: String::new(),
        },
        name: None,
        reference: None,
        file_name: file_name.map(str::to_owned),
    }
}

/// Every file below, with its content.
fn tree(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.insert(format!("{name}/"), String::new());
            for (below, bytes) in tree(&entry.path()) {
                found.insert(format!("{name}/{below}"), bytes);
            }
        } else {
            let bytes = fs::read(entry.path()).unwrap();
            found.insert(name, String::from_utf8(bytes).unwrap());
        }
    }
    found
}

fn expect(directory: &Path, files: &[(&str, &str)]) {
    let files: BTreeMap<String, String> = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), (*bytes).to_owned()))
        .collect();
    assert_eq!(tree(directory), files);
}

#[test]
fn one_file_appears_at_the_commit() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.aci");
    let sink = create(&path);
    assert_eq!(FILE.place().formats(), [FormatId::ACI]);
    let digest = put(&*sink, b"image");
    assert!(sink.has(&digest, 5).unwrap() && !sink.has(&digest, 6).unwrap());
    assert!(!path.exists());
    let places = sink
        .commit(&[publication(digest, Some("ignored"))])
        .unwrap();
    assert_eq!(places, [path.to_str().unwrap()]);
    expect(dir.path(), &[("out.aci", "image")]);
    // An explicit file is replaced.
    let sink = create(&path);
    let digest = put(&*sink, b"second");
    expect_old(dir.path());
    sink.commit(&[publication(digest, None)]).unwrap();
    expect(dir.path(), &[("out.aci", "second")]);
}

fn expect_old(directory: &Path) {
    assert_eq!(fs::read(directory.join("out.aci")).unwrap(), b"image");
}

#[test]
fn several_images_make_a_directory() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new");
    let sink = create(&path);
    let (one, two) = (put(&*sink, b"one"), put(&*sink, b"two"));
    let publications = [
        publication(one, Some("one.aci")),
        publication(two, Some("two.aci")),
        publication(one, Some("again.aci")),
        publication(one, Some("one.aci")),
    ];
    let places = sink.commit(&publications).unwrap();
    assert_eq!(places[3], path.join("one.aci").to_str().unwrap());
    expect(
        dir.path(),
        &[
            ("new/", ""),
            ("new/again.aci", "one"),
            ("new/one.aci", "one"),
            ("new/two.aci", "two"),
        ],
    );
}

#[test]
fn a_directory_takes_files_by_name_and_replaces_old_ones() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.aci"), b"old").unwrap();
    fs::write(dir.path().join("keep"), b"kept").unwrap();
    let sink = create(dir.path());
    let digest = put(&*sink, b"new");
    sink.commit(&[publication(digest, Some("a.aci"))]).unwrap();
    expect(dir.path(), &[("a.aci", "new"), ("keep", "kept")]);
    // With a final slash the path is a directory, even for one image.
    let sink = FILE
        .create(&format!("{}/sub/", dir.path().display()), &env())
        .unwrap();
    let digest = put(&*sink, b"x");
    sink.commit(&[publication(digest, Some("x.aci"))]).unwrap();
    assert_eq!(tree(dir.path())["sub/x.aci"], "x");
}

#[test]
fn inv4_a_sink_that_is_dropped_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("old"), b"old").unwrap();
    for path in ["new.aci", "old", "newdir/", "."] {
        let path = format!("{}/{path}", dir.path().display());
        let sink = FILE.create(&path, &env()).unwrap();
        put(&*sink, b"complete");
        let mut writer = sink.writer().unwrap();
        writer.write_all(b"incomplete").unwrap();
        drop(sink);
        drop(writer);
        expect(dir.path(), &[("old", "old")]);
    }
}

#[test]
fn inv4_a_commit_that_fails_takes_everything_back() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.aci"), b"old").unwrap();
    fs::create_dir(dir.path().join("c.aci")).unwrap();
    let before = tree(dir.path());
    let sink = create(dir.path());
    let (a, b, c) = (put(&*sink, b"a"), put(&*sink, b"b"), put(&*sink, b"c"));
    let publications = [
        publication(a, Some("a.aci")),
        publication(b, Some("b.aci")),
        publication(c, Some("c.aci")),
    ];
    let error = sink.commit(&publications).unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    assert!(error.to_string().contains("c.aci"), "{error}");
    assert_eq!(tree(dir.path()), before);

    // A root that nobody wrote.
    let sink = create(&dir.path().join("new"));
    let a = put(&*sink, b"a");
    let absent = Digest::new(Algorithm::Sha256, &[1; 32]);
    let publications = [publication(a, Some("a")), publication(absent, Some("b"))];
    let error = sink.commit(&publications).unwrap_err();
    assert_eq!(error.code(), Code::Missing);
    assert!(error.message().contains(&absent.to_string()), "{error}");
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn a_wrong_size_is_noticed() {
    let dir = TempDir::new().unwrap();
    let sink = create(&dir.path().join("x"));
    let mut writer = sink.writer().unwrap();
    writer.write_all(b"abc").unwrap();
    let error = writer
        .finish(&Digest::new(Algorithm::Sha256, &[1; 32]), 4)
        .unwrap_err();
    assert_eq!(error.code(), Code::Mismatch);
    drop(sink);
    expect(dir.path(), &[]);
}

#[test]
fn d13a_a_link_at_the_output_is_replaced_and_its_target_is_not() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("target"), b"old").unwrap();
    symlink("target", dir.path().join("out.aci")).unwrap();
    let sink = create(&dir.path().join("out.aci"));
    let digest = put(&*sink, b"new");
    sink.commit(&[publication(digest, None)]).unwrap();
    expect(dir.path(), &[("out.aci", "new"), ("target", "old")]);
    assert!(!dir.path().join("out.aci").is_symlink());
}

#[test]
fn d13b_two_images_for_one_path_are_ambiguous() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), b"old").unwrap();
    // Two names in a directory that are the same, and two images for one existing file.
    for path in [".", "file"] {
        let sink = create(&dir.path().join(path));
        let (one, two) = (put(&*sink, b"one"), put(&*sink, b"two"));
        let publications = [publication(one, Some("a")), publication(two, Some("a"))];
        let error = sink.commit(&publications).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous, "{error}");
        expect(dir.path(), &[("file", "old")]);
    }
}

#[test]
fn d13b_overlapping_paths_are_found() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("in")).unwrap();
    fs::write(path("in/file"), b"x").unwrap();
    symlink("in", path("link")).unwrap();
    fs::hard_link(path("in/file"), path("hard")).unwrap();
    assert!(overlaps(&path("in"), &path("in/new")));
    assert!(overlaps(&path("in"), &path("link/../in/new")));
    assert!(overlaps(&path("in/file"), &path("link/file")));
    assert!(overlaps(&path("in/file"), &path("hard")));
    assert!(!overlaps(&path("in"), &path("inside")));
    assert!(!overlaps(&path("in/file"), &path("in/other")));
}

#[test]
fn d14_colliding_names_get_their_digest() {
    let dir = TempDir::new().unwrap();
    let sink = create(dir.path());
    let (one, two) = (put(&*sink, b"one"), put(&*sink, b"two"));
    let publications = [
        publication(one, Some("App.aci")),
        publication(two, Some("app.aci")),
    ];
    sink.commit(&publications).unwrap();
    // sha256 of "one" and "two"
    expect(
        dir.path(),
        &[
            ("App-7692c3ad3540.aci", "one"),
            ("app-3fc4ccfe7458.aci", "two"),
        ],
    );
}

#[test]
fn what_can_not_be_written_is_said_before_anything_is_read() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("file"), b"x").unwrap();
    let fail = |path: &str| -> Error {
        let error = FILE.create(path, &env()).unwrap_err();
        assert!(
            path.is_empty() || error.to_string().contains(path.trim_end_matches("/x")),
            "{error}"
        );
        error
    };
    assert_eq!(fail("").code(), Code::Usage);
    assert_eq!(fail("/dev/null").code(), Code::Denied);
    assert_eq!(
        fail(&format!("{}/absent/x", dir.path().display())).code(),
        Code::Io
    );
    assert_eq!(
        fail(&format!("{}/file/x", dir.path().display())).code(),
        Code::Io
    );
}

#[test]
fn d9_a_read_only_destination_is_an_error() {
    if rustix::process::geteuid().is_root() {
        return skipped("root may write anywhere");
    }
    let dir = TempDir::new().unwrap();
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o500),
    )
    .unwrap();
    let sink = create(&dir.path().join("x"));
    assert_eq!(sink.writer().err().unwrap().code(), Code::Io);
}

fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

#[test]
fn d15_no_file_is_writable_by_others() {
    // The umask belongs to the whole process, so each one is tried in a process of its own.
    for (umask, mode) in [
        ("000", 0o644),
        ("022", 0o644),
        ("077", 0o600),
        ("777", 0o600),
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("out");
        let status = child("commit_one_image_here", &path)
            .env("TEST_UMASK", umask)
            .status()
            .unwrap();
        assert!(status.success(), "umask {umask}");
        assert_eq!(
            path.metadata().unwrap().mode() & 0o7777,
            mode,
            "umask {umask}"
        );
        expect(dir.path(), &[("out", "image")]);
    }
}

#[test]
fn standard_output_gets_the_bytes_at_the_commit() {
    let output = child("commit_one_image_here", Path::new("-"))
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("image"), "{text}");
}

#[test]
fn m6_a_closed_standard_output_is_an_error_and_no_panic() {
    let mut child = child("commit_one_large_image_here", Path::new("-"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The reader goes away in the middle: the image is larger than a pipe.
    let mut reader = child.stdout.take().unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("code io"), "{text}");
}

/// Runs one of the tests below in a process of its own, where it does its work.
fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &format!("write::{test}"),
            "--nocapture",
            "--quiet",
        ])
        .env("TEST_OUTPUT", path);
    command
}

#[test]
fn commit_one_image_here() {
    let Some(path) = std::env::var_os("TEST_OUTPUT") else {
        return;
    };
    if let Some(umask) = std::env::var_os("TEST_UMASK") {
        let umask = u32::from_str_radix(umask.to_str().unwrap(), 8).unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    let sink = create(Path::new(&path));
    let digest = put(&*sink, b"image");
    sink.commit(&[publication(digest, None)]).unwrap();
}

#[test]
fn commit_one_large_image_here() {
    let Some(path) = std::env::var_os("TEST_OUTPUT") else {
        return;
    };
    let sink = create(Path::new(&path));
    let digest = put(&*sink, &vec![0; 1 << 20]);
    let error = sink.commit(&[publication(digest, None)]).unwrap_err();
    let _ = writeln!(std::io::stderr(), "code {}: {error}", error.code());
}

#[test]
fn d7_a_full_disk_names_the_path_and_leaves_no_trace() {
    // A limit on the size of files stands for a small file system; its signal is ignored.
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.aci");
    fs::write(&path, "old").unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "write::write_too_much_here", "--nocapture"])
        .env("TEST_OUTPUT", &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("code io"), "{text}");
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    expect(dir.path(), &[("out.aci", "old")]);
}

#[test]
fn write_too_much_here() {
    let Some(path) = std::env::var_os("TEST_OUTPUT") else {
        return;
    };
    let sink = create(Path::new(&path));
    let mut writer = sink.writer().unwrap();
    let bytes = vec![7; 4 << 20];
    let written = writer.write_all(&bytes).map_err(Error::from_io);
    let digest = imgconv_stream::digest(Algorithm::Sha256, &bytes);
    let error = written
        .and_then(|()| writer.finish(&digest, 4 << 20))
        .unwrap_err();
    let _ = writeln!(std::io::stderr(), "code {}: {error}", error.code());
}
