//! Tests of the tar crate: hostile and odd streams built byte by byte, and what other readers make of
//! the headers that are written. Tests are named after the case they hold.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod archive;
mod build;
mod extensions;
mod framing;
mod oracle;
mod sparse;
mod values;
mod write;
