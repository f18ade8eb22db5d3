//! Reading the layers of an image at once, and applying them in their order.
//!
//! Threads decode, hash, verify and scan layers, base first; their bodies go to stores, their
//! entries in batches to the caller's thread, which adds them to the tree: those of the lowest layer
//! as they come, those of layers above once it is their turn. All waiting batches together have a
//! bound, so a layer that is far ahead stops.
//!
//! The result does not depend on the speed of the threads: warnings of a layer are collected apart
//! and reported in its turn, and the error is the first one of the first bad layer.

use std::{
    collections::VecDeque,
    io::{self, Read},
    ops::Range,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use imgconv_layer::{Applying, Batch, Semantics, Tree, scan};
use imgconv_model::{Code, Digest, Env, Error, Layer, Limits, Notes, Result, Warning};
use imgconv_stream::{HashingReader, ahead, blame};

use crate::{
    budget::{Budget, Tar},
    look::place,
    stores::{Stores, positioned},
    watch::watch,
};

/// Bytes of all batches that wait for the turn of their layers: about 120 000 entries.
const WAITING: usize = 12 << 20;

/// The number of batches of the layer whose turn it is that may wait for the tree.
const AHEAD: usize = 8;

/// Applies some layers to a tree of the layers below them; bodies go to `stores`. Every layer is
/// read to its last byte, so its claimed digest, size and diff ID have been verified.
///
/// # Errors
/// The first error of the first bad layer, which it names.
pub(crate) fn apply_all(
    tree: &mut Tree,
    layers: &[Layer],
    range: Range<usize>,
    semantics: Semantics,
    stores: &dyn Stores,
    env: &Env,
) -> Result<()> {
    let lanes = Lanes::new(layers, range.clone(), semantics, stores, env);
    if env.jobs <= 1 {
        return range.clone().try_for_each(|i| lanes.alone(tree, i));
    }
    thread::scope(|scope| {
        for _ in 0..env.jobs.min(range.len()) {
            scope.spawn(|| lanes.work());
        }
        // The threads must end whatever happens here, a panic too.
        let _stop = Stop(&lanes);
        range.clone().try_for_each(|i| lanes.apply(tree, i))
    })
}

/// The work of one call.
struct Lanes<'a> {
    layers: &'a [Layer],
    range: Range<usize>,
    semantics: Semantics,
    stores: &'a dyn Stores,
    env: &'a Env,
    state: Mutex<State>,
    /// Signalled at every change of the state that somebody may wait for.
    changed: Condvar,
    /// The next layer that a thread begins to read.
    next: AtomicUsize,
    /// The lowest layer that failed: layers above it are not needed any more, those below are, since
    /// the error is that of the lowest.
    failed: AtomicUsize,
}

struct State {
    queues: Vec<Queue>,
    /// The layer that is being applied; the end of the range before the first.
    turn: usize,
    /// Bytes of the batches of later layers.
    waiting: usize,
    /// Uncompressed bytes of the layers that were applied.
    bytes: u64,
}

/// The batches of a layer that were not taken yet.
#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// The error by which the tree refused an entry.
    refused: Option<Error>,
    /// The outcome, once the layer was read.
    outcome: Option<Outcome>,
}

/// The outcome of reading a layer.
struct Outcome {
    /// The digest of the tar by the algorithm of the claimed diff ID.
    found: Result<Option<Digest>>,
    notes: Notes,
    /// Uncompressed bytes up to the end or up to the error.
    bytes: u64,
}

/// Gives a layer an outcome when it is dropped: also if the thread panics, since others would wait
/// for ever.
struct Report<'a, 'b> {
    lanes: &'a Lanes<'b>,
    layer: usize,
    outcome: Option<Outcome>,
}

impl Drop for Report<'_, '_> {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome {
            found: Err(Error::new(Code::Io, "the layer was not read to its end")),
            notes: Notes::default(),
            bytes: 0,
        });
        if outcome.found.is_err() {
            self.lanes.fail(self.layer);
        }
        let mut state = self.lanes.state();
        state.queues[self.layer - self.lanes.range.start].outcome = Some(outcome);
        self.lanes.changed.notify_all();
    }
}

/// Stops the threads when it is dropped.
struct Stop<'a, 'b>(&'a Lanes<'b>);

impl Drop for Stop<'_, '_> {
    fn drop(&mut self) {
        // No layer is needed any more.
        self.0.failed.store(0, Ordering::Relaxed);
        let state = self.0.state();
        self.0.changed.notify_all();
        drop(state);
    }
}

impl<'a> Lanes<'a> {
    fn new(
        layers: &'a [Layer],
        range: Range<usize>,
        semantics: Semantics,
        stores: &'a dyn Stores,
        env: &'a Env,
    ) -> Self {
        let queues = range.clone().map(|_| Queue::default()).collect();
        let state = State {
            queues,
            turn: range.end,
            waiting: 0,
            bytes: 0,
        };
        Self {
            layers,
            next: AtomicUsize::new(range.start),
            range,
            semantics,
            stores,
            env,
            state: Mutex::new(state),
            changed: Condvar::new(),
            failed: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Lanes<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let state = self.changed.wait(state);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, layer: usize) {
        self.failed.fetch_min(layer + 1, Ordering::Relaxed);
    }

    /// Fails if the result of a layer is not needed any more.
    fn check(&self, layer: usize) -> Result<()> {
        match self.failed.load(Ordering::Relaxed) <= layer {
            true => Err(Error::new(
                Code::Cancelled,
                "the layer is not needed any more",
            )),
            false => Ok(()),
        }
    }

    /// Reads layers until none is left.
    fn work(&self) {
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.range.end || self.check(i).is_err() {
                return;
            }
            let mut report = Report {
                lanes: self,
                layer: i,
                outcome: None,
            };
            report.outcome = Some(self.read(i, &mut |batch| self.push(i, batch)));
        }
    }

    /// Reads one layer to its last byte. Its entries go to `each`, its bodies to a store.
    fn read(&self, i: usize, each: &mut dyn FnMut(Batch) -> Result<()>) -> Outcome {
        let notes = Notes::default();
        let env = self.env.with_notes(&notes);
        let budget = Budget::after(self.state().bytes);
        let before = budget.bytes();
        let mut bytes = None;
        let found = self.read_with(i, &budget, &env, each, &mut || {
            bytes.get_or_insert(budget.bytes() - before);
        });
        Outcome {
            found,
            notes,
            bytes: bytes.unwrap_or(budget.bytes() - before),
        }
    }

    fn read_with(
        &self,
        i: usize,
        budget: &Budget,
        env: &Env,
        each: &mut dyn FnMut(Batch) -> Result<()>,
        scanned: &mut dyn FnMut(),
    ) -> Result<Option<Digest>> {
        env.check_cancelled()?;
        let what = place(self.layers, i);
        watch(&self.layers[i], &what, env, |layer, env, _| {
            self.read_layer(i, layer, (budget, env), each, scanned)
        })
    }

    fn read_layer(
        &self,
        i: usize,
        layer: &Layer,
        (budget, env): (&Budget, &Env),
        each: &mut dyn FnMut(Batch) -> Result<()>,
        scanned: &mut dyn FnMut(),
    ) -> Result<Option<Digest>> {
        let what = place(self.layers, i);
        // The blob is opened by position before the pass that verifies its bytes, so that a later
        // change is detected.
        let mut store = self.stores.layer(i, positioned(layer)?);
        let tar = Needed {
            inner: Tar::open(layer, budget, env, &what)?,
            lanes: self,
            layer: i,
        };
        let algorithms: Vec<_> = layer.diff_id.iter().map(Digest::algorithm).collect();
        let mut source = HashingReader::new(tar, &algorithms);
        let mut scan_all = |source: &mut dyn Read| {
            let done = scan(source, self.semantics, &mut *store, env, &what, each);
            scanned();
            done.map_err(|error| blame(error, source))
        };
        if self.reads_ahead(i) {
            ahead(&mut source, scan_all)?;
        } else {
            scan_all(&mut source)?;
        }
        let (found, _) = source.finish().map_err(Error::from_io)?;
        store.end()?;
        Ok(found.first().copied())
    }

    /// Returns true if another thread decodes the layer while its entries are read: if there are
    /// more threads than layers, or if most of the work is this layer.
    fn reads_ahead(&self, i: usize) -> bool {
        let jobs = self.env.jobs;
        let size = |layer: &Layer| layer.blob.facts.size.unwrap_or(0);
        let all: u64 = self.layers[self.range.clone()].iter().map(size).sum();
        jobs > 1 && (jobs > self.range.len() || size(&self.layers[i]) > all / 2)
    }

    /// Adds a batch to the queue of a layer, once there is room.
    fn push(&self, i: usize, batch: Batch) -> Result<()> {
        let at = i - self.range.start;
        let mut state = self.state();
        loop {
            self.check(i)?;
            let queue = &state.queues[at];
            if let Some(error) = &queue.refused {
                return Err(error.again());
            }
            let full = match state.turn == i {
                true => queue.batches.len() >= AHEAD,
                false => state.waiting + batch.bytes() > WAITING,
            };
            if !full {
                break;
            }
            state = self.wait(state);
        }
        if state.turn != i {
            state.waiting += batch.bytes();
        }
        let queue = &mut state.queues[at];
        queue.bytes += batch.bytes();
        queue.batches.push_back(batch);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the next batch of the layer whose turn it is, or its outcome after the last one.
    fn take(&self, i: usize) -> Result<Batch, Outcome> {
        let mut state = self.state();
        loop {
            let queue = &mut state.queues[i - self.range.start];
            if let Some(batch) = queue.batches.pop_front() {
                self.changed.notify_all();
                return Ok(batch);
            }
            if let Some(outcome) = queue.outcome.take() {
                return Err(outcome);
            }
            state = self.wait(state);
        }
    }

    /// Applies a layer that other threads read.
    fn apply(&self, tree: &mut Tree, i: usize) -> Result<()> {
        let at = i - self.range.start;
        {
            let mut state = self.state();
            state.turn = i;
            state.waiting -= state.queues[at].bytes;
            self.changed.notify_all();
        }
        let mut layer = tree.begin(self.semantics, &place(self.layers, i));
        let mut refused = None;
        let outcome = loop {
            match self.take(i) {
                Err(outcome) => break outcome,
                Ok(_) if refused.is_some() => {}
                Ok(batch) => {
                    if let Err(error) = tree.add(&mut layer, batch) {
                        self.state().queues[at].refused = Some(error.again());
                        self.changed.notify_all();
                        refused = Some(error);
                    }
                }
            }
        };
        self.end(tree, layer, i, refused, outcome)
    }

    /// Reads and applies a layer in the caller's thread.
    fn alone(&self, tree: &mut Tree, i: usize) -> Result<()> {
        let mut layer = tree.begin(self.semantics, &place(self.layers, i));
        let mut refused = None;
        let outcome = self.read(i, &mut |batch| {
            tree.add(&mut layer, batch).inspect_err(|error| {
                refused = Some(error.again());
            })
        });
        self.end(tree, layer, i, refused, outcome)
    }

    /// Ends a layer all of whose batches were added. `refused` is the error of an entry that the
    /// tree refused.
    fn end(
        &self,
        tree: &mut Tree,
        layer: Applying,
        i: usize,
        refused: Option<Error>,
        outcome: Outcome,
    ) -> Result<()> {
        for warning in outcome.notes.take().warnings {
            let Warning { code, at, message } = warning;
            self.env.notes.warn(code, at, message);
        }
        let all = {
            let mut state = self.state();
            state.bytes += outcome.bytes;
            state.bytes
        };
        let limit = self.env.limits.image_bytes;
        let result = if all > limit {
            Err(Limits::exceeded(
                "image_bytes",
                limit,
                "the uncompressed image",
            ))
        } else {
            match (refused, outcome.found) {
                (None, Ok(found)) => tree.end(layer).and_then(|()| {
                    let claimed = self.layers[i].diff_id;
                    match claimed
                        .zip(found)
                        .filter(|(claimed, found)| claimed != found)
                    {
                        Some((claimed, found)) => {
                            Err(Error::mismatch("the diff ID", claimed, found))
                        }
                        None => Ok(()),
                    }
                }),
                (None, Err(error)) => Err(error),
                (Some(refused), Ok(_)) => Err(refused),
                (Some(refused), Err(error)) => Err(blame(refused, &mut Failing(Some(error)))),
            }
        };
        result.map_err(|error| error.at(place(self.layers, i)))
    }
}

/// The tar of a layer, as long as the layer is needed.
struct Needed<'a, 'b> {
    inner: Tar,
    lanes: &'a Lanes<'b>,
    layer: usize,
}

impl Read for Needed<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.lanes.check(self.layer)?;
        self.inner.read(buf)
    }
}

/// The rest of a layer of which only the error is known.
struct Failing(Option<Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), |error| Err(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use imgconv_model::Platform;
    use imgconv_tar::{END, Entry, EntryKind, head};

    use super::*;
    use crate::stores::Below;

    /// A layer of empty files with long names.
    fn layer(files: usize) -> Layer {
        let mut tar = Vec::new();
        for i in 0..files {
            let name = format!("{}/{i}", "directory/".repeat(8));
            tar.extend(head(&Entry::new(name, EntryKind::Regular)).unwrap());
        }
        tar.extend(END);
        let bytes: Arc<[u8]> = tar.into();
        Layer::made(Arc::new(bytes))
    }

    #[test]
    fn a_layer_that_is_far_ahead_stops_until_its_turn() {
        const FILES: usize = 150_000;
        let layers = [layer(1), layer(FILES)];
        let env = Env {
            jobs: 2,
            ..Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
        };
        let lanes = Lanes::new(&layers, 0..2, Semantics::Layer, &Below, &env);
        let mut tree = Tree::new(&env);
        thread::scope(|scope| {
            let _stop = Stop(&lanes);
            // Nobody reads the lower layer, so the upper one can't be applied.
            lanes.next.store(1, Ordering::Relaxed);
            scope.spawn(|| lanes.work());
            loop {
                let state = lanes.state();
                assert!(state.waiting <= WAITING, "{}", state.waiting);
                assert!(
                    state.queues[1].outcome.is_none(),
                    "the layer was read to its end"
                );
                // Batches are far smaller than this.
                if state.waiting > WAITING - (1 << 20) {
                    break;
                }
                drop(state);
                thread::yield_now();
            }
            scope.spawn(|| {
                let outcome = lanes.read(0, &mut |batch| lanes.push(0, batch));
                lanes.state().queues[0].outcome = Some(outcome);
                lanes.changed.notify_all();
            });
            lanes.apply(&mut tree, 0).unwrap();
            lanes.apply(&mut tree, 1).unwrap();
            assert_eq!(lanes.state().waiting, 0);
        });
        // The files and their eight directories.
        assert_eq!(tree.len(), FILES + 8);
    }
}
