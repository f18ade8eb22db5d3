//! What a conversion did, as data: the shape of `--json` and `--report`.

use std::collections::BTreeMap;

use imgconv_model::{Digest, Loss, Report, SealedLayer};
use imgconv_tags::{ImageTags, Labels};
use serde::Serialize;

/// What a run did: one entry for each image.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// The images, in the order of the source.
    pub images: Vec<ImageOutcome>,
    /// The image tags files, by image name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_tags: Vec<TagsOutcome>,
}

/// An image tags file that was written, or would be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TagsOutcome {
    /// The image name that it is for.
    pub name: String,
    /// Where it is.
    pub destination: String,
    /// Every tag, with the labels that it means.
    pub tags: BTreeMap<String, Labels>,
}

impl Outcome {
    /// Adds what another run did.
    pub fn append(&mut self, other: Self) {
        self.images.extend(other.images);
        self.image_tags.extend(other.image_tags);
    }
}

impl TagsOutcome {
    /// Tells what a file says; tags that mean nothing are left out.
    pub fn new(name: &str, destination: String, tags: &ImageTags) -> Self {
        let all = tags.all().into_iter();
        Self {
            name: name.to_owned(),
            destination,
            tags: all
                .filter_map(|(tag, labels)| Some((tag.to_owned(), labels.ok()?.clone())))
                .collect(),
        }
    }
}

/// What became of one image.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImageOutcome {
    /// Where it came from.
    pub source: String,
    /// Where it is now; where it would be, in a dry run.
    pub destination: String,
    /// Its name there.
    pub name: Option<String>,
    /// The format that it is written in.
    pub format: String,
    /// Its platform; absent for artifacts that are no images.
    pub platform: Option<String>,
    /// The digest of its root document, or of the file.
    pub digest: Option<String>,
    /// The digest of the root document that it was made of.
    pub source_digest: Option<String>,
    /// The digest of the config that it was made of; absent if the source has none.
    pub source_config: Option<String>,
    /// The digest of its config.
    pub config: Option<String>,
    /// The image ID of an ACI: the one read, or the one written.
    pub image_id: Option<String>,
    /// Its layers, base first; none for an ACI, whose one layer has no digest of its own.
    pub layers: Vec<LayerOutcome>,
    /// What was lost.
    pub losses: Vec<LossOutcome>,
    /// What was irregular.
    pub warnings: Vec<WarningOutcome>,
    /// In a dry run, what would happen to the layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// In a dry run, what would become of each document and layer, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedOutcome>,
}

/// What would become of the documents and layers of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlannedOutcome {
    /// The documents, the root last.
    pub documents: Vec<PlannedDocument>,
    /// The resulting layers, base first.
    pub layers: Vec<PlannedLayer>,
}

/// What would become of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedDocument {
    /// The role: `config`, `manifest`, or `index`.
    pub role: String,
    /// `kept`, byte for byte, or `new`.
    pub becomes: String,
    /// The digest that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl PlannedDocument {
    /// Tells what would become of a document. `kept` is the digest that it keeps.
    pub(crate) fn new(role: &str, kept: Option<Digest>) -> Self {
        let becomes = if kept.is_some() { "kept" } else { "new" };
        Self {
            role: role.to_owned(),
            becomes: becomes.to_owned(),
            digest: kept.map(|digest| digest.to_string()),
        }
    }
}

/// What would become of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedLayer {
    /// The positions of the source's layers that it is made of, from 0.
    pub from: Vec<usize>,
    /// The digest of the source's blob, if it is made of one that has a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What is done: `keep`, `recompress` or `squash`.
    pub step: String,
    /// The compression of the result.
    pub compression: String,
    /// Why.
    pub why: String,
}

/// One layer that was written.
#[derive(Clone, Debug, Serialize)]
pub struct LayerOutcome {
    /// The digest of the uncompressed tar.
    pub diff_id: String,
    /// The digest of the stored bytes.
    pub digest: String,
    /// Their number.
    pub size: u64,
    /// Their compression.
    pub compression: String,
    /// What was done: `keep`, `recompress` or `squash`.
    pub step: String,
    /// The digest of the source's blob that it was made of, the same if it was kept; absent if it
    /// was made of several, or of what is stored without a digest.
    pub source: Option<String>,
}

/// One loss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LossOutcome {
    /// The field.
    pub field: String,
    /// `dropped`, `approximated` or `synthesised`.
    pub outcome: String,
    /// Why.
    pub why: String,
}

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WarningOutcome {
    /// The stable code.
    pub code: String,
    /// Where.
    pub at: String,
    /// What.
    pub message: String,
}

/// Tells what was lost.
pub fn losses(losses: Vec<Loss>) -> Vec<LossOutcome> {
    let tell = |loss: Loss| LossOutcome {
        field: loss.field,
        outcome: loss.outcome.to_string(),
        why: loss.why,
    };
    losses.into_iter().map(tell).collect()
}

impl LayerOutcome {
    /// Tells what became of a source's blob.
    pub(crate) fn new(layer: &SealedLayer, source: Option<Digest>) -> Self {
        Self {
            diff_id: layer.diff_id.to_string(),
            digest: layer.digest.to_string(),
            size: layer.size,
            compression: layer.compression.to_string(),
            step: layer.step.to_string(),
            source: source.map(|digest| digest.to_string()),
        }
    }
}

impl ImageOutcome {
    /// Adds the entries of a report, each once, and puts all in their one order.
    pub fn add_report(&mut self, report: Report) {
        self.losses.extend(losses(report.losses));
        self.losses.sort();
        self.losses.dedup();
        let warnings = report.warnings.into_iter().map(|warning| WarningOutcome {
            code: warning.code.to_owned(),
            at: warning.at,
            message: warning.message,
        });
        self.warnings.extend(warnings);
        self.warnings.sort();
        self.warnings.dedup();
    }

    /// Says whether nothing was lost and nothing was irregular.
    pub fn is_clean(&self) -> bool {
        self.losses.is_empty() && self.warnings.is_empty()
    }
}
