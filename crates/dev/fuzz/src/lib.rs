//! Targets of fuzzing: plain functions of bytes, their seeds, and their bounds.
//!
//! Every reader of foreign bytes has a target in [`TARGETS`]. A target panics if a law does not hold: a reader that
//! panics itself, a document that changes when it is written and read again, a file outside of the destination. [`run`]
//! calls a target within its bounds of memory and CPU time.
//!
//! The targets run under stable Rust. The tests of this crate run the seeds, simple changes of them, and the inputs
//! of `testdata/fuzz`, which once failed. The program `guided` (feature `libfuzzer`) lets libFuzzer look for inputs
//! that reach new code; `cargo xtask fuzz` builds and calls it.
//!
//! Checksums and digests would stop nearly all changed inputs at the door. So a target makes them right before the
//! bytes are read ([`repair`]), and a store is a text with a name for each digest ([`tree`]).

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a target reports"
)]

pub mod bounds;
pub mod cage;
pub mod differ;
pub mod repair;
pub mod targets;
pub mod tree;

pub use bounds::{Bounds, run};
pub use targets::TARGETS;

/// A target: a function that reads bytes which may be anything.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, also of the folder in `testdata/fuzz`.
    pub name: &'static str,
    /// Reads the bytes, and panics if a law does not hold.
    pub read: fn(&[u8]),
    /// Makes inputs that are good, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The bounds on one input.
    pub bounds: Bounds,
}

/// Returns the target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Writes the seeds of a target as files, each named by its digest.
///
/// # Errors
/// If a file can't be written.
pub fn write_seeds(target: &Target, folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for seed in (target.seeds)() {
        let name = imgconv_testkit::sha256_hex(&seed);
        std::fs::write(folder.join(&name[..16]), seed)?;
    }
    Ok(())
}
