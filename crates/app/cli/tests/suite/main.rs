//! Docker's images through the command: archives that are wrong in part, indexes, and the ways back.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod archives;
mod descriptors;
mod indexes;
#[path = "../sandbox/mod.rs"]
mod sandbox;
mod ways_back;
