//! Checks of runs on several machines that share a folder. Two mounts of one folder by FUSE stand for
//! two machines that mount it over NFS: as there, a lock of a directory stays on its machine, and a
//! lock of a file reaches the others (`bindfs --enable-lock-forwarding`). As there, a machine may
//! remember for a time what a name led to.
//!
//! The mounts do not stand for a server that is restarted, nor for locks of byte ranges: bindfs forwards
//! these for one process alone. Tests of `core/fs` hold such locks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use imgconv_testkit::{Head, ImageRecipe, build, recipe, stores};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::checks::{Oracle, contains};
use super::docker::equal;
use super::migrate::{Report, contents};
use crate::process::{Result, call, end, raw, shown};

/// The rounds of writers and of sweeps beside writers that `cargo xtask oracle` runs; `--rounds N` says
/// otherwise. The full number is 100.
pub(super) const ROUNDS: usize = 6;
/// The writers of a round, one half on each machine.
const WRITERS: usize = 16;
/// The images of a migration.
const IMAGES: usize = 24;
/// The names of the mounts in the folder of these checks.
const MACHINES: [&str; 2] = ["one", "two"];

/// Runs every check of several machines.
pub(super) fn run(oracle: &mut Oracle, rounds: usize) {
    if !oracle.wants("locks") {
        return;
    }
    let mut machines = None;
    let may_mount = match Machines::start(oracle) {
        Ok(started) => {
            machines = Some(started);
            "sh"
        }
        // A missing program is a missing peer by its own name, which is told first.
        Err(_) => "a mount by FUSE",
    };
    let needs = ["bindfs", "flock", "unshare", "root", may_mount];
    let name = "locks: two mounts of a folder are two machines";
    if !oracle.check(name, &needs, two_machines) {
        return;
    }
    let name = format!("locks: {rounds} rounds of {WRITERS} writers on two machines");
    oracle.check(&name, &[], |oracle| {
        images(oracle)?;
        (0..rounds).try_for_each(|round| {
            writers(oracle, round).map_err(|error| format!("round {round}: {error}"))
        })
    });
    let name = format!("locks: {rounds} rounds of sweeps, removals and writers on two machines");
    oracle.check(&name, &[], |oracle| {
        (0..rounds).try_for_each(|round| {
            sweeps(oracle, round).map_err(|error| format!("round {round}: {error}"))
        })
    });
    let made = oracle.check("locks: one undisturbed migration", &[], |oracle| {
        store(oracle)?;
        fs::create_dir_all(oracle.path(HERE)).map_err(|e| e.to_string())?;
        migrate(
            oracle,
            "one",
            "alone",
            &["--journal", "locks/here/alone-journal"],
        )?;
        equal(
            "names",
            &contents(&at(oracle, "disk", "alone"))?.names.len(),
            &IMAGES,
        )
    });
    if made {
        let name =
            "locks: a second migration with the same journal, on another machine, is refused";
        oracle.check(name, &[], second_migration);
        let name = "locks: four shares on two machines with one folder of journals";
        oracle.check(name, &[], shares);
    }
    drop(machines);
}

/// A path below one of the mounts, or below the folder that is mounted (`disk`).
fn at(oracle: &Oracle, machine: &str, name: &str) -> PathBuf {
    oracle.path(&format!("locks/{machine}/{name}"))
}

/// Two mounts of one folder.
#[derive(Debug)]
struct Machines(Vec<(PathBuf, Child)>);

impl Machines {
    fn start(oracle: &Oracle) -> Result<Self> {
        let disk = at(oracle, "disk", "");
        let mut machines = Self(Vec::new());
        for machine in MACHINES {
            let place = at(oracle, machine, "");
            for folder in [&disk, &place] {
                fs::create_dir_all(folder).map_err(|e| e.to_string())?;
            }
            let before = device(&place)?;
            let child = Command::new("bindfs")
                .args(["-f", "--multithreaded", "--enable-lock-forwarding"])
                .args([&disk, &place])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|e| format!("bindfs: {e}"))?;
            machines.0.push((place.clone(), child));
            let mounted = || Ok::<_, String>(device(&place)? != before);
            while !mounted()? {
                let (_, child) = machines.0.last_mut().expect("it was added above");
                if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
                    return Err(format!("bindfs: {status}"));
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(machines)
    }
}

fn device(path: &Path) -> Result<u64> {
    let found = fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(std::os::unix::fs::MetadataExt::dev(&found))
}

impl Drop for Machines {
    fn drop(&mut self) {
        for (place, server) in &mut self.0 {
            // The server ends when its mount is gone.
            let _ = Command::new("umount")
                .arg(place)
                .stderr(Stdio::null())
                .status();
            end(server, Duration::from_secs(10));
        }
    }
}

/// The mounts are as different as the checks below need: without this, they would prove nothing.
fn two_machines(oracle: &Oracle) -> Result {
    let (one, two) = (at(oracle, "one", ""), at(oracle, "two", ""));
    fs::create_dir(one.join("folder")).map_err(|e| e.to_string())?;
    fs::write(one.join("file"), "").map_err(|e| e.to_string())?;
    let both = |name: &str| {
        let mut command = Command::new("flock");
        command.arg("-n").arg(one.join(name));
        command
            .args(["flock", "-n"])
            .arg(two.join(name))
            .arg("true");
        raw(&mut command).map(|output| output.status.success())
    };
    equal("both machines lock one directory", &both("folder")?, &true)?;
    equal("both machines lock one file", &both("file")?, &false)
}

/// Makes an ACI for each writer.
fn images(oracle: &Oracle) -> Result {
    for i in 0..WRITERS {
        let image = image(&format!("team/app-{i}"), &[format!("app-{i}")], 2000)?;
        let path = oracle.path(&format!("locks/aci/{i}.aci"));
        let bytes = build::aci_bytes(&image).map_err(|e| e.to_string())?;
        fs::write(path, bytes).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// An image with a layer for each name, each of one file.
fn image(name: &str, layers: &[String], size: usize) -> Result<ImageRecipe> {
    let layers = layers
        .iter()
        .map(|layer| recipe::parse(&format!("file {layer} noise={size}"), layer));
    Ok(ImageRecipe {
        head: Head {
            name: name.to_owned(),
            version: "1".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            ..Head::default()
        },
        manifest: None,
        layers: layers
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| e.to_string())?,
    })
}

/// Runs commands at once, in the work folder, and demands success of each.
fn at_once(oracle: &Oracle, commands: Vec<Vec<String>>) -> Result {
    let run = |words: &[String]| {
        let mut command = Command::new("timeout");
        let program = oracle.program.to_string_lossy().into_owned();
        command.args(["-k", "5", "120", &program]).args(words);
        call(command.current_dir(&oracle.work)).map(drop)
    };
    thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = commands
            .iter()
            .map(|words| scope.spawn(move || run(words)))
            .collect();
        let mut ended = running
            .into_iter()
            .map(|one| one.join().map_err(|_| "a thread broke off".to_owned())?);
        ended.try_for_each(|said| said)
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The command that adds an image to a layout, from one machine.
fn adding(layout: &str, i: usize) -> Vec<String> {
    let to = format!("oci:locks/{}/{layout}:app-{i}", MACHINES[i % 2]);
    words(&["convert", &format!("locks/aci/{i}.aci"), &to])
}

/// Demands that a layout has these names and no others, that the images are whole, and that nothing else
/// was left there.
fn holds(oracle: &Oracle, layout: &str, names: &[String]) -> Result {
    let path = at(oracle, "disk", layout);
    let found: Vec<String> = contents(&path)?.names.into_keys().collect();
    let mut expected = names.to_vec();
    expected.sort();
    equal("names", &found, &expected)?;
    oracle.imgconv(&["verify", &format!("oci:locks/disk/{layout}")])?;
    let entries = fs::read_dir(&path).map_err(|e| e.to_string())?;
    let mut entries = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|e| e.to_string())?;
    entries.sort();
    equal(
        "files",
        &entries,
        &words(&["blobs", "index.json", "oci-layout"]),
    )
}

/// A round of writers: to a path where nothing is, to an empty directory, and to a layout.
fn writers(oracle: &Oracle, round: usize) -> Result {
    let layout = format!("writers-{round}");
    let mut names: Vec<String> = (0..WRITERS).map(|i| format!("app-{i}")).collect();
    match round % 3 {
        0 => {}
        1 => fs::create_dir(at(oracle, "disk", &layout)).map_err(|e| e.to_string())?,
        _ => {
            let to = format!("oci:locks/one/{layout}:first");
            oracle.imgconv(&["convert", "locks/aci/0.aci", &to])?;
            names.push("first".into());
        }
    }
    at_once(oracle, (0..WRITERS).map(|i| adding(&layout, i)).collect())?;
    holds(oracle, &layout, &names)
}

/// A round of writers beside runs that free all space that nothing refers to, whatever its age, and runs
/// that take names out and set others.
fn sweeps(oracle: &Oracle, round: usize) -> Result {
    let layout = format!("sweeps-{round}");
    for i in 0..4 {
        let to = format!("oci:locks/one/{layout}:old-{i}");
        oracle.imgconv(&["convert", &format!("locks/aci/{i}.aci"), &to])?;
    }
    let mut commands: Vec<Vec<String>> = (4..WRITERS).map(|i| adding(&layout, i)).collect();
    for i in 0..4 {
        let place = format!("locks/{}/{layout}", MACHINES[(i + 1) % 2]);
        commands.push(words(&["layout", "gc", &place, "--min-age", "0s"]));
        commands.push(match i {
            0..2 => words(&["layout", "rm", &place, &format!("old-{i}")]),
            _ => words(&[
                "layout",
                "tag",
                &place,
                &format!("old-{i}"),
                &format!("new-{i}"),
            ]),
        });
    }
    at_once(oracle, commands)?;
    let mut names: Vec<String> = (4..WRITERS).map(|i| format!("app-{i}")).collect();
    for name in ["old-2", "old-3", "new-2", "new-3"] {
        names.push(name.into());
    }
    holds(oracle, &layout, &names)?;
    // What the sweeps beside writers have left is found by the last one.
    let place = format!("locks/two/{layout}");
    oracle.imgconv(&["layout", "gc", &place, "--min-age", "0s"])?;
    holds(oracle, &layout, &names)
}

/// Writes the storage of a registry: images of two layers, a base that two of them share and one of its
/// own.
fn store(oracle: &Oracle) -> Result {
    let images = (0..IMAGES).map(|i| {
        let layers = [format!("base-{}", i / 2), format!("app-{i}")];
        image(&format!("team/app-{i}"), &layers, 100_000)
    });
    let images = images.collect::<Result<Vec<_>>>()?;
    let made = oracle.path("locks/made");
    build::layout(&images, &made)
        .and_then(|()| stores::registry_v2(&made, &at(oracle, "disk", "store")))
        .map_err(|e| e.to_string())
}

/// The place that both machines have the folder at, in the work folder: a journal is about a path.
const HERE: &str = "locks/here";

/// The command of a migration on one machine, which sees the folder at [`HERE`].
fn migration(oracle: &Oracle, machine: &str, layout: &str, more: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-c",
            r#"mount --bind "$0" "$1" && shift && exec "$@""#,
        ])
        .arg(oracle.path(&format!("locks/{machine}")))
        .arg(HERE)
        .arg(&oracle.program)
        .args(["migrate", &format!("registry-storage:{HERE}/store")])
        .arg(format!("oci:{HERE}/{layout}"))
        .args(["--jobs", "1", "--compression", "zstd"])
        .args(more)
        .current_dir(&oracle.work)
        .stdin(Stdio::null());
    command
}

fn migrate(oracle: &Oracle, machine: &str, layout: &str, more: &[&str]) -> Result {
    call(&mut migration(oracle, machine, layout, more)).map(drop)
}

/// The first migration stands still while the second one asks for the journal.
fn second_migration(oracle: &Oracle) -> Result {
    let journal = format!("{HERE}/journal");
    let started = |machine: &str| migration(oracle, machine, "twice", &["--journal", &journal]);
    let mut first = started("one")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| e.to_string())?;
    let id = i32::try_from(first.id()).map_err(|e| e.to_string())?;
    let signal = |signal: Signal| kill(Pid::from_raw(id), signal).map_err(|e| e.to_string());
    let second = |first: &mut Child| -> Result<Output> {
        let lines = at(oracle, "disk", "journal/journal.jsonl");
        while !fs::metadata(&lines).is_ok_and(|found| found.len() > 0) {
            if let Some(status) = first.try_wait().map_err(|e| e.to_string())? {
                return Err(format!(
                    "the first migration ended without a journal: {status}"
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        signal(Signal::SIGSTOP)?;
        let output = raw(&mut started("two"));
        signal(Signal::SIGCONT)?;
        output
    };
    let second = second(&mut first);
    let status = first.wait().map_err(|e| e.to_string())?;
    let second = second?;
    let said = shown(&started("two"), &second);
    equal(
        "the second migration succeeds",
        &second.status.success(),
        &false,
    )?;
    contains(&said, "another migration with this journal is running")?;
    equal("the first migration succeeds", &status.success(), &true)?;
    same_as_alone(oracle, "twice")?;
    // When the first one is done, the second one finds everything done.
    let report = "locks/again.json";
    migrate(
        oracle,
        "two",
        "twice",
        &["--journal", &journal, "--report", report],
    )?;
    equal(
        "kept",
        &Report::read(&oracle.path(report))?.count("kept"),
        &IMAGES,
    )
}

/// Four processes, two on each machine, with one folder of journals.
fn shares(oracle: &Oracle) -> Result {
    let run = |share: usize| {
        let machine = MACHINES[share % 2];
        let journal = format!("{HERE}/journals");
        let part = format!("{}/4", share + 1);
        let report = format!("locks/share-{share}.json");
        let options = ["--shard", &part, "--journal", &journal, "--report", &report];
        migrate(oracle, machine, "shares", &options)
    };
    thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..4)
            .map(|share| scope.spawn(move || run(share)))
            .collect();
        let mut ended = running
            .into_iter()
            .map(|one| one.join().map_err(|_| "a thread broke off".to_owned())?);
        ended.try_for_each(|said| said)
    })?;
    let reports: Vec<String> = (0..4)
        .map(|share| format!("locks/share-{share}.json"))
        .collect();
    let mut merge = words(&["migrate", "merge-reports"]);
    merge.extend(reports);
    merge.push("--json".into());
    let merged = oracle.path("locks/merged.json");
    fs::write(&merged, oracle.imgconv(&merge)?).map_err(|e| e.to_string())?;
    Report::read(&merged)?.complete(IMAGES)?;
    same_as_alone(oracle, "shares")
}

/// Demands that a layout is sound and has the names, digests and blobs of the undisturbed migration.
fn same_as_alone(oracle: &Oracle, layout: &str) -> Result {
    oracle.imgconv(&["verify", &format!("oci:locks/disk/{layout}")])?;
    let found = contents(&at(oracle, "disk", layout))?;
    let expected = contents(&at(oracle, "disk", "alone"))?;
    equal("names and digests", &found.names, &expected.names)?;
    equal("blobs", &found.blobs, &expected.blobs)
}
