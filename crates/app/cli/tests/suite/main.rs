//! Through the command: archives that are wrong in part, indexes, the ways back, and migrations.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod archives;
mod care;
mod descriptors;
mod indexes;
mod listed_names;
mod migrate;
#[path = "../sandbox/mod.rs"]
mod sandbox;
mod ways_back;
