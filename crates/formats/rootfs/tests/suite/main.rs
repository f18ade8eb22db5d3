//! Reading flat tars as layers, and writing images as flat tars.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod honesty;
mod rootfs;
