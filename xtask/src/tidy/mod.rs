//! `cargo xtask tidy`: the rules that the compiler does not know.
//!
//! Each rule is a function from texts to findings, so that its test can feed it something bad. A
//! rule never changes a file.

mod edges;
mod licences;
mod markdown;
mod sources;

use std::fs;
use std::path::Path;

use crate::process::{Result, metadata, root};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Runs every rule and prints what it finds.
pub(crate) fn run() -> Result {
    let root = root();
    let files = files(&root)?;
    let metadata = metadata()?;
    let table = fs::read_to_string(root.join("crates/README.md"))
        .map_err(|e| format!("crates/README.md: {e}"))?;
    let findings = [
        edges::check(&metadata),
        edges::check_table(&table),
        licences::check(&metadata),
        sources::check(&files),
        markdown::check(&files, &|path| root.join(path).exists()),
    ]
    .concat();
    for warning in sources::long_files(&files) {
        eprintln!("tidy: warning: {warning}");
    }
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

/// Reads all Rust, Markdown and TOML files outside `target` and hidden folders.
fn files(root: &Path) -> Result<Vec<File>> {
    let (mut open, mut out) = (vec![String::new()], Vec::new());
    while let Some(folder) = open.pop() {
        let full = root.join(&folder);
        for entry in fs::read_dir(&full).map_err(|e| format!("{}: {e}", full.display()))? {
            let entry = entry.map_err(|e| format!("{}: {e}", full.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let gap = if folder.is_empty() { "" } else { "/" };
            let path = format!("{folder}{gap}{name}");
            if entry.path().is_dir() {
                if !name.starts_with('.') && path != "target" {
                    open.push(path);
                }
            } else if [".rs", ".md", ".toml"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                let text = fs::read_to_string(entry.path()).map_err(|e| format!("{path}: {e}"))?;
                out.push(File { path, text });
            }
        }
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        if let Err(findings) = super::run() {
            panic!("{findings}");
        }
    }
}
