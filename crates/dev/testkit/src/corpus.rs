//! Runs the cases of `testdata/corpus` and compares them with their golden files.
//!
//! Used by `cargo test` and by `cargo xtask corpus`. Nothing is printed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::case::{Actual, Case};
use crate::{Failure, Result, write_file};

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The case met the expectations.
    Passed,
    /// The case did not meet them: the differences.
    Failed(String),
    /// The case did not run: the reason.
    Skipped(String),
}

/// Case -> digest of its output: `testdata/digests.toml`.
pub type Digests = BTreeMap<String, String>;

/// Reads `testdata/digests.toml`; no file, no digests.
pub fn digests(testdata: &Path) -> Result<Digests> {
    let path = testdata.join("digests.toml");
    if !path.exists() {
        return Ok(Digests::new());
    }
    toml::from_str(&crate::read_text(&path)?)
        .map_err(|e| Failure::new(format!("{}: {e}", path.display())))
}

/// Prints the text that [`digests`] reads.
pub fn print_digests(digests: &Digests) -> String {
    let mut out = String::from(
        "# Case -> digest over all names and bytes of its output.\n\
         # Changed only by `cargo xtask corpus bless --yes`; a change here changes what users get.\n",
    );
    for (id, digest) in digests {
        out += &format!("\"{id}\" = \"{digest}\"\n");
    }
    out
}

/// Finds all cases, sorted by group and name.
pub fn cases(testdata: &Path) -> Result<Vec<Case>> {
    let corpus = testdata.join("corpus");
    let mut cases = Vec::new();
    for group in folders(&corpus)? {
        for folder in folders(&group)? {
            cases.push(Case::load(&folder)?);
        }
    }
    Ok(cases)
}

fn folders(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| Failure::io(path, &e))? {
        let entry = entry.map_err(|e| Failure::io(path, &e))?.path();
        if entry.is_dir() {
            out.push(entry);
        }
    }
    out.sort();
    Ok(out)
}

/// Runs a case with one job and with four, and compares both with each other and with the golden
/// files.
pub fn check(case: &Case, testdata: &Path, program: &Path, digests: &Digests) -> Verdict {
    if !case.spec.skip.is_empty() {
        return Verdict::Skipped(case.spec.skip.clone());
    }
    match problems(case, testdata, program, digests) {
        Ok(problems) if problems.is_empty() => Verdict::Passed,
        Ok(problems) => Verdict::Failed(problems.join("\n")),
        Err(failure) => Verdict::Failed(failure.to_string()),
    }
}

fn problems(
    case: &Case,
    testdata: &Path,
    program: &Path,
    digests: &Digests,
) -> Result<Vec<String>> {
    let actual = run(case, testdata, program)?;
    let mut out = promises(case, &actual);
    let wanted = digests.get(&case.id).cloned();
    if actual.digest != wanted {
        out.push(differs(
            "digest of the output",
            &format!("{wanted:?}"),
            &format!("{:?}", actual.digest),
        ));
    }
    let expected = expected(case)?;
    let names: BTreeSet<&String> = expected.keys().chain(actual.golden.keys()).collect();
    for name in names {
        let text = |map: &BTreeMap<String, String>| map.get(name).cloned().unwrap_or_default();
        let (old, new) = (text(&expected), text(&actual.golden));
        if old != new {
            out.push(format!(
                "expect/{name} differs (- expected, + found):\n{}",
                diff(&old, &new)
            ));
        }
    }
    Ok(out)
}

/// Runs a case twice and demands equal results.
fn run(case: &Case, testdata: &Path, program: &Path) -> Result<Actual> {
    let one = case.run(testdata, program, 1)?;
    let four = case.run(testdata, program, 4)?;
    if one != four {
        let text = |actual: &Actual| {
            let files = actual
                .golden
                .iter()
                .map(|(name, text)| format!("{name}\n{text}"));
            format!("{:?}\n{}", actual.digest, files.collect::<String>())
        };
        let diff = diff(&text(&one), &text(&four));
        return Err(Failure::new(format!(
            "--jobs 1 and --jobs 4 differ:\n{diff}"
        )));
    }
    Ok(one)
}

/// The expectations in `case.toml` itself; blessing never changes them.
fn promises(case: &Case, actual: &Actual) -> Vec<String> {
    let mut out = Vec::new();
    if actual.exit != case.spec.exit {
        let stderr = actual.golden.get("stderr.txt").cloned().unwrap_or_default();
        out.push(format!(
            "ended with {}, expected {}: {stderr}",
            actual.exit, case.spec.exit
        ));
    }
    if actual.losses != case.spec.losses {
        out.push(differs(
            "losses",
            &case.spec.losses.join(", "),
            &actual.losses.join(", "),
        ));
    }
    if actual.warnings != case.spec.warnings {
        out.push(differs(
            "warnings",
            &case.spec.warnings.join(", "),
            &actual.warnings.join(", "),
        ));
    }
    out
}

fn differs(what: &str, expected: &str, found: &str) -> String {
    format!("{what}: expected {expected}\n{what}:    found {found}")
}

fn expected(case: &Case) -> Result<BTreeMap<String, String>> {
    let folder = case.folder.join("expect");
    let mut out = BTreeMap::new();
    if folder.is_dir() {
        for path in crate::case::files(&folder)? {
            out.insert(
                path.display().to_string(),
                crate::read_text(&folder.join(&path))?,
            );
        }
    }
    Ok(out)
}

/// The changes that new golden files would make in a case.
#[derive(Clone, Debug)]
pub struct Blessing {
    /// The changes as text; empty if there are none.
    pub diff: String,
    actual: Actual,
}

/// Runs a case and compares; writes nothing.
///
/// # Errors
/// If an expectation in `case.toml` fails: exit code, losses and warnings can't be blessed.
pub fn blessing(
    case: &Case,
    testdata: &Path,
    program: &Path,
    digests: &Digests,
) -> Result<Blessing> {
    let actual = run(case, testdata, program)?;
    let broken = promises(case, &actual);
    if !broken.is_empty() {
        return Err(Failure::new(broken.join("\n")));
    }
    let diff = problems(case, testdata, program, digests)?.join("\n");
    Ok(Blessing { diff, actual })
}

impl Blessing {
    /// Writes the golden files of the case and puts its digest into `digests`.
    pub fn write(&self, case: &Case, digests: &mut Digests) -> Result<()> {
        let folder = case.folder.join("expect");
        for name in expected(case)?.keys() {
            let path = folder.join(name);
            fs::remove_file(&path).map_err(|e| Failure::io(&path, &e))?;
        }
        for (name, text) in &self.actual.golden {
            write_file(&folder.join(name), text.as_bytes())?;
        }
        match &self.actual.digest {
            Some(digest) => digests.insert(case.id.clone(), digest.clone()),
            None => digests.remove(&case.id),
        };
        Ok(())
    }
}

/// The lines that differ between two texts, with two lines around them.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[same..].iter().rev().zip(new[same..].iter().rev());
    let tail = tail.take_while(|(a, b)| a == b).count();
    let mut out = String::new();
    for line in &old[same.saturating_sub(2)..same] {
        out += &format!("  {line}\n");
    }
    for line in &old[same..old.len() - tail] {
        out += &format!("- {line}\n");
    }
    for line in &new[same..new.len() - tail] {
        out += &format!("+ {line}\n");
    }
    for line in new[new.len() - tail..].iter().take(2) {
        out += &format!("  {line}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_diff_shows_what_changed_and_its_neighbours() {
        assert_eq!(
            diff("a\nb\nc\nd", "a\nb\nx\nd"),
            "  a\n  b\n- c\n+ x\n  d\n"
        );
        assert_eq!(diff("a", "a\nb"), "  a\n+ b\n");
    }

    /// A corpus of one case and a stand-in for the program: a shell script.
    fn corpus(script: &str, case: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        write_file(&root.path().join("corpus/g/c/case.toml"), case.as_bytes()).unwrap();
        write_file(&root.path().join("corpus/g/c/input/given"), b"x").unwrap();
        root
    }

    fn verdict(root: &tempfile::TempDir) -> Verdict {
        let case = cases(root.path()).unwrap().remove(0);
        let digests = digests(root.path()).unwrap();
        check(&case, root.path(), &root.path().join("program"), &digests)
    }

    const CASE: &str = "about = \"a\"\ncommand = [\"convert\", \"in/given\", \"out\"]\n";
    const COPY: &str = "mkdir -p out && cp $2 out/other.bin && echo done";

    #[test]
    fn a_blessed_case_passes_and_a_changed_program_fails() {
        let root = corpus(COPY, CASE);
        assert!(
            matches!(verdict(&root), Verdict::Failed(_)),
            "nothing is blessed yet"
        );
        let case = cases(root.path()).unwrap().remove(0);
        let program = root.path().join("program");
        let mut digests = Digests::new();
        let blessing = blessing(&case, root.path(), &program, &digests).unwrap();
        assert!(blessing.diff.contains("+ done"), "{}", blessing.diff);
        blessing.write(&case, &mut digests).unwrap();
        write_file(
            &root.path().join("digests.toml"),
            print_digests(&digests).as_bytes(),
        )
        .unwrap();
        assert_eq!(verdict(&root), Verdict::Passed);
        let changed = fs::read_to_string(&program)
            .unwrap()
            .replace("echo done", "echo other");
        fs::write(&program, changed).unwrap();
        let Verdict::Failed(text) = verdict(&root) else {
            panic!("a changed output must fail");
        };
        assert!(
            text.contains("- done") && text.contains("+ other"),
            "{text}"
        );
    }

    #[test]
    fn promises_cannot_be_blessed_away() {
        for script in [
            "exit 3",
            r#"echo '{"losses":[{"field":"f","outcome":"dropped","why":"w"}]}' > report.json"#,
            r#"echo '{"warnings":[{"code":"c","at":"a","message":"m"}]}' > report.json"#,
        ] {
            let root = corpus(script, CASE);
            let case = cases(root.path()).unwrap().remove(0);
            let program = root.path().join("program");
            assert!(
                blessing(&case, root.path(), &program, &Digests::new()).is_err(),
                "{script}"
            );
        }
    }

    #[test]
    fn output_that_depends_on_the_number_of_jobs_fails() {
        let root = corpus("mkdir out && echo \"$@\" > out/x", CASE);
        let Verdict::Failed(text) = verdict(&root) else {
            panic!("the two runs differ");
        };
        assert!(text.contains("--jobs 1 and --jobs 4 differ"), "{text}");
    }

    #[test]
    fn a_skipped_case_says_why() {
        let root = corpus("exit 9", &format!("{CASE}skip = \"later\"\n"));
        assert_eq!(verdict(&root), Verdict::Skipped("later".into()));
    }
}
