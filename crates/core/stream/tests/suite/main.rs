//! Tests of the public interface: reading and checking, decoding, encoding.
//!
//! Names begin with the case's id in the project's list of failure cases, where there is one.

// In helpers too, which the lint's own exception for tests does not cover.
#![allow(clippy::unwrap_used)]

mod decoding;
mod encoding;
mod malformed;
mod reading;
mod samples;
