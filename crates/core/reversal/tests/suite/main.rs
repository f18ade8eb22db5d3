//! Tests of records: tars of every kind come back, damaged records never give other bytes.

#![allow(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod archives;
mod made;
mod mutations;
mod tars;
