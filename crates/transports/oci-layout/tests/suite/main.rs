//! The transport over its public face, one test for each case of robustness.md that it owns.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod archive;
mod care;
mod fixture;
mod index;
mod laws;
mod read;
mod write;
