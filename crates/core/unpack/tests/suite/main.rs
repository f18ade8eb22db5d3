//! What a directory holds after a tree was unpacked to it, and that nothing else changed.
//! Rows of robustness.md section I, by their ids.

// A panic in a helper is a failure report too, as it is in a test.
#![allow(clippy::unwrap_used)]

mod archive;
mod attributes;
mod breakouts;
mod gnu_tar;
mod hostile;
mod whole;
