//! The state of a run of checks, the runner of a single check, and comparisons whose errors name
//! the difference.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::newer::Newer;
use crate::process::{Result, call, installed};

/// Prints the versions of the installed packages of Debian's stable suite that judge the output.
const VERSIONS: &str = "dpkg-query -W -f '${db:Status-Abbrev}${Package} ${Version}\\n' appc-spec buildah containerd \
    docker-registry docker.io gnupg libarchive-tools oci-image-tool podman runc skopeo slurm-wlm tar umoci 2>/dev/null \
    | sed -n 's/^ii *//p'";

/// The state of a run.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) program: PathBuf,
    /// The private root with newer versions of the peers.
    pub(crate) newer: Option<Newer>,
    pub(crate) work: PathBuf,
    pub(crate) root: bool,
    pub(crate) require_all: bool,
    /// The only group that is run; all if empty.
    pub(crate) filter: String,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Oracle {
    /// Prepares a run of checks in a work folder.
    ///
    /// # Errors
    /// The user is not known, because `id` fails.
    pub(crate) fn new(
        program: PathBuf,
        work: &Path,
        require_all: bool,
        filter: &str,
    ) -> Result<Self> {
        Ok(Self {
            program,
            newer: Newer::find(),
            work: work.to_owned(),
            root: call(Command::new("id").arg("-u"))?.trim() == "0",
            require_all,
            filter: filter.to_owned(),
            passed: 0,
            failed: 0,
            skipped: 0,
        })
    }

    /// Says whether the user selected a group of checks: the word before the colon of their names.
    pub(crate) fn wants(&self, group: &str) -> bool {
        self.filter.is_empty() || self.filter == group
    }

    /// The versions of the judges: lines of a package and its version, of the system and of the private root.
    pub(crate) fn versions(&self) -> Result<[Vec<String>; 2]> {
        let system = call(Command::new("sh").args(["-c", VERSIONS]))?;
        let newer = self.newer.as_ref().map(Newer::versions).transpose()?;
        Ok([system, newer.unwrap_or_default()]
            .map(|text| text.lines().map(str::to_owned).collect()))
    }

    /// Runs one check, prints the result, and returns whether the check passed. `needs` are
    /// programs, `root`, or `newer` for the private root of newer peers.
    pub(crate) fn check(
        &mut self,
        name: &str,
        needs: &[&str],
        body: impl FnOnce(&Self) -> Result,
    ) -> bool {
        let missing = needs.iter().find(|need| match **need {
            "root" => !self.root,
            "newer" => self.newer.is_none(),
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
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let path = self.work.join(name);
        if let Some(folder) = path.parent() {
            // An error here appears again where the folder is used.
            let _ = std::fs::create_dir_all(folder);
        }
        path
    }

    /// Runs our program in the work folder and demands success.
    pub(crate) fn imgconv<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        self.peer(&self.program.to_string_lossy(), arguments)
    }

    /// Runs another program in the work folder, at most two minutes, and demands success.
    pub(crate) fn peer<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<String> {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "120", program])
            .args(arguments)
            .current_dir(&self.work);
        call(&mut command)
    }

    /// Runs a shell script in the private root of newer peers, which sees the work folder.
    pub(crate) fn newer_shell(&self, script: &str) -> Result<String> {
        let newer = self.newer.as_ref().ok_or("there are no newer peers")?;
        call(&mut newer.shell(&self.work, script))
    }

    /// Reads the digest of the one image of a layout in the work folder.
    pub(crate) fn root_of(&self, layout: &str) -> Result<String> {
        self.shell(&format!("jq -r '.manifests[].digest' {layout}/index.json"))
    }

    /// Runs a shell script in the work folder.
    pub(crate) fn shell(&self, script: &str) -> Result<String> {
        self.peer("sh", &["-euc", script])
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("      {line}\n")).collect()
}

/// Demands that two folders are equal in every attribute.
pub(crate) fn same_tree(expected: &Path, found: &Path) -> Result {
    let lines = |path: &Path| imgconv_testkit::snapshot(path).map_err(|e| e.to_string());
    same_lines(&lines(expected)?, &lines(found)?)
}

pub(crate) fn same_lines(expected: &[String], found: &[String]) -> Result {
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
pub(crate) fn contains(text: &str, part: &str) -> Result {
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
            newer: None,
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
