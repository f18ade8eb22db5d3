//! Reading directories and files as root file systems, and writing flat tars.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod laws;
mod rootfs;
