//! One image: how to run it, its layers, and what only one format says of it.
//!
//! The rule of admission: a field stands here when at least two formats mean the same by it. What
//! one format says alone stays in [`Image::extensions`] and, verbatim, in [`Image::originals`].

use std::collections::BTreeMap;

use crate::{Blob, Compression, Digest, Document, FormatId, Name, Platform};

/// An image. Deliberately without `#[non_exhaustive]`: formats destructure it without `..`, so a
/// new field breaks every format that does not handle it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// How the source called it.
    pub name: Option<Name>,
    /// What it runs on. Empty parts are not known.
    pub platform: Platform,
    /// When it was made, RFC 3339, as the source wrote it.
    pub created: Option<String>,
    /// Who made it.
    pub author: Option<String>,
    /// How to run it.
    pub config: RunConfig,
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// How each layer came to be, base first; entries without a layer included. Empty if unknown.
    pub history: Vec<History>,
    /// Annotations by the OCI names where OCI has one.
    pub annotations: BTreeMap<String, String>,
    /// Fields that only one format has, as raw text.
    pub extensions: Extensions,
    /// The documents that this image was decoded from or, carried along by another format, once
    /// was: verbatim, so that the way back restores what has not changed.
    pub originals: Vec<Original>,
}

/// How an image is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// The command line. `None` if the image has nothing to run.
    pub exec: Option<Exec>,
    /// The user, `NAME|UID[:GROUP|GID]`. `None` if the source says nothing.
    pub user: Option<String>,
    /// The environment, in order; `NAME=VALUE`, but an entry without `=` is kept as it is.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Ports that the image listens on.
    pub ports: Vec<Port>,
    /// Paths that should be volumes.
    pub volumes: Vec<String>,
    /// Labels for whoever runs or lists the image.
    pub labels: BTreeMap<String, String>,
    /// The signal that ends the program.
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
    /// How many ports follow each other, at least 1.
    pub count: u16,
    /// The protocol in lower case, such as `tcp`.
    pub protocol: String,
}

/// One step of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When, RFC 3339.
    pub created: Option<String>,
    /// By which command.
    pub created_by: Option<String>,
    /// By whom.
    pub author: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// True if the step made no layer.
    pub empty_layer: bool,
}

impl History {
    /// The history of an image of which layer `from` and all above it were merged to one: the steps
    /// that made them stay as a record, without the mark of an earlier merge, and one more made the
    /// layer that is left. No history stays none.
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

    /// What made the layer of an image whose layers were merged.
    pub const SQUASH: &str = "imgconv squash";
}

/// (format, path of the field) -> raw text: what only that format says.
///
/// A format other than that one reports every entry as dropped.
pub type Extensions = BTreeMap<(FormatId, String), String>;

/// A document of another format that describes this image, verbatim.
#[derive(Clone, Debug)]
pub struct Original {
    /// The format that it belongs to.
    pub format: FormatId,
    /// Which of the format's documents: `manifest` or `config`.
    pub role: &'static str,
    /// The document.
    pub document: Document,
}

/// A layer: a tar, perhaps compressed.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The bytes as they are stored.
    pub blob: Blob,
    /// The claimed digest of the uncompressed tar.
    pub diff_id: Option<Digest>,
    /// The media type that the source gave it, if it gave one: opaque text.
    pub kind: Option<String>,
    /// URLs that a foreign (non-distributable) layer can be had from.
    pub urls: Vec<String>,
    /// The source descriptor's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// How a sealed layer came from the source's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The stored bytes were copied.
    Keep,
    /// The tar is the same, its compression is not.
    Recompress,
    /// The tar has other entries than before, such as a table of contents.
    Rewrite,
    /// The tar was made anew.
    Squash,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Recompress => "recompress",
            Self::Rewrite => "rewrite",
            Self::Squash => "squash",
        })
    }
}

/// A layer that stands, verified, at the destination. Nothing about it is optional.
#[derive(Clone, Debug)]
pub struct SealedLayer {
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// The number of the stored bytes.
    pub size: u64,
    /// What the stored bytes are compressed with.
    pub compression: Compression,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// How it was made.
    pub step: Step,
    /// Annotations that were made with the stored bytes and describe them, such as where a table
    /// of contents is; none for a layer that was kept, whose own stay.
    pub annotations: BTreeMap<String, String>,
}
