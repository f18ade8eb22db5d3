//! Writing a plan: layers, documents and streams go to a sink. No other part of a conversion has
//! threads.

mod destination;
mod docker_record;
mod places;
mod reversal;
mod stack;
mod streams;
mod told;
mod users;

use std::{cell::RefCell, collections::BTreeSet};

use imgconv_manifest::find_blob;
use imgconv_model::{Algorithm, Child, Digest, Document, Env, Error, Layer, Result, SealedLayer};
use imgconv_pipeline::write_document;
use imgconv_reversal::Content;

pub use self::destination::Destination;
use crate::{
    assemble::{
        Known, documents,
        output::{ArchiveImage, Assembled, Output, RecordOf},
    },
    choose::request::Request,
    plan::data::{
        Keepsake, KeptArchive, Outputs, Plan, PlannedArtifact, PlannedDocker, PlannedImage,
    },
    read::{
        node::{ImageNode, semantics},
        reversal::holds_record,
    },
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
                stored: RefCell::default(),
                known,
            };
            let mut assembled = documents(roots, &plan.left_behind, request, &written)?;
            assembled.stored = written.stored.into_inner();
            Ok(assembled)
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
    stored: RefCell<BTreeSet<(Digest, u64)>>,
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
    ) -> Result<(Vec<SealedLayer>, Option<Content>)> {
        let layers = &self.request.clamped(&planned.image.layers, env)?;
        let sealer = self.destination.sealer;
        let env = &env.for_image(&told::label(&planned.image));
        let run = |layers: &[Layer]| {
            let sealed = sealer.run(layers, &planned.layers, semantics(node), env)?;
            let blobs = sealed.iter().map(|layer| (layer.digest, layer.size));
            self.stored.borrow_mut().extend(blobs);
            self.known
                .borrow_mut()
                .done(&planned.image, self.request.env);
            Ok::<_, Error>(sealed)
        };
        let aci = node.aci.as_ref().filter(|_| planned.reversal.is_some());
        let Some(aci) = aci else {
            return Ok((run(layers)?, None));
        };
        let recording = reversal::Recording::new(aci, layers, env);
        let sealed = run(recording.layers())?;
        Ok((sealed, Some(recording.content(aci, env)?)))
    }

    fn reversal(
        &self,
        record: RecordOf<'_>,
        content: Content,
        keepsake: &Keepsake,
    ) -> Result<(Child, u64)> {
        let (sink, env) = (self.destination.sink, self.request.env);
        let stored = reversal::store(sink, record, content, keepsake, env)?;
        self.stored.borrow_mut().extend(stored.blobs);
        Ok((stored.artifact, stored.size))
    }

    fn manifest_record(
        &self,
        subject: &Child,
        manifest: (&Document, &Digest),
    ) -> Result<Option<(Child, u64)>> {
        let (sink, env) = (self.destination.sink, self.request.env);
        let stored = docker_record::store_manifest(sink, subject, manifest, env)?;
        self.stored.borrow_mut().extend(stored.blobs);
        Ok(Some((stored.artifact, stored.size)))
    }

    fn archive_record(
        &self,
        kept: &KeptArchive,
        images: &[&ArchiveImage],
        env: &Env,
    ) -> Result<Option<(Vec<Child>, u64)>> {
        let stored = docker_record::store_archive(self.destination.sink, kept, images, env)?;
        let size = stored.first().map_or(0, |stored| stored.size);
        let (mut artifacts, mut blobs) = (Vec::new(), self.stored.borrow_mut());
        for stored in stored {
            blobs.extend(stored.blobs);
            artifacts.push(stored.artifact);
        }
        Ok(Some((artifacts, size)))
    }

    fn whole(&self, exact: &PlannedDocker<'_>, env: &Env) -> Result<(Digest, u64)> {
        let (sink, request) = (self.destination.sink, self.request);
        let restored = docker_record::restore(sink, exact, env)?;
        self.stored.borrow_mut().insert(restored);
        for node in &exact.images {
            self.known.borrow_mut().done(&node.image, request.env);
        }
        Ok(restored)
    }

    fn document(&self, document: &Document, algorithm: Algorithm) -> Result<Child> {
        let stored = write_document(self.destination.sink, document, algorithm)?;
        self.stored
            .borrow_mut()
            .insert((stored.digest, stored.size));
        Ok(stored)
    }

    fn artifact(&self, planned: &PlannedArtifact<'_>) -> Result<()> {
        let PlannedArtifact {
            opaque,
            child,
            kind: _,
            bundle,
            images: _,
        } = planned;
        // A record that is not whole is left out, with its document.
        let is_record = holds_record(opaque);
        let document = opaque.document.as_ref();
        let write = |document| self.document(document, child.digest.algorithm());
        // The document comes before the blobs: a blob of an unknown type is among its own blobs.
        document.filter(|_| !is_record).map(write).transpose()?;
        let env = self.request.env;
        for blob in &opaque.blobs {
            if !(opaque.document.is_some() && blob.digest == child.digest) {
                let found = find_blob(*bundle, blob, &env.limits)?;
                let size = self.destination.sealer.copy(&found, env)?;
                self.stored.borrow_mut().insert((blob.digest, size));
            }
        }
        document.filter(|_| is_record).map(write).transpose()?;
        Ok(())
    }
}
