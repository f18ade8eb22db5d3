//! Writing images as single streams, such as ACIs.

use imgconv_model::{
    Algorithm, Blob, Compression, Counted, Digest, Env, Error, Image, Notes, Open,
    Outcome as LossKind, Reader, Report, Result, Work,
};
use imgconv_pipeline::squash;
use imgconv_stream::{Decoder, Encoding, Level, encode as compress};

use super::{Destination, stack, told, users::group_of_user};
use crate::{
    assemble::{
        output::{Item, squash_layers},
        stream::{Fate, WrittenStream, item},
    },
    choose::{
        request::Request,
        restored::{ANEW, OLDER, check_restored, not_exact},
    },
    plan::{
        data::{PlannedExact, PlannedStream, StreamStep},
        streams::encoding,
    },
    read::node::{AciPart, semantics},
};

/// The end that the name of a signature has after the name of the signed file.
const SIGNATURE_SUFFIX: &str = ".asc";

/// Writes streams to a destination.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) destination: &'a Destination<'a>,
    pub(super) request: &'a Request<'a>,
}

impl Writer<'_> {
    /// Writes what a planned image becomes.
    pub(super) fn stream(&self, planned: &PlannedStream<'_>) -> Result<Vec<Item>> {
        let env = &planned
            .env(self.request.env)
            .for_image(&told::label(&planned.image));
        // The last record of a list is the newest. An older one is used if the newest is damaged, which is told.
        let (only, mut failed) = (self.request.options.exact, Vec::new());
        for exact in planned.exact.iter().rev() {
            let mut item = match self.exact(planned, exact, env) {
                Ok(item) => item,
                Err(error) => {
                    failed.push((exact, error));
                    continue;
                }
            };
            let notes = Notes::default();
            for (newer, error) in failed {
                not_exact(newer, error, only, (OLDER, &notes))?;
            }
            item.images[0].add_report(notes.take());
            return Ok(vec![item]);
        }
        for (exact, error) in failed {
            not_exact(exact, error, only, (ANEW, &planned.node.notes))?;
        }
        match planned.step {
            StreamStep::Keep(aci) => Ok(vec![self.kept(planned, aci, env)?]),
            StreamStep::Squash => Ok(vec![self.squashed(planned, env)?]),
            StreamStep::Stack => {
                let mut image = planned.image.clone();
                image.layers = self.request.clamped(&image.layers, env)?;
                let squash = self.request.options.layers.squash;
                let from = squash.and_then(|squash| squash.from(image.layers.len()));
                let semantics = semantics(planned.node);
                let told = (&planned.report, env);
                stack::write(image, from, semantics, told, &mut |level, group, report| {
                    self.one(planned, level, group, report, env)
                })
            }
        }
    }

    /// Writes one image with all its layers merged.
    fn squashed(&self, planned: &PlannedStream<'_>, env: &Env) -> Result<Item> {
        let (mut image, mut report) = (planned.image.clone(), planned.report.clone());
        let layers = self.request.clamped(&image.layers, env)?;
        let merged = squash(&layers, semantics(planned.node), env)?;
        let group = match self.request.stream_format().stream_facts().describes {
            true => group_of_user(&image, &merged, env, &mut report)?,
            false => None,
        };
        squash_layers(&mut image, 0, merged.into_layer());
        let (item, _) = self.one(planned, &image, group, report, env)?;
        Ok(item)
    }

    /// Writes one image of one layer. `group` is that of a user that the image names without one.
    fn one(
        &self,
        planned: &PlannedStream<'_>,
        image: &Image,
        group: Option<u32>,
        mut report: Report,
        env: &Env,
    ) -> Result<(Item, WrittenStream)> {
        let format = self.request.stream_format();
        let open = format.encode(image, group, env, &mut report)?;
        let encoding = encoding(self.request);
        let written = self.compress_to_sink(&*open, &encoding, image, None, env)?;
        report.merge(env.notes.snapshot());
        let fate = Fate::Written(written);
        Ok((item(planned, self.request, image, fate, report), written))
    }

    /// Writes an ACI as it is stored, or its tar in another compression: its image ID stays.
    fn kept(&self, planned: &PlannedStream<'_>, aci: &AciPart, env: &Env) -> Result<Item> {
        let image = &planned.image;
        let name = image.name.clone().unwrap_or_default().to_string();
        // The whole ACI is checked, as if it were a new ACI.
        let id = aci.read_to_end(&name, env)?;
        let layers = &self.request.options.layers;
        let written = match layers.compression {
            None => {
                let encoding = Encoding {
                    compression: Compression::None,
                    level: Level::default(),
                };
                let stored = aci.blob.bytes.as_ref();
                let copied = self.compress_to_sink(stored, &encoding, image, None, env)?;
                WrittenStream {
                    image_id: id,
                    ..copied
                }
            }
            Some(_) => {
                let tar = Unpacked {
                    blob: aci.blob.clone(),
                    env: env.clone(),
                };
                self.compress_to_sink(&tar, &encoding(self.request), image, None, env)?
            }
        };
        if written.image_id != id {
            let (expected, found) = (id.image_id(), written.image_id.image_id());
            return Err(Error::mismatch("the image ID", expected, found));
        }
        let mut report = planned.report.clone();
        report.merge(env.notes.snapshot());
        let fate = Fate::Written(written);
        Ok(item(planned, self.request, image, fate, report))
    }

    /// Writes the ACI that the image was made of, and its signature beside it.
    fn exact(
        &self,
        planned: &PlannedStream<'_>,
        exact: &PlannedExact<'_>,
        env: &Env,
    ) -> Result<Item> {
        let notes = Notes::default();
        let env = &env.with_notes(&notes);
        let PlannedExact {
            reversal,
            bundle,
            image,
            report,
        } = exact;
        let signature = reversal.signature(*bundle, env)?;
        let before = reversal.open(*bundle, env)?.header().compression;
        let mut encoding = encoding(self.request);
        if self.request.options.layers.compression.is_none() && before == Compression::None {
            encoding.compression = Compression::None;
        }
        check_restored(reversal, *bundle, &planned.node.image, env)?;
        let tar = reversal.rebuilt(*bundle, &planned.node.image.layers, env)?;
        let written =
            self.compress_to_sink(&tar, &encoding, image, Some(reversal.image_id), env)?;
        let mut report = report.clone();
        if let Some(signature) = signature {
            let sink = self.destination.sink;
            let fits = match before {
                Compression::None => encoding.compression == Compression::None,
                _ => reversal.file_digest == Some(written.digest),
            };
            if !fits && !self.request.options.signs_anew {
                let message = "the signature is of the ACI with another compression, so a program that verifies the \
                               file as it is refuses it";
                notes.warn("signature-of-other-file", "signature", message);
            }
            if !fits && self.request.options.signs_anew {
                let why = "the signature is of the ACI with another compression, and the ACI gets a new one";
                report.lose("signature", LossKind::Dropped, why);
            } else if !sink.put_beside(&written.digest, SIGNATURE_SUFFIX, &signature)? {
                let why = "the destination is one stream, and the signature of the ACI is a file of its own";
                report.lose("signature", LossKind::Dropped, why);
            }
        }
        report.merge(notes.take());
        let mut item = item(planned, self.request, image, Fate::Written(written), report);
        item.images[0].exact = true;
        Ok(item)
    }

    /// Writes a stream; the hash of the stream is the image ID of a tar. `verified` is the hash if the stream itself
    /// ends only with that hash.
    fn compress_to_sink(
        &self,
        open: &dyn Open,
        encoding: &Encoding,
        image: &Image,
        verified: Option<Digest>,
        env: &Env,
    ) -> Result<WrittenStream> {
        let sizes = image.layers.iter().map(|layer| layer.blob.size_to_count());
        let work = Work::begin("the ACI", Counted::Result, sizes.sum(), env);
        let mut source = open.open()?;
        let mut writer = self.destination.sink.writer()?;
        let hash: &[Algorithm] = match verified {
            None => &[Algorithm::Sha512],
            Some(_) => &[],
        };
        let encoded = compress(
            &mut *source,
            &mut writer,
            encoding,
            hash,
            self.destination.pool,
            env,
            work.id(),
        );
        drop(work);
        let encoded = encoded?;
        writer.finish(&encoded.digest, encoded.size)?;
        Ok(WrittenStream {
            digest: encoded.digest,
            size: encoded.size,
            image_id: verified.unwrap_or_else(|| encoded.content[0]),
        })
    }
}

/// The tar of an ACI.
#[derive(Debug)]
struct Unpacked {
    blob: Blob,
    env: Env,
}

impl Open for Unpacked {
    fn open(&self) -> Result<Reader> {
        let stored = self.blob.open()?;
        let (limits, notes) = (&self.env.limits, &self.env.notes);
        Ok(Box::new(Decoder::new(stored, limits, notes, "the ACI")?))
    }
}
