//! The program under test, the folder and the rounds of a benchmark.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::newer::Newer;
use crate::process::Result;

/// How many threads everyone gets: the goals are stated for two.
pub(super) const JOBS: usize = 2;

/// The settings that all benchmarks share.
#[derive(Debug)]
pub(super) struct Bench {
    /// The program under test.
    pub(super) program: PathBuf,
    /// A folder for inputs and outputs, removed at the end.
    pub(super) work: tempfile::TempDir,
    pub(super) rounds: u64,
    /// How many runs there were.
    pub(super) runs: Cell<u64>,
    /// Whether the output of a run is kept until all rounds are over.
    pub(super) keep_outputs: Cell<bool>,
    /// The private root, whose peers replace those of the system.
    pub(super) newer: Option<Newer>,
}

/// The peers that are taken from the private root.
const NEWER: [&str; 2] = ["skopeo", "umoci"];

impl Bench {
    /// Makes the programs of the private root the first that scripts find.
    pub(super) fn wrap_newer_peers(&self) -> Result {
        let directory = self.path("bin");
        std::fs::create_dir(&directory).map_err(|e| e.to_string())?;
        let Some(newer) = &self.newer else {
            eprintln!(
                "there are no newer peers (`cargo xtask newer` makes them): the system's are used"
            );
            return Ok(());
        };
        NEWER
            .iter()
            .try_for_each(|name| newer.wrap(name, &directory))
    }

    /// Returns the search path of scripts.
    pub(super) fn search_path(&self) -> OsString {
        let system = std::env::var_os("PATH").unwrap_or_default();
        let mut path = self.path("bin").into_os_string();
        path.push(":");
        path.push(system);
        path
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub(super) fn input(&self, name: &'static str, path: &Path) -> (&'static str, String) {
        (name, path.to_string_lossy().into_owned())
    }
}
