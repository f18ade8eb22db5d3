//! The rules of Docker's documents, where they differ from those of OCI.

use imgconv_manifest::{Family, media_type};
use imgconv_model::{Compression, FormatId};

/// Docker's engines mount at most this many layers over each other.
const USUAL_LAYERS: usize = 127;

/// The manifests and lists of v2 schema 2.
pub(crate) const FAMILY: Family = Family {
    id: FormatId::DOCKER_V2S2,
    name: "Docker",
    manifest: media_type::DOCKER_MANIFEST,
    index: media_type::DOCKER_LIST,
    artifact: None,
    config: media_type::DOCKER_CONFIG,
    // What old engines and registries wrote there; docker reads them as configs too.
    config_aliases: &["application/octet-stream", "application/json", "text/html"],
    // zstd has a type that some tools write and most engines refuse: read, never written.
    layers: &[
        (Compression::None, media_type::DOCKER_LAYER),
        (Compression::Gzip, media_type::DOCKER_LAYER_GZIP),
    ],
    foreign_layers: &[
        (Compression::None, media_type::DOCKER_FOREIGN_LAYER),
        (Compression::Gzip, media_type::DOCKER_FOREIGN_LAYER_GZIP),
    ],
    annotations: false,
    untyped: false,
    usual_layers: Some(USUAL_LAYERS),
};
