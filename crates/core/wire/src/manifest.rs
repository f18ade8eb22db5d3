//! Manifests, indexes and configs of the shape that Docker invented (image manifest v2 schema 2)
//! and OCI took over (image-spec 1.1): both directions, for any [`Family`] of media types.
//!
//! It reads and writes documents only. Names, layouts and registries belong to transports; the
//! bytes of layers belong to the pipeline. The decisions behind it are in `design.rs`.

mod config;
mod decode;
mod design;
mod encode;
mod index;
mod kind;
mod lint;
mod media_type;
mod read;
mod references;
mod tar_sum;

use imgconv_model::{Compression, FormatId};

pub use config::encode_config;
pub use decode::{decode, recognise};
pub use encode::{describes_compression, encode};
pub use index::encode_index;
pub use kind::{KINDS, Told, is_index, kind_of, told};
pub use lint::{Odd, lint, lint_descriptor};
pub use references::{Part, Reference, References, family_of, references};
pub use tar_sum::TarSum;

/// The formats whose images are described by the config of [`docker_config`](crate::docker_config):
/// an original `config` of one serves all of them, and so does an extension that is not of the
/// manifest.
pub const CONFIG_FORMATS: &[FormatId] = &[
    FormatId::OCI,
    FormatId::DOCKER_V2S2,
    FormatId::DOCKER_ARCHIVE,
    FormatId::DOCKER_V2S1,
];

/// A family of documents: the same shapes under its own media types.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The format that reads and writes them.
    pub id: FormatId,
    /// What messages call it, such as `OCI`.
    pub name: &'static str,
    /// The type of a manifest.
    pub manifest: &'static str,
    /// The type of an index.
    pub index: &'static str,
    /// The type of a manifest that lists blobs and has no config, if the family has one.
    pub artifact: Option<&'static str>,
    /// The type of a config.
    pub config: &'static str,
    /// Other types that stand for a config in manifests of the family.
    pub config_aliases: &'static [&'static str],
    /// The type of a layer that is written with each compression. One that is absent is refused.
    pub layers: &'static [(Compression, &'static str)],
    /// The same for layers that are had from elsewhere.
    pub foreign_layers: &'static [(Compression, &'static str)],
    /// Whether manifests have annotations. Without, those of the original manifest stay and others
    /// are reported.
    pub annotations: bool,
    /// Whether a document that nobody gives a type is one of this family.
    pub untyped: bool,
    /// How many layers the family's engines run; more are warned of.
    pub usual_layers: Option<usize>,
}
