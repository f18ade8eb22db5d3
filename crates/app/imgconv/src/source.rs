//! Opening a locator: which images there are meant, and what each of them is.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use imgconv_format_aci::{ExpectedImage, Manifest, decode_stream};
use imgconv_model::{
    Algorithm, Artifact, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Format, FormatId,
    Image, Index, Limits, Name, Notes, Opaque, Original, Outcome, Report, Result, Root, RootEntry,
    quote,
};
use imgconv_openpgp::{Signer, Verified};
use imgconv_pipeline::{Budget, Tar};
use imgconv_stream::HashingReader;

use crate::{
    catalog, fetched,
    locator::{Locator, Reference},
};

/// An open place and the images there that are meant.
#[derive(Debug)]
pub(crate) struct Source {
    /// The place as the user named it.
    pub(crate) text: String,
    /// The bytes.
    pub(crate) bundle: Box<dyn Bundle>,
    /// The entries that are meant, in the order of the place.
    pub(crate) entries: Vec<RootEntry>,
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
        let bundle = fetched::open(locator, env)?;
        let place = || bundle.locator();
        let entries = list(&*bundle).map_err(|error| error.at(place()))?;
        let entries = select(entries, locator.reference.as_ref()).map_err(|e| e.at(place()))?;
        // What has a name of appc's is an ACI.
        let named = bundle
            .fetched()
            .is_some_and(|fetched| fetched.name.is_some());
        let format = locator.format.or(named.then_some(FormatId("aci")));
        Ok(Self {
            text: bundle.locator(),
            bundle,
            entries,
            format,
        })
    }

    /// Names an entry for messages and reports.
    pub(crate) fn entry_text(&self, entry: &RootEntry) -> String {
        match (&entry.name, &entry.child) {
            (Some(name), _) => format!("{}:{name}", self.text),
            (None, Some(child)) => format!("{}:@{}", self.text, child.digest),
            (None, None) => self.text.clone(),
        }
    }

    /// Returns the size of a place that is one file, 0 if it is none.
    pub(crate) fn file_size(&self) -> u64 {
        let root = self
            .entries
            .first()
            .and_then(|entry| self.bundle.root(entry).ok());
        match root {
            Some(Root::Stream(blob)) => blob.facts.size.unwrap_or(0),
            _ => 0,
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
        let mut memo = BTreeMap::new();
        self.entries.iter().map(move |entry| {
            let node = env
                .check_cancelled()
                .and_then(|()| self.decode_entry(entry, env, &mut memo))
                .map_err(|error| error.at(self.entry_text(entry)));
            (entry, node)
        })
    }

    fn decode_entry(&self, entry: &RootEntry, env: &Env, memo: &mut Memo) -> Result<Arc<Node>> {
        let entry = &self.bundle.resolve(entry)?;
        if let Some(child) = &entry.child
            && let Some(node) = memo.get(&child.digest)
        {
            return Ok(Arc::clone(node));
        }
        let root = self.bundle.root(entry)?;
        self.decode_root(&root, entry.child.as_ref(), 0, env, memo)
    }

    fn decode_root(
        &self,
        root: &Root,
        child: Option<&Child>,
        depth: u64,
        env: &Env,
        memo: &mut Memo,
    ) -> Result<Arc<Node>> {
        // What is known by its name is verified before anything is made of it (robustness J5).
        let named = self.bundle.fetched().and_then(|it| it.name.as_deref());
        let verified = match (root, named) {
            (Root::Stream(blob), Some(name)) => Some(self.verify(blob, name, env)?),
            _ => None,
        };
        let found = catalog::recognise(root);
        if let Some(wanted) = self.format
            && found.is_none_or(|found| found.id() != wanted)
        {
            let found = found.map_or_else(|| "something else".into(), |it| it.id().to_string());
            return Err(Error::mismatch("the format", wanted, found));
        }
        let format = found.ok_or_else(|| unknown(root))?;
        let notes = Notes::default();
        let env = Env {
            notes: notes.clone(),
            ..env.clone()
        };
        let mut report = Report::default();
        let node = if let Root::Stream(blob) = root {
            Node::Image(Box::new(self.decode_stream(blob, format, verified, &env)?))
        } else {
            let child = child.expect("a document has a descriptor").clone();
            match format.decode(root, &*self.bundle, &env, &mut report)? {
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
                    let children = self.decode_children(&index, depth, &env, memo)?;
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
            memo.insert(child.digest, Arc::clone(&node));
            if memo.len() as u64 > env.limits.graph_nodes {
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
    fn decode_stream(
        &self,
        blob: &Blob,
        format: &'static dyn Format,
        verified: Option<Verified>,
        env: &Env,
    ) -> Result<ImageNode> {
        let mut node = decode_aci(blob, &self.bundle.locator(), format, env)?;
        let aci = node.aci.as_mut().expect("an ACI has its part");
        let verified = match verified {
            Some(verified) => verified,
            None => self.verify(blob, &aci.manifest.name, env)?,
        };
        if let Some(fetched) = self.bundle.fetched() {
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

    fn verify(&self, blob: &Blob, name: &str, env: &Env) -> Result<Verified> {
        fetched::verify(&*self.bundle, blob, name, env)
    }

    /// Decodes what an index lists. The depth of this recursion is bounded by `index_depth`.
    fn decode_children(
        &self,
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
            if let Some(node) = memo.get(&child.digest) {
                children.push(Some(Arc::clone(node)));
                continue;
            }
            let limit = ("manifest", env.limits.manifest);
            let document = match self.bundle.document(&child.kind, &child.facts(), limit) {
                Ok(document) => document,
                Err(error) if error.code() == Code::Missing => {
                    children.push(None);
                    continue;
                }
                Err(error) => return Err(error.at(format!("index › {}", child.digest))),
            };
            let node = self
                .decode_root(&Root::Document(document), Some(child), depth + 1, env, memo)
                .map_err(|error| error.at(format!("index › {}", child.digest)))?;
            children.push(Some(node));
        }
        Ok(children)
    }
}

type Memo = BTreeMap<Digest, Arc<Node>>;

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

/// Picks the entries that a reference means. Never the first of several.
fn select(entries: Vec<RootEntry>, reference: Option<&Reference>) -> Result<Vec<RootEntry>> {
    let Some(reference) = reference else {
        if entries.is_empty() {
            return Err(Error::new(Code::Missing, "there are no images here"));
        }
        return Ok(entries);
    };
    let matches: Vec<&RootEntry> = match reference {
        Reference::Position(n) => entries
            .iter()
            .filter(|entry| entry.position == *n)
            .collect(),
        Reference::Digest(digest) => {
            let same = |entry: &&RootEntry| {
                entry
                    .child
                    .as_ref()
                    .is_some_and(|child| child.digest == *digest)
            };
            entries.iter().filter(same).take(1).collect()
        }
        Reference::Name(text) => by_name(&entries, text),
    };
    let distinct = matches.iter().any(|entry| {
        entry.child.as_ref().map(|c| c.digest) != matches[0].child.as_ref().map(|c| c.digest)
    });
    match matches[..] {
        [] => Err(Error::new(
            Code::Missing,
            format!("no image {} here", quote(reference.to_string())),
        )
        .hint(format!(
            "there is: {}",
            list(&entries.iter().collect::<Vec<_>>())
        ))),
        _ if distinct => {
            let message = format!("{} fits several images", quote(reference.to_string()));
            Err(Error::new(Code::Ambiguous, message)
                .hint(format!("name one of: {}", list(&matches))))
        }
        _ => Ok(vec![matches[0].clone()]),
    }
}

/// Exactly as it stands there; else as a full reference; else as a tag.
fn by_name<'a>(entries: &'a [RootEntry], text: &str) -> Vec<&'a RootEntry> {
    let exact: Vec<&RootEntry> = entries
        .iter()
        .filter(|entry| entry.texts.iter().any(|known| known == text))
        .collect();
    if !exact.is_empty() {
        return exact;
    }
    if let Ok(mut wanted) = Name::parse_reference(text) {
        wanted.tag.get_or_insert_with(|| "latest".to_owned());
        let full: Vec<&RootEntry> = entries
            .iter()
            .filter(|entry| {
                entry.name.as_ref().is_some_and(|name| {
                    name.repository == wanted.repository
                        && name.tag.as_deref().unwrap_or("latest")
                            == wanted.tag.as_deref().unwrap_or("latest")
                })
            })
            .collect();
        if !full.is_empty() {
            return full;
        }
    }
    let tag = |entry: &&RootEntry| {
        entry
            .name
            .as_ref()
            .is_some_and(|name| name.tag.as_deref() == Some(text))
    };
    entries.iter().filter(tag).collect()
}

/// Lists entries for a message: at most twenty.
fn list(entries: &[&RootEntry]) -> String {
    let mut names: Vec<String> = entries
        .iter()
        .take(20)
        .map(|entry| {
            let digest = entry
                .child
                .as_ref()
                .map_or(String::new(), |c| format!(" (@{})", c.digest));
            match &entry.name {
                Some(name) => format!("{}{digest}", quote(name.to_string())),
                None => format!("#{}{digest}", entry.position),
            }
        })
        .collect();
    if entries.len() > 20 {
        names.push(format!("and {} more", entries.len() - 20));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(position: usize, text: &str, hash: u8) -> RootEntry {
        let name = Name::parse_reference(text)
            .ok()
            .filter(|_| text.contains('/'))
            .unwrap_or(Name {
                repository: None,
                tag: Some(text.into()),
            });
        RootEntry {
            position,
            name: Some(name),
            texts: vec![text.into()],
            child: Some(Child {
                kind: String::new(),
                digest: Digest::new(imgconv_model::Algorithm::Sha256, &[hash; 32]),
                size: 1,
                platform: None,
                annotations: BTreeMap::new(),
                raw: String::new(),
            }),
        }
    }

    fn positions(reference: &str, entries: &[RootEntry]) -> Result<Vec<usize>> {
        let reference = Reference::Name(reference.into());
        Ok(select(entries.to_vec(), Some(&reference))?
            .iter()
            .map(|e| e.position)
            .collect())
    }

    #[test]
    fn a_name_is_matched_exactly_then_in_full_then_by_tag() {
        let entries = [
            entry(0, "example.com/app:1.0", 1),
            entry(1, "docker.io/library/busybox:latest", 2),
            entry(2, "3.11", 3),
        ];
        assert_eq!(positions("example.com/app:1.0", &entries).unwrap(), [0]);
        assert_eq!(positions("busybox", &entries).unwrap(), [1]);
        assert_eq!(positions("1.0", &entries).unwrap(), [0]);
        assert_eq!(positions("3.11", &entries).unwrap(), [2]);
        let missing = positions("nope", &entries).unwrap_err();
        assert_eq!(missing.code(), Code::Missing);
        assert!(missing.advice().unwrap().contains("example.com/app:1.0"));
    }

    #[test]
    fn a_tag_that_fits_two_images_is_ambiguous_and_lists_both() {
        let two = [
            entry(0, "example.com/a:latest", 1),
            entry(1, "example.com/b:latest", 2),
        ];
        let error = positions("latest", &two).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        let advice = error.advice().unwrap();
        assert!(advice.contains("example.com/a:latest") && advice.contains("example.com/b:latest"));
        let same = [
            entry(0, "example.com/a:latest", 1),
            entry(1, "example.com/b:latest", 1),
        ];
        assert_eq!(
            positions("latest", &same).unwrap(),
            [0],
            "two names of one image"
        );
    }
}
