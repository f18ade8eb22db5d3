//! Documents about images that a locator chose, in a place that lists them as entries of their own: the SBOMs,
//! signatures and other referrers of a layout. They come along with their images, as they do from a registry.
//! Records of reversal are found by [`super::search`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_json::Value;
use imgconv_manifest::{
    is_index,
    media_type::{OCI_INDEX, OCI_MANIFEST},
};
use imgconv_model::{Child, Digest, Env, Report, Result, Root, RootEntry};

use super::{
    cosign::is_about_image,
    node::Node,
    reversal::{is_record, is_type},
    root::{list_tag, reference_text, subject_of_tag},
    search::ends,
    source::Source,
};

/// The code of the warning about a document that stays behind.
const LEFT: &str = "document-left";

/// The documents that come along with chosen images.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// The documents with their entries, each once.
    pub found: Vec<(RootEntry, Arc<Node>)>,
    /// The warnings about documents that stay behind.
    pub left: Report,
}

/// A listed document about another one.
struct Document {
    entry: RootEntry,
    /// The document, if it was read as part of a list of referrers.
    node: Option<Arc<Node>>,
}

/// Finds the documents whose `subject` is one of the chosen documents, or stands below one, and the documents about
/// those in turn; each after its subject. Documents that only a tag or an annotation of cosign ties to an image stay
/// behind, with a warning. An entry that can't be read is passed over: nothing says that it is about an image.
///
/// # Errors
/// If such a document can't be read, or the place can't be asked.
pub(crate) fn about(
    source: &Source,
    chosen: &[(RootEntry, Arc<Node>)],
    env: &Env,
) -> Result<About> {
    let bundle = &*source.bundle;
    // Such a place returns referrers with their subject.
    if bundle.extras().referrers.is_some() {
        return Ok(About::default());
    }
    let known: BTreeSet<Digest> = (source.entries.iter())
        .filter_map(|entry| Some(entry.child.as_ref()?.digest))
        .collect();
    let is_other = |entry: &RootEntry| {
        let child = entry.child.as_ref();
        entry.error.is_none() && child.is_some_and(|child| !known.contains(&child.digest))
    };
    let others: Vec<RootEntry> = bundle.roots()?.into_iter().filter(is_other).collect();
    if others.is_empty() || chosen.is_empty() {
        return Ok(About::default());
    }
    let mut listed = Listed::default();
    for entry in others {
        env.check_cancelled()?;
        // The fault of another place is no matter of these images.
        let mut chosen = chosen.iter();
        if chosen.any(|(one, _)| source.are_beside(one, &entry).unwrap_or(false)) {
            listed.add(source, entry, env)?;
        }
    }
    listed.reach(source, chosen, env)
}

/// The documents of a place that are about others.
#[derive(Default)]
struct Listed {
    /// The documents by the digests of their subjects, in the order of the place.
    by_subject: BTreeMap<Digest, Vec<Document>>,
    /// The tags and annotations of documents without a `subject`, by the text of the digest in them.
    tagged: BTreeMap<String, Vec<String>>,
}

impl Listed {
    fn add(&mut self, source: &Source, entry: RootEntry, env: &Env) -> Result<()> {
        let Some(child) = entry.child.clone() else {
            return Ok(());
        };
        let said = entry.tag().and_then(subject_of_tag);
        if ![OCI_MANIFEST, OCI_INDEX].contains(&&*child.kind) {
            self.note_tag(said, &entry);
            return Ok(());
        }
        let document = match source.root(&entry, env) {
            Ok(Root::Document(document)) => document,
            Err(error) if ends(&error) => return Err(error),
            Ok(Root::Stream(_)) | Err(_) => return Ok(()),
        };
        let value: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
        let kinds = [text("/artifactType"), text("/config/mediaType")];
        if kinds.into_iter().flatten().any(is_type) {
            return Ok(());
        }
        let subject = text("/subject/digest").and_then(|text| Digest::parse(text).ok());
        match (subject, said) {
            (Some(subject), _) => {
                let document = Document { entry, node: None };
                self.by_subject.entry(subject).or_default().push(document);
            }
            (None, Some(said)) if is_index(&child.kind) => {
                if !self.add_list(source, &entry, env)? {
                    self.note_tag(Some(said), &entry);
                }
            }
            (None, said) => {
                let marked = is_about_image(&entry).then_some(());
                self.note_tag(said.or(marked.map(|()| String::new())), &entry);
            }
        }
        Ok(())
    }

    /// Adds what a list of referrers has (distribution-spec, "Referrers Tag Schema"). Returns false if the list can't be
    /// read.
    fn add_list(&mut self, source: &Source, entry: &RootEntry, env: &Env) -> Result<bool> {
        let node = match source.decode_entry(entry, env, &mut source.memo()) {
            Ok(node) => node,
            Err(error) if ends(&error) => return Err(error),
            Err(_) => return Ok(false),
        };
        let Node::Index {
            index, children, ..
        } = &*node
        else {
            return Ok(false);
        };
        for (listed, node) in index.children.iter().zip(children) {
            if let Some(node) = node.as_ref().filter(|node| !is_record(node))
                && let Some(subject) = node.subject()
            {
                let document = Document {
                    entry: RootEntry {
                        name: None,
                        child: Some(Child::clone(listed)),
                        ..entry.clone()
                    },
                    node: Some(Arc::clone(node)),
                };
                self.by_subject.entry(subject).or_default().push(document);
            }
        }
        Ok(true)
    }

    fn note_tag(&mut self, said: Option<String>, entry: &RootEntry) {
        if let Some(said) = said {
            let name = entry.name.as_ref().map(reference_text);
            let text = name.or_else(|| Some(entry.child.as_ref()?.digest.to_string()));
            self.tagged.entry(said).or_default().extend(text);
        }
    }

    /// Goes from the chosen documents to the documents about them.
    fn reach(
        mut self,
        source: &Source,
        chosen: &[(RootEntry, Arc<Node>)],
        env: &Env,
    ) -> Result<About> {
        let mut memo = source.memo();
        let nodes = chosen.iter().flat_map(|(_, node)| node.walk());
        let mut open: Vec<Digest> = nodes.flat_map(|(node, _)| node.digests()).collect();
        let mut taken = BTreeSet::new();
        let mut all = About::default();
        let mut next = 0;
        while let Some(subject) = open.get(next).copied() {
            next += 1;
            self.warn(&subject, &mut all.left);
            for Document { entry, node } in self.by_subject.remove(&subject).unwrap_or_default() {
                env.check_cancelled()?;
                let digest = entry.digest();
                let node = match node {
                    Some(node) => node,
                    None => source
                        .decode_entry(&entry, env, &mut memo)
                        .map_err(|error| error.at(source.entry_text(&entry)))?,
                };
                // An image with a subject is another image, which the locator does not mean.
                if node.images().next().is_none() && digest.is_some_and(|it| taken.insert(it)) {
                    open.extend(node.digests());
                    all.found.push((entry, node));
                }
            }
        }
        Ok(all)
    }

    /// Warns about the documents that only a tag or an annotation ties to a document.
    fn warn(&mut self, subject: &Digest, left: &mut Report) {
        let short = list_tag(subject).replacen('-', ":", 1);
        for said in [subject.to_string(), short, String::new()] {
            for text in self.tagged.remove(&said).unwrap_or_default() {
                let message = format!(
                    "{text} is about an image that is converted, or may be, and was not chosen: the image comes without \
                     it. A conversion of the whole place takes it along"
                );
                left.warn(LEFT, "index.manifests", message);
            }
        }
    }
}
