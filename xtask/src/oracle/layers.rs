//! Checks of merged layers: the tree that imgconv makes is compared with the tree that `umoci
//! unpack` makes.
//!
//! umoci 0.4.7 differs from layer.md, or goes beyond it, only in these points:
//!
//! - A parent that no entry names gets the time of unpacking, and so does the directory above it: it
//!   restores the time of an entry's own directory only (`UnpackEntry`). Such times are not
//!   compared; that they are 0, or the lower layer's, is tested in `core/layer`.
//! - Such a parent takes the set-group-ID bit and the group of a directory above it that has the
//!   bit, as mkdir(2) does; here it is 0755 and root's, whatever is above.
//! - An entry below a file is an error (opencontainers/umoci#546), and markers are applied where
//!   they stand instead of before all entries: see [`random`] for what is not made therefore.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use imgconv_testkit::recipe::{self, Body};
use imgconv_testkit::{ImageRecipe, build, docker, random, sha256_hex, snapshot};

use super::checks::{Oracle, same_lines};
use crate::process::Result;

/// Base layer of some fixtures.
const B: &str = "dir etc\nfile etc/a \"1\"\ndir etc/sub\nfile etc/sub/b \"2\"";
/// Base layer of the fixtures of hard links.
const H: &str = "file t2 \"123\"\nlink t1 -> t2\nlink t3 -> t2";

/// The name, the layers as recipes, and the tree as one.
type Fixture = (&'static str, &'static [&'static str], &'static str);

/// The cases that other tools get wrong without an error.
const FIXTURES: [Fixture; 6] = [
    (
        "opaque",
        &[B, "dir etc\nopaque etc\nfile etc/new \"n\""],
        "dir etc\nfile etc/new \"n\"",
    ),
    (
        "samelayer",
        &[B, "whiteout etc\ndir etc\nfile etc/new \"n\""],
        "dir etc\nfile etc/new \"n\"",
    ),
    (
        "hardover",
        &[H, "file t1 \"456\""],
        "file t1 \"456\"\nfile t2 \"123\"\nlink t3 -> t2",
    ),
    (
        "harddel",
        &[H, "whiteout t2"],
        "file t1 \"123\"\nlink t3 -> t1",
    ),
    (
        "hardboth",
        &[H, "whiteout t2", "file t1 \"456\""],
        "file t1 \"456\"\nfile t3 \"123\"",
    ),
    ("dir2sym", &[B, "symlink etc -> usr"], "symlink etc -> usr"),
];

/// How many random images there are.
const IMAGES: usize = 500;

/// How images are squashed, and how many of them are unpacked then.
const SQUASHES: [(&str, usize, &[&str]); 4] = [
    ("squashed", IMAGES, &["squash"]),
    ("the last 2 squashed", 120, &["squash", "--last", "2"]),
    (
        "squashed over the first",
        120,
        &["squash", "--keep-base", "1"],
    ),
    (
        "squashed to 2 layers",
        120,
        &["squash", "--max-layers", "2"],
    ),
];

/// Stands for the time of a directory that nobody named.
const UNSET: &str = "@unset";

/// Runs every check of the algebra.
pub(super) fn run(oracle: &mut Oracle) {
    if oracle.wants("layers") {
        fixtures(oracle);
        random_images(oracle);
    }
}

fn fixtures(oracle: &mut Oracle) {
    oracle.check("layers: the fixtures are squashed", &[], |oracle| {
        let images = FIXTURES.iter().map(fixture).collect::<Result<Vec<_>>>()?;
        build::layout(&images, &oracle.path("fixtures")).map_err(|e| e.to_string())?;
        let archive = docker::archive(&images).map_err(|e| e.to_string())?;
        fs::write(oracle.path("fixtures.tar"), archive).map_err(|e| e.to_string())?;
        oracle.imgconv(&["squash", "fixtures", "fixtures-oci"])?;
        let from_docker = ["convert", "--squash", "fixtures.tar", "fixtures-docker"];
        oracle.imgconv(&from_docker).map(drop)
    });
    for (name, _, tree) in FIXTURES {
        let title = format!("layers: {name}: squashed equals umoci unpack");
        oracle.check(&title, &["root", "umoci"], |oracle| {
            let reference = format!("example.com/{name}:1");
            let unpacked = by_umoci(oracle, "fixtures", &reference)?;
            let items = recipe::parse(tree, name).map_err(|e| e.to_string())?;
            let lines = items.iter().map(|item| {
                let size = item.body.len() as u64;
                recipe::line(&item.entry, &Body::Digest(size, sha256_hex(&item.body)))
            });
            // No fixture has an entry for the root directory, so umoci chooses its attributes.
            same_lines(&lines.collect::<Vec<_>>(), &unpacked[1..])?;
            for squashed in ["fixtures-oci", "fixtures-docker"] {
                compare(&unpacked, &by_umoci(oracle, squashed, &reference)?)?;
            }
            Ok(())
        });
    }
}

fn fixture((name, layers, _): &Fixture) -> Result<ImageRecipe> {
    let mut image = image(name);
    for text in *layers {
        image
            .layers
            .push(recipe::parse(text, name).map_err(|e| e.to_string())?);
    }
    Ok(image)
}

/// An image of no layers, named `example.com/NAME:1`.
pub(super) fn image(name: &str) -> ImageRecipe {
    let mut image = ImageRecipe::default();
    image.head.name = format!("example.com/{name}");
    image.head.version = "1".into();
    image.head.os = "linux".into();
    image.head.arch = "amd64".into();
    image
}

fn random_images(oracle: &mut Oracle) {
    let needs = ["root", "umoci"];
    let mut expected = Vec::new();
    let made = oracle.check("layers: random images are made", &needs, |oracle| {
        let images: Vec<_> = (0..IMAGES)
            .map(|seed| {
                let layers = random::image(seed as u64);
                let tars = layers.iter().map(random::Layer::tar).collect();
                (image(&seed.to_string()), tars)
            })
            .collect();
        let layout = oracle.path("random");
        build::layout_of_tars(&images, &layout).map_err(|e| e.to_string())?;
        expected = each(IMAGES, |seed| by_umoci(oracle, "random", &reference(seed)))?;
        let lines = || expected.iter().flatten();
        let (unset, all) = (
            lines().filter(|line| line.contains(UNSET)).count(),
            lines().count(),
        );
        match unset * 10 < all {
            true => Ok(()),
            false => Err(format!(
                "{unset} of {all} paths have no time: too much is left out"
            )),
        }
    });
    if !made {
        return;
    }
    let title = format!("layers: {IMAGES} random images: imgconv unpack equals umoci unpack");
    oracle.check(&title, &needs, |oracle| {
        each(IMAGES, |seed| {
            let found = by_imgconv(oracle, "random", &reference(seed))?;
            compare_image(seed, &expected[seed], &found)
        })
        .map(drop)
    });
    for (what, images, arguments) in SQUASHES {
        let title = format!("layers: {images} random images, {what}: equal umoci unpack");
        oracle.check(&title, &needs, |oracle| {
            let layout = format!("random-{}", arguments.concat());
            let alone = format!("{layout}-alone");
            let places = ["--quiet", "random"];
            oracle.imgconv(&[arguments, &places, &[&layout]].concat())?;
            oracle.imgconv(&[arguments, &places, &[&alone, "--jobs", "1"]].concat())?;
            oracle.peer("diff", &["-r", &layout, &alone])?;
            each(images, |seed| {
                let found = by_umoci(oracle, &layout, &reference(seed))?;
                compare_image(seed, &expected[seed], &found)
            })
            .map(drop)
        });
    }
}

fn reference(seed: usize) -> String {
    format!("example.com/{seed}:1")
}

/// Unpacks an image of a layout by umoci, and lists it.
pub(super) fn by_umoci(oracle: &Oracle, layout: &str, reference: &str) -> Result<Vec<String>> {
    let image = format!("{layout}:{reference}");
    listed(oracle, &image, "rootfs", |bundle| {
        let bundle = bundle.to_string_lossy();
        oracle.peer("umoci", &["unpack", "--image", &image, &bundle])
    })
}

/// Unpacks an image of a layout by our program, and lists it.
pub(super) fn by_imgconv(oracle: &Oracle, layout: &str, reference: &str) -> Result<Vec<String>> {
    let image = format!("oci:{layout}:{reference}");
    listed(oracle, &image, "", |folder| {
        let folder = folder.to_string_lossy();
        let flags = ["--quiet", "--preserve-privileges", "--allow-devices"];
        oracle.imgconv(&[&["unpack"][..], &flags, &[&image, &folder]].concat())
    })
}

/// Lists the files that `unpack` writes to a folder, or below it, and removes the files; a
/// directory whose time is that of unpacking has none.
fn listed(
    oracle: &Oracle,
    image: &str,
    below: &str,
    unpack: impl FnOnce(&Path) -> Result<String>,
) -> Result<Vec<String>> {
    let from = now();
    let folder = oracle.path(&format!("unpacked/{}", image.replace('/', "-")));
    unpack(&folder)?;
    let lines = snapshot(&folder.join(below)).map_err(|e| e.to_string())?;
    fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    let period = from..=now();
    let unset = |line: &str| {
        let time = directory(line).and_then(|parts| parts.1.split('.').next()?[1..].parse().ok());
        time.is_some_and(|time| period.contains(&time))
    };
    let line = |line: String| {
        if unset(&line) {
            without_time(&line)
        } else {
            line
        }
    };
    Ok(lines.into_iter().map(line).collect())
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "what umoci made just now is told by its time"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

/// The path and the time of a directory's line.
fn directory(line: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["dir", path, _, _, time, ..] => Some((path, time)),
        _ => None,
    }
}

fn without_time(line: &str) -> String {
    match directory(line) {
        Some((_, time)) => line.replacen(time, UNSET, 1),
        None => line.to_owned(),
    }
}

/// Fails unless two lists are equal; attributes that umoci gives to parents without an entry are
/// ignored.
pub(super) fn compare(expected: &[String], found: &[String]) -> Result {
    let unset = |line: &&String| line.contains(UNSET);
    let unset: BTreeMap<&str, &String> = expected
        .iter()
        .filter(unset)
        .filter_map(|line| Some((directory(line)?.0, line)))
        .collect();
    let line = |line: &String| {
        let Some(expected) = directory(line).and_then(|(path, _)| unset.get(path)) else {
            return line.clone();
        };
        match line.contains(" 0755 0:0 ") && expected.contains(" 2755 0:") {
            true => (*expected).clone(),
            false => without_time(line),
        }
    };
    same_lines(expected, &found.iter().map(line).collect::<Vec<_>>())
}

/// As [`compare`]; the failure shows the layers.
fn compare_image(seed: usize, expected: &[String], found: &[String]) -> Result {
    compare(expected, found).map_err(|error| {
        let layers = random::image(seed as u64);
        let layers = layers.iter().map(|layer| layer.lines().join("\n"));
        let layers = layers.collect::<Vec<_>>().join("\n---\n");
        format!("image {seed}: {error}\nThe layers:\n{layers}")
    })
}

/// Does something for each number, on every processor; the results in order, or the first failure.
fn each<T: Send>(count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return;
                    }
                    let result = work(i);
                    if let Ok(mut done) = done.lock() {
                        done.insert(i, result);
                    }
                }
            });
        }
    });
    let done = done.into_inner().map_err(|e| e.to_string())?;
    let failed = done.values().filter(|result| result.is_err()).count();
    let all: Result<Vec<T>> = done.into_values().collect();
    all.map_err(|error| format!("{failed} of {count} fail; the first: {error}"))
}
