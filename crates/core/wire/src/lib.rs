//! Strict JSON in, canonical JSON out, and the JSON shapes that several formats share.
//!
//! It holds no format's documents, only what at least two of them have in common: descriptors,
//! and the manifests, indexes and image configuration that Docker invented and OCI took over.

#![deny(missing_docs)]

pub mod archive_image;
mod canonical;
mod descriptor;
pub mod docker_config;
mod embedded;
mod fields;
pub mod layout;
pub mod manifest;
mod parse;
mod time;
pub mod v1_image;

pub use canonical::canonical;
pub use descriptor::{DESCRIPTOR_FIELDS, Descriptor, base64, descriptor};
pub use embedded::{embedded, find_blob, find_document};
pub use fields::{Object, check_field_names, folds_to, join, split, within};
pub use parse::{check, parse};
pub use serde_json::{Map, Number, Value};
pub use time::{is_rfc3339, known_time, rfc3339};
