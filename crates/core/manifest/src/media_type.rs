//! Media types: the one place of their spellings and meanings. The family of a manifest does not
//! matter: OCI's types stand in Docker's manifests and the other way round.

use imgconv_model::Compression;

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI artifact manifest: withdrawn before image-spec 1.1, but written by tools while it was a
/// draft.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// An OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The document `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// An OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// An OCI layer, compressed with gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer, compressed with zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A non-distributable OCI layer, not compressed.
pub const OCI_FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
/// A non-distributable OCI layer, compressed with gzip.
pub const OCI_FOREIGN_LAYER_GZIP: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
/// A non-distributable OCI layer, compressed with zstd.
pub const OCI_FOREIGN_LAYER_ZSTD: &str =
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
/// A manifest of Docker's schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A manifest list of Docker's schema 2.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An image config of Docker's schema 2.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A Docker layer, not compressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// A Docker layer, compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A Docker layer, compressed with zstd: some tools write the type, and most engines refuse it.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// A foreign Docker layer, not compressed.
pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
/// A foreign Docker layer, compressed with gzip.
pub const DOCKER_FOREIGN_LAYER_GZIP: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
/// A foreign Docker layer, compressed with zstd.
pub const DOCKER_FOREIGN_LAYER_ZSTD: &str =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd";
/// A manifest of Docker's schema 1 without signatures.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// A manifest of Docker's schema 1 with signatures.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// The manifest of an ACI. The appc specification defines no type; this type belongs to this
/// project.
pub const APPC_MANIFEST: &str = "application/vnd.appc.image.manifest+json";
/// The manifest of an ACI that a document of another format carries. The type belongs to this
/// project.
pub const CARRIED_ACI_MANIFEST: &str = "application/vnd.imgconv.aci.manifest.v1+json";
/// One entry of `manifest.json` in a file of `docker save`. The type belongs to this project.
pub const ARCHIVE_IMAGE: &str = "application/vnd.imgconv.docker-archive.image.v1+json";
/// A chain of v1 images. The type belongs to this project.
pub const V1_IMAGE: &str = "application/vnd.imgconv.docker-v1.image.v1+json";

/// The type of the artifact that holds a record of reversal (docs/reversal.md). The type belongs to this
/// project.
pub const REVERSAL: &str = "application/vnd.imgconv.reversal.v1";
/// A record of reversal itself, a blob of that artifact.
pub const REVERSAL_RECORD: &str = "application/vnd.imgconv.reversal.record.v1";
/// An artifact with the record by which an image becomes the file of `docker save` again that the image was
/// made of. The type belongs to this project.
pub const REVERSAL_ARCHIVE: &str = "application/vnd.imgconv.reversal.docker-save.v1";
/// The record of a file of `docker save` itself, a blob of that artifact.
pub const REVERSAL_ARCHIVE_RECORD: &str = "application/vnd.imgconv.reversal.docker-save.record.v1";
/// An artifact with the manifest of Docker's schema 1 that an image was made of. The type belongs to this
/// project.
pub const REVERSAL_SCHEMA1: &str = "application/vnd.imgconv.reversal.schema1.v1";
/// The manifest of schema 1 itself, a blob of that artifact.
pub const REVERSAL_SCHEMA1_MANIFEST: &str = "application/vnd.imgconv.reversal.schema1.manifest.v1";
/// The types of all artifacts that hold a record of reversal.
pub const REVERSALS: [&str; 3] = [REVERSAL, REVERSAL_ARCHIVE, REVERSAL_SCHEMA1];
/// A whole file of `docker save`, as it is stored before it gets its name. The type belongs to this project,
/// and stands in no document.
pub const WHOLE_ARCHIVE: &str = "application/vnd.imgconv.docker-archive.whole.v1+tar";
/// A detached OpenPGP signature (RFC 3156, section 5).
pub const SIGNATURE: &str = "application/pgp-signature";

/// The prefix of every type of Docker.
pub(crate) const DOCKER_PREFIX: &str = "application/vnd.docker.";

/// Normalises a kind: without parameters, in lower case, and empty for the generic types, which
/// have no meaning (robustness C2b).
pub(crate) fn normalise(kind: &str) -> String {
    let bare = kind.split(';').next().unwrap_or("").trim();
    let bare = bare.to_ascii_lowercase();
    match &*bare {
        "application/json" | "text/plain" | "application/octet-stream" => String::new(),
        _ => bare,
    }
}

/// Returns true if a config descriptor's type is that of an image.
pub(crate) fn is_image_config(kind: &str) -> bool {
    kind == OCI_CONFIG || kind == DOCKER_CONFIG
}

/// The meaning of a layer's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerType {
    /// The compression; the magic bytes decide when the layer is read.
    pub compression: Compression,
    /// True if registries must not store the blob.
    pub foreign: bool,
}

/// Reads a layer's type; `None` if the type is not known to be a tar.
pub fn layer(kind: &str) -> Option<LayerType> {
    let of = |compression, foreign| {
        Some(LayerType {
            compression,
            foreign,
        })
    };
    use Compression::{Gzip, None as Plain, Zstd};
    match kind {
        OCI_LAYER => of(Plain, false),
        OCI_LAYER_GZIP => of(Gzip, false),
        OCI_LAYER_ZSTD => of(Zstd, false),
        OCI_FOREIGN_LAYER => of(Plain, true),
        OCI_FOREIGN_LAYER_GZIP => of(Gzip, true),
        OCI_FOREIGN_LAYER_ZSTD => of(Zstd, true),
        DOCKER_LAYER => of(Plain, false),
        DOCKER_LAYER_GZIP => of(Gzip, false),
        DOCKER_LAYER_ZSTD => of(Zstd, false),
        DOCKER_FOREIGN_LAYER => of(Plain, true),
        DOCKER_FOREIGN_LAYER_GZIP => of(Gzip, true),
        DOCKER_FOREIGN_LAYER_ZSTD => of(Zstd, true),
        _ => None,
    }
}

/// Returns true if a type that is not known to be a tar could still be that of an image's layer,
/// such as an encrypted one. The type of an attestation or a signature is not.
pub(crate) fn perhaps_layer(kind: &str) -> bool {
    kind == "application/octet-stream"
        || kind.starts_with("application/vnd.oci.image.layer.")
        || kind.starts_with("application/vnd.docker.image.rootfs.")
}
