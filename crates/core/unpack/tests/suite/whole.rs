//! I3, I4, and properties of any tree: the target, the counters, cancelling, all attributes at
//! once.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use imgconv_model::{Code, Event, Progress};
use imgconv_unpack::unpack;
use proptest::{prelude::*, test_runner::Config};

use crate::archive::{World, dir, file, link, names, read, root, snapshot, symlink, tar};

#[test]
fn i3_ordinary_links_are_kept_as_they_are() {
    let world = World::new();
    world.unpack(&[
        file("lib/cli.js", "x"),
        symlink("../../lib/cli.js", "node_modules/.bin/cli"),
        symlink("/proc/mounts", "etc/mtab"),
        symlink("usr/lib64", "lib64"),
        symlink("../../../not/there", "dangling"),
        file("usr/bin/perl", "perl"),
        link("/usr/bin/perl", "usr/bin/perl5"),
    ]);
    for (path, target) in [
        ("node_modules/.bin/cli", "../../lib/cli.js"),
        ("etc/mtab", "/proc/mounts"),
        ("lib64", "usr/lib64"),
        ("dangling", "../../../not/there"),
    ] {
        assert_eq!(
            fs::read_link(world.at(path)).unwrap(),
            Path::new(target),
            "{path}"
        );
        let seen = fs::symlink_metadata(world.at(path)).unwrap();
        assert_eq!(seen.mtime(), crate::archive::WHEN, "{path}");
    }
    assert_eq!(fs::metadata(world.at("usr/bin/perl5")).unwrap().nlink(), 2);
}

#[test]
fn i4_a_target_that_is_not_empty_is_left_alone() {
    let world = World::new();
    let (tree, spool) = world.tree(&[tar(&[file("a", "new")])]).unwrap();
    let denied = |path: &Path| {
        let before = snapshot(&world.work());
        let error = unpack(&tree, &spool, path, &world.options, &world.env).unwrap_err();
        assert_eq!(error.code(), Code::Denied, "{path:?}: {error}");
        assert_eq!(snapshot(&world.work()), before, "{path:?}");
        error.to_string()
    };
    let at = |name: &str| world.work().join(name);
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/a"), "old").unwrap();
    assert!(denied(&at("full")).contains("full\" is not an empty directory"));
    fs::write(at("file"), "old").unwrap();
    denied(&at("file"));
    fs::create_dir(at("empty")).unwrap();
    std::os::unix::fs::symlink("empty", at("link")).unwrap();
    denied(&at("link"));
    denied(&at("empty/.."));
    denied(Path::new("/"));
    denied(Path::new("."));
    world.assert_unharmed();
}

#[test]
fn i4_an_empty_target_is_used() {
    let world = World::new();
    fs::create_dir(world.out()).unwrap();
    fs::set_permissions(world.out(), fs::Permissions::from_mode(0o700)).unwrap();
    world.unpack(&[file("a", "x")]);
    assert_eq!(names(&world.out()), ["a"]);
    assert_eq!(fs::metadata(world.out()).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn the_error_of_a_target_without_a_parent_names_the_target() {
    let world = World::new();
    let (tree, spool) = world.tree(&[tar(&[file("a", "x")])]).unwrap();
    let target = world.work().join("missing/out");
    let error = unpack(&tree, &spool, &target, &world.options, &world.env).unwrap_err();
    assert_eq!(error.code(), Code::Io);
    assert!(error.to_string().contains("work/missing\""), "{error}");
}

#[test]
fn a_target_with_the_longest_name() {
    let world = World::new();
    let (tree, spool) = world.tree(&[tar(&[file("a", "x")])]).unwrap();
    let target = world.work().join("t".repeat(255));
    unpack(&tree, &spool, &target, &world.options, &world.env).unwrap();
    assert_eq!(read(&target.join("a")), b"x");
}

#[test]
fn an_empty_tree_is_an_empty_directory() {
    let world = World::new();
    let outcome = world.unpack(&[]);
    assert_eq!((outcome.entries, outcome.bytes), (0, 0));
    assert_eq!(names(&world.out()), [""; 0]);
}

#[test]
fn what_was_written_is_counted() {
    let world = World::new();
    let large = vec![42; (3 << 19) + 7];
    let outcome = world.unpack(&[
        file("d/large", &large),
        link("d/large", "again"),
        symlink("x", "l"),
        file("empty", ""),
    ]);
    assert_eq!((outcome.entries, outcome.bytes), (5, large.len() as u64));
    assert_eq!(read(&world.at("again")), large);
    assert_eq!(read(&world.at("empty")), b"");
}

#[test]
fn names_are_bytes() {
    let world = World::new();
    let odd: [&[u8]; 6] = [
        b"\xff\xfe",
        b"a\rb\tc\x1b[2J",
        b"back\\slash",
        b"end ",
        b"C:foo",
        b"-rf",
    ];
    let members: Vec<_> = odd.iter().map(|name| file(name, name)).collect();
    world.unpack(&members);
    for name in odd {
        assert_eq!(read(&world.at(name)), name);
    }
}

/// Cancels at the first byte that is written.
#[derive(Debug)]
struct Canceller(Arc<AtomicBool>);

impl Progress for Canceller {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Advance { .. }) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn inv4_cancelled_in_the_middle() {
    let mut world = World::new();
    world.env.progress = Arc::new(Canceller(Arc::clone(&world.env.cancel)));
    let (tree, spool) = world
        .tree(&[tar(&[file("a/b", "x"), file("c", "x")])])
        .unwrap();
    let error = unpack(&tree, &spool, &world.out(), &world.options, &world.env).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert_eq!(names(&world.work()), [""; 0]);
}

proptest! {
    #![proptest_config(Config { cases: 48, failure_persistence: None, ..Config::default() })]

    // Names whose order as whole paths is not the order of a walk.
    #[test]
    fn every_directory_gets_its_own_metadata(
        paths in prop::collection::btree_map(
            "(a|a!|a-b|ab|b)(/(a|a-|b!|b)){0,3}",
            (prop::sample::select(vec![0o700u32, 0o755, 0o500, 0o1777, 0o711]), 0i64..1 << 33, 0u32..1_000_000_000),
            1..20,
        ),
        probe in "(a|a-b|b)(/(a|b)){0,2}/f",
    ) {
        let world = World::new();
        let mut members: Vec<_> = paths
            .iter()
            .map(|(path, (mode, seconds, nanos))| dir(path, *mode).time(*seconds, *nanos))
            .collect();
        members.push(file(&probe, "x"));
        world.unpack(&members);
        let mut seen: BTreeMap<_, _> = snapshot(&world.out())
            .into_iter()
            .map(|(path, seen)| (path.to_str().unwrap().to_owned(), seen))
            .collect();
        let found = seen.remove(&probe).unwrap();
        prop_assert_eq!(found.content, b"x");
        for (path, seen) in seen {
            let (mode, seconds, nanos) = paths.get(&path).copied().unwrap_or((0o755, 0, 0));
            prop_assert_eq!(seen.mode, mode, "{}", path);
            prop_assert_eq!(seen.mtime, (seconds, i64::from(nanos)), "{}", path);
            if !root() {
                // The mode allows to remove the temporary directory.
                let mode = fs::Permissions::from_mode(0o700);
                fs::set_permissions(world.at(path), mode).unwrap();
            }
        }
    }
}
