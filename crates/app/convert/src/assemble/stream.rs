//! Assembling one stream: the ACI or tar of an image, and its report.

use imgconv_model::{Algorithm, Child, Digest, Image, Publication, Report};

use super::output::Item;
use crate::{
    choose::request::Request,
    outcome::{ChangeOutcome, ImageOutcome},
    plan::{data::PlannedStream, stream_names::file_name},
};

/// A stream that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenStream {
    /// The digest of the file.
    pub(crate) digest: Digest,
    /// The bytes of the file.
    pub(crate) size: u64,
    /// The digest of the uncompressed stream: the image ID of an ACI.
    pub(crate) image_id: Digest,
}

/// What becomes of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// The stream was written.
    Written(WrittenStream),
    /// The stream would be made as the text says.
    Expected(String),
}

/// Tells of an image that was written as a stream, or would be.
pub(crate) fn item(
    planned: &PlannedStream<'_>,
    request: &Request<'_>,
    image: &Image,
    fate: Fate,
    report: Report,
) -> Item {
    let node = planned.node;
    let facts = request.stream_format().stream_facts();
    let name = image.name.clone().unwrap_or_default();
    let config = node.config_digest(&request.env.limits);
    let mut outcome = ImageOutcome {
        name: image.name.as_ref().map(ToString::to_string),
        format: request.target.id().to_string(),
        platform: Some(image.platform.to_string()),
        source: planned.text.to_owned(),
        source_digest: node.child.as_ref().map(|child| child.digest.to_string()),
        source_config: config.map(|it| it.to_string()),
        ..ImageOutcome::default()
    };
    let mut root = Child::new("", Digest::new(Algorithm::Sha256, &[0; 32]), 0);
    root.platform = Some(image.platform.clone());
    match fate {
        Fate::Written(written) => {
            (root.digest, root.size) = (written.digest, written.size);
            outcome.digest = Some(written.digest.to_string());
            let change = || ChangeOutcome::new(&planned.image, 1, written.size);
            outcome.change = request.options.change.then(change);
            outcome.image_id = facts.describes.then(|| written.image_id.image_id());
        }
        Fate::Expected(plan) => outcome.plan = Some(plan),
    }
    outcome.add_report(report);
    let file_name = Some(file_name(image, facts.suffix));
    let publication = Publication {
        name: Some(name),
        file_name,
        ..Publication::of(root)
    };
    Item {
        publication,
        images: vec![outcome],
    }
}
