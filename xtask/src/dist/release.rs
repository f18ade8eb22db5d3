//! What all files of a release share, and how each of them is written.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::tree::Tree;
use crate::process::{Result, call, root};

/// The name of the file with the digests of all others.
pub(super) const SUMS: &str = "SHA256SUMS";

/// What every file of the release shares.
pub(super) struct Release {
    /// The version of the workspace.
    pub(super) version: String,
    /// The time of the commit, in seconds since 1970.
    pub(super) epoch: u64,
    /// The directory of the files.
    pub(super) out: PathBuf,
    /// `THIRD-PARTY.md`: the packages in the program, and their licences.
    pub(super) third_party: String,
    /// The man pages, by file name.
    pub(super) pages: Tree,
    /// The completion scripts of bash, zsh and fish, by the names that these shells look for.
    pub(super) completions: Tree,
}

impl Release {
    /// Formats the time of the commit as `date` does.
    pub(super) fn date(&self, format: &str) -> Result<String> {
        let mut command = Command::new("date");
        command.args(["-u", "-d", &format!("@{}", self.epoch), format]);
        call(command.env("LC_ALL", "C")).map(|text| text.trim().to_owned())
    }

    /// Writes a file of the release.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result {
        imgconv_testkit::write_file(&self.out.join(name), bytes).map_err(|e| e.to_string())?;
        println!("{name}  {} KiB", bytes.len().div_ceil(1024));
        Ok(())
    }

    /// The licence of the project and of the packages in the program, as files.
    pub(super) fn licences(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
            tree.file(name, 0o644, read(name)?);
        }
        tree.file("THIRD-PARTY.md", 0o644, self.third_party.clone());
        Ok(tree)
    }
}

/// Reads a file of the repository.
pub(super) fn read(name: &str) -> Result<Vec<u8>> {
    fs::read(root().join(name)).map_err(|e| format!("{name}: {e}"))
}
