//! Artifacts of reversal: the record with which an image becomes the ACI again that the image was made of,
//! and the signature of that ACI (`docs/reversal.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use imgconv_format_aci::manifest_of;
use imgconv_json::{Object, Value, parse};
use imgconv_manifest::{
    descriptor, find_blob, is_index,
    media_type::{OCI_MANIFEST, REVERSAL, REVERSAL_RECORD, SIGNATURE},
};
use imgconv_model::{
    Blob, Bundle, Child, Code, Digest, Env, Error, Layer, Limits, Opaque, Open, Outcome, Reader,
    Report, Result, Root, RootEntry,
};
use imgconv_pipeline::{Budget, Tar};
use imgconv_reversal::Record;
use imgconv_stream::read_to_limit;

use super::{
    decode::Memo,
    docker_record,
    node::{ImageNode, Node},
    root::subject_of_tag,
    source::Source,
};

/// The annotation with the image ID of the ACI.
pub const IMAGE_ID: &str = "imgconv.reversal.image-id";
/// The annotation with the SHA-256 of the file that the ACI was, if it was compressed and signed: the signature is
/// of these bytes.
pub const FILE_DIGEST: &str = "imgconv.reversal.file-digest";
/// The annotation with the name of the file that the ACI was.
pub const FILE: &str = "imgconv.reversal.file";

/// An artifact of reversal.
#[derive(Clone, Debug)]
pub struct Reversal {
    /// The digest of the artifact's manifest.
    pub digest: Digest,
    /// The image that the record is about.
    pub subject: Digest,
    /// The blob of the record.
    pub record: Child,
    /// The blob of the ACI's signature.
    pub signature: Option<Child>,
    /// The image ID of the ACI.
    pub image_id: Digest,
    /// The name of the file that the ACI was.
    pub file: Option<String>,
    /// The digest of that file, if it was compressed and signed.
    pub file_digest: Option<Digest>,
}

impl Reversal {
    /// Reads an artifact; `None` if it is of another type.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if its manifest lacks what such an artifact has.
    pub fn of(opaque: &Opaque, child: &Child, limits: &Limits) -> Result<Option<Self>> {
        let Some(document) = opaque.document.as_ref().filter(|_| is_named(opaque)) else {
            return Ok(None);
        };
        let read = || -> Result<Self> {
            let value = parse(&document.bytes, limits, "document")?;
            let top = Object::new(&value, "")?;
            let blobs = top.list("layers")?.iter().enumerate();
            let blobs = blobs
                .map(|(i, blob)| Ok(descriptor(blob, format!("layers[{i}]"), limits)?.child))
                .collect::<Result<Vec<Child>>>()?;
            let annotations = top.string_map("annotations")?;
            let blob = |kind| blobs.iter().find(|blob| blob.kind == kind).cloned();
            let lacks = |what: &str| Error::new(Code::BadManifest, format!("there is no {what}"));
            let image_id = annotations
                .get(IMAGE_ID)
                .ok_or_else(|| lacks("annotation of the image ID"))?;
            Ok(Self {
                digest: child.digest,
                subject: opaque.subject.ok_or_else(|| lacks("subject"))?,
                record: blob(REVERSAL_RECORD).ok_or_else(|| lacks("blob of the record"))?,
                signature: blob(SIGNATURE),
                image_id: Digest::parse_image_id(image_id)?,
                file: annotations.get(FILE).cloned(),
                file_digest: annotations
                    .get(FILE_DIGEST)
                    .map(|text| Digest::parse(text))
                    .transpose()?,
            })
        };
        read().map(Some).map_err(|error| error.at(field(child)))
    }

    /// Opens the record.
    ///
    /// # Errors
    /// If the blob is missing or damaged, or has another image ID than the artifact.
    pub fn open(&self, bundle: &dyn Bundle, env: &Env) -> Result<Record> {
        self.opened(&find_blob(bundle, &self.record, &env.limits)?, env)
    }

    fn opened(&self, blob: &Blob, env: &Env) -> Result<Record> {
        let what = format!("record {}", self.record.digest);
        let record = Record::open(blob.open()?, &env.limits, &what)?;
        let found = record.header().image_id;
        if found != self.image_id {
            let what = format!("the image ID of the {what}");
            let (expected, found) = (self.image_id.image_id(), found.image_id());
            return Err(Error::mismatch(what, expected, found));
        }
        Ok(record)
    }

    /// Returns the tar of the ACI, made of the record and the layers of the image whenever it is opened. The end of
    /// the tar is an error unless its digest is the image ID.
    ///
    /// # Errors
    /// If the blob of the record is missing. The stream fails if the record is damaged, or belongs to another image.
    pub(crate) fn rebuilt(
        &self,
        bundle: &dyn Bundle,
        layers: &[Layer],
        env: &Env,
    ) -> Result<Rebuilt> {
        Ok(Rebuilt {
            reversal: self.clone(),
            record: find_blob(bundle, &self.record, &env.limits)?,
            layers: layers.to_vec(),
            env: env.clone(),
        })
    }

    /// Reads the record and the signature, but not the layers: an artifact that passes is whole, and may still be
    /// about another image.
    ///
    /// # Errors
    /// The first fault of the record, or the error of reading the signature.
    pub(crate) fn check(&self, bundle: &dyn Bundle, layers: &[Layer], env: &Env) -> Result<()> {
        let record = self.open(bundle, env)?;
        if let Some(copied) = &record.header().layer {
            layer_of(layers, &copied.diff_id)?;
        }
        record.check()?;
        self.signature(bundle, env).map(drop)
    }

    /// Reads the signature of the ACI, if there is one.
    ///
    /// # Errors
    /// If the blob is missing, damaged or too large.
    pub fn signature(&self, bundle: &dyn Bundle, env: &Env) -> Result<Option<Vec<u8>>> {
        let Some(signature) = &self.signature else {
            return Ok(None);
        };
        let reader = find_blob(bundle, signature, &env.limits)?.open()?;
        let limit = ("signature_file", env.limits.signature_file);
        read_to_limit(reader, limit, "the signature of the ACI").map(Some)
    }
}

/// The tar of an ACI that is made of a record and layers whenever it is opened.
pub(crate) struct Rebuilt {
    reversal: Reversal,
    record: Blob,
    layers: Vec<Layer>,
    env: Env,
}

impl fmt::Debug for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebuilt")
            .field("reversal", &self.reversal)
            .finish_non_exhaustive()
    }
}

impl Open for Rebuilt {
    fn open(&self) -> Result<Reader> {
        let record = self.reversal.opened(&self.record, &self.env)?;
        let layer: Reader = match &record.header().layer {
            None => Box::new(std::io::empty()),
            Some(copied) => {
                let layer = layer_of(&self.layers, &copied.diff_id)?;
                Box::new(Tar::open(layer, &Budget::default(), &self.env, "layer")?)
            }
        };
        record.rebuild(layer)
    }
}

/// The layer that a record is about.
fn layer_of<'l>(layers: &'l [Layer], diff_id: &Digest) -> Result<&'l Layer> {
    let own = |layer: &&Layer| layer.diff_id == Some(*diff_id);
    layers.iter().rev().find(own).ok_or_else(|| {
        let message = format!(
            "the record is about a layer with the diff ID {diff_id}, which the image does not have"
        );
        Error::new(Code::Mismatch, message)
    })
}

/// The name of an artifact in reports.
pub fn field(child: &Child) -> String {
    let kind = artifact_type(child).filter(|kind| is_type(kind));
    let kind = kind.as_deref().unwrap_or(REVERSAL);
    format!("artifact {kind} {}", child.digest)
}

/// Says whether an artifact is of the type of reversals, whatever it holds.
pub fn is_named(opaque: &Opaque) -> bool {
    opaque.what == format!("artifact {REVERSAL}")
}

/// Says whether an image was an ACI before, so that a record of reversal may be about it.
pub fn was_aci(node: &ImageNode, limits: &Limits) -> bool {
    node.aci.is_none() && manifest_of(&node.image, limits).is_ok_and(|found| found.is_some())
}

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

/// A document that can't be read: its name in reports, and the error.
pub type Unread = (String, Error);

/// Decodes the entries of a source as [`Source::decode`] does. An artifact of reversal, or a list of referrers, that can't
/// be read does not stop the others: their names and errors are returned beside.
///
/// # Errors
/// The first error of another document, or of the place itself; any error if nothing can be read.
pub fn decode_beside(source: &Source, env: &Env) -> Result<Beside> {
    let mut all = Beside::default();
    for (entry, node) in source.decode_each(env) {
        match (node, aside(entry)) {
            (Ok(node), _) => all.found.push((entry.clone(), node)),
            (Err(error), Some(field)) if !ends(&error) => all.unread.push((field, error)),
            (Err(error), _) => return Err(error),
        }
    }
    match all.found.is_empty() && !all.unread.is_empty() {
        true => Err(all.unread.remove(0).1),
        false => Ok(all),
    }
}

/// The name in reports of an entry that says that it is an artifact of reversal, or a list of referrers.
fn aside(entry: &RootEntry) -> Option<String> {
    let listed = entry.child.as_ref().filter(|child| says_reversal(child));
    listed.map(field).or_else(|| list_field(entry))
}

/// The name in reports of an entry whose tag says that it is a list of referrers (distribution-spec, "Referrers Tag
/// Schema"). Cosign's tags of single documents have a suffix.
fn list_field(entry: &RootEntry) -> Option<String> {
    let tag = entry.tag().filter(|tag| !tag.contains('.'))?;
    subject_of_tag(tag).map(|_| format!("list of referrers {tag}"))
}

/// Says whether an error is none of a document, but ends the work.
fn ends(error: &Error) -> bool {
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
    /// The other entries of the place that may be such artifacts or list some, each with the locator of the place
    /// that holds the entry, once they are known.
    others: Option<Vec<(RootEntry, String)>>,
    /// The subjects that documents name as records; `None` for documents that are no records. Each document is read
    /// once.
    claims: BTreeMap<Digest, Option<Digest>>,
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
        for other in self.candidates(listed, env)? {
            env.check_cancelled()?;
            // The type of a list that can't be read is not known in every place.
            if list_field(&other).is_some() || other.child.as_ref().is_some_and(is_index_entry) {
                if lists_about(&other, &subjects) {
                    self.in_index(&other, &subjects, env, &mut beside)?;
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
                Err(error) => self.unread(field(&child), error, &mut beside)?,
            }
        }
        Ok(beside)
    }

    /// Notes an artifact. Whatever name it has, it comes along without one, as with its image.
    fn take(&mut self, entry: &RootEntry, child: &Child, node: Arc<Node>, beside: &mut Beside) {
        if self.listed.insert(child.digest) {
            let entry = RootEntry {
                name: None,
                child: Some(child.clone()),
                ..entry.clone()
            };
            beside.found.push((entry, node));
        }
    }

    /// Notes a document that can't be read, unless the place itself can't be asked.
    fn unread(&mut self, field: String, error: Error, beside: &mut Beside) -> Result<()> {
        if ends(&error) {
            return Err(error);
        }
        if self.told.insert(field.clone()) {
            beside.unread.push((field, error));
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
        let is_said = entry.child.as_ref().is_some_and(says_reversal);
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
        let node = match self.source.decode_entry(entry, env, &mut self.memo) {
            Ok(node) => node,
            Err(error) => {
                let own = list_field(entry).or_else(|| Some(field(entry.child.as_ref()?)));
                let own = own.unwrap_or_else(|| self.source.entry_text(entry));
                return self.unread(own, error, beside);
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
                None if says_reversal(listed) => {
                    let message = "the index lists the artifact, and the place does not store it";
                    self.unread(field(listed), Error::new(Code::Missing, message), beside)?;
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// The entries that may be artifacts about an entry, or list such artifacts.
    fn candidates(&mut self, entry: &RootEntry, env: &Env) -> Result<Vec<RootEntry>> {
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
            let mut found = bundle.referrers(entry)?;
            found.retain(is_one);
            return Ok(found);
        }
        let place = |entry: &RootEntry| -> Result<String> {
            let part = bundle.part(entry)?;
            Ok(part.map_or_else(|| bundle.locator(), |(part, _)| part.locator()))
        };
        if self.others.is_none() {
            let mut found = Vec::new();
            for other in bundle.roots()?.into_iter().filter(is_one) {
                env.check_cancelled()?;
                // The fault of another place is no matter of this image.
                found.extend(place(&other).ok().map(|place| (other, place)));
            }
            self.others = Some(found);
        }
        let own = place(entry)?;
        let others = self.others.iter().flatten();
        let here = others.filter(|(_, place)| *place == own);
        Ok(here.map(|(other, _)| other.clone()).collect())
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

/// Says whether a malformed document has the type of records and the digest of one of the images in its text, so
/// that it is reported.
fn is_text_about(bytes: &[u8], subjects: &BTreeSet<Digest>) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_typed = types().any(|kind| text.contains(kind));
    is_typed && subjects.iter().any(|it| text.contains(&it.to_string()))
}

/// The types of artifacts that are records of ACIs and of old docker images.
fn types() -> impl Iterator<Item = &'static str> {
    let docker = docker_record::Kind::ALL.iter();
    [REVERSAL]
        .into_iter()
        .chain(docker.map(|kind| kind.artifact_type()))
}

/// Says whether a type of artifacts is one of records.
fn is_type(kind: &str) -> bool {
    types().any(|one| one == kind)
}

/// Says whether a descriptor has the type of records.
fn says_reversal(child: &Child) -> bool {
    artifact_type(child).is_some_and(|kind| is_type(&kind))
}

/// The type of artifacts in a descriptor.
fn artifact_type(child: &Child) -> Option<String> {
    let value: Value = serde_json::from_str(&child.raw).ok()?;
    Some(value.get("artifactType")?.as_str()?.to_owned())
}

/// Says whether a listed document may be an artifact of reversal: many programs list no type of artifacts.
fn may_be(child: &Child) -> bool {
    match artifact_type(child) {
        Some(kind) => is_type(&kind),
        None => child.kind == OCI_MANIFEST && child.platform.is_none(),
    }
}

/// Reports the documents that can't be read: the way back may be lost with them.
///
/// # Errors
/// [`Code::Mismatch`] if the user wants `exact` ACIs only, and no other record is there.
pub fn lose_unread(
    unread: &[Unread],
    is_other_there: bool,
    exact: bool,
    report: &mut Report,
) -> Result<()> {
    for (field, error) in unread {
        if exact && !is_other_there {
            let message = format!("the record of the image can't be read: {error}");
            return Err(Error::new(Code::Mismatch, message).at(field.clone()));
        }
        let why = format!("the record can't be read: {error}");
        report.lose(field.clone(), Outcome::Dropped, why);
    }
    Ok(())
}

/// Says whether a record is below a node.
pub fn is_record_in(node: &Node) -> bool {
    node.walk().any(|(node, _)| is_record(node))
}

/// Says whether a document has the type of records.
fn is_record(node: &Node) -> bool {
    matches!(node, Node::Opaque { opaque, .. } if is_named(opaque) || docker_record::kind_of(opaque).is_some())
}

/// The artifacts of reversal among nodes, each with its position among them; a malformed artifact is an
/// error of its own.
pub fn among<'n>(
    nodes: impl Iterator<Item = &'n Node>,
    limits: &Limits,
) -> Vec<(usize, &'n Child, Result<Reversal>)> {
    docker_record::artifacts(nodes, |opaque, child| Reversal::of(opaque, child, limits))
}
