//! The media types of OCI documents and layers, and those of Docker that stand in OCI manifests.

use imgconv_model::Compression;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Withdrawn before image-spec 1.1, but written by tools while it was a draft.
pub(crate) const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// The configuration's older name; some tools leave it in a manifest that they call OCI.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

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
    kind == CONFIG || kind == DOCKER_CONFIG
}

/// What a layer's type says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LayerType {
    /// The compression; the magic bytes decide when the layer is read.
    pub(crate) compression: Compression,
    /// True if registries are told not to hold the blob.
    pub(crate) foreign: bool,
    /// True if the type is Docker's, which an OCI manifest should not name.
    pub(crate) docker: bool,
}

/// Reads a layer's type; `None` if it is not known to be a tar.
pub(crate) fn layer(kind: &str) -> Option<LayerType> {
    let of = |compression, foreign, docker| {
        Some(LayerType {
            compression,
            foreign,
            docker,
        })
    };
    use Compression::{Gzip, None as Plain, Zstd};
    match kind {
        LAYER => of(Plain, false, false),
        LAYER_GZIP => of(Gzip, false, false),
        LAYER_ZSTD => of(Zstd, false, false),
        "application/vnd.oci.image.layer.nondistributable.v1.tar" => of(Plain, true, false),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => of(Gzip, true, false),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => of(Zstd, true, false),
        "application/vnd.docker.image.rootfs.diff.tar" => of(Plain, false, true),
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => of(Gzip, false, true),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => of(Zstd, false, true),
        "application/vnd.docker.image.rootfs.foreign.diff.tar" => of(Plain, true, true),
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => of(Gzip, true, true),
        "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd" => of(Zstd, true, true),
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

/// Returns the type of a layer that is written; `None` if OCI has none for that compression.
pub(crate) fn of_compression(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => Some(LAYER),
        Compression::Gzip => Some(LAYER_GZIP),
        Compression::Zstd => Some(LAYER_ZSTD),
        Compression::Bzip2 | Compression::Xz => None,
    }
}
