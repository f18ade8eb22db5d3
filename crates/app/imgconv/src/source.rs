//! Opening a locator: which images there are meant, and what each of them is.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use imgconv_format_aci::{ExpectedImage, Manifest, decode_stream};
use imgconv_model::{
    Algorithm, Artifact, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Format, FormatId,
    Image, Index, Limits, Name, Notes, Opaque, Original, Report, Result, Root, RootEntry, quote,
};

use crate::{
    catalog,
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
    /// What was irregular when the place was opened: told of each of its images.
    opened: Report,
    /// Takes what the place finds later.
    notes: Notes,
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
        let notes = Notes::default();
        let env = &Env {
            notes: notes.clone(),
            ..env.clone()
        };
        let bundle = locator.transport.open(&locator.location, env)?;
        let place = || bundle.locator();
        let entries = bundle.roots().map_err(|error| error.at(place()))?;
        let entries = select(entries, locator.reference.as_ref()).map_err(|e| e.at(place()))?;
        Ok(Self {
            text: bundle.locator(),
            bundle,
            entries,
            opened: notes.take(),
            notes,
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
        let format = catalog::recognise(root).ok_or_else(|| unknown(root))?;
        let notes = Notes::default();
        let env = Env {
            notes: notes.clone(),
            ..env.clone()
        };
        let mut report = self.opened.clone();
        let node = if let Root::Stream(blob) = root {
            let mut image = decode_aci(blob, &self.bundle.locator(), format, &env)?;
            image.report.merge(report);
            Node::Image(Box::new(image))
        } else {
            let child = child.expect("a document has a descriptor").clone();
            let artifact = format.decode(root, &*self.bundle, &env, &mut report)?;
            report.merge(self.notes.take());
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
