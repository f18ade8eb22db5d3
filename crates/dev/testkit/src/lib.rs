//! Images as text, and the runner of the corpus.
//!
//! [`ImageRecipe`] reads `testdata/images`; [`build`] makes ACIs and OCI layouts of it, [`docker`]
//! files of `docker save`, [`stores`] the stores of engines and registries; [`dump`] is the way back
//! from bytes to the same text; [`snapshot()`] says of a directory what [`dump`] says of a tar;
//! [`random`] makes images of every oddity, spelled in every [`dialect`]; [`corpus`] runs the cases
//! of `testdata/corpus` against the built program. [`server`] is an HTTP server that is as good or
//! bad as a test needs. [`laws`] are suites that every format or every transport has to pass.
//!
//! For tests only. What can be reckoned without the crates under test (digests, JSON, gunzip) is,
//! so that a fault of theirs is not repeated here; tar bytes alone come from `imgconv-tar`, whose
//! own tests compare it with GNU tar's.

pub mod bolt;
pub mod build;
pub mod case;
pub mod corpus;
pub mod dialect;

mod digest;
pub mod docker;
pub mod dump;
pub mod engines;
mod image;
pub mod laws;
pub mod random;
pub mod recipe;
pub mod registry;
pub mod server;
mod snapshot;
pub mod stores;
mod text;

use std::path::Path;
use std::{fmt, fs, io};

pub use digest::{sha256_hex, sha256_of, sha512_hex};
pub use image::{Compression, Config, Head, ImageRecipe};
pub use recipe::{Item, RecipeError};
pub use snapshot::snapshot;

/// The result type of this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A sentence about what went wrong: enough where the reader is a developer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// Makes a failure of a sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Makes a failure of an I/O error at a path.
    pub fn io(path: &Path, error: &io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        Self(error.to_string())
    }
}

impl From<imgconv_model::Error> for Failure {
    fn from(error: imgconv_model::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads a text file; the failure names it.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Failure::io(path, &e))
}

/// Writes a file and the folders above it; the failure names it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Failure::io(folder, &e))?;
    }
    fs::write(path, bytes).map_err(|e| Failure::io(path, &e))
}
