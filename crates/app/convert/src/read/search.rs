//! The search for records of reversal beside the images that a locator chose, and for records that can't be read.
//! The other documents about such images are found by [`super::about`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use imgconv_json::Value;
use imgconv_manifest::{
    artifact_type, is_index, is_listed_record,
    media_type::{OCI_MANIFEST, REVERSALS},
};
use imgconv_model::{
    Child, Code, Digest, Env, Error, Limits, Outcome, Report, Result, Root, RootEntry,
};

use super::{
    decode::Memo,
    docker_record,
    node::{ImageNode, Node},
    reversal::{field, is_record, is_type, was_aci},
    root::{SourceRoot, list_tag, subject_of_tag},
    source::Source,
};

/// The digests of the images below a node that were ACIs before, or may have been old docker images: of every
/// algorithm, since an artifact may name its subject by any of them.
fn subjects(node: &Node, limits: &Limits) -> BTreeSet<Digest> {
    let may = |image: &ImageNode| was_aci(image, limits) || docker_record::may_have_been(image);
    let is_one = |node: &&Node| node.as_image().is_some_and(may);
    let images = node.walk().map(|(node, _)| node).filter(is_one);
    images.flat_map(Node::digests).collect()
}

/// Documents that were read, and those about images that can't be read.
#[derive(Debug, Default)]
pub struct Beside {
    /// The documents with their entries, each once.
    pub found: Vec<(RootEntry, Arc<Node>)>,
    /// The documents that can't be read, and are such artifacts or may be or list some.
    pub unread: Vec<Unread>,
}

/// A document that can't be read.
#[derive(Debug)]
pub struct Unread {
    /// The name of the document in reports.
    pub field: String,
    /// The reason.
    pub error: Error,
    /// The text of the digest of the image that the document is about, or its start, which is empty if any of the images
    /// that are read may be meant; `None` if only the document says it.
    subject: Option<String>,
}

impl Unread {
    /// Describes the document again, for another image.
    pub fn again(&self) -> Self {
        Self {
            field: self.field.clone(),
            error: self.error.again(),
            subject: self.subject.clone(),
        }
    }
}

/// Decodes the entries of a source as [`Source::decode`] does. An artifact of reversal, or a list of referrers, that can't
/// be read does not stop the others: their names and errors are returned beside.
///
/// # Errors
/// The first error of another document, or of the place itself; any error if nothing can be read.
pub fn decode_beside(source: &Source, env: &Env) -> Result<Beside> {
    let mut all = Beside::default();
    // A registry lists the referrers of what was chosen, and nothing else.
    let chosen = source.bundle.extras().referrers.map(|_| String::new());
    for (entry, node) in source.decode_each(env) {
        match (node, aside(entry)) {
            (Ok(node), _) => all.found.push((entry.clone(), node)),
            // The place itself told the error of the entry, and the rest of the place can be read.
            (Err(error), Some(field)) if !ends(&error) || entry.error.is_some() => {
                let subject = entry.tag().and_then(subject_of_tag);
                let subject = subject.or_else(|| chosen.clone());
                all.unread.push(Unread {
                    field,
                    error,
                    subject,
                });
            }
            (Err(error), _) => return Err(error),
        }
    }
    match all.found.is_empty() && !all.unread.is_empty() {
        true => Err(all.unread.remove(0).error),
        false => Ok(all),
    }
}

/// Notes that documents are about the image of a place, if the place has no other.
pub fn belong_to_only_image(source: &Source, unread: &mut [Unread]) {
    if unread.is_empty() {
        return;
    }
    let roots = source.bundle.roots().unwrap_or_default();
    let listed = roots.iter().filter_map(|entry| entry.child.as_ref());
    let images: BTreeMap<Digest, &Child> = listed
        .filter(|child| !is_listed_record(child))
        .map(|child| (child.digest, child))
        .collect();
    if images.len() == 1 && !images.values().copied().any(is_index_entry) {
        for one in unread {
            one.subject.get_or_insert_default();
        }
    }
}

/// The name in reports of an entry that says that it is an artifact of reversal, or a list of referrers.
fn aside(entry: &RootEntry) -> Option<String> {
    let listed = entry.child.as_ref().filter(|child| is_listed_record(child));
    listed.map(field).or_else(|| list_field(entry))
}

/// The name in reports of an entry whose tag says that it is a list of referrers (distribution-spec, "Referrers Tag
/// Schema"). Cosign's tags of single documents have a suffix.
pub fn list_field(entry: &RootEntry) -> Option<String> {
    let tag = entry.tag().filter(|tag| !tag.contains('.'))?;
    subject_of_tag(tag).map(|_| list_named(tag))
}

fn list_named(tag: &str) -> String {
    format!("{LIST} {tag}")
}

/// Describes the list of the referrers of a document that a place does not give, though the document itself was read.
///
/// # Errors
/// The error itself, if it is none of the list but ends the work.
pub fn unread_list(subject: Option<Digest>, error: Error) -> Result<Unread> {
    if is_final(&error) {
        return Err(error);
    }
    let field = subject.map(|digest| list_named(&list_tag(&digest)));
    Ok(Unread {
        field: field.unwrap_or_default(),
        error,
        subject: subject.map(|digest| digest.to_string()),
    })
}

/// Says whether an error is not one of a server's answer about referrers, but ends the work.
fn is_final(error: &Error) -> bool {
    matches!(error.code(), Code::Cancelled | Code::Limit)
}

/// Says whether an error is none of a document, but ends the work.
pub(super) fn ends(error: &Error) -> bool {
    matches!(error.code(), Code::Cancelled | Code::Net)
}

/// The search for artifacts of reversal that the entries of a source do not have: the locator selected the image
/// alone, or the place keeps referrers apart.
pub struct Search<'s> {
    source: &'s Source,
    memo: Memo,
    /// The digests of the source's own entries, and of artifacts that were found.
    listed: BTreeSet<Digest>,
    /// The documents that were reported.
    told: BTreeSet<String>,
    /// The other entries of the place that may be such artifacts or list some, once they are known.
    others: Option<Vec<RootEntry>>,
    /// The subjects that documents name as records; `None` for documents that are no records. Each document is read
    /// once.
    claims: BTreeMap<Digest, Option<Digest>>,
    /// Whether indexes without a tag list records. Each index is read once for this.
    lists: BTreeMap<Digest, bool>,
}

impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("source", self.source)
            .finish_non_exhaustive()
    }
}

impl<'s> Search<'s> {
    /// Starts a search beside the entries of a source.
    pub fn new(source: &'s Source) -> Self {
        let entries = source.entries.iter();
        Self {
            source,
            memo: source.memo(),
            listed: entries
                .filter_map(|entry| Some(entry.child.as_ref()?.digest))
                .collect(),
            told: BTreeSet::new(),
            others: None,
            claims: BTreeMap::new(),
            lists: BTreeMap::new(),
        }
    }

    /// Finds the artifacts about the images of an entry; each is found once.
    ///
    /// # Errors
    /// If the place can't be asked.
    pub fn beside(&mut self, entry: &RootEntry, node: &Node, env: &Env) -> Result<Beside> {
        let subjects = subjects(node, &env.limits);
        let mut beside = Beside::default();
        if subjects.is_empty() {
            return Ok(beside);
        }
        let listed = self.source.listed(entry);
        if listed.position != entry.position {
            self.in_index(listed, &subjects, env, &mut beside)?;
        }
        let mut candidates = self.candidates(listed, &subjects, env, &mut beside)?;
        // A list that lost its tag is older than the one with the tag, whose records come after.
        let is_index = |other: &RootEntry| other.child.as_ref().is_some_and(is_index_entry);
        candidates.sort_by_key(|other| other.name.is_some() || !is_index(other));
        for other in candidates {
            env.check_cancelled()?;
            // The type of a list that can't be read is not known in every place.
            if list_field(&other).is_some() || is_index(&other) {
                if lists_about(&other, &subjects) {
                    self.in_index(&other, &subjects, env, &mut beside)?;
                } else if other.name.is_none() && self.lists_records(&other, env)? {
                    // The faults of an older list are not those of this image, so they are not reported.
                    let mut older = Beside::default();
                    self.in_index(&other, &subjects, env, &mut older)?;
                    beside.found.append(&mut older.found);
                }
                continue;
            }
            let Some(child) = other.child.clone() else {
                continue;
            };
            if self.listed.contains(&child.digest) {
                continue;
            }
            match self.about(&other, &subjects, env) {
                Ok(None) => {}
                Ok(Some(node)) => self.take(&other, &child, node, &mut beside),
                Err(error) => self.unread((field(&child), None), error, &mut beside)?,
            }
        }
        Ok(beside)
    }

    /// Says whether an index without a tag lists records: a list of referrers that lost its tag.
    fn lists_records(&mut self, entry: &RootEntry, env: &Env) -> Result<bool> {
        let digest = entry.child.as_ref().map(|child| child.digest);
        if let Some(known) = digest.and_then(|digest| self.lists.get(&digest)) {
            return Ok(*known);
        }
        let lists = match self.source.root(entry, env) {
            Ok(Root::Document(document)) => lists_records(&document.bytes),
            Ok(Root::Stream(_)) => false,
            Err(error) if ends(&error) => return Err(error),
            // Another document of the place is no matter of this image.
            Err(_) => false,
        };
        self.lists.extend(digest.map(|digest| (digest, lists)));
        Ok(lists)
    }

    /// Notes an artifact; one that is listed again counts as newer. Whatever name it has, it comes along without one, as
    /// with its image.
    fn take(&mut self, entry: &RootEntry, child: &Child, node: Arc<Node>, beside: &mut Beside) {
        let is_it = |(entry, _): &(RootEntry, Arc<Node>)| entry.digest() == Some(child.digest);
        if let Some(at) = beside.found.iter().position(is_it) {
            beside.found[at..].rotate_left(1);
        } else if self.listed.insert(child.digest) {
            let entry = RootEntry {
                name: None,
                child: Some(child.clone()),
                ..entry.clone()
            };
            beside.found.push((entry, node));
        }
    }

    /// Notes a document that can't be read, unless the place itself can't be asked.
    fn unread(
        &mut self,
        (field, subject): (String, Option<String>),
        error: Error,
        beside: &mut Beside,
    ) -> Result<()> {
        if ends(&error) {
            return Err(error);
        }
        if self.told.insert(field.clone()) {
            beside.unread.push(Unread {
                field,
                error,
                subject,
            });
        }
        Ok(())
    }

    /// Reads an entry, if the document is an artifact about one of the images.
    ///
    /// # Errors
    /// If the document, or the descriptor, says that it is such an artifact, and it can't be read.
    fn about(
        &mut self,
        entry: &RootEntry,
        subjects: &BTreeSet<Digest>,
        env: &Env,
    ) -> Result<Option<Arc<Node>>> {
        let known = entry
            .child
            .as_ref()
            .and_then(|child| self.claims.get(&child.digest));
        if known.is_some_and(|claim| claim.is_none_or(|subject| !subjects.contains(&subject))) {
            return Ok(None);
        }
        let is_said = entry.child.as_ref().is_some_and(is_listed_record);
        let document = match self.source.root(entry, env) {
            Ok(Root::Document(document)) => document,
            Ok(Root::Stream(_)) => return Ok(None),
            Err(error) if ends(&error) => return Err(error),
            Err(error) if is_said => return Err(error),
            // Another document of the place is no matter of this image.
            Err(_) => return Ok(None),
        };
        match (claim(&document.bytes), &entry.child) {
            (Ok(subject), child) => {
                self.claims
                    .extend(child.iter().map(|child| (child.digest, subject)));
                if subject.is_none_or(|subject| !subjects.contains(&subject)) {
                    return Ok(None);
                }
            }
            (Err(_), _) if !is_text_about(&document.bytes, subjects) => return Ok(None),
            // The document is reported as malformed.
            (Err(_), _) => {}
        }
        let node = self.source.decode_entry(entry, env, &mut self.memo)?;
        Ok(Some(node).filter(|node| is_about_any(node, subjects)))
    }

    /// Finds the artifacts that an index lists.
    fn in_index(
        &mut self,
        entry: &RootEntry,
        subjects: &BTreeSet<Digest>,
        env: &Env,
        beside: &mut Beside,
    ) -> Result<()> {
        let about = entry.tag().and_then(subject_of_tag);
        let node = match self.source.decode_entry(entry, env, &mut self.memo) {
            Ok(node) => node,
            Err(error) => {
                let own = list_field(entry).or_else(|| Some(field(entry.child.as_ref()?)));
                let own = own.unwrap_or_else(|| self.source.entry_text(entry));
                return self.unread((own, about), error, beside);
            }
        };
        let Node::Index {
            index, children, ..
        } = &*node
        else {
            return Ok(());
        };
        for (listed, child) in index.children.iter().zip(children) {
            match child {
                Some(child) if is_about_any(child, subjects) => {
                    self.take(entry, listed, Arc::clone(child), beside);
                }
                None if is_listed_record(listed) => {
                    let message = "the index lists the artifact, and the place does not store it";
                    let error = Error::new(Code::Missing, message);
                    self.unread((field(listed), about.clone()), error, beside)?;
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// The entries that may be artifacts about an entry, or list such artifacts.
    fn candidates(
        &mut self,
        entry: &RootEntry,
        subjects: &BTreeSet<Digest>,
        env: &Env,
        beside: &mut Beside,
    ) -> Result<Vec<RootEntry>> {
        let bundle = &*self.source.bundle;
        let listed = &self.listed;
        let is_one = |other: &RootEntry| {
            let known = |child: &Child| listed.contains(&child.digest);
            let may = |child| may_be(child) || is_index_entry(child);
            other.error.is_none()
                && !other.child.as_ref().is_some_and(known)
                && (other.child.as_ref().is_some_and(may) || list_field(other).is_some())
        };
        if bundle.extras().referrers.is_some() {
            let mut found = match bundle.referrers(entry) {
                Ok(found) => found,
                Err(error) => {
                    let asked = entry.child.as_ref().map(|child| child.digest);
                    let asked = asked.or_else(|| subjects.first().copied());
                    let unread = unread_list(asked, error)?;
                    if self.told.insert(unread.field.clone()) {
                        beside.unread.push(unread);
                    }
                    return Ok(Vec::new());
                }
            };
            found.retain(is_one);
            return Ok(found);
        }
        if self.others.is_none() {
            let all = bundle.roots()?.into_iter();
            let may = |other: &RootEntry| is_one(other) || bundle.is_unusable_record(other);
            self.others = Some(all.filter(may).collect());
        }
        let mut here = Vec::new();
        for other in self.others.iter().flatten() {
            env.check_cancelled()?;
            // The fault of another place is no matter of this image.
            if !self.source.are_beside(entry, other).unwrap_or(false) {
                continue;
            }
            let Some(error) = &other.error else {
                here.push(other.clone());
                continue;
            };
            let field = format!("index.manifests[{}]", other.position);
            if self.told.insert(field.clone()) {
                beside.unread.push(Unread {
                    field,
                    error: error.again(),
                    subject: None,
                });
            }
        }
        Ok(here)
    }
}

/// Says whether a document is an artifact of reversal about one of the images.
fn is_about_any(node: &Node, subjects: &BTreeSet<Digest>) -> bool {
    is_record(node)
        && node
            .subject()
            .is_some_and(|subject| subjects.contains(&subject))
}

fn is_index_entry(child: &Child) -> bool {
    is_index(&child.kind)
}

/// Says whether the tag of an index says that the index lists the referrers of one of the images
/// (distribution-spec, "Referrers Tag Schema").
fn lists_about(entry: &RootEntry, subjects: &BTreeSet<Digest>) -> bool {
    let subject = entry.tag().and_then(subject_of_tag);
    subject.is_some_and(|start| {
        let mut all = subjects.iter();
        all.any(|subject| subject.to_string().starts_with(&start))
    })
}

/// The subject of a document that is not decoded yet, if the document says that it is a record.
///
/// # Errors
/// If the document is no JSON.
fn claim(bytes: &[u8]) -> serde_json::Result<Option<Digest>> {
    let value = serde_json::from_slice::<Value>(bytes)?;
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
    let kinds = [text("/artifactType"), text("/config/mediaType")];
    let subject = text("/subject/digest").and_then(|text| Digest::parse(text).ok());
    Ok(subject.filter(|_| kinds.into_iter().flatten().any(is_type)))
}

/// Says whether an index that is not decoded yet lists records.
fn lists_records(bytes: &[u8]) -> bool {
    let value = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let listed = value.get("manifests").and_then(Value::as_array);
    let kinds = listed
        .into_iter()
        .flatten()
        .filter_map(|listed| listed.get("artifactType")?.as_str());
    kinds.into_iter().any(is_type)
}

/// Says whether a malformed document has the type of records and the digest of one of the images in its text, so
/// that it is reported.
fn is_text_about(bytes: &[u8], subjects: &BTreeSet<Digest>) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_typed = REVERSALS.iter().any(|kind| text.contains(kind));
    is_typed && subjects.iter().any(|it| text.contains(&it.to_string()))
}

/// Says whether a listed document may be an artifact of reversal: many programs list no type of artifacts.
fn may_be(child: &Child) -> bool {
    match artifact_type(child) {
        Some(kind) => is_type(&kind),
        None => child.kind == OCI_MANIFEST && child.platform.is_none(),
    }
}

/// The start of the name of a list in reports.
const LIST: &str = "list of referrers";
/// The start of the reason of the loss of a record that can't be read.
pub const UNREAD: &str = "the record can't be read";

/// Reports the documents of a place that can't be read: the way back may be lost with them.
///
/// # Errors
/// [`Code::Mismatch`] if the user wants `exact` originals only, and a document is about one of the `wanted` images, or may
/// be: its image is not known, and one of the wanted images has no record.
pub fn lose_unread(
    unread: &[Unread],
    roots: &[SourceRoot<'_>],
    wanted: &dyn Fn(&ImageNode, Option<&Child>) -> bool,
    exact: bool,
    report: &mut Report,
) -> Result<()> {
    let images = roots.iter().flat_map(|root| root.node.images());
    let images = images.filter(|(image, listed)| image.aci.is_none() && wanted(image, *listed));
    let images: BTreeSet<Vec<Digest>> = images.map(|(image, _)| image.digests()).collect();
    let nodes = roots.iter().flat_map(|root| root.node.walk());
    let records = nodes.filter(|(node, _)| is_record(node));
    let subjects: BTreeSet<Digest> = records.filter_map(|(node, _)| node.subject()).collect();
    let is_known = |image: &Vec<Digest>| image.iter().any(|digest| subjects.contains(digest));
    let lacking = !images.iter().all(is_known);
    for Unread {
        field,
        error,
        subject,
    } in unread
    {
        let is_it = |subject: &String| {
            let mut digests = images.iter().flatten();
            digests.any(|digest| digest.to_string().starts_with(subject))
        };
        if exact && subject.as_ref().map_or(lacking, is_it) {
            let message = format!("the record of the image can't be read: {error}");
            return Err(Error::new(Code::Mismatch, message).at(field.clone()));
        }
        let others = match field.starts_with(LIST) {
            true => ", nor can the signatures and other documents of the list",
            false => "",
        };
        let why = format!("{UNREAD}{others}: {error}");
        report.lose(field.clone(), Outcome::Dropped, why);
    }
    Ok(())
}
