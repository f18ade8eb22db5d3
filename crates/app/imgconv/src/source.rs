//! Opening a locator: which images there are meant, and what each of them is.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use imgconv_format_aci::{ExpectedImage, Manifest, decode_stream};
use imgconv_model::{
    Algorithm, Artifact, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Format, FormatId,
    Image, Index, Limits, Notes, Opaque, Original, Outcome, Report, Result, Root, RootEntry, quote,
};
use imgconv_openpgp::{Signer, Verified};
use imgconv_pipeline::{Budget, Tar};
use imgconv_stream::{Cancellable, HashingReader};
use imgconv_transport_oci_layout::open_damaged;

use crate::{
    catalog, fetched,
    locator::{Locator, Reference},
    select::select,
};

/// An open place and the images there that are meant.
#[derive(Debug)]
pub(crate) struct Source {
    /// The place as the user named it.
    pub(crate) text: String,
    /// Where it is, without a scheme.
    pub(crate) location: String,
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
    pub(crate) format: &'static dyn Format,
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
        let decoded = decode_stream(&self.blob, what, &ExpectedImage::default(), env)?;
        for layer in &decoded.image.layers {
            let tar = Tar::open(layer, &Budget::default(), env, what)?;
            HashingReader::new(tar, &[])
                .finish()
                .map_err(Error::from_io)?;
        }
        let id = decoded.image_id.get().copied().ok_or_else(|| {
            Error::new(Code::BadManifest, "the ACI ended before it was read").at(what)
        })?;
        // Another thread can only have set the same value.
        Ok(*self.image_id.get_or_init(|| id))
    }
}

/// Reads an ACI up to its manifest.
pub(crate) fn decode_aci(
    blob: &Blob,
    what: &str,
    format: &'static dyn Format,
    env: &Env,
) -> Result<ImageNode> {
    let decoded = decode_stream(blob, what, &ExpectedImage::default(), env)?;
    let (manifest, image_id) = (Arc::new(decoded.manifest), decoded.image_id);
    let aci = Some(AciPart {
        blob: blob.clone(),
        manifest,
        image_id,
        signers: Vec::new(),
    });
    let (report, notes) = (Report::default(), env.notes.clone());
    Ok(ImageNode {
        image: decoded.image,
        format,
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

    /// The digest of the config, if the format has one.
    pub(crate) fn config_digest(&self) -> Option<String> {
        // An ACI that was once an OCI image carries that one's, which is not its own.
        let config = self.original("config")?;
        Some(imgconv_stream::digest(Algorithm::Sha256, &config.bytes).to_string())
    }
}

impl Node {
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
}

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
        let is_layout = ["oci", "oci-archive"].contains(&locator.transport.scheme());
        if !is_layout || locator.reference.is_some() || locator.location == "-" {
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
            entries: bundle.roots().ok()?,
            bundle,
            opened: notes.take(),
            notes,
            format: locator.format,
        };
        Some((source, errors))
    }

    /// Opens a place as [`Source::open`], with everything that it lists: every tag of a repository,
    /// where the locator names none.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(crate) fn open_all(locator: &Locator, env: &Env) -> Result<Self> {
        Self::open_with(locator, env, |bundle| bundle.listing())
    }

    fn open_with(
        locator: &Locator,
        env: &Env,
        list: impl FnOnce(&dyn Bundle) -> Result<Vec<RootEntry>>,
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
        let format = locator.format.or(named.then_some(FormatId("aci")));
        let mut source = Self {
            text,
            location: locator.location.clone(),
            bundle,
            entries,
            opened: notes.take(),
            notes,
            format,
        };
        if matches!(locator.reference, Some(Reference::Name(_))) {
            source.name_streams(env)?;
        }
        let entries = std::mem::take(&mut source.entries);
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

    /// Names an entry for messages and reports.
    pub(crate) fn entry_text(&self, entry: &RootEntry) -> String {
        match (&entry.name, &entry.child) {
            (Some(name), _) => format!("{}:{name}", self.text),
            (None, Some(child)) => format!("{}:@{}", self.text, child.digest),
            (None, None) => match entry.texts.first() {
                Some(text) => format!("{}:{text}", self.text),
                None if entry.error.is_some() => format!("{}:#{}", self.text, entry.position),
                None => self.text.clone(),
            },
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
        let Some((part, inner)) = self.bundle.part(entry)? else {
            return decode_in(&*self.bundle, entry, env, memo);
        };
        memo.enter(&part, self);
        decode_in(&*part, &inner, env, memo)
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
    if let Some(child) = &entry.child
        && let Some(node) = memo.nodes.get(&child.digest)
    {
        return Ok(Arc::clone(node));
    }
    let root = bundle.root(entry)?;
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
    let format = found.ok_or_else(|| match root {
        Root::Stream(blob) => damage(unknown(root), blob, env),
        Root::Document(_) => unknown(root),
    })?;
    let notes = Notes::default();
    let env = Env {
        notes: notes.clone(),
        ..env.clone()
    };
    let mut report = memo.opened.clone();
    let node = if let Root::Stream(blob) = root {
        let mut node = decode_file(bundle, blob, format, verified, &env)?;
        node.report.merge(report);
        let signed = node.aci.as_ref().is_some_and(|aci| !aci.signers.is_empty());
        let signature = format!("{}.asc", bundle.locator());
        if memo.part.is_some() && !signed && Path::new(&signature).is_file() {
            let message = "a signature stands beside the image, and is not checked";
            node.report
                .warn("signature-not-checked", signature, message);
        }
        Node::Image(Box::new(node))
    } else {
        let child = child.expect("a document has a descriptor").clone();
        let artifact = format.decode(root, bundle, &env, &mut report)?;
        report.merge(memo.notes.take());
        match artifact {
            Artifact::Image(image) => Node::Image(Box::new(ImageNode {
                image: *image,
                format,
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
    };
    let node = Arc::new(node);
    if let Some(child) = child {
        memo.nodes.insert(child.digest, Arc::clone(&node));
        if memo.nodes.len() as u64 > env.limits.graph_nodes {
            let limit = env.limits.graph_nodes;
            return Err(Limits::exceeded(
                "graph_nodes",
                limit,
                "the number of documents",
            ));
        }
    }
    Ok(node)
}

/// Decodes an ACI, and checks who signed it and whether it is the one that was asked for.
fn decode_file(
    bundle: &dyn Bundle,
    blob: &Blob,
    format: &'static dyn Format,
    verified: Option<Verified>,
    env: &Env,
) -> Result<ImageNode> {
    let mut node = decode_aci(blob, &bundle.locator(), format, env)
        .map_err(|error| damage(error, blob, env))?;
    let aci = node.aci.as_mut().expect("an ACI has its part");
    let verified = match verified {
        Some(verified) => verified,
        None => fetched::verify(bundle, blob, &aci.manifest.name, env)?,
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
        let limit = ("manifest", env.limits.manifest);
        let document = match bundle.document(&child.kind, &child.facts(), limit) {
            Ok(document) => document,
            Err(error) if error.code() == Code::Missing => {
                children.push(None);
                continue;
            }
            Err(error) => return Err(error.at(format!("index › {}", child.digest))),
        };
        let node = decode_root(
            bundle,
            &Root::Document(document),
            Some(child),
            depth + 1,
            env,
            memo,
        )
        .map_err(|error| error.at(format!("index › {}", child.digest)))?;
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
