//! Writing a plan: layers, documents and streams go to a sink. No other part of a conversion has
//! threads.

mod destination;
mod places;
mod stack;
mod streams;
mod told;
mod users;

use std::cell::RefCell;

use imgconv_manifest::find_blob;
use imgconv_model::{Algorithm, Child, Document, Env, Result, SealedLayer};
use imgconv_pipeline::{clamp, write_document};

pub use self::destination::Destination;
use crate::{
    assemble::{
        Known, documents,
        output::{Assembled, Output},
    },
    choose::request::Request,
    plan::data::{Outputs, Plan, PlannedArtifact, PlannedImage},
    read::node::{ImageNode, semantics},
};

/// Writes all outputs of a plan; nothing is visible before the sink commits.
///
/// # Errors
/// The error of the first image that can't be read or written, in the order of the plan.
pub fn write<'s>(
    plan: &Plan<'s>,
    request: &Request<'_>,
    destination: &Destination<'_>,
) -> Result<Assembled<'s>> {
    places::announce(plan, request, destination.sink)?;
    told::begin(plan, request.env);
    let known = RefCell::default();
    match &plan.outputs {
        Outputs::Documents(roots) => {
            let written = Written {
                destination,
                request,
                known,
            };
            documents(roots, &plan.left_behind, request, &written)
        }
        Outputs::Streams(planned) => {
            let writer = streams::Writer {
                destination,
                request,
            };
            let mut items = Vec::new();
            for planned in planned {
                let written = writer.stream(planned);
                items.extend(written.map_err(|error| error.at(planned.text))?);
                known.borrow_mut().done(&planned.image, request.env);
            }
            Ok(Assembled::new(items, &plan.left_behind, Known::default()))
        }
    }
}

/// Stores documents and layers at a destination.
#[derive(Debug)]
struct Written<'a> {
    destination: &'a Destination<'a>,
    request: &'a Request<'a>,
    /// The layers that progress has told.
    known: RefCell<told::Known>,
}

impl Output for Written<'_> {
    fn is_final(&self) -> bool {
        true
    }

    fn layers(
        &self,
        planned: &PlannedImage,
        node: &ImageNode,
        env: &Env,
    ) -> Result<Vec<SealedLayer>> {
        let layers = &planned.image.layers;
        let clamped;
        let layers = match self.request.options.layers.clamp_mtime {
            Some(epoch) => {
                clamped = clamp(layers, epoch, env)?;
                &clamped
            }
            None => layers,
        };
        let sealer = self.destination.sealer;
        let env = &env.for_image(&told::label(&planned.image));
        let sealed = sealer.run(layers, &planned.layers, semantics(node), env)?;
        let mut known = self.known.borrow_mut();
        known.done(&planned.image, self.request.env);
        Ok(sealed)
    }

    fn document(&self, document: &Document, algorithm: Algorithm) -> Result<Child> {
        write_document(self.destination.sink, document, algorithm)
    }

    fn artifact(&self, planned: &PlannedArtifact<'_>) -> Result<()> {
        let PlannedArtifact {
            opaque,
            child,
            kind: _,
            bundle,
        } = planned;
        // The document comes before the blobs: a blob of an unknown type is among its own blobs.
        if let Some(document) = &opaque.document {
            self.document(document, child.digest.algorithm())?;
        }
        let env = self.request.env;
        for blob in &opaque.blobs {
            if !(opaque.document.is_some() && blob.digest == child.digest) {
                let blob = find_blob(*bundle, blob, &env.limits)?;
                self.destination.sealer.copy(&blob, env)?;
            }
        }
        Ok(())
    }
}
