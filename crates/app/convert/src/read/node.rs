//! The decoded contents of a source: images, indexes, and other documents.

use std::{
    collections::BTreeSet,
    io::Read as _,
    sync::{Arc, OnceLock},
};

use imgconv_format_aci::{Aci, Manifest, manifest_of};
use imgconv_json::Value;
use imgconv_layer::Semantics;
use imgconv_manifest::{self as manifest, references};
use imgconv_model::{
    Algorithm, Blob, Child, Code, Compression, Digest, Document, Env, Error, Format, FormatId,
    Image, Index, Layer, Limits, Notes, Opaque, Open, Outcome, Platform, Report, Result,
    StreamFormat,
};
use imgconv_openpgp::Signer;
use imgconv_pipeline::{Budget, Tar, watch};
use imgconv_stream::{HashingReader, digest, sniff};

/// A decoded root, with everything below it.
#[derive(Debug)]
pub enum Node {
    /// An image.
    Image(Box<ImageNode>),
    /// An index. A child that is `None` is missing.
    Index {
        /// The index.
        index: Index,
        /// The descriptor of the index.
        child: Child,
        /// The entries of the index.
        children: Vec<Option<Arc<Node>>>,
    },
    /// A document that is neither an image nor an index.
    Opaque {
        /// The document.
        opaque: Opaque,
        /// The document's descriptor.
        child: Child,
    },
}

/// A decoded image.
#[derive(Clone, Debug)]
pub struct ImageNode {
    /// The image.
    pub image: Image,
    /// The format that it was read as.
    pub format: Format,
    /// The image's descriptor, if it has a root document.
    pub child: Option<Child>,
    /// The facts that only an ACI has.
    pub aci: Option<AciPart>,
    /// The irregularities in the image's documents.
    pub report: Report,
    /// Takes irregularities that are found while the layers are read.
    pub notes: Notes,
    /// Digests of the documents.
    pub computed: Computed,
}

/// Digests of the documents of an image, computed when first needed: an image may have many names,
/// and each of them asks.
#[derive(Debug, Default)]
pub struct Computed {
    config: OnceLock<Option<Digest>>,
    root: OnceLock<Vec<Digest>>,
}

/// A clone is empty: the image of a cloned node may change, and so do its digests.
impl Clone for Computed {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The facts that only an ACI has.
#[derive(Clone, Debug)]
pub struct AciPart {
    /// The file.
    pub blob: Blob,
    /// The text for the file in messages.
    pub(crate) what: String,
    /// The bytes of the ACI's own layer.
    pub(crate) layer: Arc<dyn Open>,
    /// The ACI's manifest.
    pub manifest: Arc<Manifest>,
    /// The image ID; known when the layer has been read to its end.
    pub(crate) image_id: Arc<OnceLock<Digest>>,
    /// The trusted keys that signed the ACI.
    pub signers: Vec<Signer>,
}

impl AciPart {
    /// Reads the ACI to its end, once: this checks all of it and gives the image ID. `what` names
    /// the ACI in messages.
    ///
    /// # Errors
    /// The first thing that is wrong with the archive.
    pub fn read_to_end(&self, what: &str, env: &Env) -> Result<Digest> {
        if let Some(id) = self.image_id.get() {
            return Ok(*id);
        }
        let decoded = Aci.decode(&self.blob, what, env)?;
        for layer in &decoded.image.layers {
            watch(layer, what, env, |layer, env, _| {
                let tar = Tar::open(layer, &Budget::default(), env, what)?;
                let read = HashingReader::new(tar, &[]).finish();
                read.map_err(Error::from_io)
            })?;
        }
        let id = decoded.digest.get().copied().ok_or_else(|| {
            Error::new(Code::BadManifest, "the ACI ended before it was read").at(what)
        })?;
        // The value is the same if another thread has set it meanwhile.
        Ok(*self.image_id.get_or_init(|| id))
    }
}

/// The field of the loss for an image without a platform.
pub(crate) const PLATFORM: &str = "platform";

/// Reads an image that is one stream, as far as its description needs.
pub(crate) fn decode_stream(
    stream: &Blob,
    what: &str,
    format: &'static dyn StreamFormat,
    env: &Env,
) -> Result<ImageNode> {
    let decoded = format.decode(stream, what, env)?;
    let aci = manifest_of(&decoded.image, &env.limits)?;
    let aci = aci.filter(|_| format.facts().id == FormatId::ACI);
    let aci = aci.map(|manifest| AciPart {
        blob: stream.clone(),
        what: what.to_owned(),
        layer: Arc::clone(&decoded.image.layers[0].blob.bytes),
        manifest: Arc::new(manifest),
        image_id: decoded.digest,
        signers: Vec::new(),
    });
    let (mut report, notes) = (Report::default(), env.notes.clone());
    let mut image = decoded.image;
    if !format.stream_facts().describes {
        image.platform = env.host.clone();
        let why = format!(
            "the source names no platform; the platform of this machine, {}, is used",
            env.host
        );
        report.lose(PLATFORM, Outcome::Synthesised, why);
    }
    Ok(ImageNode {
        image,
        format: Format::Stream(format),
        child: None,
        aci,
        report,
        notes,
        computed: Computed::default(),
    })
}

impl ImageNode {
    /// The image ID of an ACI, once it is known.
    pub fn image_id(&self) -> Option<Digest> {
        self.aci.as_ref()?.image_id.get().copied()
    }

    /// Every digest of the root document, see [`Node::digests`].
    pub(crate) fn digests(&self) -> Vec<Digest> {
        match (&self.child, self.original("manifest")) {
            (Some(child), Some(manifest)) => {
                let root = &self.computed.root;
                root.get_or_init(|| every_digest(child, &manifest.bytes))
                    .clone()
            }
            (Some(child), None) => vec![child.digest],
            (None, _) => Vec::new(),
        }
    }

    /// The stored document of that role, if the format has one.
    pub fn original(&self, role: &str) -> Option<&Document> {
        self.image.original(self.format.id(), role)
    }

    /// The subject of the image.
    pub(crate) fn subject(&self) -> Option<Digest> {
        let key = (self.format.id(), SUBJECT.to_owned());
        let text = self.image.extensions.get(&key)?;
        let value: Value = serde_json::from_str(text).ok()?;
        Digest::parse(value.get("digest")?.as_str()?).ok()
    }

    /// The digest by which the image names its config, if the format has one.
    pub fn config_digest(&self, limits: &Limits) -> Option<Digest> {
        *self.computed.config.get_or_init(|| {
            // An ACI made from an OCI image carries the OCI config, which is not the ACI's own.
            let config = self.original("config")?;
            let algorithm = match self.original("manifest") {
                Some(manifest) => algorithm_in(manifest, config, limits),
                None => Algorithm::Sha256,
            };
            Some(digest(algorithm, &config.bytes))
        })
    }
}

/// The algorithm of the digest by which one document refers to another: SHA-256 if there is no such
/// reference.
pub(crate) fn algorithm_in(from: &Document, to: &Document, limits: &Limits) -> Algorithm {
    let read = references(&from.kind, &from.bytes, limits);
    let list = read.ok().flatten().map(|read| read.list);
    let size = to.bytes.len() as u64;
    let is_it = |reference: &&manifest::Reference| {
        reference.size.is_none_or(|said| said == size)
            && digest(reference.digest.algorithm(), &to.bytes) == reference.digest
    };
    let list = list.unwrap_or_default();
    let found = list.iter().find(is_it);
    found.map_or(Algorithm::Sha256, |it| it.digest.algorithm())
}

/// The digest by which a document was found, and its digests of the other algorithms.
fn every_digest(child: &Child, bytes: &[u8]) -> Vec<Digest> {
    let others = [Algorithm::Sha256, Algorithm::Sha512]
        .into_iter()
        .filter(|algorithm| *algorithm != child.digest.algorithm())
        .map(|algorithm| digest(algorithm, bytes));
    std::iter::once(child.digest).chain(others).collect()
}

impl Node {
    /// Every digest of the root document: the one by which it was found, and those of the other
    /// algorithms, by which something else may refer to it.
    pub fn digests(&self) -> Vec<Digest> {
        match self {
            Self::Image(image) => image.digests(),
            Self::Index { index, child, .. } => every_digest(child, &index.document.bytes),
            Self::Opaque { opaque, child } => match &opaque.document {
                Some(document) => every_digest(child, &document.bytes),
                None => vec![child.digest],
            },
        }
    }

    /// The digest by which the root document was found; `None` for a stream.
    pub fn root_digest(&self) -> Option<Digest> {
        match self {
            Self::Image(image) => image.child.as_ref().map(|child| child.digest),
            Self::Index { child, .. } | Self::Opaque { child, .. } => Some(child.digest),
        }
    }

    /// The format of the image, or of the first image that an index lists.
    pub fn format(&self) -> Option<FormatId> {
        match self {
            Self::Image(image) => Some(image.format.id()),
            Self::Index { children, .. } => {
                children.iter().flatten().find_map(|child| child.format())
            }
            Self::Opaque { .. } => None,
        }
    }

    /// The subject of the document.
    pub fn subject(&self) -> Option<Digest> {
        match self {
            Self::Opaque { opaque, .. } => opaque.subject,
            Self::Index { index, .. } => index.subject,
            Self::Image(node) => node.subject(),
        }
    }

    /// The images at and below the node, each with the descriptor that lists it in an index.
    pub fn images(&self) -> impl Iterator<Item = (&ImageNode, Option<&Child>)> {
        self.walk()
            .filter_map(|(node, listed)| Some((node.as_image()?, listed)))
    }

    /// The image, if the node is one.
    pub fn as_image(&self) -> Option<&ImageNode> {
        match self {
            Self::Image(image) => Some(image),
            Self::Index { .. } | Self::Opaque { .. } => None,
        }
    }

    /// The parts of an ACI, if the node is one.
    pub fn aci(&self) -> Option<&AciPart> {
        self.as_image()?.aci.as_ref()
    }

    /// The node and all nodes below it, each with the descriptor that lists it in an index. An index
    /// is entered once, however often and deeply it is listed: the time grows with the number of
    /// documents, not with the number of paths to them (robustness C7b).
    pub fn walk(&self) -> impl Iterator<Item = (&Self, Option<&Child>)> {
        let mut entered = BTreeSet::new();
        let mut open = vec![(self, None)];
        std::iter::from_fn(move || {
            while let Some((node, listed)) = open.pop() {
                if let Self::Index {
                    index, children, ..
                } = node
                {
                    if !entered.insert(std::ptr::from_ref(node)) {
                        continue;
                    }
                    for (listed, child) in index.children.iter().zip(children).rev() {
                        open.extend(child.as_deref().map(|child| (child, Some(listed))));
                    }
                }
                return Some((node, listed));
            }
            None
        })
    }
}

/// The extension that holds an image's subject.
pub(crate) const SUBJECT: &str = "manifest.subject";

/// The platform of an image. The descriptor that lists the image counts where the image has no platform, and gives
/// the variant that the config lacks: older builders wrote the variant into the index only.
pub fn platform_of(node: &ImageNode, listed: Option<&Child>) -> Platform {
    let own = &node.image.platform;
    let listed = listed.or(node.child.as_ref());
    let Some(listed) = listed.and_then(|listed| listed.platform.as_ref()) else {
        return own.clone();
    };
    if own.os.is_empty() {
        return listed.clone();
    }
    let plain = |platform: &Platform| (platform.os.clone(), platform.architecture.clone());
    let variant = match plain(&own.canonical()) == plain(&listed.canonical()) {
        true => own.variant.clone().or_else(|| listed.variant.clone()),
        false => own.variant.clone(),
    };
    Platform {
        variant,
        ..own.clone()
    }
}

/// The rules for stacking the layers of an image.
pub fn semantics(node: &ImageNode) -> Semantics {
    if node.aci.is_some() {
        Semantics::Aci
    } else if node.image.platform.os.eq_ignore_ascii_case("windows") {
        Semantics::Windows
    } else {
        Semantics::Layer
    }
}

/// Finds the entry of that digest in an index, or in one below it: the descriptor, and the document
/// if it is stored.
pub(crate) fn below(node: &Node, digest: &Digest) -> Option<(Child, Option<Arc<Node>>)> {
    let entries = node.walk().flat_map(|(node, _)| match node {
        Node::Index {
            index, children, ..
        } => index.children.iter().zip(children).collect(),
        Node::Image(_) | Node::Opaque { .. } => Vec::new(),
    });
    let found = entries.filter(|(listed, _)| listed.digest == *digest);
    let (listed, child) = found.min_by_key(|(_, child)| child.is_none())?;
    Some((listed.clone(), child.clone()))
}

/// The compression detected from the first bytes of a stored layer; `None` if they can't be read.
pub fn shown_compression(layer: &Layer) -> Option<Compression> {
    let mut first = Vec::new();
    let reader = layer.blob.open().ok()?;
    reader.take(6).read_to_end(&mut first).ok()?;
    Some(sniff(&first))
}
