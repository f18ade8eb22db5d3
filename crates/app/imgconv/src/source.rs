//! Opening a locator: which images there are meant, and what each of them is.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use imgconv_format_aci::{Aci, Manifest, manifest_of};
use imgconv_model::{
    Addressing, Algorithm, Artifact, Blob, Bundle, Child, Code, Digest, Document, Env, Error,
    Format, FormatId, Image, Index, Limits, Notes, Opaque, Original, Outcome, Report, Result, Root,
    RootEntry, StreamFormat, quote,
};
use imgconv_openpgp::{Signer, Verified};
use imgconv_pipeline::{Budget, Tar};
use imgconv_stream::{Cancellable, HashingReader, digest};
use imgconv_transport_oci_layout::open_damaged;

use crate::{
    catalog::{self, Recognised},
    fetched,
    locator::{Locator, Reference},
    nested::{below, is_child},
    select::select,
    unknown,
};

/// An open place and the images there that are meant.
#[derive(Debug)]
pub(crate) struct Source {
    /// The place as the user named it.
    pub(crate) text: String,
    /// Where it is, without a scheme.
    pub(crate) location: String,
    /// How entries are addressed there.
    addressing: Addressing,
    /// The bytes.
    pub(crate) bundle: Box<dyn Bundle>,
    /// The entries that are meant, in the order of the place.
    pub(crate) entries: Vec<RootEntry>,
    /// What was irregular when the place was opened: told of each of its images.
    opened: Report,
    /// Takes what the place finds later.
    notes: Notes,
    /// The format that everything there must be in, if it was said outright.
    format: Option<FormatId>,
    /// The entry that leads to the one that is meant, if that only stands in an index below it.
    pub(crate) via: Option<RootEntry>,
}

/// What a root turned out to be, with everything below it.
#[derive(Debug)]
pub(crate) enum Node {
    /// An image.
    Image(Box<ImageNode>),
    /// An index. A child that is `None` is missing.
    Index {
        /// The index.
        index: Index,
        /// Its descriptor.
        child: Child,
        /// What it lists.
        children: Vec<Option<Arc<Node>>>,
    },
    /// Something else.
    Opaque {
        /// What it is.
        opaque: Opaque,
        /// Its descriptor.
        child: Child,
    },
}

/// A decoded image.
#[derive(Debug)]
pub(crate) struct ImageNode {
    /// The image.
    pub(crate) image: Image,
    /// The format that it was read as.
    pub(crate) format: Format,
    /// Its descriptor, if it has a root document.
    pub(crate) child: Option<Child>,
    /// What only an ACI has.
    pub(crate) aci: Option<AciPart>,
    /// What was irregular in its documents.
    pub(crate) report: Report,
    /// What is found while its layers are read.
    pub(crate) notes: Notes,
}

/// What only an ACI has.
#[derive(Clone, Debug)]
pub(crate) struct AciPart {
    /// The file.
    pub(crate) blob: Blob,
    /// Its manifest.
    pub(crate) manifest: Arc<Manifest>,
    /// The image ID; known when the layer has been read to its end.
    pub(crate) image_id: Arc<OnceLock<Digest>>,
    /// The trusted keys that signed it.
    pub(crate) signers: Vec<Signer>,
}

impl AciPart {
    /// Reads the ACI to its end, once: all of it is checked, and the image ID known. `what` names
    /// it in messages.
    ///
    /// # Errors
    /// The first thing that is wrong with the archive.
    pub(crate) fn read_to_end(&self, what: &str, env: &Env) -> Result<Digest> {
        if let Some(id) = self.image_id.get() {
            return Ok(*id);
        }
        let decoded = Aci.decode(&self.blob, what, env)?;
        for layer in &decoded.image.layers {
            let tar = Tar::open(layer, &Budget::default(), env, what)?;
            HashingReader::new(tar, &[])
                .finish()
                .map_err(Error::from_io)?;
        }
        let id = decoded.digest.get().copied().ok_or_else(|| {
            Error::new(Code::BadManifest, "the ACI ended before it was read").at(what)
        })?;
        // Another thread can only have set the same value.
        Ok(*self.image_id.get_or_init(|| id))
    }
}

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
        manifest: Arc::new(manifest),
        image_id: decoded.digest,
        signers: Vec::new(),
    });
    let (report, notes) = (Report::default(), env.notes.clone());
    Ok(ImageNode {
        image: decoded.image,
        format: Format::Stream(format),
        child: None,
        aci,
        report,
        notes,
    })
}

impl ImageNode {
    /// The image ID of an ACI, once it is known.
    pub(crate) fn image_id(&self) -> Option<Digest> {
        self.aci.as_ref()?.image_id.get().copied()
    }

    /// The stored document of that role, if the format has one.
    pub(crate) fn original(&self, role: &str) -> Option<&Document> {
        let own =
            |original: &&Original| original.format == self.format.id() && original.role == role;
        let original = self.image.originals.iter().find(own)?;
        Some(&original.document)
    }

    /// The document that the image says that it is about.
    pub(crate) fn subject(&self) -> Option<Digest> {
        let key = (self.format.id(), SUBJECT.to_owned());
        let text = self.image.extensions.get(&key)?;
        let value: Value = serde_json::from_str(text).ok()?;
        Digest::parse(value.get("digest")?.as_str()?).ok()
    }

    /// The digest by which the image names its config, if the format has one.
    pub(crate) fn config_digest(&self, limits: &Limits) -> Option<Digest> {
        // An ACI that was once an OCI image carries that one's, which is not its own.
        let config = self.original("config")?;
        let algorithm = match self.original("manifest") {
            Some(manifest) => algorithm_in(manifest, config, limits),
            None => Algorithm::Sha256,
        };
        Some(digest(algorithm, &config.bytes))
    }
}

/// The algorithm of the digest by which one document refers to another: the usual one if it does not.
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

/// Reads the root of an entry: the stored document, else the one that the descriptor embeds. What is
/// embedded is compared with the descriptor in any case.
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
    let Some(child) = &entry.child else {
        return Ok(None);
    };
    let Some(bytes) = embedded(child, &env.limits)? else {
        return Ok(None);
    };
    let limit = ("manifest", env.limits.manifest);
    within(bytes.len() as u64, limit, "the embedded document")?;
    let kind = child.kind.clone();
    Ok(Some(Document { kind, bytes }))
}

impl Node {
    /// Every digest of the root document: the one by which it was found, and those of the other
    /// algorithms, by which something else may refer to it.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let (child, bytes) = match self {
            Self::Image(image) => match (&image.child, image.original("manifest")) {
                (Some(child), Some(manifest)) => (child, &manifest.bytes),
                (Some(child), None) => return vec![child.digest],
                (None, _) => return Vec::new(),
            },
            Self::Index { index, child, .. } => (child, &index.document.bytes),
            Self::Opaque { opaque, child } => match &opaque.document {
                Some(document) => (child, &document.bytes),
                None => return vec![child.digest],
            },
        };
        let others = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .filter(|algorithm| *algorithm != child.digest.algorithm())
            .map(|algorithm| digest(algorithm, bytes));
        std::iter::once(child.digest).chain(others).collect()
    }

    /// The format of the image, or of the first image that an index lists.
    pub(crate) fn format(&self) -> Option<FormatId> {
        match self {
            Self::Image(image) => Some(image.format.id()),
            Self::Index { children, .. } => {
                children.iter().flatten().find_map(|child| child.format())
            }
            Self::Opaque { .. } => None,
        }
    }

    /// The document that this one says that it is about.
    pub(crate) fn subject(&self) -> Option<Digest> {
        match self {
            Self::Opaque { opaque, .. } => opaque.subject,
            Self::Index { index, .. } => index.subject,
            Self::Image(node) => node.subject(),
        }
    }
}

/// The extension that says what an image is about.
pub(crate) const SUBJECT: &str = "manifest.subject";

impl Source {
    /// Opens a place and picks what the locator's reference means.
    ///
    /// # Errors
    /// If the place can't be read, or the reference fits nothing or several images.
    pub(crate) fn open(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_with(locator, env, |bundle| bundle.roots())
    }

    /// Opens a layout for `verify`, whatever is wrong with its list of entry points, and says what
    /// that is; `None` if the place is none, or can't be opened at all.
    pub(crate) fn open_damaged(locator: &Locator, env: &Env) -> Option<(Self, Vec<Error>)> {
        if !locator.transport.place().layout
            || locator.reference.is_some()
            || locator.location == "-"
        {
            return None;
        }
        let notes = Notes::default();
        let env = &Env {
            notes: notes.clone(),
            ..env.clone()
        };
        let (bundle, errors) = open_damaged(locator.transport, &locator.location, env).ok()?;
        let source = Self {
            text: bundle.locator(),
            location: locator.location.clone(),
            addressing: locator.addressing(),
            entries: bundle.roots().ok()?,
            bundle,
            opened: notes.take(),
            notes,
            format: locator.format,
            via: None,
        };
        Some((source, errors))
    }

    /// Opens a place without images, for `verify`; `None` if it has some, or can't be opened.
    pub(crate) fn open_empty(locator: &Locator, env: &Env) -> Option<Self> {
        if locator.reference.is_some() || locator.location == "-" {
            return None;
        }
        let notes = Notes::default();
        let env = &Env {
            notes: notes.clone(),
            ..env.clone()
        };
        let bundle = fetched::open(locator, env).ok()?;
        let entries = bundle.listing().ok().filter(Vec::is_empty)?;
        Some(Self {
            text: bundle.locator(),
            location: locator.location.clone(),
            addressing: locator.addressing(),
            bundle,
            entries,
            opened: notes.take(),
            notes,
            format: locator.format,
            via: None,
        })
    }

    /// Opens a place as [`Source::open`], with everything that it lists: every tag of a repository,
    /// where the locator names none.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(crate) fn open_all(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_with(locator, env, |bundle| bundle.listing())
    }

    /// Opens a place as [`Source::open_all`]; one that lists nothing has no entries.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(crate) fn open_listing(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_any(locator, env, |bundle| bundle.listing(), true)
    }

    fn open_with(
        locator: &Locator,
        env: &Env,
        list: impl FnOnce(&dyn Bundle) -> Result<Vec<RootEntry>>,
    ) -> Result<Self> {
        Self::open_any(locator, env, list, false)
    }

    fn open_any(
        locator: &Locator,
        env: &Env,
        list: impl FnOnce(&dyn Bundle) -> Result<Vec<RootEntry>>,
        may_be_empty: bool,
    ) -> Result<Self> {
        let notes = Notes::default();
        let env = &Env {
            notes: notes.clone(),
            ..env.clone()
        };
        let bundle = fetched::open(locator, env)?;
        let text = bundle.locator();
        let entries = list(&*bundle).map_err(|error| error.at(text.clone()))?;
        // What has a name of appc's is an ACI.
        let named = bundle
            .fetched()
            .is_some_and(|fetched| fetched.name.is_some());
        let format = locator.format.or(named.then_some(FormatId::ACI));
        let mut source = Self {
            text,
            location: locator.location.clone(),
            addressing: locator.addressing(),
            bundle,
            entries,
            opened: notes.take(),
            notes,
            format,
            via: None,
        };
        if matches!(locator.reference, Some(Reference::Name(_))) {
            source.name_streams(env)?;
        }
        if let Some(Reference::Digest(digest)) = &locator.reference
            && !source.entries.iter().any(|entry| is_child(entry, digest))
            && let Some(entry) = source.nested(digest, env)?
        {
            source.entries = vec![entry];
            return Ok(source);
        }
        let entries = std::mem::take(&mut source.entries);
        if entries.is_empty() && may_be_empty && locator.reference.is_none() {
            return Ok(source);
        }
        source.entries = select(entries, locator.reference.as_ref())
            .map_err(|error| error.at(source.text.clone()))?;
        Ok(source)
    }

    /// Gives the entries that the place does not name the names that they have themselves, so that
    /// one can be chosen. What can't be read stays without.
    fn name_streams(&mut self, env: &Env) -> Result<()> {
        for i in 0..self.entries.len() {
            let entry = &self.entries[i];
            if entry.child.is_some() || entry.name.is_some() {
                continue;
            }
            env.check_cancelled()?;
            let node = self.decode_entry(entry, env, &mut Memo::of(self));
            if let Ok(Node::Image(node)) = node.as_deref() {
                self.entries[i].name.clone_from(&node.image.name);
            }
        }
        Ok(())
    }

    /// Names an entry for messages and reports: as a locator that leads to it.
    pub(crate) fn entry_text(&self, entry: &RootEntry) -> String {
        // A name leads to the index that lists it.
        let name = entry.name.as_ref().filter(|_| self.via.is_none());
        let reference = match (name, &entry.child) {
            (Some(name), _) => Some(name.to_string()),
            (None, Some(child)) => Some(format!("@{}", child.digest)),
            (None, None) => match entry.texts.first() {
                None if entry.error.is_some() => Some(format!("#{}", entry.position)),
                text => text.cloned(),
            },
        };
        let Some(reference) = reference else {
            return self.text.clone();
        };
        match self.addressing {
            Addressing::Reference => format!("{}:{reference}", self.text),
            Addressing::Fragment => format!("{}#{reference}", self.text),
            // A name there holds the host and the repository.
            Addressing::Registry => match reference.strip_prefix('@') {
                None => format!("docker://{reference}"),
                Some(digest) => {
                    let whole = self.text.split_once('@').map_or(&*self.text, |(it, _)| it);
                    let end = whole.rfind('/').map_or(0, |slash| slash + 1);
                    let tag = whole[end..].find(':').map_or(whole.len(), |at| end + at);
                    format!("{}@{digest}", &whole[..tag])
                }
            },
            Addressing::Alone => self.text.clone(),
        }
    }

    /// Decodes everything that the entries reach; each document once.
    ///
    /// # Errors
    /// The first that is malformed or missing (a missing child of an index is kept as a gap).
    pub(crate) fn decode(&self, env: &Env) -> Result<Vec<(RootEntry, Arc<Node>)>> {
        self.decode_each(env)
            .map(|(entry, node)| node.map(|node| (entry.clone(), node)))
            .collect()
    }

    /// Decodes entry by entry; one that fails does not stop the rest.
    pub(crate) fn decode_each<'s>(
        &'s self,
        env: &'s Env,
    ) -> impl Iterator<Item = (&'s RootEntry, Result<Arc<Node>>)> + 's {
        let mut memo = Memo::of(self);
        self.entries.iter().map(move |entry| {
            let node = env
                .check_cancelled()
                .and_then(|()| self.decode_entry(entry, env, &mut memo))
                .map_err(|error| error.at(self.entry_text(entry)));
            (entry, node)
        })
    }

    /// Decodes one entry, and remembers what others may lead to as well.
    ///
    /// # Errors
    /// As [`Source::decode`].
    pub(crate) fn decode_entry(
        &self,
        entry: &RootEntry,
        env: &Env,
        memo: &mut Memo,
    ) -> Result<Arc<Node>> {
        let via = self.via.as_ref().unwrap_or(entry);
        let node = match self.bundle.part(via)? {
            None => {
                memo.leave();
                decode_in(&*self.bundle, via, env, memo)?
            }
            Some((mut part, mut inner)) => {
                while let Some(deeper) = part.part(&inner)? {
                    (part, inner) = deeper;
                }
                memo.enter(&part, self);
                decode_in(&*part, &inner, env, memo)?
            }
        };
        let (Some(_), Some(child)) = (&self.via, &entry.child) else {
            return Ok(node);
        };
        let found = below(&node, &child.digest).and_then(|(_, node)| node);
        found.ok_or_else(|| {
            let message = format!("{} is no longer in its index", child.digest);
            Error::new(Code::Missing, message)
        })
    }
}

/// Decodes an entry of the place that holds it.
fn decode_in(
    bundle: &dyn Bundle,
    entry: &RootEntry,
    env: &Env,
    memo: &mut Memo,
) -> Result<Arc<Node>> {
    entry.check()?;
    let entry = &bundle.resolve(entry)?;
    // Another entry may list the same document and embed something else.
    embedded_root(entry, env)?;
    if let Some(child) = &entry.child
        && let Some(node) = memo.nodes.get(&child.digest)
    {
        return Ok(Arc::clone(node));
    }
    // What somebody lists by a type that no format knows is carried. What was only found, as the
    // one document of a place, has to be an image.
    if let Some(child) = entry.child.as_ref().filter(|child| !child.raw.is_empty())
        && let Some(node) = undecodable(bundle, child, env, memo)?
    {
        return Ok(node);
    }
    let root = root_of(bundle, entry, env)?;
    let node = decode_root(bundle, &root, entry.child.as_ref(), 0, env, memo)?;
    if let (Some(listed), Node::Image(image)) = (&entry.name, &*node)
        && let Some(own) = image.image.name.as_ref().filter(|_| image.aci.is_some())
        && own != listed
    {
        let what = "the name in the index of the store";
        return Err(Error::mismatch(what, own, listed));
    }
    Ok(node)
}

/// Reads what no format decodes, because it is of a type that none of them knows; `None` if it may
/// be a document of one.
///
/// # Errors
/// [`Code::Missing`] if it is not there.
fn undecodable(
    bundle: &dyn Bundle,
    child: &Child,
    env: &Env,
    memo: &mut Memo,
) -> Result<Option<Arc<Node>>> {
    let limit = ("manifest", env.limits.manifest);
    match told(&child.kind) {
        Told::Listing => return Ok(None),
        // No list of others is longer.
        Told::Nothing if child.size <= limit.1 => {
            let document = find_document(bundle, child, limit, &env.limits)?;
            if catalog::recognise(&Root::Document(document)).is_some() {
                return Ok(None);
            }
        }
        Told::Nothing | Told::Other => {}
    }
    let opaque = unknown::read(bundle, child, env)?;
    let child = child.clone();
    let digest = child.digest;
    let node = Arc::new(Node::Opaque { opaque, child });
    memo.add(digest, &node, env)?;
    Ok(Some(node))
}

fn decode_root(
    bundle: &dyn Bundle,
    root: &Root,
    child: Option<&Child>,
    depth: u64,
    env: &Env,
    memo: &mut Memo,
) -> Result<Arc<Node>> {
    // What is known by its name is verified before anything is made of it (robustness J5).
    let named = bundle.fetched().and_then(|it| it.name.as_deref());
    let verified = match (root, named) {
        (Root::Stream(blob), Some(name)) => Some(fetched::verify(bundle, blob, name, env)?),
        _ => None,
    };
    let found = catalog::recognise(root);
    if let Some(wanted) = memo.format
        && found.is_none_or(|found| found.id() != wanted)
    {
        let found = found.map_or_else(|| "something else".into(), |it| it.id().to_string());
        return Err(Error::mismatch("the format", wanted, found));
    }
    let recognised = found.ok_or_else(|| match root {
        Root::Stream(blob) => damage(unknown(root), blob, env),
        Root::Document(_) => unknown(root),
    })?;
    let notes = Notes::default();
    let env = Env {
        notes: notes.clone(),
        ..env.clone()
    };
    let mut report = memo.opened.clone();
    let node = match recognised {
        Recognised::Stream(format, stream) => {
            let mut node = decode_file(bundle, stream, format, verified, &env)?;
            node.report.merge(report);
            let signed = node.aci.as_ref().is_some_and(|aci| !aci.signers.is_empty());
            let signature = format!("{}.asc", bundle.locator());
            if memo.part.is_some() && !signed && Path::new(&signature).is_file() {
                let message = "a signature stands beside the image, and is not checked";
                node.report
                    .warn("signature-not-checked", signature, message);
            }
            Node::Image(Box::new(node))
        }
        Recognised::Document(format, document) => {
            let child = child.expect("a document has a descriptor").clone();
            let artifact = format.decode(document, bundle, &env, &mut report)?;
            report.merge(memo.notes.take());
            match artifact {
                Artifact::Image(image) => Node::Image(Box::new(ImageNode {
                    image: *image,
                    format: Format::Documents(format),
                    child: Some(child),
                    aci: None,
                    report,
                    notes,
                })),
                Artifact::Opaque(opaque) => Node::Opaque { opaque, child },
                Artifact::Index(index) => {
                    let children = decode_children(bundle, &index, depth, &env, memo)?;
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
        memo.add(child.digest, &node, &env)?;
    }
    Ok(node)
}

/// Decodes an image that is one stream. Of an ACI, checks who signed it and whether it is the one that
/// was asked for.
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
        let why = "it is over the bytes of the ACI, and was good";
        node.report.lose("signature", Outcome::Dropped, why);
    }
    aci.signers = verified.signers;
    Ok(node)
}

/// Decodes what an index lists. The depth of this recursion is bounded by `index_depth`.
fn decode_children(
    bundle: &dyn Bundle,
    index: &Index,
    depth: u64,
    env: &Env,
    memo: &mut Memo,
) -> Result<Vec<Option<Arc<Node>>>> {
    if depth >= env.limits.index_depth {
        let limit = env.limits.index_depth;
        return Err(Limits::exceeded(
            "index_depth",
            limit,
            "the nesting of indexes",
        ));
    }
    let mut children = Vec::with_capacity(index.children.len());
    for child in &index.children {
        if let Some(node) = memo.nodes.get(&child.digest) {
            children.push(Some(Arc::clone(node)));
            continue;
        }
        let at = |error: Error| error.at(format!("index › {}", child.digest));
        let limit = ("manifest", env.limits.manifest);
        let found = match undecodable(bundle, child, env, memo) {
            Ok(Some(node)) => {
                children.push(Some(node));
                continue;
            }
            Ok(None) => find_document(bundle, child, limit, &env.limits),
            Err(error) => Err(error),
        };
        let document = match found {
            Ok(document) => document,
            Err(error) if error.code() == Code::Missing => {
                children.push(None);
                continue;
            }
            Err(error) => return Err(at(error)),
        };
        let node = decode_root(
            bundle,
            &Root::Document(document),
            Some(child),
            depth + 1,
            env,
            memo,
        )
        .map_err(at)?;
        children.push(Some(node));
    }
    Ok(children)
}

/// What is wrong with the bytes explains what is wrong with the image, where the place knows what
/// the bytes should be.
fn damage(error: Error, blob: &Blob, env: &Env) -> Error {
    match blob.open() {
        Ok(reader) => imgconv_stream::blame(error, &mut Cancellable::new(reader, env)),
        Err(_) => error,
    }
}

/// What was decoded of one place, by the digests of the documents.
pub(crate) struct Memo {
    /// The place, if it is a part of another.
    part: Option<Arc<dyn Bundle>>,
    /// The format that everything must be in, if it was said outright.
    format: Option<FormatId>,
    nodes: BTreeMap<Digest, Arc<Node>>,
    /// What was irregular when the place was opened.
    opened: Report,
    /// Takes what the place finds later.
    notes: Notes,
}

impl Memo {
    /// Makes an empty one.
    pub(crate) fn of(source: &Source) -> Self {
        Self {
            part: None,
            format: source.format,
            nodes: BTreeMap::new(),
            opened: source.opened.clone(),
            notes: source.notes.clone(),
        }
    }

    /// Forgets what is of a part.
    fn leave(&mut self) {
        if self.part.take().is_some() {
            self.nodes.clear();
        }
    }

    /// Remembers what a document is.
    fn add(&mut self, digest: Digest, node: &Arc<Node>, env: &Env) -> Result<()> {
        self.nodes.insert(digest, Arc::clone(node));
        let limit = env.limits.graph_nodes;
        match self.nodes.len() as u64 > limit {
            true => Err(Limits::exceeded(
                "graph_nodes",
                limit,
                "the number of documents",
            )),
            false => Ok(()),
        }
    }

    /// Forgets what is of another place: a document may name its blobs by what they are called
    /// there, and then the same bytes mean something else here.
    fn enter(&mut self, part: &Arc<dyn Bundle>, source: &Source) {
        if !self
            .part
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, part))
        {
            self.nodes.clear();
            self.part = Some(Arc::clone(part));
            self.opened = source.opened.clone();
            self.opened.merge(self.notes.take());
        }
    }
}

fn unknown(root: &Root) -> Error {
    let known: Vec<String> = catalog::FORMATS
        .iter()
        .map(|f| f.id().to_string())
        .collect();
    let message = match root {
        Root::Document(document) if !document.kind.is_empty() => {
            format!(
                "a document of type {} is of no supported format",
                quote(&document.kind)
            )
        }
        Root::Document(_) => "the document is of no supported format".to_owned(),
        Root::Stream(_) => "the file is of no supported format".to_owned(),
    };
    Error::new(Code::Unsupported, message).hint(format!("supported: {}", known.join(", ")))
}
