//! The images of the sources, by repository and tag, with their documents and blobs.
//!
//! Everything here blocks, and several threads may call everything. No name of a request is a path: each
//! is looked up in a list.
mod acis;
mod blobs;
mod cache;
mod choosing;
mod contents;
mod forms;
mod making;
mod making_acis;
mod names;
mod opening;
mod proven;
mod repository;
mod v1;

pub use self::{
    acis::{Aci, Acis, Named},
    blobs::{Bytes, Opened},
    choosing::{Accepts, Answer},
    contents::{Manifest, V1Image},
    opening::Stock,
    proven::Stamped,
    repository::Repository,
};
