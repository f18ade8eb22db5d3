//! Artifacts of reversal: the record with which an image becomes the ACI again that the image was made of,
//! and the signature of that ACI (`docs/reversal.md`).

use std::{collections::BTreeSet, fmt, sync::Arc};

use imgconv_format_aci::manifest_of;
use imgconv_json::{Object, Value, parse};
use imgconv_manifest::{
    descriptor, find_blob,
    media_type::{OCI_MANIFEST, REVERSAL, REVERSAL_RECORD, SIGNATURE},
};
use imgconv_model::{
    Blob, Bundle, Child, Code, Digest, Env, Error, Layer, Limits, Opaque, Open, Reader, Result,
    RootEntry,
};
use imgconv_pipeline::{Budget, Tar};
use imgconv_reversal::Record;
use imgconv_stream::read_to_limit;

use super::{
    decode::Memo,
    docker_record,
    node::{ImageNode, Node},
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
                let own = |layer: &&Layer| layer.diff_id == Some(copied.diff_id);
                let layer = self.layers.iter().rev().find(own).ok_or_else(|| {
                    let message = format!(
                        "the record is about a layer with the diff ID {}, which the image does not have",
                        copied.diff_id
                    );
                    Error::new(Code::Mismatch, message)
                })?;
                Box::new(Tar::open(layer, &Budget::default(), &self.env, "layer")?)
            }
        };
        record.rebuild(layer)
    }
}

/// The name of an artifact in reports.
pub fn field(child: &Child) -> String {
    format!("artifact {REVERSAL} {}", child.digest)
}

/// Says whether an artifact is of the type of reversals, whatever it holds.
pub fn is_named(opaque: &Opaque) -> bool {
    opaque.what == format!("artifact {REVERSAL}")
}

/// Says whether an image was an ACI before, so that a record of reversal may be about it.
pub fn was_aci(node: &ImageNode, limits: &Limits) -> bool {
    node.aci.is_none() && manifest_of(&node.image, limits).is_ok_and(|found| found.is_some())
}

/// The digests of the images below a node that were ACIs before, or may have been old docker images.
fn subjects(node: &Node, limits: &Limits) -> BTreeSet<Digest> {
    let may = |image: &ImageNode| was_aci(image, limits) || docker_record::may_have_been(image);
    let images = node.images().filter(|(image, _)| may(image));
    let children = images.filter_map(|(image, _)| image.child.as_ref());
    children.map(|child| child.digest).collect()
}

/// The search for artifacts of reversal that the entries of a source do not have: the locator selected the image
/// alone, or the place keeps referrers apart.
pub struct Search<'s> {
    source: &'s Source,
    memo: Memo,
    /// The digests of the source's own entries.
    listed: BTreeSet<Digest>,
    /// The other entries of the place that may be such artifacts, once they are known.
    others: Option<Vec<RootEntry>>,
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
            others: None,
        }
    }

    /// Finds the artifacts about the images of an entry; each is found once.
    ///
    /// # Errors
    /// If the place can't be asked.
    pub fn beside(
        &mut self,
        entry: &RootEntry,
        node: &Node,
        env: &Env,
    ) -> Result<Vec<(RootEntry, Arc<Node>)>> {
        let subjects = subjects(node, &env.limits);
        if subjects.is_empty() || self.source.held_by(entry)?.is_some() {
            return Ok(Vec::new());
        }
        let any_aci = node.images().any(|(image, _)| was_aci(image, &env.limits));
        let mut found = Vec::new();
        for entry in self.candidates(entry)? {
            env.check_cancelled()?;
            // Any image may have been a docker image: only what is listed as its record is read.
            if !any_aci && !entry.child.as_ref().is_some_and(says_docker) {
                continue;
            }
            let node = match self.source.decode_entry(&entry, env, &mut self.memo) {
                Ok(node) => node,
                Err(error) if error.code() == Code::Cancelled => return Err(error),
                // Another document of the place is no matter of this image.
                Err(_) => continue,
            };
            if let (Node::Opaque { opaque, .. }, Some(child)) = (&*node, &entry.child)
                && (is_named(opaque) || docker_record::kind_of(opaque).is_some())
                && opaque.subject.is_some_and(|it| subjects.contains(&it))
                && self.listed.insert(child.digest)
            {
                found.push((entry, node));
            }
        }
        Ok(found)
    }

    /// The entries that may be artifacts about an entry.
    fn candidates(&mut self, entry: &RootEntry) -> Result<Vec<RootEntry>> {
        let bundle = &*self.source.bundle;
        let listed = &self.listed;
        let is_one = |other: &RootEntry| {
            let child = other.child.as_ref();
            other.name.is_none()
                && other.error.is_none()
                && child.is_some_and(|child| may_be(child) && !listed.contains(&child.digest))
        };
        if bundle.extras().referrers.is_some() {
            let mut found = bundle.referrers(entry)?;
            found.retain(is_one);
            return Ok(found);
        }
        if let Some(others) = &self.others {
            return Ok(others.clone());
        }
        let mut found = bundle.roots()?;
        found.retain(is_one);
        Ok(self.others.insert(found).clone())
    }
}

/// Says whether a listed document may be an artifact of reversal: many programs list no type of artifacts.
fn may_be(child: &Child) -> bool {
    match artifact_type(child).as_deref() {
        Some(kind) => kind == REVERSAL || docker_record::is_type(kind),
        None => child.kind == OCI_MANIFEST && child.platform.is_none(),
    }
}

/// Says whether a descriptor says that it is of the record of an old docker image.
fn says_docker(child: &Child) -> bool {
    artifact_type(child).is_some_and(|kind| docker_record::is_type(&kind))
}

/// The type of the artifact of a descriptor, if the descriptor says it.
fn artifact_type(child: &Child) -> Option<String> {
    let value: Value = serde_json::from_str(&child.raw).ok()?;
    value.get("artifactType")?.as_str().map(str::to_owned)
}

/// The artifacts of reversal among nodes, each with its position among them; a malformed artifact is an
/// error of its own.
pub fn among<'n>(
    nodes: impl Iterator<Item = &'n Node>,
    limits: &Limits,
) -> Vec<(usize, &'n Child, Result<Reversal>)> {
    let mut found = Vec::new();
    for (position, node) in nodes.enumerate() {
        for (node, _) in node.walk() {
            if let Node::Opaque { opaque, child } = node
                && let Some(read) = Reversal::of(opaque, child, limits).transpose()
            {
                found.push((position, child, read));
            }
        }
    }
    found
}
