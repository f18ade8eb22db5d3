//! Sealing: writing layers and documents to a destination, verified, several at a time.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use imgconv_chunked::Scheme;
use imgconv_layer::Semantics;
use imgconv_model::{
    Adopted, Algorithm, Blob, BundleSink, Child, Code, Compression, Counted, Digest, Document, Env,
    Error, Layer, Reader, Result, SealedLayer, Step, Work,
};
use imgconv_stream::{Cancellable, Encoding, HashingReader, Verified, copy, digest, encode};

use crate::{
    budget::{Budget, Tar},
    look::{is_labelled, labelled, look, note_label, place},
    plan::{Known, LayerStep, Options, Plan, plan},
    squash::squash_above,
    watch::watch,
};

mod chunked;
mod sealer;

pub use self::sealer::Sealer;

impl Sealer<'_> {
    /// Looks at the first bytes of every layer and plans its step.
    ///
    /// A foreign layer that is not stored with its image stays unchanged, with the warning
    /// `foreign-layer` (robustness C6a).
    ///
    /// # Errors
    /// If a layer can't be opened, or as [`plan()`].
    pub fn plan(
        layers: &[Layer],
        target: &imgconv_model::Capabilities,
        options: &Options,
        env: &Env,
    ) -> Result<Plan> {
        let mut known = Vec::with_capacity(layers.len());
        for (i, layer) in layers.iter().enumerate() {
            let found = look(layer).map_err(|error| error.at(place(layers, i)))?;
            note_label(layer, found, &place(layers, i), env);
            let compression = found.unwrap_or_else(|| labelled(layer));
            let scheme = Scheme::of(compression);
            known.push(Known {
                compression,
                stored: layer.blob.facts.digest.is_some(),
                absent: found.is_none(),
                toc: scheme.is_some_and(|scheme| scheme.is_claimed(&layer.annotations)),
                labelled: is_labelled(layer, compression),
            });
        }
        let plan = plan(&known, target, options)?;
        for step in &plan.steps {
            if let LayerStep::Keep(i) = *step
                && known[i].absent
            {
                let message = "the layer is not stored with its image; its descriptor is kept, \
                               with its URLs";
                env.notes.warn("foreign-layer", place(layers, i), message);
            }
        }
        Ok(plan)
    }

    /// Runs a plan, with the given rules for squashed layers: afterwards the destination has every
    /// resulting layer, verified, except foreign layers without a blob.
    ///
    /// At most as many layers are in flight as the environment has jobs, and the blocks of all
    /// layers share the pool, so memory is bounded by jobs × the encoder's batches.
    ///
    /// # Errors
    /// The error of the first bad layer in image order, even if another failed before.
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
        // The lowest layer that failed. The layers below it are still processed: the error is that
        // of the first of them that fails, and the speed of the threads must not matter.
        let failed = AtomicUsize::new(usize::MAX);
        let lane = || loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(step) = plan.steps.get(i) else { break };
            if failed.load(Ordering::Relaxed) < i {
                break;
            }
            let result = self.step(layers, *step, plan.toc, semantics, &budget, env);
            if result.is_err() {
                failed.fetch_min(i, Ordering::Relaxed);
            }
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

    /// Copies a blob without a change. The blob is verified while it is read.
    ///
    /// # Errors
    /// If the blob does not match its digest or size, or can't be read or written.
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
        let file = blob.bytes.file().map_err(|error| error.at(&what))?;
        let adopted = self.sink.adopt(file.as_ref());
        if let Some(adopted) = adopted.map_err(|error| error.at(&what))? {
            let size = self.read_adopted(&*adopted, blob, &what, env)?;
            adopted.finish(&claimed, size)?;
            return Ok(size);
        }
        let mut source = blob.open().map_err(|error| error.at(&what))?;
        let mut writer = self.sink.writer_of(&claimed)?;
        let work = Work::begin(&what, Counted::Source, blob.facts.size, env);
        // The source verifies the claimed digest.
        let copied = copy(&mut *source, &mut writer, self.pool, env, work.id());
        drop(work);
        let size = copied.map_err(|error| error.at(&what))?;
        writer.finish(&claimed, size)?;
        Ok(size)
    }

    /// Reads and verifies a blob that shares its bytes with its source; returns its size.
    fn read_adopted(
        &self,
        adopted: &dyn Adopted,
        blob: &Blob,
        what: &str,
        env: &Env,
    ) -> Result<u64> {
        let told = Work::begin(what, Counted::Source, blob.facts.size, env);
        let work = || -> Result<u64> {
            let reader = Verified::new(adopted.open()?, &blob.facts, format!("blob {what}"));
            let mut reader = Cancellable::new(reader, env);
            let (mut size, mut buffer) = (0, vec![0; 1 << 20]);
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return Ok(size),
                    Ok(count) => {
                        size += count as u64;
                        told.advance(count as u64);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(Error::from_io(error)),
                }
            }
        };
        work().map_err(|error| error.at(what))
    }

    fn step(
        &self,
        layers: &[Layer],
        step: LayerStep,
        toc: bool,
        semantics: Semantics,
        budget: &Budget,
        env: &Env,
    ) -> Result<SealedLayer> {
        let write = if toc { Self::index } else { Self::recompress };
        match step {
            LayerStep::Keep(i) => self.done.once(&layers[i], None, self.sink, || {
                insist(env, || self.keep(layers, i, budget, env))
            }),
            LayerStep::Recompress(i, encoding) => {
                let key = Some((
                    encoding.compression,
                    format!("level {} table-of-contents {toc}", encoding.level),
                ));
                self.done.once(&layers[i], key, self.sink, || {
                    let what = place(layers, i);
                    insist(env, || {
                        write(self, &layers[i], &what, &encoding, budget, env)
                    })
                })
            }
            LayerStep::Squash(from, encoding) => {
                let merged = squash_above(layers, from, semantics, env)?.into_layer();
                // The merged layers may be larger together than one layer of the input may be;
                // their result counts like an image that is read, since parents that no layer names
                // are added.
                let mut env = env.clone();
                env.limits.layer_bytes = u64::MAX;
                let (what, own) = ("the squashed layer", Budget::default());
                let write = || write(self, &merged, what, &encoding, &own, &env);
                let mut sealed = insist(&env, write)?;
                sealed.step = Step::Squash;
                Ok(sealed)
            }
        }
    }

    /// Copies the stored bytes, which are verified while they are read; the tar inside is read only
    /// if its diff ID is unknown. A foreign layer without a blob keeps its descriptor.
    fn keep(&self, layers: &[Layer], i: usize, budget: &Budget, env: &Env) -> Result<SealedLayer> {
        let what = place(layers, i);
        let layer = &layers[i];
        let claimed = layer
            .blob
            .facts
            .digest
            .expect("a kept layer is stored under its digest");
        let work = || -> Result<SealedLayer> {
            let found = look(layer)?;
            // A plain tar is its own content, and some places store no other digest of it.
            let same = |diff_id: &Digest| diff_id.algorithm() == claimed.algorithm();
            if found == Some(Compression::None)
                && let Some(diff_id) = layer.diff_id.filter(same)
                && diff_id != claimed
            {
                return Err(Error::mismatch("the diff ID", diff_id, claimed));
            }
            let (size, diff_id) = match (found, layer.blob.facts.size, layer.diff_id) {
                (None, Some(size), Some(diff_id)) => (size, diff_id),
                (_, _, Some(diff_id)) => (self.copy(&layer.blob, env)?, diff_id),
                (_, _, None) => {
                    let diff_id = content_digest(layer, budget, env, &what)?;
                    (self.copy(&layer.blob, env)?, diff_id)
                }
            };
            Ok(SealedLayer {
                digest: claimed,
                size,
                compression: found.unwrap_or_else(|| labelled(layer)),
                diff_id,
                step: Step::Keep,
                annotations: BTreeMap::new(),
            })
        };
        work().map_err(|error| error.at(what.clone()))
    }

    /// Compresses the tar of a layer; the claimed diff ID is verified during the same read.
    fn recompress(
        &self,
        layer: &Layer,
        what: &str,
        encoding: &Encoding,
        budget: &Budget,
        env: &Env,
    ) -> Result<SealedLayer> {
        let work = || -> Result<SealedLayer> {
            let algorithm = layer
                .diff_id
                .map_or(Algorithm::Sha256, |claimed| claimed.algorithm());
            let mut writer = match (encoding.compression, layer.diff_id) {
                // The tar itself is stored, so its digest is known.
                (Compression::None, Some(claimed)) if algorithm == Algorithm::Sha256 => {
                    self.sink.writer_of(&claimed)?
                }
                _ => self.sink.writer()?,
            };
            let encoded = watch(layer, what, env, |layer, env, id| {
                let mut source = tar(layer, budget, env, what)?;
                let hash = [algorithm];
                let pool = self.pool;
                encode(&mut *source, &mut writer, encoding, &hash, pool, env, id)
            })?;
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
                annotations: BTreeMap::new(),
            })
        };
        work().map_err(|error| error.at(what))
    }
}

/// Repeats a step as long as the network fails: an upload that a server lost starts from zero.
fn insist<T>(env: &Env, step: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..env.limits.retries {
        match step() {
            Err(error) if error.code() == Code::Net => env.check_cancelled()?,
            done => return done,
        }
    }
    step()
}

/// Stores a document under its digest of that algorithm, if it is not stored yet, and returns its
/// descriptor.
///
/// # Errors
/// If the document can't be written.
pub fn write_document(
    sink: &dyn BundleSink,
    document: &Document,
    algorithm: Algorithm,
) -> Result<Child> {
    let digest = digest(algorithm, &document.bytes);
    let size = document.bytes.len() as u64;
    if sink.extras().documents_unasked || !sink.has(&digest, size)? {
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

/// Opens a layer whose tar is not going to be looked into: it must start like one, or a layer of
/// anything would be carried on (robustness A11b).
fn tar(layer: &Layer, budget: &Budget, env: &Env, what: &str) -> Result<Reader> {
    let mut source = Tar::open(layer, budget, env, what)?;
    let mut start = Vec::new();
    source
        .by_ref()
        .take(512)
        .read_to_end(&mut start)
        .map_err(Error::from_io)?;
    if let Ok(block) = <&[u8; 512]>::try_from(&*start) {
        imgconv_tar::check_start(block)?;
    } else if !start.is_empty() {
        let message = format!("the tar has {} bytes, less than one block", start.len());
        return Err(Error::new(Code::BadTar, message));
    }
    Ok(Box::new(Cursor::new(start).chain(source)))
}

/// Reads a layer's tar and hashes it.
fn content_digest(layer: &Layer, budget: &Budget, env: &Env, what: &str) -> Result<Digest> {
    let source = tar(layer, budget, env, what)?;
    let hashing = HashingReader::new(source, &[Algorithm::Sha256]);
    let (digests, _) = hashing.finish().map_err(Error::from_io)?;
    Ok(digests[0])
}
