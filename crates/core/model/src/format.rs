//! The traits that formats implement: the meaning of bytes. A format does no I/O of its own.
//!
//! There are two kinds. A format of documents describes an image by documents that name layers by
//! digest. A format of streams has the whole image in one file.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    Artifact, Blob, Bundle, Child, Compression, Digest, Document, Env, FormatFamily, FormatId,
    Image, Index, Open, Report, Result, SealedLayer,
};

/// A format of either kind, as a catalog lists it.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    /// Documents that name layers by digest.
    Documents(&'static dyn DocumentFormat),
    /// One stream that holds the layers.
    Stream(&'static dyn StreamFormat),
}

impl Format {
    /// Returns the facts that the format states.
    pub fn facts(self) -> &'static FormatFacts {
        match self {
            Self::Documents(format) => format.facts(),
            Self::Stream(format) => format.facts(),
        }
    }

    /// Returns the identity.
    pub fn id(self) -> FormatId {
        self.facts().id
    }

    /// Returns what the format can hold.
    pub fn capabilities(self) -> &'static Capabilities {
        &self.facts().capabilities
    }

    /// Returns true if an image of the format is one stream.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Returns the format of documents; `None` for a format of streams.
    pub fn documents(self) -> Option<&'static dyn DocumentFormat> {
        match self {
            Self::Documents(format) => Some(format),
            Self::Stream(_) => None,
        }
    }

    /// Returns the format of streams; `None` for a format of documents.
    pub fn stream(self) -> Option<&'static dyn StreamFormat> {
        match self {
            Self::Documents(_) => None,
            Self::Stream(format) => Some(format),
        }
    }
}

/// A format whose images are documents.
pub trait DocumentFormat: fmt::Debug + Send + Sync {
    /// Returns the facts of the format.
    fn facts(&self) -> &'static FormatFacts;

    /// Returns true if a document is a root of this format. At most one format recognises a
    /// document.
    fn recognise(&self, root: &Document) -> bool;

    /// Reads a root. Blobs are not opened.
    ///
    /// # Errors
    /// If the root is malformed or refers to documents that are missing.
    fn decode(
        &self,
        root: &Document,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact>;

    /// Writes the documents of an image. `layers` has one sealed layer for each layer of the image.
    /// The method does no I/O itself.
    ///
    /// # Errors
    /// If the image cannot be expressed at all.
    fn encode(
        &self,
        image: &Image,
        layers: &[SealedLayer],
        env: &Env,
        report: &mut Report,
    ) -> Result<Encoded>;

    /// Writes an index over published documents. `original` is the source's index.
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) if the format has no index.
    fn encode_index(&self, children: &[Child], original: Option<&Index>) -> Result<Document>;

    /// Returns the identity.
    fn id(&self) -> FormatId {
        self.facts().id
    }
}

/// A format whose images are single streams, such as an ACI.
pub trait StreamFormat: fmt::Debug + Send + Sync {
    /// Returns the facts of the format.
    fn facts(&self) -> &'static FormatFacts;

    /// Returns the facts that only formats of streams have.
    fn stream_facts(&self) -> &'static StreamFacts;

    /// Returns true if a file is an image of this format. The method reads a bounded prefix only.
    /// At most one format recognises a file.
    fn recognise(&self, stream: &Blob) -> bool;

    /// Reads a stream, perhaps compressed, as far as the image needs. `what` names the stream in
    /// messages. Irregularities go to the notes of `env`.
    ///
    /// # Errors
    /// If the part of the stream that is read is not valid. The rest is checked when the layer is
    /// read.
    fn decode(&self, stream: &Blob, what: &str, env: &Env) -> Result<DecodedStream>;

    /// Returns the uncompressed stream of an image that has at most one layer. The layer is read
    /// together with the stream, not before. `group` is used for a user that the image names
    /// without a group, in a format that must name a group: 0 without it.
    ///
    /// # Errors
    /// If the image cannot be expressed at all.
    fn encode(
        &self,
        image: &Image,
        group: Option<u32>,
        env: &Env,
        report: &mut Report,
    ) -> Result<Arc<dyn Open>>;
}

/// The facts of a format of streams.
#[derive(Clone, Debug)]
pub struct StreamFacts {
    /// An image in messages, with the article: `an ACI`.
    pub noun: &'static str,
    /// What the name of a file ends with: `.aci`.
    pub suffix: &'static str,
    /// True if a stream says how its image is called, what the image runs on, and how it is run; the
    /// digest of the uncompressed stream is then the image ID. A stream without a description is an
    /// image only in a place of the family of its format, or where the user says so: its bytes may be
    /// anything.
    pub describes: bool,
}

/// An image that [`StreamFormat::decode`] read from a stream.
#[derive(Clone, Debug)]
pub struct DecodedStream {
    /// The image. The stream of its one layer verifies the claimed digest and size of the file.
    pub image: Image,
    /// The SHA-512 digest of the uncompressed stream, which is the image ID of an ACI. The digest
    /// is present after the layer was read to its end.
    pub digest: Arc<OnceLock<Digest>>,
}

/// The facts of a format.
#[derive(Clone, Debug)]
pub struct FormatFacts {
    /// The identity.
    pub id: FormatId,
    /// The family by which users know the format.
    pub family: FormatFamily,
    /// One line of help about the format.
    pub about: &'static str,
    /// The capabilities of the format.
    pub capabilities: Capabilities,
}

/// The capabilities of a format.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The most layers of an image.
    pub max_layers: Option<usize>,
    /// The compressions of a layer, or of the stream that is the image; the default first.
    pub compressions: &'static [Compression],
    /// True if the descriptor of a layer can have annotations, as a table of contents needs them.
    pub annotations: bool,
    /// True if several platforms can stand under one name.
    pub index: bool,
    /// True if foreign documents can be carried byte for byte.
    pub opaque: bool,
    /// The kinds of root that may be copied to a sink that takes this format's roots.
    pub root_kinds: &'static [&'static str],
}

/// The documents that [`DocumentFormat::encode`] makes, to be stored in this order.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The documents that the root refers to, such as the config.
    pub documents: Vec<Document>,
    /// The root document.
    pub root: Document,
}
