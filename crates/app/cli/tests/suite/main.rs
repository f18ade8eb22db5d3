//! Tests through the command, a file for each subject.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod addressing;
mod archives;
mod bytes;
mod care;
mod contents;
mod descriptors;
mod help;
mod indexes;
mod listed_names;
mod migrate;
mod names;
mod newcomers;
mod old_acis;
mod pipes;
#[path = "../sandbox/mod.rs"]
mod sandbox;
mod trust;
mod ways_back;
mod whole_program;
mod windows;
