//! Sealing: writing layers and documents to a destination, verified, several at a time.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use imgconv_layer::Semantics;
use imgconv_model::{
    Algorithm, Blob, BundleSink, Child, Compression, Digest, Document, Env, Error, Event, Layer,
    Reader, Result, SealedLayer, Step,
};
use imgconv_stream::{Decoder, Encoding, Level, Pool, digest, encode, sniff};

use crate::{
    budget::{Budget, Tar},
    plan::{Known, LayerStep, Options, Plan, plan},
    squash::{place, squash},
};

/// Writes layers to one destination. A source layer that several images share is handled once.
pub struct Sealer<'a> {
    sink: &'a dyn BundleSink,
    pool: &'a Pool,
    done: Mutex<BTreeMap<Key, SealedLayer>>,
}

/// A stored layer and what becomes of it.
type Key = (Digest, Option<(Compression, String)>);

impl std::fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl<'a> Sealer<'a> {
    /// Makes a sealer for a destination.
    pub fn new(sink: &'a dyn BundleSink, pool: &'a Pool) -> Self {
        Self {
            sink,
            pool,
            done: Mutex::default(),
        }
    }

    /// Looks at the first bytes of every layer and plans its step.
    ///
    /// # Errors
    /// If a layer can't be opened, or as [`plan()`].
    pub fn plan(
        layers: &[Layer],
        target: &imgconv_model::Capabilities,
        options: &Options,
    ) -> Result<Plan> {
        let mut known = Vec::with_capacity(layers.len());
        for (i, layer) in layers.iter().enumerate() {
            let compression = peek(layer).map_err(|error| error.at(place(layers, i)))?;
            known.push(Known {
                compression,
                stored: layer.blob.facts.digest.is_some(),
            });
        }
        plan(&known, target, options)
    }

    /// Runs a plan, with the given rules for layers that are squashed: every resulting layer stands at the destination afterwards, verified.
    ///
    /// Layers are lanes: at most as many are in flight as the environment has jobs, and the blocks
    /// of each share the pool, so memory is bounded by lanes × the encoder's batches.
    ///
    /// # Errors
    /// That of the first bad layer in image order, whichever failed first.
    pub fn run(
        &self,
        layers: &[Layer],
        plan: &Plan,
        semantics: Semantics,
        env: &Env,
    ) -> Result<Vec<SealedLayer>> {
        let budget = Budget::default();
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<SealedLayer>>>> =
            plan.steps.iter().map(|_| Mutex::new(None)).collect();
        let failed = std::sync::atomic::AtomicBool::new(false);
        let lane = || loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(step) = plan.steps.get(i) else { break };
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let result = self.step(layers, *step, semantics, &budget, env);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            *results[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        };
        let lanes = env.jobs.max(1).min(plan.steps.len());
        thread::scope(|scope| {
            for _ in 1..lanes {
                scope.spawn(lane);
            }
            lane();
        });
        let mut sealed = Vec::with_capacity(results.len());
        let mut skipped = false;
        for slot in results {
            match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(result) => sealed.push(result?),
                None => skipped = true,
            }
        }
        assert!(
            !skipped,
            "a lane stops early only after an error, which was returned above"
        );
        Ok(sealed)
    }

    /// Copies a blob that is carried as it is. It is verified as it is read.
    ///
    /// # Errors
    /// If it does not match its digest or size, or can't be read or written.
    ///
    /// # Panics
    /// If the blob's digest is not known.
    pub fn copy(&self, blob: &Blob, env: &Env) -> Result<u64> {
        let claimed = blob.facts.digest.expect("a stored blob has a digest");
        if let Some(size) = blob.facts.size
            && self.sink.has(&claimed, size)?
        {
            return Ok(size);
        }
        let what = claimed.to_string();
        let plain = Encoding {
            compression: Compression::None,
            level: Level::Default,
        };
        let mut source = blob.open().map_err(|error| error.at(&what))?;
        let mut writer = self.sink.writer()?;
        let copied = self
            .encode(&what, blob, &mut source, &mut writer, &plain, &[], env)
            .map_err(|error| error.at(&what))?;
        writer.finish(&claimed, copied.size)?;
        Ok(copied.size)
    }

    fn step(
        &self,
        layers: &[Layer],
        step: LayerStep,
        semantics: Semantics,
        budget: &Budget,
        env: &Env,
    ) -> Result<SealedLayer> {
        match step {
            LayerStep::Keep(i) => self.once(layers[i].blob.facts.digest, None, || {
                self.keep(layers, i, env)
            }),
            LayerStep::Recompress(i, encoding) => {
                let key = Some((encoding.compression, format!("{:?}", encoding.level)));
                self.once(layers[i].blob.facts.digest, key, || {
                    self.recompress(layers, i, &encoding, budget, env)
                })
            }
            LayerStep::Squash(encoding) => {
                let merged = [squash(layers, semantics, env)?.into_layer()];
                let mut sealed = self.recompress(&merged, 0, &encoding, &Budget::default(), env)?;
                sealed.step = Step::Squash;
                Ok(sealed)
            }
        }
    }

    /// Does a step unless the same was done before.
    fn once(
        &self,
        source: Option<Digest>,
        to: Option<(Compression, String)>,
        work: impl FnOnce() -> Result<SealedLayer>,
    ) -> Result<SealedLayer> {
        let Some(source) = source else { return work() };
        let key = (source, to);
        let done = || self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = done().get(&key) {
            return Ok(sealed.clone());
        }
        let sealed = work()?;
        done().insert(key, sealed.clone());
        Ok(sealed)
    }

    /// Copies the stored bytes. They are verified as they are read; the tar inside is read only if
    /// nobody claimed its digest.
    fn keep(&self, layers: &[Layer], i: usize, env: &Env) -> Result<SealedLayer> {
        let what = place(layers, i);
        let layer = &layers[i];
        let claimed = layer
            .blob
            .facts
            .digest
            .expect("a kept layer is stored under its digest");
        let work = || -> Result<SealedLayer> {
            let compression = peek(layer)?;
            let diff_id = match layer.diff_id {
                Some(diff_id) => diff_id,
                None => content_digest(layer, env, &what)?,
            };
            let size = self.copy(&layer.blob, env)?;
            Ok(SealedLayer {
                digest: claimed,
                size,
                compression,
                diff_id,
                step: Step::Keep,
            })
        };
        work().map_err(|error| error.at(what.clone()))
    }

    /// Compresses the tar of a layer; its claimed digest is verified on the same pass.
    fn recompress(
        &self,
        layers: &[Layer],
        i: usize,
        encoding: &Encoding,
        budget: &Budget,
        env: &Env,
    ) -> Result<SealedLayer> {
        let what = place(layers, i);
        let layer = &layers[i];
        let work = || -> Result<SealedLayer> {
            let algorithm = layer
                .diff_id
                .map_or(Algorithm::Sha256, |claimed| claimed.algorithm());
            let mut source: Reader = Box::new(Tar::open(layer, budget, env, &what)?);
            let mut writer = self.sink.writer()?;
            let encoded = self.encode(
                &what,
                &layer.blob,
                &mut source,
                &mut writer,
                encoding,
                &[algorithm],
                env,
            )?;
            let diff_id = encoded.content[0];
            if let Some(claimed) = layer.diff_id.filter(|claimed| *claimed != diff_id) {
                return Err(Error::mismatch("the diff ID", claimed, diff_id));
            }
            writer.finish(&encoded.digest, encoded.size)?;
            let (digest, size) = (encoded.digest, encoded.size);
            let compression = encoding.compression;
            Ok(SealedLayer {
                digest,
                size,
                compression,
                diff_id,
                step: Step::Recompress,
            })
        };
        work().map_err(|error| error.at(what.clone()))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call with all that a copy needs"
    )]
    fn encode(
        &self,
        what: &str,
        blob: &Blob,
        source: &mut Reader,
        writer: &mut (dyn Write + Send),
        encoding: &Encoding,
        hash: &[Algorithm],
        env: &Env,
    ) -> Result<imgconv_stream::Encoded> {
        let id = env.next_id.fetch_add(1, Ordering::Relaxed);
        env.progress.event(Event::Begin {
            id,
            what,
            bytes: blob.facts.size,
        });
        let encoded = encode(&mut **source, writer, encoding, hash, self.pool, env, id);
        env.progress.event(Event::End { id });
        encoded
    }
}

/// Stores a document, if it is not there yet, and returns its descriptor.
///
/// # Errors
/// If it can't be written.
pub fn write_document(sink: &dyn BundleSink, document: &Document) -> Result<Child> {
    let digest = digest(Algorithm::Sha256, &document.bytes);
    let size = document.bytes.len() as u64;
    if !sink.has(&digest, size)? {
        let mut writer = sink.writer()?;
        writer
            .write_all(&document.bytes)
            .map_err(|error| Error::io(error, sink.locator()))?;
        writer.finish(&digest, size)?;
    }
    Ok(Child {
        kind: document.kind.clone(),
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
        raw: String::new(),
    })
}

/// Reads the first bytes of a layer.
fn peek(layer: &Layer) -> Result<Compression> {
    let mut source = layer.blob.open()?;
    let mut prefix = [0; 6];
    let mut filled = 0;
    while filled < prefix.len() {
        match source.read(&mut prefix[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from_io(error)),
        }
    }
    Ok(sniff(&prefix[..filled]))
}

/// Reads a layer's tar and hashes it.
fn content_digest(layer: &Layer, env: &Env, what: &str) -> Result<Digest> {
    let source = Decoder::new(layer.blob.open()?, &env.limits, &env.notes, what)?;
    let hashing = imgconv_stream::HashingReader::new(source, &[Algorithm::Sha256]);
    let (digests, _) = hashing.finish().map_err(Error::from_io)?;
    Ok(digests[0])
}
