//! The tests of the crate, a module for each part of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod annotations;
mod diff;
#[cfg(feature = "registry")]
mod engine;
mod examples;
#[cfg(all(feature = "registry", feature = "openpgp"))]
mod fetched;
mod mapping;
mod members;
#[cfg(feature = "registry")]
mod nested;
#[cfg(feature = "registry")]
mod registry;
mod reversal;
#[cfg(not(all(feature = "registry", feature = "openpgp")))]
mod smallest;
