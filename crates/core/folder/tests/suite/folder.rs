//! A folder becomes a tar with every attribute, and the marks of drivers become whiteouts.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    sync::Arc,
};

use imgconv_folder::{Folder, Marks};
use imgconv_fs::Directory;
use imgconv_model::{Code, Error, Limits, Notes, Open as _};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

fn folder(path: &Path, marks: Marks) -> Folder {
    Folder {
        root: Arc::new(Directory::open(path).unwrap()),
        marks,
        below: None,
        names_root: false,
        limits: Limits::default(),
        what: "folder".to_owned(),
    }
}

fn tar(path: &Path, marks: Marks) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut reader = folder(path, marks).open()?;
    reader.read_to_end(&mut bytes).map_err(Error::from_io)?;
    Ok(bytes)
}

/// Lists the members as `KIND MODE PATH -> LINK`, with the content of files and the PAX keys.
fn list(bytes: &[u8]) -> Vec<String> {
    let source = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let mut reader = imgconv_tar::Reader::new(source, &Limits::default(), &Notes::default(), "tar");
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut line = format!("{:?} {:o} {}", entry.kind, entry.mode, text(&entry.path));
        if !entry.link.is_empty() {
            line += &format!(" -> {}", text(&entry.link));
        }
        if !content.is_empty() {
            line += &format!(" = {content}");
        }
        for (key, value) in &entry.pax {
            line += &format!(" {}={}", text(key), text(value));
        }
        lines.push(line);
    }
    lines
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_kind_of_file_is_a_member() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::create_dir(root.join("b")).unwrap();
    mode(&root.join("b"), 0o1750);
    fs::write(root.join("b/file"), "hello").unwrap();
    mode(&root.join("b/file"), 0o4755);
    fs::hard_link(root.join("b/file"), root.join("c")).unwrap();
    symlink("/etc/passwd", root.join("a")).unwrap();
    rustix::fs::mknodat(
        CWD,
        root.join("d"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    fs::write(root.join("e"), "").unwrap();
    mode(&root.join("e"), 0o644);
    let _socket = std::os::unix::net::UnixListener::bind(root.join("f")).unwrap();
    let first = tar(root, Marks::None).unwrap();
    assert_eq!(
        list(&first),
        [
            "Symlink 777 a -> /etc/passwd",
            "Directory 1750 b/",
            "Regular 4755 b/file = hello",
            "HardLink 4755 c -> b/file",
            "Fifo 600 d",
            "Regular 644 e",
        ]
    );
    assert!(tar(root, Marks::None).unwrap() == first);
    // With the folder itself, which a root file system has.
    mode(root, 0o711);
    let named = Folder {
        names_root: true,
        ..folder(root, Marks::None)
    };
    let mut bytes = Vec::new();
    named.open().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(list(&bytes)[0], "Directory 711 ./");
    assert_eq!(list(&bytes)[1..], list(&first));
    // Another reader sees the same names, owners and times: the folder is as the tar says.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &first).unwrap();
    let compared = Command::new("tar")
        .arg("-df")
        .arg(file.path())
        .arg("-C")
        .arg(root)
        .output();
    let compared = compared.unwrap();
    assert!(compared.status.success(), "{compared:?}");
}

#[test]
fn attributes_of_the_user_are_kept_and_those_of_drivers_are_not() {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = temporary.path().join("a");
    fs::write(&file, "").unwrap();
    mode(&file, 0o644);
    let set =
        |name: &str, value: &[u8]| rustix::fs::setxattr(&file, name, value, XattrFlags::empty());
    if set("user.key", b"value").is_err() {
        return; // No extended attributes here, or not root: nothing can be made to be read.
    }
    set("user.overlay.origin", b"x").unwrap();
    let line = |marks| list(&tar(temporary.path(), marks).unwrap()).concat();
    assert_eq!(
        line(Marks::Overlay),
        "Regular 644 a SCHILY.xattr.user.key=value"
    );
    assert_eq!(
        line(Marks::None),
        "Regular 644 a SCHILY.xattr.user.key=value SCHILY.xattr.user.overlay.origin=x"
    );
}

#[test]
fn a_noted_owner_is_the_owner_and_other_attributes_are_reported() {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = temporary.path().join("a");
    fs::write(&file, "").unwrap();
    let set =
        |name: &str, value: &[u8]| rustix::fs::setxattr(&file, name, value, XattrFlags::empty());
    if set("trusted.foo", b"1").is_err() {
        return; // No extended attributes here, or not root: nothing can be made to be read.
    }
    let owner = |value: &[u8]| {
        set("user.rootlesscontainers", value).unwrap();
        let source = Box::new(std::io::Cursor::new(
            tar(temporary.path(), Marks::None).unwrap(),
        ));
        let (limits, notes) = (Limits::default(), Notes::default());
        let mut reader = imgconv_tar::Reader::new(source, &limits, &notes, "tar");
        let entry = reader.next_entry().unwrap().unwrap();
        (entry.uid, entry.gid, entry.pax.len())
    };
    assert_eq!(owner(&[0x08, 0xe8, 0x07, 0x10, 0x05]), (1000, 5, 0));
    assert_eq!(owner(&[0x10, 0x05]), (0, 5, 0));
    let kept = [0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x10, 0x05];
    let own = fs::metadata(&file).unwrap().uid();
    assert_eq!(owner(&kept), (own, 5, 0));
    for malformed in [
        &[0x08][..],
        &[0x18, 1],
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        assert_eq!(owner(malformed).2, 1, "{malformed:?}");
    }
    let notes = Notes::default();
    folder(temporary.path(), Marks::None).report_left_out(&notes);
    let losses = notes.take().losses;
    assert_eq!(losses.len(), 1);
    assert_eq!(losses[0].field, "xattrs");
    assert!(
        losses[0]
            .why
            .contains("has others (1), such as \"trusted.foo\" of file \"a\""),
        "{}",
        losses[0].why
    );
    let notes = Notes::default();
    folder(temporary.path(), Marks::Overlay).report_left_out(&notes);
    assert!(notes.take().losses.is_empty());
}

#[test]
fn marks_of_overlay_become_whiteouts() {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = temporary.path();
    fs::create_dir(root.join("data")).unwrap();
    mode(&root.join("data"), 0o755);
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(root.join("data"), name, value, XattrFlags::empty())
    };
    let device = rustix::fs::mknodat(
        CWD,
        root.join("data/gone"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    );
    if device.is_err() || set("user.overlay.opaque", b"y").is_err() {
        return; // No extended attributes here, or not root: nothing can be made to be read.
    }
    fs::write(root.join("data/new"), "n").unwrap();
    mode(&root.join("data/new"), 0o600);
    assert_eq!(
        list(&tar(root, Marks::Overlay).unwrap()),
        [
            "Directory 755 data/",
            "Regular 644 data/.wh..wh..opq",
            "Regular 644 data/.wh.gone",
            "Regular 600 data/new = n",
        ]
    );
}

#[test]
fn files_of_aufs_itself_are_left_out() {
    let temporary = tempfile::tempdir().unwrap();
    let root = temporary.path();
    fs::create_dir(root.join("a")).unwrap();
    mode(&root.join("a"), 0o755);
    for name in ["a/.wh.gone", "a/.wh..wh..opq", ".wh..wh.aufs"] {
        fs::write(root.join(name), "").unwrap();
        mode(&root.join(name), 0o444);
    }
    fs::create_dir(root.join(".wh..wh.plnk")).unwrap();
    assert_eq!(
        list(&tar(root, Marks::Aufs).unwrap()),
        [
            "Directory 755 a/",
            "Regular 444 a/.wh..wh..opq",
            "Regular 444 a/.wh.gone",
        ]
    );
    // Without marks the same name would delete a file of a lower layer.
    let error = tar(root, Marks::None).unwrap_err();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.to_string().contains("\".wh..wh.aufs\""), "{error}");
}

#[test]
fn a_file_that_changes_meanwhile_is_named() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("log");
    fs::write(&path, vec![b'x'; 100_000]).unwrap();
    let mut reader = folder(temporary.path(), Marks::None).open().unwrap();
    let mut head = [0; 1024];
    reader.read_exact(&mut head).unwrap();
    fs::write(&path, "short").unwrap();
    let error = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err();
    let text = Error::from_io(error).to_string();
    assert!(
        text.contains("file \"log\": the file changed while it was read"),
        "{text}"
    );
    assert!(reader.read(&mut head).is_err());
}

#[test]
fn deep_trees_need_no_descriptors() {
    let temporary = tempfile::tempdir().unwrap();
    let mut path = temporary.path().to_path_buf();
    for _ in 0..1500 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    let bytes = tar(temporary.path(), Marks::None).unwrap();
    assert_eq!(list(&bytes).len(), 1500);
}

/// Two whole trees, as `vfs` copies and `overlay` of Docker 1.4 to 1.12 links them.
#[test]
fn the_difference_of_two_trees_is_a_layer() {
    let temporary = tempfile::tempdir().unwrap();
    let (old, new) = (temporary.path().join("old"), temporary.path().join("new"));
    for name in ["etc", "gone", "same"] {
        fs::create_dir_all(old.join(name)).unwrap();
        mode(&old.join(name), 0o755);
    }
    for name in [
        "etc/a",
        "etc/b",
        "etc/linked",
        "etc/removed",
        "gone/x",
        "same/x",
    ] {
        fs::write(old.join(name), name).unwrap();
        mode(&old.join(name), 0o644);
    }
    symlink("a", old.join("etc/link")).unwrap();
    fs::write(old.join("kind"), "a file").unwrap();
    let copied = Command::new("cp").arg("-a").arg(&old).arg(&new).status();
    assert!(copied.unwrap().success());
    fs::remove_file(new.join("etc/linked")).unwrap();
    fs::hard_link(old.join("etc/linked"), new.join("etc/linked")).unwrap();
    assert_eq!(times(&new.join("etc/a")), times(&old.join("etc/a")));
    let difference = || {
        let folder = Folder {
            below: Some(Arc::new(Directory::open(&old).unwrap())),
            ..folder(&new, Marks::None)
        };
        let mut bytes = Vec::new();
        folder.open().unwrap().read_to_end(&mut bytes).unwrap();
        // Times of directories differ, since files were made in them.
        let mut lines = list(&bytes);
        lines.retain(|line| !line.starts_with("Directory 755 etc"));
        lines
    };
    assert_eq!(difference(), [""; 0]);
    // Only the content of `b` changes, not its size nor its time.
    let before = times(&new.join("etc/b"));
    fs::write(new.join("etc/b"), "ETC/B").unwrap();
    let file = fs::File::options()
        .write(true)
        .open(new.join("etc/b"))
        .unwrap();
    file.set_times(fs::FileTimes::new().set_modified(before))
        .unwrap();
    mode(&new.join("etc/a"), 0o600);
    fs::remove_file(new.join("etc/removed")).unwrap();
    fs::remove_dir_all(new.join("gone")).unwrap();
    fs::remove_file(new.join("kind")).unwrap();
    fs::create_dir(new.join("kind")).unwrap();
    mode(&new.join("kind"), 0o700);
    fs::write(new.join("kind/y"), "y").unwrap();
    mode(&new.join("kind/y"), 0o644);
    assert_eq!(
        difference(),
        [
            "Regular 600 etc/a = etc/a",
            "Regular 644 etc/b = ETC/B",
            "Regular 644 etc/.wh.removed",
            "Regular 644 .wh.gone",
            "Directory 700 kind/",
            "Regular 644 kind/y = y",
        ]
    );
}

fn times(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn owners_and_modes_that_were_only_noted_are_applied() {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = temporary.path();
    fs::write(root.join("a"), "a").unwrap();
    mode(&root.join("a"), 0o600);
    let set = |value: &[u8]| {
        let name = "user.containers.override_stat";
        rustix::fs::setxattr(root.join("a"), name, value, XattrFlags::empty())
    };
    if set(b"12:34:0104755").is_err() {
        return; // No extended attributes here.
    }
    let entry = || {
        let bytes = tar(root, Marks::Overlay)?;
        let source = Box::new(std::io::Cursor::new(bytes));
        let mut reader =
            imgconv_tar::Reader::new(source, &Limits::default(), &Notes::default(), "tar");
        let entry = reader.next_entry()?.unwrap();
        Ok::<_, Error>((entry.uid, entry.gid, entry.mode, entry.pax.len()))
    };
    assert_eq!(entry().unwrap(), (12, 34, 0o4755, 0));
    set(b"12:34:0755:file").unwrap();
    assert_eq!(entry().unwrap(), (12, 34, 0o755, 0));
    for bad in [
        "12:34",
        "12:34:0755:block-1-2",
        "12:34:9",
        "x:0:0755",
        "12:34:0755:dir",
    ] {
        set(bad.as_bytes()).unwrap();
        assert_eq!(entry().unwrap_err().code(), Code::Unsupported, "{bad}");
    }
}
