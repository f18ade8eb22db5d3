//! The contents of a directory after a tree was unpacked to it; nothing else may change. Rows of
//! robustness.md section I, by their ids.

// A panic in a helper function reports a failure, as in a test.
#![allow(clippy::unwrap_used)]

mod archive;
mod attributes;
mod breakouts;
mod gnu_tar;
mod hostile;
mod whole;
