//! Locks of other processes, seen without taking any: the list of the kernel, `/proc/locks`.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _};

use imgconv_model::Notes;

use crate::directory::Directory;

/// The most bytes of the kernel's list that are read.
const MAX: u64 = 16 << 20;

/// Returns the first of some files below a directory that another process holds a lock on, by `flock`
/// or `fcntl`. A file system whose device has several numbers (btrfs), and another PID namespace, can
/// hide a lock. No lock is taken, and a file that can't be opened is passed over.
pub fn held<'a>(directory: &Directory, paths: &[&'a str]) -> Option<&'a str> {
    let file = std::fs::File::open("/proc/locks").ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX), &mut text).ok()?;
    let locks = locks(&text, std::process::id());
    paths.iter().copied().find(|path| {
        let Ok(Some((file, _))) = directory.file(path) else {
            return false;
        };
        file.metadata().is_ok_and(|stat| {
            let device = stat.dev();
            let device = (rustix::fs::major(device), rustix::fs::minor(device));
            locks.contains(&(device.0, device.1, stat.ino()))
        })
    })
}

/// Warns if a process holds a lock on one of the files that the engine of a store locks while it runs.
/// `place` names the store.
pub fn warn_if_held(directory: &Directory, paths: &[&str], place: &str, notes: &Notes) {
    if let Some(path) = held(directory, paths) {
        let message = format!(
            "an engine uses this store: a process has locked `{path}`. Nothing is written there; what \
             changes while it is read is refused by its digest"
        );
        notes.warn("store-in-use", place, message);
    }
}

/// Reads the list of locks: the device and the inode of each file that a process other than `own` has
/// locked. A line is `N: KIND ADVISORY MODE PID MAJOR:MINOR:INODE START END`, both parts of the device
/// hexadecimal; a lock that is waited for has `->` after the number.
fn locks(text: &str, own: u32) -> BTreeSet<(u32, u32, u64)> {
    let own = own.to_string();
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.get(1) == Some(&"->") || *words.get(4)? == own {
            return None;
        }
        let mut parts = words.get(5)?.split(':');
        let mut device = || u32::from_str_radix(parts.next()?, 16).ok();
        let (major, minor) = (device()?, device()?);
        Some((major, minor, parts.next()?.parse().ok()?))
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn the_list_of_the_kernel_is_read() {
        let text = "1: FLOCK  ADVISORY  WRITE 12 08:1f:131 0 EOF\n\
                    2: POSIX  ADVISORY  READ 13 00:2a:99 0 0\n\
                    2: -> POSIX  ADVISORY  WRITE 14 00:2a:98 0 0\n\
                    3: FLOCK  ADVISORY  WRITE 7 08:1f:5 0 EOF\n\
                    4: LEASE\n\nnonsense";
        let found: Vec<_> = locks(text, 7).into_iter().collect();
        assert_eq!(found, [(0, 0x2a, 99), (8, 0x1f, 131)]);
    }

    /// D16h: another process holds the lock, and ends when its input does.
    #[test]
    fn a_lock_of_another_process_is_seen_and_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.db");
        std::fs::write(&path, "").unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert_eq!(held(&directory, &["absent", "meta.db"]), None);
        let mut holder = Command::new("flock");
        holder
            .arg(&path)
            .args(["sh", "-c", "echo locked; cat >/dev/null"]);
        let holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut holder) = holder else {
            return; // There is no `flock` program here.
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "locked\n");
        // Where the kernel's list shows no locks of other processes, there is nothing to see.
        let listed = std::fs::read_to_string("/proc/locks").is_ok_and(|text| !text.is_empty());
        let found = held(&directory, &["absent", "meta.db"]);
        assert!(found == Some("meta.db") || !listed);
        drop(holder.stdin.take());
        assert!(holder.wait().unwrap().success());
        assert_eq!(held(&directory, &["meta.db"]), None);
    }
}
