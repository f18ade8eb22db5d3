//! The transport of docker archives: robustness section A, the forms of every generation, and what
//! is written.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod ages;
mod fixture;
mod laws;
mod layout;
mod legacy;
mod manifest;
mod places;
mod whole;
mod write;
