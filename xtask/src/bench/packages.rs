//! The input of the goals: an image of four layers, made of the files of this system's packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::{self, Layer};
use super::setting::Bench;
use crate::process::{Result, call};

/// Larger files are left out: with the rest, as in real images, a gigabyte has some 40 000 files.
const LARGEST: u64 = 8_000_000;

/// One of this many files of the base gets three names, and one of this many is deleted.
const LINKED: usize = 20;
const DELETED: usize = 10;

/// The bytes and the entries of the image that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made {
    pub(super) bytes: u64,
    pub(super) entries: usize,
}

/// Writes a file of `docker save`: two layers of `size` MB of files together, one of hard links,
/// one that deletes.
pub(super) fn make(bench: &Bench, path: &Path, size: u64) -> Result<Made> {
    let files = listed(size)?;
    let sums = files.iter().scan(0, |sum, (_, bytes)| {
        *sum += bytes;
        Some(*sum)
    });
    let middle = sums.take_while(|sum| *sum < size * 500_000).count();
    let (base, more) = files.split_at(middle);
    let regular: Vec<&Path> = base
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(path, _)| path.as_path())
        .collect();
    let links = bench.path("links");
    link(&links, &regular)?;
    let deletions = bench.path("deletions");
    delete(&deletions, &regular)?;
    let names = |files: &[(PathBuf, u64)]| -> Vec<PathBuf> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    let mut layers = Vec::new();
    let mut entries = files.len();
    for (i, (folder, names)) in [
        (Path::new("/"), names(base)),
        (Path::new("/"), names(more)),
        (&links, Vec::new()),
        (&deletions, Vec::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let layer = bench.path(&format!("layer-{i}.tar"));
        tar(&layer, folder, &names, bench)?;
        if names.is_empty() {
            entries += call(Command::new("tar").arg("-tf").arg(&layer))?
                .lines()
                .count();
        }
        let file = File::open(&layer).map_err(|e| e.to_string())?;
        layers.push(Layer {
            size: file.metadata().map_err(|e| e.to_string())?.len(),
            bytes: Box::new(file),
        });
        // Its bytes stay as long as the file is open.
        fs::remove_file(&layer).map_err(|e| e.to_string())?;
    }
    archive::write(path, layers)?;
    for folder in [links, deletions] {
        fs::remove_dir_all(folder).map_err(|e| e.to_string())?;
    }
    let bytes = fs::metadata(path).map_err(|e| e.to_string())?.len();
    Ok(Made { bytes, entries })
}

/// Lists the files of as many packages as it takes until they have `size` MB, in the order of their
/// paths; with the bytes that each adds.
fn listed(size: u64) -> Result<Vec<(PathBuf, u64)>> {
    let names = call(Command::new("dpkg-query").args(["-W", "-f", "${binary:Package}\n"]))?;
    let listed = call(Command::new("dpkg").arg("-L").args(names.lines()))?;
    let (mut files, mut bytes, mut seen) = (BTreeMap::new(), 0, BTreeSet::new());
    for path in listed.lines().filter_map(real_path) {
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        if data.is_file() && data.len() > LARGEST {
            continue;
        }
        // Hard links to one file share its bytes.
        let counts = data.is_file() && seen.insert((data.dev(), data.ino()));
        let own = if counts { data.len() } else { 0 };
        bytes += own;
        files.entry(path).or_insert(own);
        if bytes >= size * 1_000_000 {
            return Ok(files.into_iter().collect());
        }
    }
    let found = bytes / 1_000_000;
    Err(format!(
        "the packages of this system have {found} MB, --size asks for {size}"
    ))
}

/// A listed path with no symbolic link above its last part (`/bin` may be one); none for the root.
fn real_path(listed: &str) -> Option<PathBuf> {
    let path = Path::new(listed);
    let folder = fs::canonicalize(path.parent()?).ok()?;
    Some(folder.join(path.file_name()?))
}

/// Copies some files to a folder, each with three names.
fn link(folder: &Path, files: &[&Path]) -> Result {
    for (i, file) in files.iter().step_by(LINKED).enumerate() {
        let below = folder.join(format!("srv/links/{}", i % 50));
        fs::create_dir_all(&below).map_err(|e| e.to_string())?;
        let first = below.join(format!("{i}-first"));
        fs::copy(file, &first).map_err(|e| format!("{}: {e}", file.display()))?;
        for name in ["second", "third"] {
            fs::hard_link(&first, below.join(format!("{i}-{name}"))).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Makes a whiteout for some files.
fn delete(folder: &Path, files: &[&Path]) -> Result {
    for file in files.iter().step_by(DELETED) {
        let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else {
            continue;
        };
        let below = folder.join(parent.strip_prefix("/").unwrap_or(parent));
        fs::create_dir_all(&below).map_err(|e| e.to_string())?;
        let mut marker = std::ffi::OsString::from(".wh.");
        marker.push(name);
        // A name may be as long as a name can be.
        if marker.len() <= 255 {
            fs::write(below.join(marker), b"").map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

/// Packs the named files below a folder, or all of it if none is named.
fn tar(archive: &Path, folder: &Path, names: &[PathBuf], bench: &Bench) -> Result {
    let mut command = Command::new("tar");
    command.args(["--format=gnu", "--numeric-owner", "-cf"]);
    command.arg(archive).arg("-C").arg(folder);
    if names.is_empty() {
        command.args(["--sort=name", "."]);
    } else {
        let list = bench.path("list");
        let mut file = File::create(&list).map_err(|e| e.to_string())?;
        for path in names {
            let line = [&path.as_os_str().as_bytes()[1..], b"\0"].concat();
            file.write_all(&line).map_err(|e| e.to_string())?;
        }
        command.args(["--no-recursion", "--null", "-T"]).arg(&list);
    }
    call(&mut command).map(drop)
}
