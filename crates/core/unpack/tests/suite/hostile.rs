//! I2, I8, I9, I10: archives and processes that want to write elsewhere, and file systems that
//! can't hold everything.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink as host_symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use imgconv_model::{Code, Event, Progress};
use imgconv_unpack::unpack;

use crate::archive::{Member, World, dir, file, link, names, read, skip, symlink, tar};

#[test]
fn i2_a_link_then_a_file_of_its_name() {
    let world = World::new();
    let victim = world.outside("victim");
    world.unpack(&[symlink(victim.to_str().unwrap(), "x"), file("x", "new")]);
    assert!(fs::symlink_metadata(world.at("x")).unwrap().is_file());
    assert_eq!(read(&world.at("x")), b"new");
}

#[test]
fn i2_a_link_upwards_then_a_path_through_it() {
    let world = World::new();
    world.unpack(&[symlink("..", "s"), file("s/x/y/z", "inside")]);
    assert_eq!(read(&world.at("x/y/z")), b"inside");
}

#[test]
fn i2_a_link_then_a_directory_of_its_name() {
    let world = World::new();
    let victim = world.outside("dir");
    world.unpack(&[symlink(victim.to_str().unwrap(), "x"), dir("x", 0o777)]);
    let seen = fs::symlink_metadata(world.at("x")).unwrap();
    assert!(seen.is_dir() && seen.mode() & 0o7777 == 0o777);
}

#[test]
fn i2_a_hard_link_through_links() {
    let world = World::new();
    let outside = world.outside("");
    let upwards = format!("../../../../../../..{}", outside.display());
    // Inside, these directories don't exist: the target of the hard link is not there.
    let error = world
        .try_unpack(&[&[
            symlink(&upwards, "one"),
            symlink("one", "two"),
            link("two/victim", "stolen"),
        ]])
        .unwrap_err();
    assert_eq!(error.code(), Code::BadTar, "{error}");
    // A hard link to a link is the link, and a mode for it changes nothing else.
    world.unpack(&[
        symlink(outside.join("victim").to_str().unwrap(), "one"),
        link("one", "two").mode(0o777),
    ]);
    assert!(fs::symlink_metadata(world.at("two")).unwrap().is_symlink());
    assert_eq!(fs::symlink_metadata(world.at("two")).unwrap().nlink(), 2);
}

#[test]
fn i2_a_checked_parent_becomes_a_link() {
    let world = World::new();
    let outside = world.outside("dir");
    world.unpack(&[
        dir("d", 0o755),
        file("d/f", "first"),
        symlink(outside.to_str().unwrap(), "d"),
        dir("d", 0o755),
        file("d/f", "second"),
    ]);
    assert!(fs::symlink_metadata(world.at("d")).unwrap().is_dir());
    assert_eq!(read(&world.at("d/f")), b"second");
}

/// Puts a link to a directory outside in the place of `d` while a file in it is written.
#[derive(Debug)]
struct Swapping {
    work: PathBuf,
    outside: PathBuf,
}

impl Progress for Swapping {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Advance { .. }) {
            let partial = self.work.join(&names(&self.work)[0]);
            let _ = fs::rename(partial.join("d"), partial.join("aside"));
            let _ = host_symlink(&self.outside, partial.join("d"));
        }
    }
}

#[test]
fn i8_a_directory_becomes_a_link_at_a_bad_moment() {
    for last in [
        // Then `d` is opened again for its metadata, or as the place of the first name.
        file("e", ""),
        link("d/victim", "z"),
    ] {
        let mut world = World::new();
        world.env.progress = Arc::new(Swapping {
            work: world.work(),
            outside: world.outside("dir"),
        });
        let members = [dir("d", 0o711), file("d/victim", "new"), last];
        let error = world.try_unpack(&[&members]).unwrap_err();
        assert_eq!(error.code(), Code::Io, "{error}");
    }
}

// Another process of the same user: the unpacking may fail, but nothing outside changes.
#[test]
fn i8_directories_become_links_meanwhile() {
    let world = World::new();
    let mut members = Vec::new();
    for number in 0..30 {
        members.push(dir(format!("d{number}"), 0o711));
        members.push(dir(format!("d{number}/e"), 0o711));
        members.push(file(format!("d{number}/e/victim"), "new"));
        members.push(file(format!("d{number}/victim"), "new").mode(0o777));
    }
    let (tree, spool) = world.tree(&[tar(&members)]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let attacker = {
        let (stop, work, outside) = (Arc::clone(&stop), world.work(), world.outside("dir"));
        thread::spawn(move || {
            let mut swapped = 0u64;
            while !stop.load(Ordering::Relaxed) {
                for partial in names(&work) {
                    for number in 0..30 {
                        let inner = if number % 2 == 0 { "" } else { "/e" };
                        let path = work.join(&partial).join(format!("d{number}{inner}"));
                        let aside = work.join(&partial).join(format!("aside{number}"));
                        if fs::rename(&path, &aside).is_ok() {
                            swapped += u64::from(host_symlink(&outside, &path).is_ok());
                        }
                    }
                }
            }
            swapped
        })
    };
    for _ in 0..25 {
        let _ = unpack(&tree, &spool, &world.out(), &world.options, &world.env);
        world.assert_unharmed();
        for name in names(&world.work()) {
            let _ = fs::remove_dir_all(world.work().join(name));
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(attacker.join().unwrap() > 0, "nothing was ever swapped");
    world.assert_unharmed();
}

/// Makes one name find the file of another, as a file system does that folds names.
#[derive(Debug)]
struct Folding {
    work: PathBuf,
    names: [&'static str; 2],
}

impl Progress for Folding {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Advance { .. }) {
            let partial = self.work.join(&names(&self.work)[0]).join("d");
            let [first, second] = self.names.map(|name| partial.join(name));
            let _ = fs::hard_link(first, second);
        }
    }
}

#[test]
fn i9a_two_names_that_the_file_system_folds() {
    // The second pair is é, once composed and once not.
    for pair in [["PAM.7.gz", "pam.7.gz"], ["e\u{301}", "\u{e9}"]] {
        let mut world = World::new();
        world.env.progress = Arc::new(Folding {
            work: world.work(),
            names: pair,
        });
        let [first, second] = pair.map(|name| format!("d/{name}"));
        let members = [
            file("d/A", ""),
            file(&first, "x"),
            link(&first, "d/f"),
            file(&second, "y"),
        ];
        let error = world.try_unpack(&[&members]).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        assert_eq!(
            error.to_string(),
            format!(
                "entry \"{second}\": the file system takes the names \"{}\" and \"{}\" for one",
                pair[0], pair[1]
            )
        );
        assert!(
            error
                .advice()
                .unwrap()
                .contains("conversion is not affected")
        );
    }
}

#[test]
fn i9b_a_component_of_256_bytes() {
    let world = World::new();
    world.unpack(&[file("n".repeat(255), "fits")]);
    fs::remove_dir_all(world.out()).unwrap();
    for (long, error) in [
        (file("n".repeat(256), ""), "a file"),
        (dir("n".repeat(256), 0o755), "a directory"),
        (symlink("x", "n".repeat(256)), "a link"),
    ] {
        let result = world.try_unpack(&[&[file("a/b", "x"), long]]);
        let found = result.expect_err(error);
        assert_eq!(found.code(), Code::Io, "{error}");
        assert!(found.to_string().starts_with("entry \"nnnn"), "{found}");
    }
}

#[test]
fn i10_an_error_leaves_nothing_behind() {
    let world = World::new();
    let outside = world.outside("dir");
    let mut members: Vec<_> = (0..50)
        .map(|number| file(format!("a{number}/b/c/{number}"), "x"))
        .collect();
    members.push(dir("shut", 0));
    members.push(symlink(outside.to_str().unwrap(), "link"));
    members.push(file(format!("z/{}", "n".repeat(256)), ""));
    // `try_unpack` checks that.
    let error = world.try_unpack(&[&members]).unwrap_err();
    assert_eq!(error.code(), Code::Io);
}

/// Set for the child process that a test starts of itself.
const CHILD: &str = "IMGCONV_TEST_CHILD";

/// Says whether this process is such a child.
fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn i10_a_full_disk() {
    if is_child() {
        let world = World::new();
        let members = [file("a/b", "x"), file("large", vec![7; 1 << 20])];
        let (tree, spool) = world.tree(&[tar(&members)]).unwrap();
        let result = unpack(&tree, &spool, Path::new("out"), &world.options, &world.env);
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::Io);
        let text = error.to_string();
        assert!(text.starts_with("entry \"large\""), "{text}");
        assert_eq!(names(Path::new(".")), [""; 0]);
        return;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=256k full . && cd \"$PWD\" && exec \"$0\" \"$@\"")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::i10_a_full_disk", "--nocapture"])
        .env(CHILD, "1")
        .current_dir(tempfile::tempdir().unwrap().path())
        .output();
    match status {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("1 passed"), "{text}");
        }
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("panicked") => {
            panic!("{}", String::from_utf8_lossy(&output.stdout));
        }
        _ => skip("no user and mount namespaces here"),
    }
}

#[test]
fn i10_killed_in_the_middle() {
    if is_child() {
        let world = World::new();
        let members: Vec<Member> = (0..60_000)
            .map(|number| file(format!("{number}"), "x"))
            .collect();
        let (tree, spool) = world.tree(&[tar(&members)]).unwrap();
        // The child also ends if its parent is gone and the kill does not come.
        let _ = unpack(&tree, &spool, Path::new("out"), &world.options, &world.env);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hostile::i10_killed_in_the_middle"])
        .env(CHILD, "1")
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let partial = loop {
        thread::sleep(Duration::from_millis(1));
        match names(dir.path()).as_slice() {
            [name, _lock] if names(&dir.path().join(name)).len() > 10 => break name.clone(),
            _ => assert!(child.try_wait().unwrap().is_none(), "it ended too soon"),
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        names(dir.path()),
        [partial.clone(), format!("{partial}.lock")]
    );
    // As if another process had been killed between its rename and the end.
    fs::write(dir.path().join("out.partial-aaaaaaaa.lock"), "").unwrap();
    assert!(partial.starts_with("out.partial-"), "{partial}");
    // K43: the next run removes the leftovers of the killed run, and no file of the user.
    let user = dir.path().join("out.partial-20240101");
    fs::create_dir(&user).unwrap();
    fs::write(user.join("photo"), "precious").unwrap();
    fs::set_permissions(&user, fs::Permissions::from_mode(0o700)).unwrap();
    let world = World::new();
    let (tree, spool) = world.tree(&[tar(&[file("a", "x")])]).unwrap();
    let out = dir.path().join("out");
    unpack(&tree, &spool, &out, &world.options, &world.env).unwrap();
    assert_eq!(names(&out), ["a"]);
    assert_eq!(names(dir.path()), ["out", "out.partial-20240101"]);
    assert_eq!(names(&user), ["photo"]);
}

/// A path of ten thousand directories, used by the next two tests.
fn deep() -> String {
    vec!["d"; 10_000].join("/")
}

/// Removes trees that are too deep for the standard library.
fn remove(path: &Path) {
    assert!(
        Command::new("rm")
            .arg("-rf")
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn e4_ten_thousand_directories() {
    let mut world = World::new();
    world.env.limits.path = 65_535;
    let deep = deep();
    let layer = tar(&[
        dir(&deep, 0o700).time(77, 7),
        file(format!("{deep}/f"), "bottom"),
        link(format!("{deep}/f"), "top"),
        file(format!("{}-x", &deep[..4001]), "between"),
    ]);
    let (tree, spool) = world.tree(&[layer]).unwrap();
    let outcome = unpack(&tree, &spool, &world.out(), &world.options, &world.env).unwrap();
    assert_eq!(outcome.entries, 10_003);
    assert_eq!(read(&world.at("top")), b"bottom");
    assert_eq!(fs::metadata(world.at("top")).unwrap().nlink(), 2);
    remove(&world.out());
}

#[test]
fn e4_ten_thousand_directories_are_removed_after_an_error() {
    let mut world = World::new();
    world.env.limits.path = 65_535;
    let long = format!("z{}", "n".repeat(255));
    let result = world.try_unpack(&[&[file(format!("{}/f", deep()), "x"), file(long, "")]]);
    assert_eq!(result.unwrap_err().code(), Code::Io);
}
