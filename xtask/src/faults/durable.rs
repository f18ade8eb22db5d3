//! Whether a run makes durable what it publishes: no crash of the machine after the end of the run
//! may lose a file, its bytes or its name (robustness W7).

use std::collections::BTreeSet;

use super::calls::Class;
use super::state::temporary;
use super::trace::Call;

/// Returns the files that got their final names before their bytes were flushed, and the directories
/// whose names were not flushed afterwards, of a run with these calls. `added` says whether the run
/// has added a path.
pub(super) fn unflushed(calls: &[Call], added: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut files: BTreeSet<String> = BTreeSet::new();
    let mut directories: BTreeSet<String> = BTreeSet::new();
    // A name that is there already is not added again.
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut added = |path: &str| added(path) && known.insert(path.to_owned());
    for call in calls.iter().filter(|call| !is_private(&call.path)) {
        let path = call.path.as_str();
        match call.class {
            Class::Write | Class::Copy | Class::Resize if path.starts_with('/') => {
                files.insert(path.to_owned());
            }
            Class::Sync => {
                files.remove(path);
                directories.remove(path);
            }
            Class::Create | Class::Mkdir if added(path) => named(path, &mut directories),
            Class::Rename | Class::Link => {
                let (from, to) = path.split_once(" -> ").unwrap_or(("", path));
                let below = format!("{from}/");
                let moved = |one: &String| *one == from || one.starts_with(&below);
                let open: Vec<String> = files.iter().filter(|one| moved(one)).cloned().collect();
                for one in open {
                    if temporary(to).is_none() {
                        found.push(format!("{one} was not flushed before it became {to}"));
                    }
                    if call.class == Class::Rename {
                        files.remove(&one);
                    }
                    files.insert(one.replacen(from, to, 1));
                }
                if added(to) {
                    named(to, &mut directories);
                }
            }
            _ => {}
        }
    }
    let directories = directories.iter();
    found.extend(directories.map(|one| format!("the names in {one:?} were not flushed")));
    let rest = files.iter().filter(|one| temporary(one).is_none());
    found.extend(rest.map(|one| format!("{one} was not flushed")));
    found
}

/// Records that the directory of a path has another name in it.
fn named(path: &str, directories: &mut BTreeSet<String>) {
    if temporary(path).is_none()
        && let Some((directory, _)) = path.rsplit_once('/')
    {
        directories.insert(directory.to_owned());
    }
}

/// Returns true for files that nobody looks for after a crash.
fn is_private(path: &str) -> bool {
    // A pool is a store of copies, and a journal only saves work. Nobody expects an unpacked tree to
    // survive a crash of the machine as a whole: flushing every file takes longer than unpacking.
    let spare = ["/tmp", "/pool", "/journal"];
    spare.iter().any(|folder| path.starts_with(folder))
        || path.contains("/.imgconv-migrate")
        || path.contains(".partial-") && path.ends_with(".lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &'static str, class: Class, path: &str) -> Call {
        let path = path.to_owned();
        Call { name, class, path }
    }

    #[test]
    fn bytes_are_flushed_before_the_name_and_the_name_after() {
        let write = call("write", Class::Write, "/.imgconv-Abc123/0");
        let flush = call("fsync", Class::Sync, "/.imgconv-Abc123/0");
        let rename = call("rename", Class::Rename, "/.imgconv-Abc123/0 -> /out/x");
        let names = call("fsync", Class::Sync, "/out");
        let see = |calls: &[&Call]| {
            let calls: Vec<Call> = calls.iter().copied().cloned().collect();
            unflushed(&calls, |path| path == "/out/x").len()
        };
        assert_eq!(see(&[&write, &flush, &rename, &names]), 0);
        assert_eq!(see(&[&write, &rename, &names]), 2);
        assert_eq!(see(&[&write, &flush, &rename]), 1);
        assert_eq!(see(&[&write, &flush, &names, &rename]), 1);
    }
}
