//! `cargo xtask oracle`: tools that no one here wrote judge our output, and make our input.
//!
//! Every check has a name and ends as `ok`, `FAIL` or `skip`; a missing tool is a skip, and with
//! `--require-all` a failure. All work happens in one temporary folder; servers are started by
//! hand in it and ended by their process id. Needs root: owners, devices and capabilities are what
//! is compared.

mod appc;
mod chunked;
mod codecs;
mod docker;
mod docker_aci;
mod engine;
mod engines;
mod from_aci;
mod from_oci;
mod inputs;
mod layers;
mod migrate;
mod registry;
mod registry_server;
mod schema1;
mod slurm;
mod stores;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Profile, Result, call, installed, operands, program};

/// The state of a run.
#[derive(Debug)]
pub(super) struct Oracle {
    program: PathBuf,
    work: PathBuf,
    root: bool,
    require_all: bool,
    /// The only group that is run; all if empty.
    filter: String,
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// Runs all checks, or one group of them.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let keep = arguments.contains(&"--keep");
    let work = tempfile::Builder::new().prefix("imgconv-oracle-").tempdir();
    let work = work.map_err(|e| e.to_string())?;
    let filter = operands(arguments, &["--program"])
        .first()
        .copied()
        .unwrap_or_default();
    let mut oracle = Oracle {
        program: program(arguments, Profile::Dev)?,
        work: work.path().to_owned(),
        root: call(Command::new("id").arg("-u"))?.trim() == "0",
        require_all: arguments.contains(&"--require-all"),
        filter: filter.to_owned(),
        passed: 0,
        failed: 0,
        skipped: 0,
    };
    let engine = engine::Engine::start(&mut oracle);
    from_aci::run(&mut oracle, engine.as_ref());
    from_oci::run(&mut oracle);
    layers::run(&mut oracle);
    codecs::run(&mut oracle);
    docker::run(&mut oracle, engine.as_ref());
    schema1::run(&mut oracle, engine.as_ref());
    registry::run(&mut oracle, engine.as_ref());
    appc::run(&mut oracle);
    drop(engine);
    stores::run(&mut oracle);
    engines::run(&mut oracle);
    migrate::run(&mut oracle);
    slurm::run(&mut oracle);
    if keep {
        println!("kept: {}", work.keep().display());
    } else if let Err(error) = work.close() {
        eprintln!("not everything could be removed: {error}");
    }
    let Oracle {
        passed,
        failed,
        skipped,
        ..
    } = oracle;
    println!("oracle: {passed} passed, {failed} failed, {skipped} skipped");
    match failed {
        0 if passed + skipped == 0 => Err("no group of checks has that name".into()),
        0 => Ok(()),
        _ => Err("a check of the oracle failed".into()),
    }
}

impl Oracle {
    /// Says whether a group of checks was asked for: the word before the colon of their names.
    fn wants(&self, group: &str) -> bool {
        self.filter.is_empty() || self.filter == group
    }

    /// Runs one check and prints how it ended; says whether it passed. `needs` are programs, or
    /// `root`.
    fn check(&mut self, name: &str, needs: &[&str], body: impl FnOnce(&Self) -> Result) -> bool {
        let missing = needs.iter().find(|need| match **need {
            "root" => !self.root,
            program => !installed(program),
        });
        if let Some(peer) = missing {
            if self.require_all {
                self.failed += 1;
                println!("FAIL  {name}: peer {peer} is missing and --require-all was given");
            } else {
                self.skipped += 1;
                println!("skip  {name} (peer {peer} is missing)");
            }
            return false;
        }
        match body(self) {
            Ok(()) => {
                self.passed += 1;
                println!("ok    {name}");
                true
            }
            Err(output) => {
                self.failed += 1;
                println!("FAIL  {name}\n{}", indented(&output));
                false
            }
        }
    }

    /// A path in the work folder; the folder above it is made.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.work.join(name);
        if let Some(folder) = path.parent() {
            // What cannot be made shows up where it is used.
            let _ = std::fs::create_dir_all(folder);
        }
        path
    }

    /// Runs our program in the work folder and demands success.
    fn imgconv<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        self.peer(&self.program.to_string_lossy(), arguments)
    }

    /// Runs another program in the work folder, at most two minutes, and demands success.
    fn peer<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<String> {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "120", program])
            .args(arguments)
            .current_dir(&self.work);
        call(&mut command)
    }

    /// Runs a shell script in the work folder.
    fn shell(&self, script: &str) -> Result<String> {
        self.peer("sh", &["-euc", script])
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("      {line}\n")).collect()
}

/// Demands that two folders are equal in every attribute.
fn same_tree(expected: &Path, found: &Path) -> Result {
    let lines = |path: &Path| imgconv_testkit::snapshot(path).map_err(|e| e.to_string());
    same_lines(&lines(expected)?, &lines(found)?)
}

fn same_lines(expected: &[String], found: &[String]) -> Result {
    let missing = expected.iter().filter(|line| !found.contains(line));
    let added = found.iter().filter(|line| !expected.contains(line));
    let mut out = Vec::new();
    if expected != found {
        out.extend(missing.map(|line| format!("- {line}")));
        out.extend(added.map(|line| format!("+ {line}")));
        out.sort_by(|a, b| a[2..].cmp(&b[2..]));
        let more = out.len().saturating_sub(60);
        out.truncate(60);
        if more > 0 {
            out.push(format!("… and {more} lines more"));
        }
        return Err(format!(
            "the trees differ (- expected, + found):\n{}",
            out.join("\n")
        ));
    }
    match expected.len() {
        0 => Err("both trees are empty: nothing was compared".into()),
        _ => Ok(()),
    }
}

/// Demands that a text contains another.
fn contains(text: &str, part: &str) -> Result {
    match text.contains(part) {
        true => Ok(()),
        false => Err(format!("`{part}` is missing in:\n{text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oracle(require_all: bool) -> Oracle {
        Oracle {
            program: PathBuf::new(),
            work: std::env::temp_dir(),
            root: false,
            require_all,
            filter: String::new(),
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    #[test]
    fn a_missing_peer_is_a_skip_and_with_require_all_a_failure() {
        let mut lax = oracle(false);
        assert!(!lax.check("x", &["no-such-program"], |_| Ok(())));
        let mut strict = oracle(true);
        assert!(!strict.check("x", &["no-such-program"], |_| Ok(())));
        assert!(!strict.check("y", &["root"], |_| Ok(())));
        assert_eq!((lax.skipped, lax.failed), (1, 0));
        assert_eq!((strict.skipped, strict.failed), (0, 2));
    }

    #[test]
    fn a_failing_peer_fails_the_check() {
        let mut oracle = oracle(false);
        assert!(!oracle.check("x", &["sh"], |o| o.shell("echo no >&2; exit 1").map(drop)));
        assert!(oracle.check("y", &["sh"], |o| o.shell("true").map(drop)));
        assert_eq!((oracle.passed, oracle.failed), (1, 1));
    }

    #[test]
    fn trees_that_differ_in_one_attribute_are_told_apart() {
        let lines = |mode: &str| vec![format!("dir . {mode} 0:0 @0")];
        assert!(same_lines(&lines("0755"), &lines("0755")).is_ok());
        let error = same_lines(&lines("0755"), &lines("0700")).unwrap_err();
        assert!(
            error.contains("- dir . 0755") && error.contains("+ dir . 0700"),
            "{error}"
        );
        assert!(same_lines(&[], &[]).is_err());
    }
}
