//! The output of documents and layers: a destination, or nothing while they are only expected.

use std::{collections::BTreeSet, fmt, sync::Arc};

use imgconv_model::{
    Algorithm, Child, Digest, Document, Env, History, Image, Layer, Publication, Report, Result,
    SealedLayer,
};

use imgconv_reversal::Content;

use super::written::Known;
use crate::{
    outcome::ImageOutcome,
    plan::data::{Keepsake, KeptArchive, PlannedArtifact, PlannedDocker, PlannedImage},
    read::node::ImageNode,
};

/// A publication with an outcome for each image in it.
#[derive(Clone, Debug)]
pub struct Item {
    /// The root, its name, and the name of its file.
    pub publication: Publication,
    /// The result for each image below the root.
    pub images: Vec<ImageOutcome>,
}

/// The output of documents and layers.
pub(crate) trait Output: fmt::Debug {
    /// Says whether stored blobs are final, so that digests are those of written bytes.
    fn is_final(&self) -> bool;

    /// Returns the layers of a planned image as they are stored, one for each step, and the record of the
    /// ACI that they were made of, if there has to be one.
    ///
    /// # Errors
    /// The first layer that can't be read or written.
    fn layers(
        &self,
        planned: &PlannedImage,
        node: &ImageNode,
        env: &Env,
    ) -> Result<(Vec<SealedLayer>, Option<Content>)>;

    /// Stores a record of the ACI that became the image `subject`, with what else is kept of the ACI.
    /// Returns the artifact and the size of the record.
    ///
    /// # Errors
    /// If a blob can't be written.
    fn reversal(
        &self,
        record: RecordOf<'_>,
        content: Content,
        keepsake: &Keepsake,
    ) -> Result<(Child, u64)>;

    /// Stores the schema 1 manifest that became the image `subject`, with the digest by which registries serve the manifest.
    /// Returns the artifact and the size of the record; `None` as long as nothing is written.
    ///
    /// # Errors
    /// If a blob can't be written.
    fn manifest_record(
        &self,
        subject: &Child,
        manifest: (&Document, &Digest),
    ) -> Result<Option<(Child, u64)>>;

    /// Stores the record of a docker archive, and the artifacts about its images, which are given in the order of the
    /// archive. Returns the artifacts and the size of the record; nothing as long as nothing is written.
    ///
    /// # Errors
    /// If the archive can't be read, or a blob can't be written.
    fn archive_record(
        &self,
        kept: &KeptArchive,
        images: &[&ArchiveImage],
        env: &Env,
    ) -> Result<Option<(Vec<Child>, u64)>>;

    /// Restores the docker archive that images were made of. Returns its digest and size.
    ///
    /// # Errors
    /// If the record does not give back the archive, or the archive can't be written.
    fn whole(&self, exact: &PlannedDocker<'_>, env: &Env) -> Result<(Digest, u64)>;

    /// Stores a document under its digest of that algorithm.
    ///
    /// # Errors
    /// If the document can't be written.
    fn document(&self, document: &Document, algorithm: Algorithm) -> Result<Child>;

    /// Stores an artifact and its blobs.
    ///
    /// # Errors
    /// If a blob can't be read or written.
    fn artifact(&self, planned: &PlannedArtifact<'_>) -> Result<()>;
}

/// The image that a record is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordOf<'a> {
    /// The image as it was stored.
    pub(crate) subject: &'a Child,
    /// The ACI that it was.
    pub(crate) node: &'a ImageNode,
    /// The digest of the layer that holds the files of the ACI.
    pub(crate) diff_id: Digest,
}

/// An image of a docker archive that was written.
#[derive(Debug)]
pub(crate) struct ArchiveImage {
    /// The image as it was stored.
    pub(crate) subject: Child,
    /// The layers of the archive.
    pub(crate) layers: Vec<Layer>,
    /// The layers as they were stored.
    pub(crate) sealed: Vec<SealedLayer>,
}

/// The documents and outcomes that were assembled from a plan.
#[derive(Debug)]
pub struct Assembled<'s> {
    /// The publications that become visible.
    pub items: Vec<Item>,
    /// The losses of documents that are not written, if there is no item to report them with.
    pub left_behind: Report,
    /// The stored documents and layers, with their sizes, that the items rely on. The files of streams
    /// are not among them.
    pub stored: BTreeSet<(Digest, u64)>,
    /// The result for each source document.
    pub(super) known: Known<'s>,
}

impl<'s> Assembled<'s> {
    /// Collects the assembled items. Losses of documents that are not written are reported with the
    /// first image, since such documents have no item of their own.
    pub(crate) fn new(mut items: Vec<Item>, left_behind: &Report, known: Known<'s>) -> Self {
        let mut left_behind = left_behind.clone();
        if let Some(first) = items.first_mut().and_then(|item| item.images.first_mut()) {
            first.add_report(std::mem::take(&mut left_behind));
        }
        Self {
            items,
            left_behind,
            stored: BTreeSet::new(),
            known,
        }
    }

    /// Returns the reason why a document about `subject`, the text of a digest, has lost its
    /// subject; `None` if the subject is unchanged, or was never there.
    pub(crate) fn outdated(&self, subject: &str) -> Option<String> {
        self.known.outdated(subject)
    }
}

/// Replaces the layers from `from` on by one merged layer, and their history by one entry.
pub(crate) fn squash_layers(image: &mut Image, from: usize, merged: Layer) {
    image.layers.truncate(from);
    image.layers.push(merged);
    let steps = std::mem::take(&mut image.history);
    image.history = History::merged(steps, from, image.created.clone());
}

/// A layer without bytes, as a stand-in for a layer that does not exist yet.
pub(crate) fn nothing() -> Layer {
    let bytes: Arc<[u8]> = Arc::from(&[][..]);
    Layer::made(Arc::new(bytes))
}
