//! Documents of the shape that Docker introduced (image manifest v2 schema 2) and OCI adopted
//! (image-spec 1.1): manifests, indexes, configs and their descriptors, both ways, for any
//! [`Family`] of media types.
//!
//! **`formats/oci` and `formats/docker-v2s2` are implemented here**; those crates only define their
//! media types. [`decode`] and [`encode`] are the two directions, [`references`] lists the
//! references of a document without decoding it, and [`docker_config`] is the config alone. The
//! design decisions are in `design.rs`. The crate reads and writes documents only: names, layouts
//! and registries belong to transports, the bytes of layers to the pipeline.

#![deny(missing_docs)]

pub mod archive_image;
mod config;
mod decode;
mod descriptor;
mod design;
pub mod docker_config;
mod embedded;
mod encode;
mod family;
mod index;
mod kind;
mod lint;
pub mod media_type;
mod read;
mod references;
mod remade;
mod signed;
mod tar_sum;
mod unknown;
pub mod v1_image;
pub mod v1_layer;

pub use config::encode_config;
pub use decode::{decode, recognise};
pub use descriptor::{
    DESCRIPTOR_FIELDS, Descriptor, artifact_type, descriptor, descriptor_without_data,
    is_listed_record, is_of_bytes,
};
pub use embedded::{embedded, embedded_document, find_blob, find_document};
pub use encode::{describes_bytes, describes_compression, encode};
pub use family::{CONFIG_FORMATS, Family};
pub use index::encode_index;
pub use kind::{KINDS, Told, is_index, kind_of, told};
pub use lint::{Odd, lint, lint_descriptor};
pub use read::INDEX_FIELDS;
pub use references::{Part, Reference, References, family_of, references};
pub use remade::report_remade;
pub use signed::payload;
pub use tar_sum::TarSum;
pub use unknown::{descriptors, may_be_json};
