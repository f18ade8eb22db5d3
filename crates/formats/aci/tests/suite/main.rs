//! The format as its users see it: bytes in, images out, and back.

#![allow(clippy::unwrap_used, reason = "a panic is a test's failure report")]

mod archive;
mod build;
mod dependency;
mod format;
mod honesty;
mod manifest;
mod mapping;
mod old;
mod stack;
mod values;
mod way_back;
