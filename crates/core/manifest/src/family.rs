//! The differences between OCI and Docker schema 2: a table of media types and abilities.

use imgconv_model::{Compression, FormatId};

/// The formats whose images have the config of [`docker_config`](crate::docker_config): an original
/// `config` of one format is usable in all of them, and so is an extension of a config.
pub const CONFIG_FORMATS: &[FormatId] = &[
    FormatId::OCI,
    FormatId::DOCKER_V2S2,
    FormatId::DOCKER_ARCHIVE,
    FormatId::DOCKER_V2S1,
];

/// The fields of a Docker v1 image that describe its place in a chain of images, and not the image.
const OF_CHAIN: &[&str] = &[
    "id",
    "parent",
    "parent_id",
    "layer_id",
    "throwaway",
    "Size",
    "v1Compatibility",
];

/// Says whether an extension of a format is one of the config: engines since 1.10 made a config of the JSON of a
/// Docker v1 image, with all fields but those of the chain (moby, image/v1/imagev1.go, `MakeConfigFromV1Config`).
pub(crate) fn is_of_config(format: FormatId, path: &str) -> bool {
    let of_v1 = format == FormatId::DOCKER_V1 && !OF_CHAIN.contains(&path);
    (CONFIG_FORMATS.contains(&format) || of_v1) && !path.starts_with("manifest.")
}

/// A family of documents: the same shapes under its own media types.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The format of these documents.
    pub id: FormatId,
    /// The name in messages, such as `OCI`.
    pub name: &'static str,
    /// The type of a manifest.
    pub manifest: &'static str,
    /// The type of an index.
    pub index: &'static str,
    /// The type of a manifest that lists blobs and has no config, if the family has one.
    pub artifact: Option<&'static str>,
    /// The type of a config.
    pub config: &'static str,
    /// Other types of configs that manifests of the family may have.
    pub config_aliases: &'static [&'static str],
    /// The layer type for each compression. A compression without a type is refused.
    pub layers: &'static [(Compression, &'static str)],
    /// The types of foreign layers.
    pub foreign_layers: &'static [(Compression, &'static str)],
    /// True if manifests have annotations. Otherwise annotations of the original manifest stay, and
    /// others are reported.
    pub annotations: bool,
    /// True if a document without a media type belongs to this family.
    pub untyped: bool,
    /// The number of layers that the family's engines can run; more layers get a warning.
    pub usual_layers: Option<usize>,
}
