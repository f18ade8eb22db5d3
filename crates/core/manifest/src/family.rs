//! What tells OCI and Docker schema 2 apart: a table of media types and abilities.

use imgconv_model::{Compression, FormatId};

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
