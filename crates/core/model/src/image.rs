//! One image: its run configuration, its layers, and the fields that only one format has.
//!
//! A field stands here when it means the same in at least two formats. The fields of one format
//! alone stay in [`Image::extensions`] and, verbatim, in [`Image::originals`].

use std::{collections::BTreeMap, sync::Arc};

use crate::{Blob, Compression, Digest, Document, Facts, FormatId, Name, Open, Platform};

/// An image. The struct has no `#[non_exhaustive]` on purpose: formats destructure it without `..`,
/// so a new field breaks every format that does not handle it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The name of the image at the source.
    pub name: Option<Name>,
    /// The platform that the image runs on. Empty parts are unknown.
    pub platform: Platform,
    /// The time of creation, RFC 3339, as the source wrote it.
    pub created: Option<String>,
    /// The author of the image.
    pub author: Option<String>,
    /// The run configuration.
    pub config: RunConfig,
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// The steps that made the layers, base first; steps without a layer included. Empty if
    /// unknown.
    pub history: Vec<History>,
    /// Annotations, under their OCI names where OCI defines a name.
    pub annotations: BTreeMap<String, String>,
    /// Fields that only one format has, as raw text.
    pub extensions: Extensions,
    /// The documents that this image was decoded from, and those that another format carried along:
    /// verbatim, so that the conversion back restores every unchanged field.
    pub originals: Vec<Original>,
}

/// The run configuration of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// The command line. `None` if the image has nothing to run.
    pub exec: Option<Exec>,
    /// The user, `NAME
    /// UID[:GROUP
    /// GID]`. `None` if the source has no user.
    pub user: Option<String>,
    /// The environment, in order; `NAME=VALUE`, but an entry without `=` is kept as it is.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Ports that the image listens on.
    pub ports: Vec<Port>,
    /// Paths that should be volumes.
    pub volumes: Vec<String>,
    /// Labels for programs that run or list the image.
    pub labels: BTreeMap<String, String>,
    /// The signal that stops the program.
    pub stop_signal: Option<String>,
}

/// A command line in two parts, as OCI and Docker have it; a format with one part joins them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    /// The part that stays when arguments are given.
    pub entrypoint: Vec<String>,
    /// The part that given arguments replace.
    pub cmd: Vec<String>,
}

/// A port, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The first port.
    pub number: u16,
    /// The number of consecutive ports, at least 1.
    pub count: u16,
    /// The protocol in lower case, such as `tcp`.
    pub protocol: String,
}

/// One step of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The time of the step, RFC 3339.
    pub created: Option<String>,
    /// The command that made the layer.
    pub created_by: Option<String>,
    /// The author of the step.
    pub author: Option<String>,
    /// A comment on the step.
    pub comment: Option<String>,
    /// True if the step made no layer.
    pub empty_layer: bool,
}

impl History {
    /// Returns the history of an image whose layers from `from` on were merged to one: the steps of
    /// these layers stay as a record, without the mark of an earlier merge, and one more step
    /// stands for the merged layer. An empty history stays empty.
    pub fn merged(mut steps: Vec<Self>, from: usize, created: Option<String>) -> Vec<Self> {
        if steps.is_empty() {
            return steps;
        }
        let mut named = (0..steps.len()).filter(|i| !steps[*i].empty_layer);
        let start = named.nth(from).unwrap_or(steps.len());
        let above = steps.split_off(start);
        let count = above.iter().filter(|step| !step.empty_layer).count();
        let mark =
            |step: &Self| !step.empty_layer && step.created_by.as_deref() == Some(Self::SQUASH);
        steps.extend(
            above
                .into_iter()
                .filter(|step| !mark(step))
                .map(|step| Self {
                    empty_layer: true,
                    ..step
                }),
        );
        let layers = if count == 1 { "layer" } else { "layers" };
        steps.push(Self {
            created,
            created_by: Some(Self::SQUASH.to_owned()),
            comment: Some(format!("merged {count} {layers} to one")),
            ..Self::default()
        });
        steps
    }

    /// The `created_by` of the step that stands for a merged layer.
    pub const SQUASH: &str = "imgconv squash";
}

/// (format, path of the field) -> raw text: the fields that only that format has.
///
/// A format other than that one reports every entry as dropped.
pub type Extensions = BTreeMap<(FormatId, String), String>;

impl Image {
    /// Returns the document of that format and role, if the image has it.
    pub fn original(&self, format: FormatId, role: &str) -> Option<&Document> {
        let mut all = self.originals.iter();
        let found = all.find(|original| original.format == format && original.role == role)?;
        Some(&found.document)
    }
}

/// A document of another format that describes this image, verbatim.
#[derive(Clone, Debug)]
pub struct Original {
    /// The format of the document.
    pub format: FormatId,
    /// The role of the document in the format: `manifest` or `config`.
    pub role: &'static str,
    /// The document.
    pub document: Document,
}

/// A layer: a tar, perhaps compressed.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The bytes as they are stored.
    pub blob: Blob,
    /// The claimed digest of the uncompressed tar, the diff ID.
    pub diff_id: Option<Digest>,
    /// The media type in the source, if there is one: opaque text.
    pub kind: Option<String>,
    /// The URLs of a foreign (non-distributable) layer.
    pub urls: Vec<String>,
    /// The source descriptor's annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    /// A layer that is made while it is read: nothing is claimed of its bytes.
    pub fn made(bytes: Arc<dyn Open>) -> Self {
        let facts = Facts::default();
        Self {
            blob: Blob { facts, bytes },
            diff_id: None,
            kind: None,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// The way a sealed layer was made from the source's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The stored bytes were copied.
    Keep,
    /// The layer was compressed again. The tar is the same, apart from changes that an option asks for: a table of
    /// contents, or later times that were clamped.
    Recompress,
    /// The tar was made from the merged layers.
    Squash,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Recompress => "recompress",
            Self::Squash => "squash",
        })
    }
}

/// A layer that is stored and verified at the destination. No field is optional, apart from the
/// annotations, which may be empty.
#[derive(Clone, Debug)]
pub struct SealedLayer {
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// The number of the stored bytes.
    pub size: u64,
    /// The compression of the stored bytes.
    pub compression: Compression,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The way the layer was made.
    pub step: Step,
    /// Annotations that were made with the stored bytes and describe them, such as the position of
    /// a table of contents; empty for a layer that was kept, whose own annotations stay.
    pub annotations: BTreeMap<String, String>,
}
