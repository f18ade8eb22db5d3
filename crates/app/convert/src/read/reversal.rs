//! Artifacts of reversal: the record with which an image becomes the ACI again that the image was made of,
//! and the signature of that ACI (`docs/reversal.md`).

use std::fmt;

use imgconv_format_aci::manifest_of;
use imgconv_json::{Object, parse};
use imgconv_manifest::{
    artifact_type, descriptor, find_blob,
    media_type::{REVERSAL, REVERSAL_RECORD, REVERSALS, SIGNATURE},
};
use imgconv_model::{
    Blob, Bundle, Child, Code, Digest, Env, Error, Layer, Limits, Opaque, Open, Reader, Result,
};
use imgconv_pipeline::{Budget, Tar};
use imgconv_reversal::Record;
use imgconv_stream::read_to_limit;

use super::{
    docker_record,
    node::{ImageNode, Node},
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

/// Says whether a type of artifacts is one of records.
pub(super) fn is_type(kind: &str) -> bool {
    REVERSALS.contains(&kind)
}

/// Says whether an artifact is of the type of any record.
pub fn holds_record(opaque: &Opaque) -> bool {
    is_named(opaque) || docker_record::kind_of(opaque).is_some()
}

/// Says whether a document has the type of records.
pub(super) fn is_record(node: &Node) -> bool {
    matches!(node, Node::Opaque { opaque, .. } if holds_record(opaque))
}

/// The artifacts of reversal among nodes, each with its position among them; a malformed artifact is an
/// error of its own.
pub fn among<'n>(
    nodes: impl Iterator<Item = &'n Node>,
    limits: &Limits,
) -> Vec<(usize, &'n Child, Result<Reversal>)> {
    docker_record::artifacts(nodes, |opaque, child| Reversal::of(opaque, child, limits))
}
