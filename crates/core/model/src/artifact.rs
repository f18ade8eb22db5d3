//! The kinds of artifact that a root document can be.

use std::collections::BTreeMap;

use crate::{Digest, Document, Facts, Image, Platform};

/// The artifact that a format decodes from a root.
#[derive(Clone, Debug)]
pub enum Artifact {
    /// An image.
    Image(Box<Image>),
    /// A list of other documents, usually one image for several platforms.
    Index(Index),
    /// Any other artifact: an SBOM, a chart, a signature, an image with layers that are not tars.
    /// The artifact is copied byte for byte, or reported as left behind; it is never converted.
    Opaque(Opaque),
}

/// An index, not yet followed.
#[derive(Clone, Debug)]
pub struct Index {
    /// The descriptors of the index, in its order.
    pub children: Vec<Child>,
    /// The exact document.
    pub document: Document,
    /// The document that the index refers to as its `subject`.
    pub subject: Option<Digest>,
}

/// A descriptor: a reference to a document or blob by content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The content type.
    pub kind: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The number of bytes.
    pub size: u64,
    /// The platform, if the descriptor names one.
    pub platform: Option<Platform>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// The descriptor as it was written (JSON text), so that unknown properties survive.
    pub raw: String,
}

impl Child {
    /// Makes the descriptor of a document that no other document has a descriptor of.
    pub fn new(kind: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            kind: kind.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            raw: String::new(),
        }
    }

    /// Returns the digest and size that the descriptor claims.
    pub fn facts(&self) -> Facts {
        Facts {
            digest: Some(self.digest),
            size: Some(self.size),
        }
    }
}

/// An artifact that is copied without a change.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// The exact document. `None` for a blob of a type that no format supports: the blob is the
    /// first of `blobs` then, and may be of any size.
    pub document: Option<Document>,
    /// Every blob that the document refers to and that is copied with the document.
    pub blobs: Vec<Child>,
    /// The document that this artifact refers to as its `subject` (a referrer).
    pub subject: Option<Digest>,
    /// A description of the artifact for messages, such as `artifact application/spdx+json`.
    pub what: String,
    /// True if the artifact is an image whose layers are of a type that is not a tar: the image can
    /// be copied, and an attempt to convert it is an error instead of a loss.
    pub image: bool,
}
