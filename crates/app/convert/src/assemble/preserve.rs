//! `--preserve-digests`: refuses images and indexes that would be written under another digest.

use imgconv_model::{Child, Digest, FormatId, Image, Result};
use imgconv_pipeline::{LayerStep, Plan as LayerPlan};

use crate::{choose::request::Request, options::digests_change, read::node::ImageNode};

/// An archive's entry has no digest: its config identifies the image.
const ARCHIVE: FormatId = FormatId::DOCKER_ARCHIVE;

/// Refuses an image that is, or would be, written under other digests than it was read.
/// `written` are the manifest and config as they are known; the config is known exactly
/// whenever the manifest is.
///
/// # Errors
/// [`imgconv_model::Code::Denied`] with all changes.
pub(super) fn image(
    request: &Request<'_>,
    (node, to): (&ImageNode, FormatId),
    image: &Image,
    plan: &LayerPlan,
    written: (&Child, Option<Digest>),
) -> Result<()> {
    if !request.options.preserve_digests {
        return Ok(());
    }
    let from = node.format.id();
    let mut changes = Vec::new();
    if from != to {
        changes.push(format!("the manifest and the config ({from} becomes {to})"));
    }
    for step in &plan.steps {
        match step {
            LayerStep::Keep(_) => {}
            LayerStep::Recompress(i, encoding) => {
                // A layer that is stored without a digest has no digest that could change.
                if let Some(digest) = image.layers[*i].blob.facts.digest {
                    let compression = encoding.compression;
                    changes.push(format!(
                        "layer {i} ({digest}, recompressed as {compression})"
                    ));
                }
            }
            LayerStep::Squash(0, _) => changes.push("the layers (merged to one)".to_owned()),
            LayerStep::Squash(from, _) => {
                changes.push(format!("layers {from} and above (merged to one)"));
            }
        }
    }
    // If no change is planned, the bytes that will be written are known.
    if changes.is_empty() {
        let (manifest, config) = written;
        let other_config = config != node.config_digest(&request.env.limits);
        let same = node.child.as_ref().map(|child| child.digest) == Some(manifest.digest);
        if to != ARCHIVE && !same {
            changes.push("the manifest".to_owned());
        }
        if other_config && (to == ARCHIVE || !same) {
            changes.push("the config".to_owned());
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    Err(digests_change(&changes.join(", ")))
}

/// Refuses an index that is written under another digest than the one by which it was read, or not
/// at all.
///
/// # Errors
/// [`imgconv_model::Code::Denied`].
pub(super) fn index(request: &Request<'_>, child: &Child, written: Option<&Child>) -> Result<()> {
    let what = match written {
        _ if !request.options.preserve_digests => return Ok(()),
        Some(written) if written.digest == child.digest => return Ok(()),
        Some(_) => "the index (it would list other documents)".to_owned(),
        None => format!("the index ({} has none)", request.target.id()),
    };
    Err(digests_change(&what).at(format!("index {}", child.digest)))
}
