//! Tests of the tar crate: hostile and odd streams built byte by byte, and other readers on the
//! written headers. Names begin with the case of the test.

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
