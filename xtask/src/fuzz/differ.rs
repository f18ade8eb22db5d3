//! Tars of the corpus, read by Go's `archive/tar` and Python's `tarfile` too: what imgconv reads, they must read as
//! the same members. A reader that is not installed is skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{Result, call, installed, root};

/// The most differences that are printed.
const SHOWN: usize = 5;

/// A reader of others: its name, the program that must be installed, and the command.
type Reader = (&'static str, &'static str, fn(&Path) -> Result<Command>);

const READERS: &[Reader] = &[("Go", "go", go), ("Python", "python3", python)];

/// The differences of one reader.
#[derive(Clone, Debug, Default)]
struct Differences {
    /// Tars with the same members.
    same: usize,
    /// The file and the first difference of each other tar.
    others: Vec<String>,
}

/// Compares the readers over the tars in folders. Returns the number of tars that differ.
pub(super) fn run(program: &Path, folders: &[&Path], work: &Path) -> Result<usize> {
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work).map_err(|e| format!("{}: {e}", work.display()))?;
    let mut command = Command::new(program);
    command
        .env("IMGCONV_FUZZ_TARGET", "tar")
        .env("IMGCONV_FUZZ_DIFFER", work)
        .args(folders);
    let count = call(&mut command)?;
    let read = |name: &str| {
        let path = work.join(name);
        fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let ours = lines(&read("ours.jsonl")?)?;
    let files: Vec<&str> = ours
        .iter()
        .filter_map(|line| line["file"].as_str())
        .collect();
    let list = work.join("files");
    fs::write(&list, files.join("\n")).map_err(|e| e.to_string())?;
    let mut all = 0;
    for (name, needed, command) in READERS {
        if !installed(needed) {
            eprintln!("skip  tars by {name}: {needed} is not installed");
            continue;
        }
        let theirs = lines(&call(command(work)?.arg(&list))?)?;
        if ours.len() != theirs.len() {
            return Err(format!("{} of {} tars by {name}", theirs.len(), ours.len()));
        }
        let differences = compare(&ours, &theirs);
        println!(
            "tars by {name}: {} of {} alike",
            differences.same,
            count.trim()
        );
        for other in differences.others.iter().take(SHOWN) {
            println!("  {other}");
        }
        all += differences.others.len();
    }
    Ok(all)
}

/// Go's program, built in the folder of the work.
fn go(work: &Path) -> Result<Command> {
    let built = work.join("members-go");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(&built)
        .arg(root().join("crates/dev/fuzz/go/members.go"))
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", "0");
    call(&mut build)?;
    Ok(Command::new(built))
}

fn python(_: &Path) -> Result<Command> {
    let mut command = Command::new("python3");
    command.arg(root().join("crates/dev/fuzz/python/members.py"));
    Ok(command)
}

fn lines(text: &str) -> Result<Vec<Value>> {
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| e.to_string())
}

fn compare(ours: &[Value], theirs: &[Value]) -> Differences {
    let mut differences = Differences::default();
    for (our, their) in ours.iter().zip(theirs) {
        let error = their["error"].as_str().unwrap_or_default();
        let fault = match error {
            "" => difference(&our["members"], &their["members"]),
            error => Some(format!("refused: {error}")),
        };
        match fault {
            None => differences.same += 1,
            Some(fault) => {
                let file = our["file"].as_str().unwrap_or_default();
                differences.others.push(format!("{file}: {fault}"));
            }
        }
    }
    differences
}

/// The fields of a member, in their order.
const FIELDS: [&str; 9] = [
    "name", "kind", "mode", "uid", "gid", "mtime", "size", "link", "body",
];

/// The first difference of two lists of members.
fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (ours, theirs) = (list(ours), list(theirs));
    for (place, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        for (field, name) in FIELDS.iter().enumerate() {
            let (our, their) = (plain(name, our, field), plain(name, their, field));
            if our != their {
                return Some(format!(
                    "{name} of member {place}: {our}, by the other {their}"
                ));
            }
        }
    }
    let (some, others) = (ours.len(), theirs.len());
    (some != others).then(|| format!("{some} members, by the other {others}"))
}

/// The value of a field. Slashes behind the name of a directory count for nothing.
fn plain(name: &str, member: &Value, field: usize) -> String {
    let value = &member[field];
    let Some(text) = value.as_str() else {
        return value.to_string();
    };
    let mut text = text;
    if name == "name" && member[1] == "Directory" {
        while let Some(rest) = text.strip_suffix("2f") {
            text = rest;
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named() {
        let member = |name: &str, size: u64| json!([name, "Directory", 1, 2, 3, 4, size, "", "x"]);
        let line = |members: Vec<Value>, error: &str| json!({"file": "f", "members": members, "error": error});
        let ours = [line(vec![member("612f", 0)], "")];
        let fault = |theirs: Value| compare(&ours, &[theirs]).others;
        assert_eq!(fault(line(vec![member("61", 0)], "")), [""; 0]);
        assert_eq!(
            fault(line(vec![member("61", 7)], "")),
            ["f: size of member 0: 0, by the other 7"]
        );
        assert_eq!(fault(line(vec![], "")), ["f: 1 members, by the other 0"]);
        assert_eq!(fault(line(vec![], "bad")), ["f: refused: bad"]);
    }
}
