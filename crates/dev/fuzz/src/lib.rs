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
pub mod target;
pub mod targets;
pub mod tree;

pub use bounds::run;
pub use target::{Bounds, Target, write_seeds};
pub use targets::{TARGETS, target};
