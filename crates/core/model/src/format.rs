//! The trait that a format implements: the meaning of bytes. A format does no I/O of its own.

use std::{fmt, sync::Arc};

use crate::{
    Artifact, Bundle, Child, Compression, Document, Env, FormatFamily, FormatId, Image, Index,
    Open, Report, Result, Root, SealedLayer,
};

/// A format: what bytes mean.
pub trait Format: fmt::Debug + Send + Sync {
    /// Returns the format's identity.
    fn id(&self) -> FormatId;

    /// Returns the family by which users know the format.
    fn family(&self) -> FormatFamily;

    /// Says in one line what it is.
    fn about(&self) -> &'static str;

    /// Returns what the format can hold.
    fn capabilities(&self) -> Capabilities;

    /// Says whether a root is of this format. Looks at a bounded prefix only. Of all formats at
    /// most one says yes.
    fn recognise(&self, root: &Root) -> bool;

    /// Reads a root. Blobs are not opened, except the one that is the root itself.
    ///
    /// # Errors
    /// If the root is malformed or refers to documents that are missing.
    fn decode(
        &self,
        root: &Root,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact>;

    /// Writes an image: documents if the format names its layers by digest (`layers` then has one
    /// sealed layer for each of the image's), one stream that holds the layers otherwise (`layers`
    /// is then empty and the layers of `image` are read as the stream is). Does no I/O itself.
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

    /// Writes an index over documents that were published. `original` is the source's index.
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) if the format has none.
    fn encode_index(&self, children: &[Child], original: Option<&Index>) -> Result<Document>;
}

/// What a format can hold.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// True if an image is one stream that holds its layers, as an ACI.
    pub stream: bool,
    /// How many layers an image can have.
    pub max_layers: Option<usize>,
    /// The compressions of a layer (of the stream, if it is one), the default first.
    pub compressions: &'static [Compression],
    /// True if the descriptor of a layer can have annotations, as a table of contents needs them.
    pub annotations: bool,
    /// True if several platforms can stand under one name.
    pub index: bool,
    /// True if foreign documents can be carried byte for byte.
    pub opaque: bool,
    /// True if the root's kind may be copied to a sink that takes this format's roots.
    pub root_kinds: &'static [&'static str],
}

/// What [`Format::encode`] makes.
#[derive(Debug)]
pub enum Encoded {
    /// Documents to be stored, the root last.
    Documents {
        /// The documents that the root refers to, such as the config.
        documents: Vec<Document>,
        /// The root document.
        root: Document,
    },
    /// One uncompressed stream; the sink's side compresses it.
    Stream(Arc<dyn Open>),
}
