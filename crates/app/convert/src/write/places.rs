//! Telling a destination which documents and blobs are going to be written, as far as that is known
//! before.

use std::{cell::RefCell, collections::BTreeMap};

use imgconv_model::{
    Algorithm, BundleSink, Child, Code, Digest, Document, Env, Error, Result, SealedLayer,
};
use imgconv_pipeline::expected;
use imgconv_reversal::Content;
use imgconv_stream::digest;

use crate::{
    assemble::{
        documents,
        output::{ArchiveImage, Output, RecordOf},
    },
    choose::request::Request,
    plan::data::{
        Keepsake, KeptArchive, Outputs, Plan, PlannedArtifact, PlannedDocker, PlannedImage, What,
    },
    read::node::ImageNode,
};

/// Announces the output of a plan to a destination that prepares places. A plan whose digests are
/// not all known before is not announced; its errors are those of writing.
pub(super) fn announce(
    plan: &Plan<'_>,
    request: &Request<'_>,
    sink: &dyn BundleSink,
) -> Result<()> {
    let (Some(places), Outputs::Documents(roots)) = (sink.extras().places, &plan.outputs) else {
        return Ok(());
    };
    // A restored archive has no places for single blobs.
    if roots
        .iter()
        .any(|root| matches!(root.node.what, What::Whole(_)))
    {
        return Ok(());
    }
    // New times are new bytes.
    if request.options.layers.clamp_mtime.is_some() {
        return Ok(());
    }
    let told = Told::default();
    if documents(roots, &plan.left_behind, request, &told).is_err() {
        return Ok(());
    }
    let documents = told.documents.into_inner();
    places.expect(&documents, &told.blobs.into_inner())
}

/// Collects what is expected; nothing is stored.
#[derive(Debug, Default)]
struct Told {
    documents: RefCell<Vec<Document>>,
    blobs: RefCell<BTreeMap<Digest, Option<u64>>>,
}

impl Output for Told {
    fn is_final(&self) -> bool {
        false
    }

    fn layers(
        &self,
        planned: &PlannedImage,
        _node: &ImageNode,
        env: &Env,
    ) -> Result<(Vec<SealedLayer>, Option<Content>)> {
        let layers = expected(&planned.image.layers, &planned.layers, env);
        let layers = layers.ok_or_else(|| {
            let message = "the digests of the layers are not known yet";
            Error::new(Code::Unsupported, message)
        })?;
        let sizes = layers.iter().map(|(layer, size)| (layer.digest, *size));
        self.blobs.borrow_mut().extend(sizes);
        Ok((layers.into_iter().map(|(layer, _)| layer).collect(), None))
    }

    fn reversal(&self, _: RecordOf<'_>, _: Content, _: &Keepsake) -> Result<(Child, u64)> {
        unreachable!("only layers that are written give a record")
    }

    fn manifest_record(&self, _: &Child, _: (&Document, &Digest)) -> Result<Option<(Child, u64)>> {
        Ok(None)
    }

    fn archive_record(
        &self,
        _: &KeptArchive,
        _: &[&ArchiveImage],
        _: &Env,
    ) -> Result<Option<(Vec<Child>, u64)>> {
        Ok(None)
    }

    fn whole(&self, _: &PlannedDocker<'_>, _: &Env) -> Result<(Digest, u64)> {
        let message = "the archive is restored as a whole";
        Err(Error::new(Code::Unsupported, message))
    }

    fn document(&self, document: &Document, algorithm: Algorithm) -> Result<Child> {
        let digest = digest(algorithm, &document.bytes);
        let size = document.bytes.len() as u64;
        self.blobs.borrow_mut().insert(digest, Some(size));
        self.documents.borrow_mut().push(document.clone());
        Ok(Child::new(&*document.kind, digest, size))
    }

    fn artifact(&self, _planned: &PlannedArtifact<'_>) -> Result<()> {
        Ok(())
    }
}
