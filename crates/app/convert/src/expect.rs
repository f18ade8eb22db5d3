//! What a plan is expected to give, before anything is written: names, losses and refusals.

use std::{collections::BTreeMap, io};

use imgconv_format_aci::stack::split;
use imgconv_manifest::find_blob;
use imgconv_model::{
    Algorithm, Child, Compression, Digest, Document, Env, Error, Image, Layer, Notes, Report,
    Result, SealedLayer, Step,
};
use imgconv_pipeline::{LayerStep, Plan as LayerPlan};
use imgconv_reversal::Content;
use imgconv_stream::digest;

use crate::{
    assemble::{
        Known, documents,
        output::{ArchiveImage, Assembled, Item, Output, RecordOf, nothing, squash_layers},
        stream::{Fate, item},
    },
    choose::{
        request::Request,
        restored::{ANEW, OLDER, not_exact},
    },
    outcome::{PlannedDocument, PlannedLayer, PlannedOutcome},
    plan::data::{
        Keepsake, KeptArchive, Outputs, Plan, PlannedArtifact, PlannedDocker, PlannedExact,
        PlannedImage, PlannedStream, StreamStep,
    },
    plan::streams::encoding,
    read::{
        node::{ImageNode, shown_compression},
        reversal::holds_record,
    },
};

/// Returns the expected result of a plan. Digests of rewritten documents are not known yet.
///
/// # Errors
/// If a target can't express an image, or an option forbids what would be done.
pub fn expect<'s>(plan: &Plan<'s>, request: &Request<'_>) -> Result<Assembled<'s>> {
    match &plan.outputs {
        Outputs::Documents(roots) => {
            documents(roots, &plan.left_behind, request, &Expected { request })
        }
        Outputs::Streams(streams) => {
            let mut items = Vec::new();
            for planned in streams {
                let expected = streams_of(planned, request);
                items.extend(expected.map_err(|error| error.at(planned.text))?);
            }
            Ok(Assembled::new(items, &plan.left_behind, Known::default()))
        }
    }
}

/// Nothing is stored.
#[derive(Debug)]
struct Expected<'a> {
    request: &'a Request<'a>,
}

impl Output for Expected<'_> {
    fn is_final(&self) -> bool {
        false
    }

    fn layers(
        &self,
        planned: &PlannedImage,
        _node: &ImageNode,
        _env: &Env,
    ) -> Result<(Vec<SealedLayer>, Option<Content>)> {
        Ok((expected_layers(&planned.image, &planned.layers), None))
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

    fn whole(&self, exact: &PlannedDocker<'_>, _: &Env) -> Result<(Digest, u64)> {
        Ok((exact.records[0].original, 0))
    }

    fn document(&self, document: &Document, algorithm: Algorithm) -> Result<Child> {
        let digest = digest(algorithm, &document.bytes);
        let size = document.bytes.len() as u64;
        Ok(Child::new(&*document.kind, digest, size))
    }

    /// Reads the blobs of a record in a dry run, which is the last word.
    fn artifact(&self, planned: &PlannedArtifact<'_>) -> Result<()> {
        let env = self.request.env;
        if self.request.options.dry_run && holds_record(&planned.opaque) {
            for blob in &planned.opaque.blobs {
                let mut reader = find_blob(planned.bundle, blob, &env.limits)?.open()?;
                io::copy(&mut reader, &mut io::sink()).map_err(Error::from_io)?;
            }
        }
        Ok(())
    }
}

/// Returns the streams that an image is expected to become.
fn streams_of(planned: &PlannedStream<'_>, request: &Request<'_>) -> Result<Vec<Item>> {
    if let (Some(exact), bad) = promising(planned, request)? {
        let why = "the ACI is put together again from the image and its record";
        let fate = Fate::Expected("restore the ACI by its record".to_owned());
        let mut item = item(planned, request, &exact.image, fate, exact.report.clone());
        let from: Vec<usize> = (0..planned.node.image.layers.len()).collect();
        let id = Some(exact.reversal.image_id);
        let step = match from[..] {
            [_] => Step::Recompress,
            _ => Step::Squash,
        };
        item.images[0].planned = planned_stream(id, from, step, why, request);
        item.images[0].add_report(bad);
        return Ok(vec![item]);
    }
    let env = &planned.env(request.env);
    let mut image = planned.image.clone();
    let steps = match planned.step {
        StreamStep::Keep(aci) => {
            let mut report = planned.report.clone();
            report.merge(env.notes.snapshot());
            let (plan, step, why) = match request.options.layers.compression {
                None => {
                    let plan = "keep the file".to_owned();
                    (plan, Step::Keep, "no byte of the file changes")
                }
                Some(compression) => {
                    let plan = format!("recompress the file as {compression}");
                    (plan, Step::Recompress, "another compression was requested")
                }
            };
            let mut item = item(planned, request, &image, Fate::Expected(plan), report);
            let id = aci.image_id.get().copied();
            item.images[0].planned = planned_stream(id, vec![0], step, why, request);
            return Ok(vec![item]);
        }
        StreamStep::Squash => {
            squash_layers(&mut image, 0, nothing());
            let layers = planned.node.image.layers.len();
            vec![(image, format!("squash {layers} layers to one"))]
        }
        StreamStep::Stack => {
            let squash = request.options.layers.squash;
            if let Some(from) = squash.and_then(|squash| squash.from(image.layers.len())) {
                squash_layers(&mut image, from, nothing());
            }
            let levels = split(&image, &env.limits)?.into_iter().enumerate();
            levels
                .map(|(i, level)| (level, format!("an ACI of layer {i}")))
                .collect()
        }
    };
    let top = steps.len() - 1;
    let mut items = Vec::with_capacity(steps.len());
    for (i, (image, plan)) in steps.into_iter().enumerate() {
        // The losses of a stack are told with its top.
        let mut report = match i == top {
            true => planned.report.clone(),
            false => Report::default(),
        };
        request
            .stream_format()
            .encode(&image, None, env, &mut report)?;
        report.merge(env.notes.snapshot());
        let mut item = item(planned, request, &image, Fate::Expected(plan), report);
        let (from, why) = match planned.step {
            StreamStep::Stack => (vec![i], "each layer becomes an image of its own"),
            _ => {
                let all = 0..planned.node.image.layers.len();
                (all.collect(), "the format holds one file tree")
            }
        };
        item.images[0].planned = planned_stream(None, from, Step::Squash, why, request);
        items.push(item);
    }
    Ok(items)
}

/// The record that is expected to give the ACI back: the last one. A dry run, which is the last word, also reads the
/// record; only the run itself compares the ACI with the image.
fn promising<'p, 's>(
    planned: &'p PlannedStream<'s>,
    request: &Request<'_>,
) -> Result<(Option<&'p PlannedExact<'s>>, Report)> {
    if !request.options.dry_run {
        return Ok((planned.exact.last(), Report::default()));
    }
    let (env, mut failed, mut found) = (planned.env(request.env), Vec::new(), None);
    for exact in planned.exact.iter().rev() {
        let layers = &planned.node.image.layers;
        match exact.reversal.check(exact.bundle, layers, &env) {
            Ok(()) => {
                found = Some(exact);
                break;
            }
            Err(error) => failed.push((exact, error)),
        }
    }
    let newer = Notes::default();
    let (instead, notes) = match found {
        Some(_) => (OLDER, &newer),
        None => (ANEW, &planned.node.notes),
    };
    for (exact, error) in failed {
        not_exact(exact, error, request.options.exact, (instead, notes))?;
    }
    Ok((found, newer.take()))
}

/// Tells how the manifest and the one tar of a stream would be made. `kept` is the image ID that stays.
fn planned_stream(
    kept: Option<Digest>,
    from: Vec<usize>,
    step: Step,
    why: &str,
    request: &Request<'_>,
) -> Option<PlannedOutcome> {
    let layer = PlannedLayer {
        from,
        source: None,
        step: step.to_string(),
        compression: encoding(request).compression.to_string(),
        why: why.to_owned(),
    };
    Some(PlannedOutcome {
        documents: vec![PlannedDocument::new("manifest", kept)],
        layers: vec![layer],
    })
}

/// Sealed layers as they may become, as far as that is known before they are written.
fn expected_layers(image: &Image, plan: &LayerPlan) -> Vec<SealedLayer> {
    let nothing = Digest::new(Algorithm::Sha256, &[0; 32]);
    plan.steps
        .iter()
        .map(|step| {
            let (layer, step, compression) = match step {
                LayerStep::Keep(i) => {
                    let layer = &image.layers[*i];
                    (Some(layer), Step::Keep, kept_compression(layer))
                }
                LayerStep::Recompress(i, to) => {
                    (Some(&image.layers[*i]), Step::Recompress, to.compression)
                }
                LayerStep::Squash(_, to) => (None, Step::Squash, to.compression),
            };
            // New bytes have a new digest, so fields about the old bytes will be lost.
            let kept = layer.filter(|_| step == Step::Keep);
            let facts = kept.map(|layer| layer.blob.facts.clone());
            let facts = facts.unwrap_or_default();
            SealedLayer {
                digest: facts.digest.unwrap_or(nothing),
                size: facts.size.unwrap_or(0),
                compression,
                diff_id: layer.and_then(|layer| layer.diff_id).unwrap_or(nothing),
                step,
                annotations: BTreeMap::new(),
            }
        })
        .collect()
}

/// The compression of a kept layer: detected from its bytes; without bytes, taken from its media
/// type.
fn kept_compression(layer: &Layer) -> Compression {
    shown_compression(layer).unwrap_or_else(|| imgconv_pipeline::labelled(layer))
}
