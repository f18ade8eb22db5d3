//! I4, I5, I6: metadata, privileges, owners and extended attributes.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt};

use imgconv_tar::EntryKind;
use rustix::process::{getegid, geteuid};

use crate::archive::{
    Member, World, device, dir, extended_attributes, fifo, file, link, names, root, skip, snapshot,
    symlink,
};

/// Version 2, `cap_net_bind_service` and `cap_net_raw` permitted and effective; it has a newline.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn mode(world: &World, path: &str) -> u32 {
    fs::symlink_metadata(world.at(path)).unwrap().mode() & 0o7777
}

fn owner(world: &World, path: &str) -> (u32, u32) {
    let data = fs::symlink_metadata(world.at(path)).unwrap();
    (data.uid(), data.gid())
}

fn me() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Says whether the file system of the tests has `user.*` attributes.
fn has_attributes(world: &World) -> bool {
    let probe = world.env.tmpdir.join("probe");
    fs::write(&probe, "").unwrap();
    let set = rustix::fs::setxattr(&probe, "user.x", b"", rustix::fs::XattrFlags::empty());
    if set.is_err() {
        skip("the file system has no extended attributes");
    }
    set.is_ok()
}

#[test]
fn i4_the_root_entry_is_the_target() {
    let world = World::new();
    let attributes = has_attributes(&world);
    let entry = dir("./", 0o1711)
        .owner(12, 34)
        .time(1_234_567_890, 123_456_789)
        .record("SCHILY.xattr.user.root", "yes");
    let around = fs::symlink_metadata(world.work()).unwrap();
    let outcome = world.unpack(&[entry, file("a", "x")]);
    assert_eq!((outcome.entries, outcome.bytes), (1, 1));
    assert_eq!(mode(&world, ""), 0o1711);
    let seen = fs::symlink_metadata(world.out()).unwrap();
    assert_eq!(
        (seen.mtime(), seen.mtime_nsec()),
        (1_234_567_890, 123_456_789)
    );
    if root() {
        assert_eq!(owner(&world, ""), (12, 34));
    }
    if attributes {
        assert_eq!(extended_attributes(&world.out())[&b"user.root"[..]], b"yes");
    }
    let still = fs::symlink_metadata(world.work()).unwrap();
    assert_eq!(
        (around.mode(), around.uid(), around.gid()),
        (still.mode(), still.uid(), still.gid())
    );
}

#[test]
fn i4_without_a_root_entry_the_target_is_plain() {
    let world = World::new();
    world.unpack(&[file("a/b/c", "x")]);
    for path in ["", "a", "a/b"] {
        assert_eq!(mode(&world, path), 0o755, "{path:?}");
        let seen = fs::symlink_metadata(world.at(path)).unwrap();
        assert_eq!((seen.mtime(), seen.mtime_nsec()), (0, 0), "{path:?}");
    }
}

fn special() -> [Member; 5] {
    [
        fifo("dev/fifo"),
        device("dev/null", EntryKind::CharDevice, 1, 3),
        device("dev/loop", EntryKind::BlockDevice, 7, 200),
        link("dev/null", "dev/same").mode(0o666),
        file("f", "x"),
    ]
}

#[test]
fn i5a_devices_are_skipped_and_listed() {
    let world = World::new();
    // Three entries are written: dev, dev/fifo and f.
    assert_eq!(world.unpack(&special()).entries, 3);
    assert_eq!(names(&world.at("dev")), ["fifo"]);
    assert_eq!(mode(&world, "dev/fifo"), 0o622);
    let warning = world.warning("device-skipped");
    assert!(warning.contains("\"dev/null\""), "{warning}");
    assert!(warning.contains("\"dev/loop\"") && warning.contains("--allow-devices"));
}

#[test]
fn i5a_devices_as_root_when_asked_for() {
    let mut world = World::new();
    world.options.allow_devices = true;
    world.unpack(&special());
    if !root() {
        assert_eq!(names(&world.at("dev")), ["fifo"]);
        assert!(world.warning("device-skipped").contains("\"dev/loop\""));
        return;
    }
    let seen = snapshot(&world.at("dev"));
    let at = |path: &str| &seen[std::path::Path::new(path)];
    assert_eq!(at("null").kind, "char device");
    assert_eq!(at("null").device, rustix::fs::makedev(1, 3));
    assert_eq!(at("null").mode, 0o666);
    assert_eq!(at("same").inode, at("null").inode);
    assert_eq!(at("loop").device, rustix::fs::makedev(7, 200));
    assert_eq!(at("fifo").mode, 0o622);
    assert_eq!(world.warnings(), BTreeMap::new());
}

#[test]
fn i5a_device_numbers_are_never_cut() {
    let mut world = World::new();
    world.options.allow_devices = true;
    world.unpack(&[
        device("major", EntryKind::CharDevice, (1 << 12) + 1, 3),
        device("minor", EntryKind::CharDevice, 1, (1 << 20) + 3),
    ]);
    assert_eq!(names(&world.out()), [""; 0]);
    let warning = world.warning("device-skipped");
    assert!(warning.contains("(2): \"major\", \"minor\""), "{warning}");
}

fn privileged() -> [Member; 4] {
    [
        file("suid", "x").mode(0o4755),
        dir("sgid", 0o3775),
        file("cap", "x")
            .mode(0o755)
            .record("SCHILY.xattr.security.capability", CAPABILITY),
        file("plain", "x").mode(0o755),
    ]
}

#[test]
fn i5b_privileges_are_cleared() {
    let world = World::new();
    world.unpack(&privileged());
    assert_eq!(mode(&world, "suid"), 0o755);
    assert_eq!(mode(&world, "sgid"), 0o1775);
    assert_eq!(
        extended_attributes(&world.at("cap")).get(&b"security.capability"[..]),
        None
    );
    let warning = world.warning("privileges-cleared");
    assert!(
        warning.contains("(3): \"cap\", \"suid\", \"sgid\""),
        "{warning}"
    );
    assert!(warning.contains("--preserve-privileges"), "{warning}");
}

#[test]
fn i5b_privileges_are_preserved_when_asked_for() {
    let mut world = World::new();
    world.options.preserve_privileges = true;
    world.unpack(&privileged());
    assert_eq!(mode(&world, "suid"), 0o4755);
    assert_eq!(mode(&world, "sgid"), 0o3775);
    if root() {
        let attributes = extended_attributes(&world.at("cap"));
        assert_eq!(attributes[&b"security.capability"[..]], CAPABILITY);
        assert_eq!(world.warnings(), BTreeMap::new());
    } else {
        let warning = world.warning("xattr-skipped");
        assert!(
            warning.contains("\"security.capability\" of \"cap\""),
            "{warning}"
        );
    }
}

// chown clears setuid and capabilities: they have to come after it.
#[test]
fn i5b_privileges_survive_a_foreign_owner() {
    if !root() {
        return skip("only root can set owners");
    }
    let mut world = World::new();
    world.options.preserve_privileges = true;
    world.unpack(&privileged().map(|member| member.owner(1000, 1001)));
    assert_eq!(owner(&world, "suid"), (1000, 1001));
    assert_eq!(mode(&world, "suid"), 0o4755);
    let attributes = extended_attributes(&world.at("cap"));
    assert_eq!(attributes[&b"security.capability"[..]], CAPABILITY);
}

// To chown, the number -1 means "leave it": the file would be root's, with its privileges.
#[test]
fn i5b_without_the_owner_the_privileges_are_cleared() {
    let mut world = World::new();
    world.options.preserve_privileges = true;
    let [suid, sgid, cap, _] = privileged();
    world.unpack(&[
        suid.owner(u32::MAX, 0),
        sgid.owner(0, u32::MAX),
        cap.owner(u32::MAX, 0),
    ]);
    if !root() {
        return;
    }
    assert_eq!(
        (mode(&world, "suid"), mode(&world, "sgid")),
        (0o755, 0o1775)
    );
    assert_eq!(
        extended_attributes(&world.at("cap")).get(&b"security.capability"[..]),
        None
    );
    let warning = world.warning("privileges-cleared");
    assert!(
        warning.contains("(3): \"cap\", \"suid\", \"sgid\""),
        "{warning}"
    );
}

// robustness K48: the number that no file can have concerns that entry alone, and half of it.
#[test]
fn k48_an_owner_that_no_file_can_have_has_its_own_warning() {
    if !root() {
        return skip("only root can set owners");
    }
    let world = World::new();
    world.unpack(&[
        file("good", "x").owner(1000, 1001),
        file("user", "x").owner(u32::MAX, 5),
        file("group", "x").owner(6, u32::MAX),
        symlink("good", "link").owner(u32::MAX, u32::MAX),
    ]);
    assert_eq!(owner(&world, "good"), (1000, 1001));
    assert_eq!(owner(&world, "user"), (0, 5));
    assert_eq!(owner(&world, "group"), (6, 0));
    let mut warnings = world.warnings();
    let told = warnings.remove("ownership-skipped").unwrap().remove(0);
    assert!(
        told.contains("no file can have the user or group 4294967295"),
        "{told}"
    );
    assert!(
        told.contains("(3): \"group\", \"link\", \"user\""),
        "{told}"
    );
    assert_eq!(warnings, BTreeMap::new());
}

#[test]
fn i5b_owners() {
    let world = World::new();
    let attributes = has_attributes(&world);
    world.unpack(&[
        file("f", "x").owner(1000, 0).mode(0o400),
        dir("d", 0o555).owner(0, 5),
        symlink("f", "l").owner(70_000, 70_001),
        fifo("p").owner(3, 4),
        file("zero", "x"),
    ]);
    if root() {
        assert_eq!(owner(&world, "f"), (1000, 0));
        assert_eq!(owner(&world, "d"), (0, 5));
        assert_eq!(owner(&world, "l"), (70_000, 70_001));
        assert_eq!(owner(&world, "p"), (3, 4));
        assert_eq!(world.warnings(), BTreeMap::new());
        return;
    }
    for path in ["f", "d", "l", "p", "zero"] {
        assert_eq!(owner(&world, path), me(), "{path}");
    }
    if !attributes {
        return;
    }
    let note = |path: &str| {
        let mut all = extended_attributes(&world.at(path));
        all.remove(&b"user.rootlesscontainers"[..])
    };
    assert_eq!(note("f"), Some(vec![0x08, 0xe8, 0x07]));
    assert_eq!(note("d"), Some(vec![0x10, 0x05]));
    assert_eq!(note("zero"), None);
    let mut warnings = world.warnings();
    let recorded = warnings.remove("ownership-recorded").unwrap().remove(0);
    assert!(
        recorded.contains("`user.rootlesscontainers`: 2;"),
        "{recorded}"
    );
    let lost = warnings.remove("ownership-skipped").unwrap().remove(0);
    assert!(lost.contains("(2): \"l\", \"p\""), "{lost}");
}

#[test]
fn i5c_only_user_attributes_are_set() {
    let world = World::new();
    if !has_attributes(&world) {
        return;
    }
    let records = |member: Member| {
        member
            .record("SCHILY.xattr.security.selinux", "system_u:object_r:x\0")
            .record("SCHILY.xattr.security.ima", "x")
            .record("SCHILY.xattr.trusted.overlay.opaque", "y")
            .record("SCHILY.xattr.system.posix_acl_access", "x")
            .record("SCHILY.acl.access", "user::rw-")
            .record("SCHILY.xattr.user.empty", "")
            .record("SCHILY.xattr.user.binary", [0, 10, 255, b'='])
            .record("LIBARCHIVE.xattr.user.with%3Dsign", "AP8")
    };
    world.unpack(&[
        records(file("f", "x").mode(0o444)),
        records(dir("d", 0o1555)),
        records(symlink("f", "l")),
    ]);
    let expected: BTreeMap<_, _> = [
        (b"user.binary".to_vec(), vec![0, 10, 255, b'=']),
        (b"user.empty".to_vec(), vec![]),
        (b"user.with=sign".to_vec(), vec![0, 255]),
    ]
    .into();
    for path in ["f", "d"] {
        let mut all = extended_attributes(&world.at(path));
        all.retain(|name, _| !name.starts_with(b"security."));
        assert_eq!(all, expected, "{path}");
    }
    assert_eq!(
        extended_attributes(&world.at("l")).get(&b"user.empty"[..]),
        None
    );
    // 5 of the file, 5 of the directory, 8 of the link.
    let warning = world.warning("xattr-skipped");
    assert!(
        warning.contains("(18):") && warning.contains("13 more"),
        "{warning}"
    );
    assert!(
        warning.contains("\"SCHILY.acl.access\" of \"f\""),
        "{warning}"
    );
}

// Where owners can't be set, the note of an owner is not the image's to write.
#[test]
fn i5c_a_forged_owner_note() {
    let world = World::new();
    if !has_attributes(&world) {
        return;
    }
    let forged = || file("f", "x").record("SCHILY.xattr.user.rootlesscontainers", [8, 7]);
    world.unpack(&[forged()]);
    let all = extended_attributes(&world.at("f"));
    let note = all.get(&b"user.rootlesscontainers"[..]);
    if root() {
        assert_eq!(note, Some(&vec![8, 7]));
    } else {
        assert_eq!(note, None);
        let warning = world.warning("xattr-skipped");
        assert!(
            warning.contains("\"user.rootlesscontainers\" of \"f\""),
            "{warning}"
        );
    }
}

#[test]
fn i5c_an_attribute_that_the_file_system_refuses() {
    let world = World::new();
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    world.unpack(&[file("f", "x").record(&long, "x")]);
    let warning = world.warning("xattr-skipped");
    assert!(
        warning.contains("refused") && warning.contains("of \"f\""),
        "{warning}"
    );
}

/// The file system may hold such times, as tmpfs does, or cut them, as ext4 does; a changed time is told.
#[test]
fn i6_times_that_the_file_system_cuts_are_told() {
    let world = World::new();
    let far = 300_000_000_000;
    world.unpack(&[
        file("f", "x").time(far, 0),
        symlink("f", "l").time(-99_999_999_999, 0),
        dir("d", 0o755).time(far, 0),
        file("now", "x").time(1_000_000_000, 0),
    ]);
    let time = |path: &str| fs::symlink_metadata(world.at(path)).unwrap().mtime();
    assert_eq!(time("now"), 1_000_000_000);
    let wanted = [("f", far), ("l", -99_999_999_999), ("d", far)];
    let changed = wanted.iter().filter(|(path, wanted)| time(path) != *wanted);
    let changed: Vec<&str> = changed.map(|(path, _)| *path).collect();
    if changed.is_empty() {
        return skip("the file system holds all times");
    }
    let warning = world.warning("time-changed");
    assert!(
        warning.contains(&format!("({}):", changed.len())),
        "{warning}"
    );
    for path in changed {
        assert!(warning.contains(&format!("{path:?}")), "{warning}");
    }
}

#[test]
fn i6_modes_that_shut_the_writer_out() {
    let world = World::new();
    // `shut-b` stands between `shut` and `shut/in` in the order of whole paths.
    world.unpack(&[
        dir("shut", 0).time(1, 1),
        dir("shut-b", 0o555).time(2, 2),
        file("shut-b/f", "x"),
        dir("shut/in", 0o111).time(3, 3),
        file("shut/in/f", "deep").mode(0).time(-5, 999_999_999),
        link("shut/in/f", "after").mode(0).time(-5, 999_999_999),
        link("shut/in/f", "shut-b/link")
            .mode(0)
            .time(-5, 999_999_999),
        dir("tmp", 0o1777),
        file("tmp/f", "x").owner(5, 5),
    ]);
    let stat = |path: &str| {
        let data = fs::symlink_metadata(world.at(path)).unwrap();
        (data.mode() & 0o7777, data.mtime(), data.mtime_nsec())
    };
    assert_eq!(stat("after"), (0, -5, 999_999_999));
    assert_eq!(stat("shut"), (0, 1, 1));
    assert_eq!(stat("shut-b"), (0o555, 2, 2));
    assert_eq!(mode(&world, "tmp"), 0o1777);
    if root() {
        assert_eq!(stat("shut/in"), (0o111, 3, 3));
    } else {
        // The mode allows to remove the temporary directory, and to look inside.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(world.at("shut"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(stat("shut/in"), (0o111, 3, 3));
        for path in ["shut/in", "shut-b"] {
            fs::set_permissions(world.at(path), fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
    assert_eq!(
        fs::symlink_metadata(world.at("shut/in/f")).unwrap().nlink(),
        3
    );
}
