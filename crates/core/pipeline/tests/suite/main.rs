//! The pipeline against a destination in memory: what is written, how often, and whose fault it is.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod lanes;
mod memory;
mod random;
mod rows;
mod seal;
mod squash;
