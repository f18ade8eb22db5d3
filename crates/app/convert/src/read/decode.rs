//! Decoding: the root of an entry, and all documents below the root.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use imgconv_fs::is_file;
use imgconv_locate::{
    catalog::{self, Recognised},
    fetched,
};
use imgconv_manifest::{Told, embedded_document, find_document, told};
use imgconv_model::{
    Artifact, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Format, FormatId, Index,
    Limits, Notes, Outcome, Report, Result, Root, RootEntry, StreamFormat, quote,
};
use imgconv_openpgp::Verified;
use imgconv_stream::Cancellable;

use super::{
    node::{Computed, ImageNode, Node, decode_stream},
    unknown,
};

/// Reads the root of an entry: the stored document, else the one that the descriptor embeds. An
/// embedded document is compared with the descriptor in any case.
pub(crate) fn root_of(bundle: &dyn Bundle, entry: &RootEntry, env: &Env) -> Result<Root> {
    let data = embedded_root(entry, env)?;
    match (bundle.root(entry), data) {
        (Err(error), Some(document)) if error.code() == Code::Missing => {
            Ok(Root::Document(document))
        }
        (found, _) => found,
    }
}

/// The root that the descriptor of an entry embeds, verified.
fn embedded_root(entry: &RootEntry, env: &Env) -> Result<Option<Document>> {
    let child = entry.child.as_ref();
    child.map_or(Ok(None), |child| embedded_document(child, &env.limits))
}

/// Decodes the documents of one place.
pub(super) struct Decoder<'a> {
    pub(super) bundle: &'a dyn Bundle,
    pub(super) env: &'a Env,
    pub(super) memo: &'a mut Memo,
}

impl Decoder<'_> {
    /// Decodes an entry of the place.
    pub(super) fn entry(mut self, entry: &RootEntry) -> Result<Arc<Node>> {
        entry.check()?;
        let entry = &self.bundle.resolve(entry)?;
        // Another entry may list the same document with other embedded data.
        embedded_root(entry, self.env)?;
        if let Some(child) = &entry.child
            && let Some(node) = self.memo.nodes.get(&child.digest)
        {
            return Ok(Arc::clone(node));
        }
        // A listed document of an unknown type is carried. A document that no descriptor lists, as
        // the only document of a place, has to be an image.
        if let Some(child) = entry.child.as_ref().filter(|child| !child.raw.is_empty())
            && let Some(node) = self.undecodable(child)?
        {
            return Ok(node);
        }
        let root = root_of(self.bundle, entry, self.env)?;
        let node = self.root(&root, entry.child.as_ref(), 0)?;
        if let (Some(listed), Node::Image(image)) = (&entry.name, &*node)
            && let Some(own) = image.image.name.as_ref().filter(|_| image.aci.is_some())
            && own != listed
        {
            let what = "the name in the index of the store";
            return Err(Error::mismatch(what, own, listed));
        }
        Ok(node)
    }

    /// Reads a document that no format decodes, because its type is unknown; `None` if a format may
    /// decode it.
    ///
    /// # Errors
    /// [`Code::Missing`] if the document is not stored.
    fn undecodable(&mut self, child: &Child) -> Result<Option<Arc<Node>>> {
        match told(&child.kind) {
            Told::Listing => return Ok(None),
            // A manifest or index is never longer than this limit.
            Told::Nothing if child.size <= self.env.limits.manifest => {
                let document = find_document(self.bundle, child, &self.env.limits)?;
                if catalog::recognise(&Root::Document(document), None).is_some() {
                    return Ok(None);
                }
            }
            Told::Nothing | Told::Other => {}
        }
        let opaque = unknown::read(self.bundle, child, self.env)?;
        let child = child.clone();
        let digest = child.digest;
        let node = Arc::new(Node::Opaque { opaque, child });
        self.memo.add(digest, &node, self.env)?;
        Ok(Some(node))
    }

    fn root(&mut self, root: &Root, child: Option<&Child>, depth: u64) -> Result<Arc<Node>> {
        let bundle = self.bundle;
        // A stream that was fetched by name is verified before anything is made of it (robustness J5).
        let named = bundle.fetched().and_then(|it| it.name.as_deref());
        let verified = match (root, named) {
            (Root::Stream(blob), Some(name)) => {
                Some(fetched::verify(bundle, blob, name, self.env)?)
            }
            _ => None,
        };
        let found = catalog::recognise(root, self.memo.format);
        if let Some(wanted) = self.memo.format
            && found.is_none_or(|found| found.id() != wanted)
        {
            let found = found.map_or_else(|| "something else".into(), |it| it.id().to_string());
            return Err(Error::mismatch("the format", wanted, found));
        }
        let recognised = found.ok_or_else(|| match root {
            Root::Stream(blob) => damage(unsupported(root), blob, self.env),
            Root::Document(_) => unsupported(root),
        })?;
        let notes = Notes::default();
        let env = &self.env.with_notes(&notes);
        let mut report = self.memo.opened.clone();
        let node = match recognised {
            Recognised::Stream(format, stream) => {
                let mut node = decode_file(bundle, stream, format, verified, env)?;
                node.report.merge(report);
                let signed = node.aci.as_ref().is_some_and(|aci| !aci.signers.is_empty());
                let signature = format!("{}.asc", bundle.locator());
                if self.memo.part.is_some() && !signed && is_file(Path::new(&signature))? {
                    let message = "a signature file is beside the image, but was not verified";
                    node.report
                        .warn("signature-not-checked", signature, message);
                }
                Node::Image(Box::new(node))
            }
            Recognised::Document(format, document) => {
                let child = child.expect("a document has a descriptor").clone();
                let artifact = format.decode(document, bundle, env, &mut report)?;
                report.merge(self.memo.notes.take());
                match artifact {
                    Artifact::Image(image) => Node::Image(Box::new(ImageNode {
                        image: *image,
                        format: Format::Documents(format),
                        child: Some(child),
                        aci: None,
                        report,
                        notes,
                        computed: Computed::default(),
                    })),
                    Artifact::Opaque(mut opaque) => {
                        unknown::add_content(&mut opaque, bundle, env)?;
                        Node::Opaque { opaque, child }
                    }
                    Artifact::Index(index) => {
                        let memo = &mut *self.memo;
                        let children = Decoder { bundle, env, memo }.children(&index, depth)?;
                        Node::Index {
                            index,
                            child,
                            children,
                        }
                    }
                }
            }
        };
        let node = Arc::new(node);
        if let Some(child) = child {
            self.memo.add(child.digest, &node, self.env)?;
        }
        Ok(node)
    }

    /// Decodes the entries of an index. The depth of this recursion is bounded by `index_depth`.
    fn children(&mut self, index: &Index, depth: u64) -> Result<Vec<Option<Arc<Node>>>> {
        let most = ("index_depth", self.env.limits.index_depth);
        Limits::check(depth + 1, most, "the nesting of indexes")?;
        let mut children = Vec::with_capacity(index.children.len());
        for child in &index.children {
            if let Some(node) = self.memo.nodes.get(&child.digest) {
                children.push(Some(Arc::clone(node)));
                continue;
            }
            let at = |error: Error| error.at(format!("index › {}", child.digest));
            let found = match self.undecodable(child) {
                Ok(Some(node)) => {
                    children.push(Some(node));
                    continue;
                }
                Ok(None) => find_document(self.bundle, child, &self.env.limits),
                Err(error) => Err(error),
            };
            let node = match found {
                Ok(document) => {
                    let root = Root::Document(document);
                    Some(self.root(&root, Some(child), depth + 1).map_err(at)?)
                }
                Err(error) if error.code() == Code::Missing => None,
                Err(error) => return Err(at(error)),
            };
            children.push(node);
        }
        Ok(children)
    }
}

/// Decodes an image that is one stream. For an ACI, checks the signatures, and the name and labels
/// that were asked for.
fn decode_file(
    bundle: &dyn Bundle,
    stream: &Blob,
    format: &'static dyn StreamFormat,
    verified: Option<Verified>,
    env: &Env,
) -> Result<ImageNode> {
    let mut node = decode_stream(stream, &bundle.locator(), format, env)
        .map_err(|error| damage(error, stream, env))?;
    let Some(aci) = node.aci.as_mut() else {
        return Ok(node);
    };
    let verified = match verified {
        Some(verified) => verified,
        None => fetched::verify(bundle, stream, &aci.manifest.name, env)?,
    };
    if let Some(fetched) = bundle.fetched() {
        fetched::check_asked(fetched, &aci.manifest)?;
    }
    for warning in verified.warnings {
        node.report.warn("weak-key", "signature", warning);
    }
    if !verified.signers.is_empty() {
        let why = "the signature is of the ACI file; it was verified and is not copied";
        node.report.lose("signature", Outcome::Dropped, why);
    }
    aci.signers = verified.signers;
    Ok(node)
}

/// Returns the error of the stored bytes as the cause, if the bytes do not match the digest that
/// the place has for them.
fn damage(error: Error, blob: &Blob, env: &Env) -> Error {
    match blob.open() {
        Ok(reader) => imgconv_stream::blame(error, &mut Cancellable::new(reader, env)),
        Err(_) => error,
    }
}

/// The decoded nodes of one place, by the digests of their documents.
#[derive(Debug)]
pub struct Memo {
    /// The place, if it is a part of another.
    part: Option<Arc<dyn Bundle>>,
    /// The format that everything must be in, if the user named one.
    format: Option<FormatId>,
    nodes: BTreeMap<Digest, Arc<Node>>,
    /// The irregularities found when the place was opened.
    opened: Report,
    /// Takes irregularities that the place finds later.
    notes: Notes,
}

impl Memo {
    /// Creates the memo of a place: the format that everything there must be in, the irregularities
    /// found when the place was opened, and the notes for irregularities that the place finds
    /// later.
    pub(super) fn new(format: Option<FormatId>, opened: Report, notes: Notes) -> Self {
        Self {
            part: None,
            format,
            nodes: BTreeMap::new(),
            opened,
            notes,
        }
    }

    /// Clears the memo when a part of the place is left.
    pub(super) fn leave(&mut self) {
        if self.part.take().is_some() {
            self.nodes.clear();
        }
    }

    /// Remembers the node of a document.
    fn add(&mut self, digest: Digest, node: &Arc<Node>, env: &Env) -> Result<()> {
        self.nodes.insert(digest, Arc::clone(node));
        let most = ("graph_nodes", env.limits.graph_nodes);
        Limits::check(self.nodes.len() as u64, most, "the number of documents")
    }

    /// Clears the memo if another place is entered: a document may name its blobs by paths, and
    /// then the same bytes mean something else here.
    pub(super) fn enter(&mut self, part: &Arc<dyn Bundle>, opened: &Report) {
        if !self
            .part
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, part))
        {
            self.nodes.clear();
            self.part = Some(Arc::clone(part));
            self.opened = opened.clone();
            self.opened.merge(self.notes.take());
        }
    }
}

const NO_FORMAT: &str = "the format of the file is not supported";

fn unsupported(root: &Root) -> Error {
    // A file that can't be read, or has changed since it was opened, has no format either.
    if let Root::Stream(stream) = root
        && let Err(error) = stream.open()
    {
        return error;
    }
    let known: Vec<String> = catalog::FORMATS
        .iter()
        .filter(|format| catalog::describes(**format))
        .map(|format| format.id().to_string())
        .collect();
    // Bytes alone don't say that a tar is an image.
    if let Root::Stream(stream) = root
        && let Some(format) = catalog::FORMATS
            .iter()
            .filter_map(|it| it.stream())
            .find(|it| !it.stream_facts().describes && it.recognise(stream))
    {
        let (id, noun) = (format.facts().id, format.stream_facts().noun);
        return Error::new(Code::Unsupported, NO_FORMAT).hint(format!(
            "this is {noun}; `{id}:PATH` reads the file as an image of one layer"
        ));
    }
    let message = match root {
        Root::Document(document) if !document.kind.is_empty() => {
            format!(
                "the format of documents of type {} is not supported",
                quote(&document.kind)
            )
        }
        Root::Document(_) => "the format of the document is not supported".to_owned(),
        Root::Stream(_) => NO_FORMAT.to_owned(),
    };
    Error::new(Code::Unsupported, message).hint(format!("supported: {}", known.join(", ")))
}
