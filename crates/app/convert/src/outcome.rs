//! The result of a conversion, as data: the shape of `--json` and `--report`.

use std::collections::BTreeMap;

use imgconv_model::{Digest, FormatId, Image, Loss, Report, SealedLayer, Warning};
use imgconv_tags::{ImageTags, Labels};
use serde::Serialize;

/// The result of a run: one entry for each image.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// The images, in the order of the source.
    pub images: Vec<ImageOutcome>,
    /// The image tags files, by image name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_tags: Vec<TagsOutcome>,
}

/// An image tags file that was written, or would be.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TagsOutcome {
    /// The image name that the file is for.
    pub name: String,
    /// The path of the file.
    pub destination: String,
    /// Every tag, with the labels that the tag stands for.
    pub tags: BTreeMap<String, Labels>,
}

impl Outcome {
    /// Adds the result of another run.
    pub fn append(&mut self, other: Self) {
        self.images.extend(other.images);
        self.image_tags.extend(other.image_tags);
    }
}

impl TagsOutcome {
    /// Describes an image tags file; tags without a meaning are left out.
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

/// The result for one image.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImageOutcome {
    /// The place of the source image.
    pub source: String,
    /// The place of the written image; in a dry run, where the image would be.
    pub destination: String,
    /// The image's name at the destination.
    pub name: Option<String>,
    /// The format of the written image.
    pub format: String,
    /// The image's platform; null for artifacts that are no images.
    pub platform: Option<String>,
    /// The digest of the written manifest, or of the file.
    pub digest: Option<String>,
    /// The digest of the written index that lists the image, to which the name leads; absent for an image without an
    /// index, and in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// The digest of the source's root document.
    pub source_digest: Option<String>,
    /// The digest of the source's config; null if the source has none.
    pub source_config: Option<String>,
    /// The digest of the written config.
    pub config: Option<String>,
    /// The image ID of an ACI: the one read, or the one written.
    pub image_id: Option<String>,
    /// True if the result is the very ACI, docker archive or schema 1 manifest that the image was made of.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// The record of reversal that was written beside the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalOutcome>,
    /// The layers, base first; none for an ACI, whose one layer has no digest of its own.
    pub layers: Vec<LayerOutcome>,
    /// The losses.
    pub losses: Vec<LossOutcome>,
    /// The warnings.
    pub warnings: Vec<WarningOutcome>,
    /// For commands that change layers (`squash`, `recompress`): the layers before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeOutcome>,
    /// In a dry run, what would happen to the layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// In a dry run, what would become of each document, and of each layer with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedOutcome>,
}

/// The layers of one image before and after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeOutcome {
    /// The number of the source's layers.
    pub source_layers: usize,
    /// The bytes of the source's layers as the source stores them; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_bytes: Option<u64>,
    /// The number of the written layers.
    pub layers: usize,
    /// The bytes of the written layers; of the file, if the image is one file.
    pub bytes: u64,
}

impl ChangeOutcome {
    /// Describes the change of the layers of an image to so many layers and bytes.
    pub(crate) fn new(source: &Image, layers: usize, bytes: u64) -> Self {
        let sizes = source.layers.iter().map(|layer| layer.blob.size_to_count());
        Self {
            source_layers: source.layers.len(),
            source_bytes: sizes.sum(),
            layers,
            bytes,
        }
    }
}

/// The planned documents and layers of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedOutcome {
    /// The documents, the root last.
    pub documents: Vec<PlannedDocument>,
    /// The resulting layers, base first.
    pub layers: Vec<PlannedLayer>,
}

/// The plan for one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Describes what would become of a document. `kept` is the digest that the document keeps.
    pub(crate) fn new(role: &str, kept: Option<Digest>) -> Self {
        let becomes = if kept.is_some() { "kept" } else { "new" };
        Self {
            role: role.to_owned(),
            becomes: becomes.to_owned(),
            digest: kept.map(|digest| digest.to_string()),
        }
    }
}

/// The plan for one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedLayer {
    /// The positions of the source layers that become this layer, from 0.
    pub from: Vec<usize>,
    /// The digest of the source's blob, if the layer comes from one blob that has a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The step: `keep`, `recompress` or `squash`.
    pub step: String,
    /// The compression of the result.
    pub compression: String,
    /// The reason for the step.
    pub why: String,
}

/// One layer that was written.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LayerOutcome {
    /// The digest of the uncompressed tar.
    pub diff_id: String,
    /// The digest of the stored bytes.
    pub digest: String,
    /// The number of the stored bytes.
    pub size: u64,
    /// The compression of the stored bytes.
    pub compression: String,
    /// The step: `keep`, `recompress` or `squash`.
    pub step: String,
    /// The digest of the source's blob, equal to `digest` if the blob was kept; null if the layer
    /// was made of several blobs, or of one that is stored without a digest.
    pub source: Option<String>,
}

/// A record of reversal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReversalOutcome {
    /// The digest of the artifact that holds the record.
    pub digest: String,
    /// The bytes of the record.
    pub size: u64,
}

/// One loss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LossOutcome {
    /// The field.
    pub field: String,
    /// `dropped`, `approximated` or `synthesised`.
    pub outcome: String,
    /// The reason.
    pub why: String,
}

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WarningOutcome {
    /// The stable code.
    pub code: String,
    /// The place.
    pub at: String,
    /// The message.
    pub message: String,
}

impl From<Warning> for WarningOutcome {
    fn from(warning: Warning) -> Self {
        Self {
            code: warning.code.to_owned(),
            at: warning.at,
            message: warning.message,
        }
    }
}

/// The warning of a record that does not give back its original.
pub const BAD_RECORD: &str = "bad-record";
/// The warning of a signature that went with the file that it was of, and its message.
pub const SIGNATURE_REMOVED: (&str, &str) = (
    "signature-removed",
    "the signature was of the file that was replaced, and was removed with the file",
);

/// Converts losses to their reported form.
pub fn losses(losses: Vec<Loss>) -> Vec<LossOutcome> {
    let tell = |loss: Loss| LossOutcome {
        field: loss.field,
        outcome: loss.outcome.to_string(),
        why: loss.why,
    };
    losses.into_iter().map(tell).collect()
}

impl LayerOutcome {
    /// Describes what became of a source's blob.
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
    /// Adds the entries of a report, each once, and sorts all entries.
    pub fn add_report(&mut self, report: Report) {
        self.losses.extend(losses(report.losses));
        self.losses.sort();
        self.losses.dedup();
        let warnings = report.warnings.into_iter();
        self.warnings.extend(warnings.map(WarningOutcome::from));
        self.warnings.sort();
        self.warnings.dedup();
    }

    /// Returns the digest by which users know the image: the image ID of an ACI and of an image in a
    /// file of `docker save`, otherwise the digest of the root document.
    pub fn known_by(&self) -> Option<&String> {
        let own = if self.format == FormatId::ACI.0 {
            self.image_id.as_ref()
        } else if self.format == FormatId::DOCKER_ARCHIVE.0 {
            self.config.as_ref()
        } else {
            None
        };
        own.or(self.digest.as_ref())
    }

    /// Says whether nothing was lost and nothing was irregular.
    pub fn is_clean(&self) -> bool {
        self.losses.is_empty() && self.warnings.is_empty()
    }
}
