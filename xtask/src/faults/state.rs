//! The state of a folder as data, and what a disturbed run made of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use imgconv_testkit::sha256_hex;

use serde_json::Value;

use crate::process::Result;

/// Every path below a folder with its type, mode and content; links of names to one file are not
/// compared, since a copy is as good.
pub(super) type State = BTreeMap<String, String>;

/// The journals of `migrate`: they hold times and numbers of files, which differ from run to run.
const JOURNALS: [&str; 2] = [".imgconv-migrate", "journal"];

/// Files that list images. If one image failed, they lack it, and get it later at another position.
const LISTS: [&str; 3] = ["index.json", "imagetags.json", "index.html"];

/// Reads the state of a folder. With `parts` each item of a list of images counts as a file.
pub(super) fn state(folder: &Path, parts: bool) -> Result<State> {
    let mut found = State::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
        for entry in fs::read_dir(&path).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            if JOURNALS.iter().any(|name| entry.file_name() == **name) {
                continue;
            }
            let path = entry.path();
            let data = entry.metadata().map_err(wrong)?;
            let mode = data.mode() & 0o7777;
            let line = if data.is_dir() {
                open.push(path.clone());
                format!("directory {mode:o}")
            } else if data.is_file() {
                let bytes = fs::read(&path).map_err(wrong)?;
                if parts && LISTS.iter().any(|name| entry.file_name() == **name) {
                    let name = path.strip_prefix(folder).map_err(|e| e.to_string())?;
                    let name = name.to_string_lossy().into_owned();
                    for item in items(&bytes) {
                        found.insert(format!("{name}#{item}"), "listed".to_owned());
                    }
                    found.insert(name, format!("list {mode:o}"));
                    continue;
                }
                format!("file {mode:o} {} {}", bytes.len(), sha256_hex(&bytes))
            } else if data.is_symlink() {
                let to = fs::read_link(&path).map_err(wrong)?;
                format!("link to {}", to.display())
            } else {
                format!("special {:o} {}", data.mode(), data.rdev())
            };
            let name = path.strip_prefix(folder).map_err(|e| e.to_string())?;
            found.insert(name.to_string_lossy().into_owned(), line);
        }
    }
    Ok(found)
}

/// Returns the items of a list of images, which is JSON or lines.
fn items(bytes: &[u8]) -> Vec<String> {
    fn walk(place: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    walk(&format!("{place}.{name}"), member, found);
                }
            }
            Value::Array(items) => {
                found.extend(items.iter().map(|item| format!("{place}[{item}]")))
            }
            other => found.push(format!("{place}={other}")),
        }
    }
    let mut found = Vec::new();
    match serde_json::from_slice(bytes) {
        Ok(value) => walk("", &value, &mut found),
        Err(_) => found.extend(String::from_utf8_lossy(bytes).lines().map(str::to_owned)),
    }
    // Paths end where a slash is, and an item may have some.
    found.iter().map(|item| item.replace('/', "|")).collect()
}

/// Copies a folder with modes and times of modification.
pub(super) fn copy(from: &Path, to: &Path) -> Result {
    let wrong = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir(to).map_err(|e| wrong(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| wrong(from, e))? {
        let path = entry.map_err(|e| wrong(from, e))?.path();
        let at = to.join(path.file_name().unwrap_or_default());
        let data = fs::symlink_metadata(&path).map_err(|e| wrong(&path, e))?;
        if data.is_dir() {
            copy(&path, &at)?;
        } else if data.is_symlink() {
            fs::read_link(&path)
                .and_then(|link| std::os::unix::fs::symlink(link, &at))
                .map_err(|e| wrong(&at, e))?;
        } else {
            // The mode is copied too.
            let copied = fs::copy(&path, &at).and_then(|_| data.modified());
            let copied = copied
                .and_then(|time| fs::File::open(&at).and_then(|file| file.set_modified(time)));
            copied.map_err(|e| wrong(&at, e))?;
        }
    }
    let mode = fs::metadata(from).map_err(|e| wrong(from, e))?.mode() & 0o7777;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).map_err(|e| wrong(to, e))
}

/// A folder after a disturbed run, beside its states before the run and after an undisturbed run.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Temporary files and directories of the program, the outermost only.
    pub(super) left: Vec<String>,
    /// What is neither as before nor as after an undisturbed run.
    pub(super) damaged: Vec<String>,
    /// The rest is as before.
    pub(super) old: bool,
    /// The rest is as after an undisturbed run.
    pub(super) new: bool,
    /// Nothing is missing or changed, but some new files are there already.
    pub(super) grown: bool,
}

impl Seen {
    /// Compares a state with those before a run and after an undisturbed run.
    pub(super) fn of(now: &State, before: &State, after: &State) -> Self {
        let mut seen = Self::default();
        let mut rest = State::new();
        for (path, line) in now {
            match temporary(path) {
                Some(outer) if !before.contains_key(path) && !after.contains_key(path) => {
                    if seen.left.last() != Some(&outer) {
                        seen.left.push(outer);
                    }
                }
                _ => drop(rest.insert(path.clone(), line.clone())),
            }
        }
        seen.left.dedup();
        for (path, line) in &rest {
            let known = [before.get(path), after.get(path)];
            if !known.contains(&Some(line)) {
                let was = known.map(|line| line.map_or("nothing", String::as_str));
                seen.damaged
                    .push(format!("{path}: {line}, not {} or {}", was[0], was[1]));
            }
        }
        for path in before.keys() {
            if after.contains_key(path) && !rest.contains_key(path) {
                seen.damaged.push(format!("{path}: missing"));
            }
        }
        seen.old = rest == *before;
        seen.new = rest == *after;
        seen.grown = before
            .iter()
            .all(|(path, line)| rest.get(path) == Some(line));
        seen
    }
}

/// Returns the outermost temporary file or directory of a path, by the names that the program gives
/// to such files.
pub(super) fn temporary(path: &str) -> Option<String> {
    let mut outer = String::new();
    for part in path.split('/') {
        if !outer.is_empty() {
            outer.push('/');
        }
        outer.push_str(part);
        let random = |rest: &str, count: usize| {
            rest.len() == count && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let stage = part
            .strip_prefix(".imgconv-")
            .is_some_and(|rest| random(rest, 6));
        let partial = part.rsplit_once(".partial-").is_some_and(|(_, rest)| {
            random(rest, 6) || random(rest.strip_suffix(".lock").unwrap_or(rest), 8)
        });
        if stage || partial {
            return Some(outer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> State {
        let own = |(path, line): &(&str, &str)| ((*path).to_owned(), (*line).to_owned());
        lines.iter().map(own).collect()
    }

    #[test]
    fn a_state_is_old_or_new_or_grown_or_damaged() {
        let before = of(&[("a", "1"), ("index", "1")]);
        let after = of(&[("a", "1"), ("b", "2"), ("index", "2")]);
        let see = |lines: &[(&str, &str)]| Seen::of(&of(lines), &before, &after);
        assert!(see(&[("a", "1"), ("index", "1")]).old);
        assert!(see(&[("a", "1"), ("b", "2"), ("index", "2")]).new);
        let grown = see(&[("a", "1"), ("b", "2"), ("index", "1")]);
        assert!(grown.grown && !grown.old && !grown.new && grown.damaged.is_empty());
        let mixed = see(&[("a", "1"), ("index", "2")]);
        assert!(!mixed.grown && !mixed.old && !mixed.new && mixed.damaged.is_empty());
        for wrong in [
            &[("index", "1")][..],
            &[("a", "1"), ("index", "3")],
            &[("a", "1"), ("index", "1"), ("c", "1")],
        ] {
            assert_eq!(see(wrong).damaged.len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn temporary_names_are_those_of_the_program() {
        for (path, outer) in [
            ("out/.imgconv-Abc123/x/y", Some("out/.imgconv-Abc123")),
            (".out.partial-Abc123", Some(".out.partial-Abc123")),
            ("out.partial-Abc12345/x", Some("out.partial-Abc12345")),
            (
                "out.partial-Abc12345.lock",
                Some("out.partial-Abc12345.lock"),
            ),
            ("out/.imgconv-migrate/x", None),
            ("out/.imgconv-photos2/x", None),
            ("out.partial-Abc123456", None),
        ] {
            assert_eq!(temporary(path).as_deref(), outer, "{path}");
        }
    }
}
