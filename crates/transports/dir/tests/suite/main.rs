//! The tests of the crate, one file for each part of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod fixture;
mod laws;
mod read;
mod write;
