//! The tests of the crate, a module for each part of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod laws;
mod lists;
mod signatures;
mod store;
