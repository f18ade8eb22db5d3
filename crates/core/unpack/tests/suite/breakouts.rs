//! I1: the known ways out of a directory, as data, with the expected contents of the directory.
//!
//! The names of the rows are those of containerd's table of breakouts; three rows end differently
//! here, as robustness.md says.

use std::{fs, os::unix::fs::MetadataExt};

use imgconv_model::Code;

use crate::archive::{Member, World, dir, file, inside, link, read, symlink};

/// The expected state of the directory, or the refusal.
enum Then {
    /// Two paths are one file, links followed inside the directory.
    Same(&'static str, &'static str),
    Differ(&'static str, &'static str),
    /// Two paths are links with one target.
    SameLink(&'static str, &'static str),
    Content(&'static str, &'static str),
    Absent(&'static str),
    Refused(Code),
}
use Then::{Absent, Content, Differ, Refused, Same, SameLink};

fn etc() -> Vec<Member> {
    vec![dir("etc/", 0o755), file("etc/passwd", "inside")]
}

fn with_etc(mut members: Vec<Member>) -> Vec<Member> {
    members.splice(0..0, etc());
    members
}

/// Unpacks the upper layer over the lower one and checks.
fn row(name: &str, lower: Vec<Member>, upper: Vec<Member>, then: &[Then]) {
    let world = World::new();
    let result = world.try_unpack(&[&lower, &upper]);
    let out = world.out();
    let inode = |path: &str| {
        let found = fs::symlink_metadata(inside(&out, path));
        let found = found.unwrap_or_else(|error| panic!("{name}: {path}: {error}"));
        (found.dev(), found.ino())
    };
    for then in then {
        match then {
            Refused(code) => {
                assert_eq!(result.as_ref().unwrap_err().code(), *code, "{name}");
                continue;
            }
            _ => assert!(result.is_ok(), "{name}: {result:?}"),
        }
        match then {
            Same(a, b) => assert_eq!(inode(a), inode(b), "{name}: {a} and {b}"),
            Differ(a, b) => assert_ne!(inode(a), inode(b), "{name}: {a} and {b}"),
            SameLink(a, b) => assert_eq!(
                fs::read_link(world.at(a)).unwrap(),
                fs::read_link(world.at(b)).unwrap(),
                "{name}: {a} and {b}"
            ),
            Content(path, content) => {
                assert_eq!(read(&world.at(path)), content.as_bytes(), "{name}: {path}");
            }
            Absent(path) => {
                let found = fs::symlink_metadata(world.at(path)).is_ok();
                assert!(!found, "{name}: {path} exists");
            }
            Refused(_) => unreachable!(),
        }
    }
}

#[test]
fn i1_symlinks() {
    let unbroken = [Content("etc/unbroken", "unbroken")];
    let new = |path: &str| file(path, "unbroken");
    row(
        "SymlinkAbsolute",
        vec![],
        vec![
            dir("etc", 0o755),
            symlink("/etc", "localetc"),
            new("/localetc/unbroken"),
        ],
        &unbroken,
    );
    row(
        "SymlinkUpAndOut",
        vec![],
        vec![
            dir("etc", 0o755),
            dir("dummy", 0o755),
            symlink("/dummy/../etc", "localetc"),
            new("/localetc/unbroken"),
        ],
        &unbroken,
    );
    for (name, target) in [
        ("SymlinkMultipleAbsolute", "/dummy/etc"),
        ("SymlinkMultipleRelative", "./dummy/etc"),
    ] {
        row(
            name,
            vec![],
            vec![
                dir("etc", 0o755),
                dir("dummy", 0o755),
                symlink("/etc", "/dummy/etc"),
                symlink(target, "localetc"),
                new("/dummy/etc/unbroken"),
            ],
            &unbroken,
        );
    }
    row(
        "SymlinkEmptyFile",
        vec![],
        vec![
            dir("etc", 0o755),
            file("etc/emptied", "notempty"),
            symlink("/etc", "localetc"),
            file("/localetc/emptied", ""),
        ],
        &[Content("etc/emptied", "")],
    );
    let same = || [Same("/localetc/localpasswd", "/etc/passwd")];
    let last = || link("/etc/passwd", "/localetc/localpasswd");
    row(
        "SymlinkParentDirectory",
        vec![],
        with_etc(vec![
            symlink("/etc/", ".."),
            link("/etc/passwd", "localpasswd"),
        ]),
        &[Refused(Code::Escape)],
    );
    row(
        "SymlinkEmptyFilename",
        vec![],
        with_etc(vec![
            symlink("/etc/", ""),
            link("/etc/passwd", "localpasswd"),
        ]),
        &[Refused(Code::BadTar)],
    );
    row(
        "SymlinkParentRelative",
        vec![],
        with_etc(vec![symlink("/etc/", "localetc/sub/.."), last()]),
        &same(),
    );
    row(
        "SymlinkSlashEnded",
        vec![],
        with_etc(vec![dir("localetc/", 0o770), last()]),
        &same(),
    );
    for (name, target) in [
        ("SymlinkOverrideDirectory", "/etc"),
        ("SymlinkOverrideDirectoryRelative", "../../etc"),
    ] {
        row(
            name,
            with_etc(vec![dir("localetc/", 0o755)]),
            vec![symlink(target, "localetc"), last()],
            &same(),
        );
    }
}

#[test]
fn i1_the_root_as_a_target() {
    // A name that does not exist on this machine, in a directory that does.
    let unique = tempfile::NamedTempFile::new().unwrap();
    let outside = unique.path().to_owned();
    unique.close().unwrap();
    let path = format!("foo{}", outside.to_str().unwrap());
    let parents = || {
        let mut parents = vec![dir("foo", 0o755)];
        let slashes = path.match_indices('/').skip(1);
        parents.extend(slashes.map(|(slash, _)| dir(&path[..slash], 0o755)));
        parents
    };
    let mut members = parents();
    members.extend([file(&path, "one"), symlink("/", "foo"), file(&path, "two")]);
    members.extend(parents());
    members.push(file(&path, "three"));
    let world = World::new();
    world.unpack(&members);
    assert!(!outside.exists());
    assert_eq!(read(&world.at(&path)), b"three");
}

#[test]
fn i1_hard_links() {
    for (name, target) in [
        ("HardlinkRelative", "../../etc"),
        ("HardlinkDownAndOut", "../downandout/../../etc"),
    ] {
        row(
            name,
            vec![],
            with_etc(vec![
                dir("breakouts", 0o755),
                dir("downandout", 0o755),
                symlink(target, "breakouts/d1"),
                link("/breakouts/d1/passwd", "breakouts/mypasswd"),
            ]),
            &[Same("/breakouts/mypasswd", "/etc/passwd")],
        );
    }
    for (name, target) in [
        ("HardlinkAbsolute", "/etc"),
        ("HardlinkRelativeLong", "../../../../../../../etc"),
        ("HardlinkRelativeUpAndOut", "upandout/../../../etc"),
    ] {
        row(
            name,
            vec![],
            with_etc(vec![
                symlink(target, "localetc"),
                link("/localetc/passwd", "localpasswd"),
            ]),
            &[Same("localpasswd", "/etc/passwd")],
        );
    }
    row(
        "HardlinkDirectRelative",
        vec![],
        with_etc(vec![link("../../../../../etc/passwd", "localpasswd")]),
        &[Refused(Code::Escape)],
    );
    row(
        "HardlinkDirectAbsolute",
        vec![],
        with_etc(vec![link("/etc/passwd", "localpasswd")]),
        &[Same("localpasswd", "/etc/passwd")],
    );
    row(
        "HardlinkSymlinkBeforeCreateTarget",
        vec![],
        vec![
            dir("etc", 0o770),
            symlink("/etc/passwd", "localpasswd"),
            link("localpasswd", "localpasswd-dup"),
            file("/etc/passwd", "after"),
        ],
        &[Same("localpasswd-dup", "/etc/passwd")],
    );
    for (name, target) in [
        ("HardlinkSymlinkRelative", "../../../../../etc/passwd"),
        ("HardlinkSymlinkAbsolute", "/etc/passwd"),
    ] {
        row(
            name,
            vec![],
            with_etc(vec![
                symlink(target, "passwdlink"),
                link("/passwdlink", "localpasswd"),
            ]),
            &[
                SameLink("localpasswd", "passwdlink"),
                Same("localpasswd", "/etc/passwd"),
            ],
        );
    }
}

#[test]
fn i1_hard_link_symlink_chmod() {
    let world = World::new();
    let (victim, other) = (world.outside("victim"), world.outside("dir/victim"));
    let (victim, other) = (victim.to_str().unwrap(), other.to_str().unwrap());
    world.unpack(&[
        symlink(victim, other),
        link(other, "sketchylink").mode(0o777),
    ]);
    assert_eq!(
        fs::read_link(world.at("sketchylink")).unwrap().to_str(),
        Some(victim)
    );
}

#[test]
fn i1_directories_over_symlinks() {
    row(
        "DirectoryOverrideSymlink",
        with_etc(vec![symlink("/etc", "localetc")]),
        vec![
            dir("/localetc/", 0o755),
            link("/etc/passwd", "/localetc/localpasswd"),
        ],
        &[Same("/localetc/localpasswd", "/etc/passwd")],
    );
    row(
        "DirectoryOverrideSymlinkAndHardlink",
        with_etc(vec![
            symlink("etc", "localetc"),
            link("/etc/passwd", "/localetc/localpasswd"),
        ]),
        vec![
            dir("/localetc/", 0o755),
            file("/localetc/localpasswd", "different"),
        ],
        &[
            Differ("/localetc/localpasswd", "/etc/passwd"),
            Content("etc/passwd", "inside"),
        ],
    );
}

#[test]
fn i1_whiteouts() {
    for (name, path) in [
        ("WhiteoutRootParent", ".wh..."),
        ("WhiteoutParent", "etc/.wh..."),
        ("WhiteoutRoot", ".wh.."),
        ("WhiteoutCurrentDirectory", "etc/.wh.."),
    ] {
        row(name, etc(), vec![file(path, "")], &[Refused(Code::BadTar)]);
    }
    let kept = || Content("etc/passwd", "inside");
    row(
        "WhiteoutSymlink",
        with_etc(vec![symlink("/etc", "localetc")]),
        vec![file(".wh.localetc", "")],
        &[kept(), Absent("localetc")],
    );
    let lower = || {
        with_etc(vec![
            file("etc/whitedout", "x"),
            symlink("/etc", "localetc"),
        ])
    };
    row(
        "WhiteoutSymlinkPath",
        lower(),
        vec![file("localetc/.wh.whitedout", "")],
        &[kept(), Absent("etc/whitedout")],
    );
    row(
        "WhiteoutDirectoryName",
        lower(),
        vec![file(".wh.etc/somefile", "non-empty")],
        &[kept(), Content(".wh.etc/somefile", "non-empty")],
    );
    let dead = || with_etc(vec![symlink("/dne", "localetc")]);
    row(
        "WhiteoutDeadSymlinkParent",
        dead(),
        vec![file("localetc/.wh.etc", "")],
        &[kept()],
    );
    row(
        "WhiteoutRelativePath",
        dead(),
        vec![file("dne/../.wh.etc", "")],
        &[Absent("etc/passwd"), Absent("etc")],
    );
}
