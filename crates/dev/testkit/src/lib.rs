//! Images as text, and the runner of the corpus.
//!
//! [`ImageRecipe`] reads `testdata/images`; [`build`] makes ACIs and OCI layouts from recipes,
//! [`docker`] files of `docker save`, [`stores`] the stores of engines and registries, [`dozen`] the
//! images that every engine gets; [`dump`]
//! turns bytes into the same text again; [`snapshot()`] describes a directory as [`dump`] describes
//! a tar; [`random`] makes images with every unusual feature, spelled in every [`dialect`];
//! [`schema`] validates the JSON that the program prints;
//! [`corpus`] runs the cases of `testdata/corpus` against the built program. [`server`] is an HTTP
//! server with any behaviour that a test needs. [`waits()`] tells a test when a run waits. [`unprivileged`] runs a test without the rights of root, [`in_directory`]
//! in another directory. [`laws`] are suites that every format or every
//! transport has to pass.
//!
//! For tests only. Digests, JSON and gunzip are computed without the crates under test, so that a
//! fault of those crates is not repeated here; only tar bytes come from `imgconv-tar`, whose own
//! tests compare it with GNU tar.

pub mod bolt;
pub mod build;
pub mod case;
pub mod corpus;
pub mod dialect;

mod digest;
pub mod docker;
pub mod dozen;
pub mod dump;
pub mod engine;
pub mod engines;
mod image;
pub mod laws;
mod privilege;
pub mod random;
pub mod recipe;
pub mod registry;
pub mod registry_v1;
pub mod schema;
pub mod server;
mod snapshot;
mod socket;
pub mod stores;
mod text;
mod waits;

use std::path::Path;
use std::{fmt, fs, io};

pub use digest::{sha256_hex, sha256_of, sha512_hex};
pub use image::{Compression, Config, Head, ImageRecipe};
pub use privilege::{in_directory, unprivileged};
pub use recipe::{Item, RecipeError};
pub use snapshot::snapshot;
pub use waits::waits;

/// The result type of this crate.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A sentence about an error: enough for a developer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// Makes a failure from a sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Makes a failure from an I/O error at a path.
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

/// Reads a text file; the failure names the file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Failure::io(path, &e))
}

/// Writes a file and the folders above it; the failure names the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| Failure::io(folder, &e))?;
    }
    fs::write(path, bytes).map_err(|e| Failure::io(path, &e))
}
