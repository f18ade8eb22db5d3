//! Where documents and layers go: to a destination, or nowhere while they are only expected.

use std::{collections::BTreeMap, fmt, sync::Arc};

use imgconv_model::{
    Algorithm, Blob, Child, Document, Env, Facts, History, Image, Layer, Publication, Report,
    Result, SealedLayer,
};

use super::written::Known;
use crate::{
    outcome::ImageOutcome,
    plan::data::{PlannedArtifact, PlannedImage},
    read::node::ImageNode,
};

/// Something that becomes visible, with an outcome for each image in it.
#[derive(Debug)]
pub struct Item {
    /// The root, its name, and the name of its file.
    pub publication: Publication,
    /// What became of each image below the root.
    pub images: Vec<ImageOutcome>,
}

/// Where documents and layers go.
pub(crate) trait Output: fmt::Debug {
    /// Says whether what is stored is final: then digests are those of written bytes.
    fn is_final(&self) -> bool;

    /// Returns the layers of a planned image as they are stored, one for each step.
    ///
    /// # Errors
    /// The first layer that can't be read or written.
    fn layers(
        &self,
        planned: &PlannedImage,
        node: &ImageNode,
        env: &Env,
    ) -> Result<Vec<SealedLayer>>;

    /// Stores a document under its digest of that algorithm.
    ///
    /// # Errors
    /// If it can't be written.
    fn document(&self, document: &Document, algorithm: Algorithm) -> Result<Child>;

    /// Stores an artifact and its blobs.
    ///
    /// # Errors
    /// If a blob can't be read or written.
    fn artifact(&self, planned: &PlannedArtifact<'_>) -> Result<()>;
}

/// What is assembled of a plan.
#[derive(Debug)]
pub struct Assembled<'s> {
    /// What becomes visible.
    pub items: Vec<Item>,
    /// What is lost with documents that are not written at all, if no item could tell it.
    pub left_behind: Report,
    /// What became of each source document.
    pub(super) known: Known<'s>,
}

impl<'s> Assembled<'s> {
    /// Puts together what was assembled. Losses of documents that are not written are told with the
    /// first image, since they have no item of their own.
    pub(crate) fn new(mut items: Vec<Item>, left_behind: &Report, known: Known<'s>) -> Self {
        let mut left_behind = left_behind.clone();
        if let Some(first) = items.first_mut().and_then(|item| item.images.first_mut()) {
            first.add_report(std::mem::take(&mut left_behind));
        }
        Self {
            items,
            left_behind,
            known,
        }
    }

    /// Says why what is about `subject`, the text of a digest, is about nothing any more; `None` if
    /// the subject is there as it was, or never was there.
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

/// A layer without bytes, in the place of one that does not exist yet.
pub(crate) fn nothing() -> Layer {
    let bytes: Arc<[u8]> = Arc::from(&[][..]);
    Layer {
        blob: Blob {
            facts: Facts::default(),
            bytes: Arc::new(bytes),
        },
        diff_id: None,
        kind: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
    }
}
