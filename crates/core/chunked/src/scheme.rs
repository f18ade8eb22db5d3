//! The two ways to write a table of contents, and how a layer claims one.

use std::collections::BTreeMap;

use imgconv_model::Compression;

/// The annotation of an eStargz layer with the digest of its table.
pub(crate) const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// The annotation of a zstd:chunked layer with the digest of its table's frame.
pub(crate) const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";

/// How a table of contents is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// eStargz, as docs/estargz.md of containerd/stargz-snapshotter says.
    Estargz,
    /// zstd:chunked, as containers/storage writes it in pkg/chunked.
    ZstdChunked,
}

impl Scheme {
    /// Returns the scheme for layers of a compression, if there is one.
    pub fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::Gzip => Some(Self::Estargz),
            Compression::Zstd => Some(Self::ZstdChunked),
            Compression::None | Compression::Bzip2 | Compression::Xz => None,
        }
    }

    /// Says whether the annotations of a layer claim a table of contents of this scheme.
    pub fn is_claimed(self, annotations: &BTreeMap<String, String>) -> bool {
        annotations.contains_key(match self {
            Self::Estargz => TOC_DIGEST,
            Self::ZstdChunked => CHECKSUM,
        })
    }

    pub(crate) fn compression(self) -> Compression {
        match self {
            Self::Estargz => Compression::Gzip,
            Self::ZstdChunked => Compression::Zstd,
        }
    }
}
