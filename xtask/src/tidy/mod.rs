//! `cargo xtask tidy`: the rules that the compiler does not know.
//!
//! Each rule is a function from texts to findings, so that a test can call it with a bad text. A
//! rule never changes a file.

mod edges;
mod files;
mod markdown;
mod measure;
mod packages;
mod robustness;
mod sources;

use std::fs;

use self::files::files;
use crate::process::{Result, metadata, root};

/// Runs every rule and prints what it finds, or measures the source with `--measure`.
pub(crate) fn run(arguments: &[&str]) -> Result {
    match arguments.contains(&"--measure") {
        true => measure::run(),
        false => check(),
    }
}

/// The number of rules of `docs/robustness.md`, and of those without a test.
pub(crate) fn rules() -> Result<(usize, usize)> {
    let found = robustness::check(&files(&root())?);
    Ok((found.rules, found.untested.len()))
}

fn check() -> Result {
    let root = root();
    let files = files(&root)?;
    let metadata = metadata()?;
    let table = fs::read_to_string(root.join("crates/README.md"))
        .map_err(|e| format!("crates/README.md: {e}"))?;
    let robustness = robustness::check(&files);
    let findings = [
        edges::check(&metadata),
        edges::check_table(&table),
        packages::check(&metadata),
        sources::check(&files),
        markdown::check(&files, &|path| root.join(path).exists()),
        robustness.findings,
        measure::check(&root, &metadata)?,
    ]
    .concat();
    for warning in sources::long_files(&files) {
        eprintln!("tidy: warning: {warning}");
    }
    println!(
        "tidy: {} rules of robustness, {} of them without a test: {}",
        robustness.rules,
        robustness.untested.len(),
        robustness.untested.join(", ")
    );
    if findings.is_empty() {
        println!("tidy: {} files, nothing found", files.len());
        return Ok(());
    }
    Err(format!(
        "{}\ntidy: {} found",
        findings.join("\n"),
        findings.len()
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(findings) = super::run(&[]) {
            panic!("{findings}");
        }
    }
}
