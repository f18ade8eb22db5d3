//! The tests of this crate, against an engine of the testkit.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod fixture;
mod hostile;
mod load;
mod save;
