//! The program under test, the folder and the rounds of a benchmark.

use std::path::{Path, PathBuf};

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
}

impl Bench {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub(super) fn input(&self, name: &'static str, path: &Path) -> (&'static str, String) {
        (name, path.to_string_lossy().into_owned())
    }
}
