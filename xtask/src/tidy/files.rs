//! The text files of the repository, which the rules read.

use std::fs;
use std::path::Path;

use crate::process::Result;

/// A text file of the repository.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// Its path from the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// Reads all Rust, Markdown and TOML files outside `target` and hidden folders, sorted by path.
pub(super) fn files(root: &Path) -> Result<Vec<File>> {
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
