//! The pipeline with a destination in memory: the written blobs, their number, and the side that
//! errors name.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod lanes;
mod levels;
mod memory;
mod random;
mod rows;
mod seal;
mod squash;
