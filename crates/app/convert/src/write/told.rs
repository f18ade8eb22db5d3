//! The images of a plan as progress tells them: how many there are, and the bytes of their layers.

use std::collections::BTreeSet;

use imgconv_model::{Env, Event, Image, Phase};

use crate::plan::data::{Outputs, Plan, PlannedNode, What};

/// Tells that the images of a plan are written now. A job of a larger run is told by that run.
pub(crate) fn begin(plan: &Plan<'_>, env: &Env) {
    if env.image.is_some() {
        return;
    }
    env.phase(Phase::Writing);
    let mut images = Vec::new();
    match &plan.outputs {
        Outputs::Documents(roots) => {
            let mut seen = BTreeSet::new();
            for root in roots {
                below(&root.node, &mut seen, &mut images);
            }
        }
        Outputs::Streams(streams) => images.extend(streams.iter().map(|planned| &planned.image)),
    }
    let mut known = Known::default();
    let bytes = images.iter().map(|image| known.new_bytes(image)).sum();
    env.progress.event(Event::Images {
        count: images.len() as u64,
        bytes,
    });
}

/// Collects the images at a node and below it. A node that is listed twice is written once.
fn below<'p>(
    node: &'p PlannedNode<'_>,
    seen: &mut BTreeSet<*const ()>,
    images: &mut Vec<&'p Image>,
) {
    if !seen.insert(std::ptr::from_ref(node).cast()) {
        return;
    }
    match &node.what {
        What::Image(planned) => images.push(&planned.image),
        What::Whole(planned) => images.push(&planned.image.image),
        // Indexes in indexes are bounded by a limit when they are read.
        What::Index(index) => {
            let nodes = index.entries.iter().filter_map(|entry| entry.node.as_ref());
            nodes.for_each(|node| below(node, seen, images));
        }
        What::Artifact(_) | What::Lost { .. } | What::Unwanted => {}
    }
}

/// The layers that were told.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeSet<String>);

impl Known {
    /// Returns the number of bytes of the layers that no earlier image had; `None` if the size of a layer
    /// is unknown.
    fn new_bytes(&mut self, image: &Image) -> Option<u64> {
        let mut bytes = 0_u64;
        for layer in &image.layers {
            let key = match layer.blob.facts.digest {
                Some(digest) => Some(digest.to_string()),
                None => layer.blob.bytes.identity(),
            };
            if key.is_none_or(|key| self.0.insert(key)) {
                bytes = bytes.saturating_add(layer.blob.size_to_count()?);
            }
        }
        Some(bytes)
    }

    /// Tells that an image is written.
    pub(super) fn done(&mut self, image: &Image, env: &Env) {
        if env.image.is_some() {
            return;
        }
        let bytes = self.new_bytes(image).unwrap_or(0);
        env.progress.event(Event::Image {
            name: &label(image),
            status: "done",
            bytes,
        });
    }
}

/// Names an image for people: its name and its platform.
pub(super) fn label(image: &Image) -> String {
    let name = image.name.as_ref().map(ToString::to_string);
    let platform = (!image.platform.os.is_empty()).then(|| image.platform.to_string());
    let both: Vec<String> = name.into_iter().chain(platform).collect();
    both.join(" ")
}
