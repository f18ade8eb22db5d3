//! Tests of the schema 1 format and of docker v1 images.

#![allow(clippy::unwrap_used)]

mod build;
mod bundle;
mod chain;
mod encode;
mod honesty;
mod signatures;
mod skopeo;
mod v1;
