//! What a media type says, whichever family's manifest it stands in: OCI's stand in Docker's
//! manifests and the other way round.

use imgconv_model::Compression;

/// The type of `{}`.
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Brings a kind to its bare form: without parameters, in lower case, and empty if it is one of
/// the generic types that say nothing (robustness C2b).
pub(crate) fn normalise(kind: &str) -> String {
    let bare = kind.split(';').next().unwrap_or("").trim();
    let bare = bare.to_ascii_lowercase();
    match &*bare {
        "application/json" | "text/plain" | "application/octet-stream" => String::new(),
        _ => bare,
    }
}

/// Says whether a config descriptor's type is that of an image.
pub(crate) fn is_image_config(kind: &str) -> bool {
    kind == OCI_CONFIG || kind == DOCKER_CONFIG
}

/// What a layer's type says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerType {
    /// The compression; the magic bytes decide when the layer is read.
    pub(crate) compression: Compression,
    /// True if registries are told not to hold the blob.
    pub(crate) foreign: bool,
}

/// Reads a layer's type; `None` if it is not known to be a tar.
pub(crate) fn layer(kind: &str) -> Option<LayerType> {
    let of = |compression, foreign| {
        Some(LayerType {
            compression,
            foreign,
        })
    };
    use Compression::{Gzip, None as Plain, Zstd};
    match kind {
        "application/vnd.oci.image.layer.v1.tar" => of(Plain, false),
        "application/vnd.oci.image.layer.v1.tar+gzip" => of(Gzip, false),
        "application/vnd.oci.image.layer.v1.tar+zstd" => of(Zstd, false),
        "application/vnd.oci.image.layer.nondistributable.v1.tar" => of(Plain, true),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => of(Gzip, true),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => of(Zstd, true),
        "application/vnd.docker.image.rootfs.diff.tar" => of(Plain, false),
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => of(Gzip, false),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => of(Zstd, false),
        "application/vnd.docker.image.rootfs.foreign.diff.tar" => of(Plain, true),
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => of(Gzip, true),
        "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd" => of(Zstd, true),
        _ => None,
    }
}

/// Says whether a type that is not known to be a tar could still be meant as an image's layer,
/// such as an encrypted one. An attestation or a signature is not.
pub(crate) fn perhaps_layer(kind: &str) -> bool {
    kind == "application/octet-stream"
        || kind.starts_with("application/vnd.oci.image.layer.")
        || kind.starts_with("application/vnd.docker.image.rootfs.")
}
