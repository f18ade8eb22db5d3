//! What a root document turns out to be.

use std::collections::BTreeMap;

use crate::{Digest, Document, Facts, Image, Platform};

/// What a format decodes a root to.
#[derive(Clone, Debug)]
pub enum Artifact {
    /// An image.
    Image(Box<Image>),
    /// A list of other documents, usually one image for several platforms.
    Index(Index),
    /// Anything else: an SBOM, a chart, a signature, an image with layers that are not tars.
    /// Carried byte for byte, or reported as left behind; never converted.
    Opaque(Opaque),
}

/// An index, not yet followed.
#[derive(Clone, Debug)]
pub struct Index {
    /// What it lists, in its order.
    pub children: Vec<Child>,
    /// The exact document.
    pub document: Document,
    /// The document that it is about (its `subject`).
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
    /// Makes the descriptor of a document that is found where nobody wrote one.
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

    /// Returns what is claimed of the bytes.
    pub fn facts(&self) -> Facts {
        Facts {
            digest: Some(self.digest),
            size: Some(self.size),
        }
    }
}

/// Something that is carried as it is.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// The exact document. `None` for a blob of a type that no format knows: it is the first of
    /// `blobs`, and may be of any size.
    pub document: Option<Document>,
    /// Every blob that it refers to and that travels with it.
    pub blobs: Vec<Child>,
    /// The document that it is about (a referrer's `subject`).
    pub subject: Option<Digest>,
    /// What it is, for messages, such as `artifact application/spdx+json`.
    pub what: String,
    /// True if it is an image whose layers are of a type that is not a tar: it can be copied, and
    /// an attempt to convert it is an error instead of a loss.
    pub image: bool,
}
