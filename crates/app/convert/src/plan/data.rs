//! The plan as data: all that is decided before a byte is written.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_model::{
    Bundle, Child, Digest, Document, DocumentFormat, Env, Image, Opaque, Platform, Report,
    WholeArchive,
};
use imgconv_pipeline::Plan as LayerPlan;
use imgconv_tags::Labels;

use crate::read::{
    docker_record::DockerRecord,
    node::{AciPart, ImageNode, Node},
    reversal::Reversal,
    root::SourceRoot,
};

/// The plan for every image, index and artifact of the sources.
#[derive(Debug)]
pub struct Plan<'s> {
    /// The outputs, in the order of the sources.
    pub outputs: Outputs<'s>,
    /// The losses of documents that are not written.
    pub left_behind: Report,
    /// The tags that did not become the version of an ACI: the repository, the tag and the labels
    /// that the tag stands for.
    pub tagged: Vec<(String, String, Labels)>,
}

/// The outputs of a plan.
#[derive(Debug)]
pub enum Outputs<'s> {
    /// Documents that name each other and their layers by digest.
    Documents(Vec<PlannedRoot<'s>>),
    /// Streams that hold a whole image each.
    Streams(Vec<PlannedStream<'s>>),
}

/// A root that becomes a document.
#[derive(Debug)]
pub struct PlannedRoot<'s> {
    /// The root.
    pub root: &'s SourceRoot<'s>,
    /// The root's position among the roots.
    pub position: usize,
    /// The digest, or the start of the digest, of the image that the root is about, if the root's
    /// tag or entry names it.
    pub about: Option<String>,
    /// The plan for the root and for all nodes below it.
    pub node: Arc<PlannedNode<'s>>,
}

/// A node and its plan. A node that is listed several times has one plan.
#[derive(Debug)]
pub struct PlannedNode<'s> {
    /// The node.
    pub node: Arc<Node>,
    /// The plan for the node.
    pub what: What<'s>,
}

/// The plan for a node.
#[derive(Debug)]
pub enum What<'s> {
    /// An image is written.
    Image(Box<PlannedImage>),
    /// The archive that an image was made of is written, as a whole.
    Whole(Box<PlannedWhole<'s>>),
    /// The entries of an index are written, and the index over them.
    Index(PlannedIndex<'s>),
    /// An artifact is copied.
    Artifact(Box<PlannedArtifact<'s>>),
    /// An artifact is left out: the field and the reason of the loss.
    Lost {
        /// The field of the loss.
        field: String,
        /// The reason why the destination can't hold the artifact.
        why: String,
    },
    /// An image of a platform that is not wanted is left out.
    Unwanted,
}

/// An image that becomes documents.
#[derive(Debug)]
pub struct PlannedImage {
    /// The format that is written.
    pub target: &'static dyn DocumentFormat,
    /// The image as the format gets it, with the layers of the source.
    pub image: Image,
    /// The step for each layer, with its reason.
    pub layers: LayerPlan,
    /// The platform that is assumed where the image must name one and does not.
    pub assumed: Platform,
    /// The known losses and irregularities.
    pub report: Report,
    /// The parts of the artifact beside the record, if a record is made.
    pub reversal: Option<Keepsake>,
    /// The old docker image that a record is kept of, if that is asked for.
    pub docker: Option<DockerKeepsake>,
    /// The manifest that the image was made of, if a record gives it back.
    pub restored: Option<Document>,
}

/// An image that becomes the docker archive again that it was made of.
#[derive(Debug)]
pub struct PlannedWhole<'s> {
    /// The image, which is written if no record gives back the archive.
    pub image: PlannedImage,
    /// The records, the best last; they are the same for all images of the archive.
    pub exact: Arc<[PlannedDocker<'s>]>,
    /// The warnings that belong to a restored archive.
    pub told: Report,
}

/// A record by which images may become the docker archive again that they were made of.
#[derive(Debug)]
pub struct PlannedDocker<'s> {
    /// The artifacts that hold the record, each about an image of the archive; at least one.
    pub records: Vec<DockerRecord>,
    /// The places that have the record, at least one.
    pub bundles: Vec<&'s dyn Bundle>,
    /// The images of the archive, in its order.
    pub images: Vec<&'s ImageNode>,
    /// Names that images have in the source, and not in the archive.
    pub missing: BTreeMap<Digest, String>,
}

impl PlannedDocker<'_> {
    /// The artifact about an image, or else any of them.
    pub fn record_of(&self, image: Option<Digest>) -> &DockerRecord {
        let mut own = self.records.iter();
        let own = own.find(|record| Some(record.subject) == image);
        own.unwrap_or(&self.records[0])
    }

    /// The names that the archive has for an image.
    pub fn names_of(&self, image: Option<Digest>) -> &[String] {
        let record = self.record_of(image);
        match Some(record.subject) == image {
            true => &record.names,
            false => &[],
        }
    }
}

/// A docker archive of which a record is kept.
#[derive(Debug)]
pub struct KeptArchive {
    /// The archive.
    pub whole: WholeArchive,
    /// The name of its file.
    pub file: Option<String>,
}

/// An old docker image of which a record is kept.
#[derive(Clone, Debug)]
pub enum DockerKeepsake {
    /// An image of an archive.
    Archive(Arc<KeptArchive>),
    /// A manifest of schema 1, and the digest by which registries serve it.
    Schema1(Document, Digest),
}

/// The parts of an ACI that are kept beside its tar.
#[derive(Clone, Debug, Default)]
pub struct Keepsake {
    /// The name of its file.
    pub file: Option<String>,
    /// Its detached signature.
    pub signature: Option<Vec<u8>>,
}

impl PlannedImage {
    /// Returns the environment in which the image is written: irregularities go to the image's own
    /// notes.
    pub fn env(&self, node: &ImageNode, env: &Env) -> Env {
        Env {
            notes: node.notes.clone(),
            host: self.assumed.clone(),
            ..env.clone()
        }
    }
}

/// An index and its entries.
#[derive(Debug)]
pub struct PlannedIndex<'s> {
    /// The entries in the order in which they are written: an entry about another entry comes last.
    pub entries: Vec<PlannedEntry<'s>>,
    /// The irregularities in the choice of entries.
    pub report: Report,
}

/// An entry of an index.
#[derive(Debug)]
pub struct PlannedEntry<'s> {
    /// The position in the index.
    pub position: usize,
    /// The image that the entry is about, if an annotation of the entry names one.
    pub subject: Option<EntrySubject>,
    /// The plan for the document; `None` if the document is not stored.
    pub node: Option<Arc<PlannedNode<'s>>>,
}

/// The image that an entry of an index is about.
#[derive(Clone, Debug)]
pub struct EntrySubject {
    /// The kind of the entry, for reports.
    pub what: &'static str,
    /// The text of the image's digest.
    pub digest: String,
}

/// An artifact that is copied.
#[derive(Debug)]
pub struct PlannedArtifact<'s> {
    /// The artifact.
    pub opaque: Opaque,
    /// The artifact's descriptor.
    pub child: Child,
    /// The media type of the artifact's document.
    pub kind: String,
    /// The place of the artifact's blobs.
    pub bundle: &'s dyn Bundle,
    /// The images of the docker archive that the artifact's record gives back.
    pub images: Vec<Digest>,
}

/// An image that becomes one stream.
#[derive(Debug)]
pub struct PlannedStream<'s> {
    /// The image as it was read.
    pub node: &'s ImageNode,
    /// The root that holds the image, for messages.
    pub text: &'s str,
    /// The image as the format gets it, with the layers of the source.
    pub image: Image,
    /// The known losses and irregularities.
    pub report: Report,
    /// The way in which the stream is made.
    pub step: StreamStep<'s>,
    /// The records by which the image may become the ACI again that it was made of, the best first. They are
    /// tried before `step`.
    pub exact: Vec<PlannedExact<'s>>,
}

/// A record by which an image may become the ACI again that it was made of.
#[derive(Debug)]
pub struct PlannedExact<'s> {
    /// The artifact that holds the record.
    pub reversal: Reversal,
    /// The place of the artifact's blobs.
    pub bundle: &'s dyn Bundle,
    /// The image, with the name and platform that the ACI's manifest says.
    pub image: Image,
    /// The losses and irregularities of the way back.
    pub report: Report,
}

/// The way in which a stream is made.
#[derive(Debug)]
pub enum StreamStep<'s> {
    /// The stored file is copied, or its tar compressed anew: the image ID stays.
    Keep(&'s AciPart),
    /// All layers are merged.
    Squash,
    /// Each layer becomes a stream of its own, linked by dependencies.
    Stack,
}

impl PlannedStream<'_> {
    /// Returns the environment in which the stream is made: irregularities go to the image's own
    /// notes.
    pub fn env(&self, env: &Env) -> Env {
        env.with_notes(&self.node.notes)
    }
}
