//! The tests of the crate, a module for each part of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod breakouts;
mod in_place;
mod model;
mod partial;
mod scale;
mod semantics;
mod support;
mod write;
