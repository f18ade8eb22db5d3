//! The CPU pool: one for a run, for layers and for the blocks of a layer.
//!
//! Nothing in it may wait for the network or on a channel; tasks wait for each other only by
//! rayon's own `join`, `scope` and iterators.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use imgconv_model::{Code, Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The CPU pool, `jobs` threads, never rayon's global one (which knows nothing of `--jobs`).
pub struct Pool {
    threads: ThreadPool,
    /// What all encoders that share the threads hold together.
    in_flight: InFlight,
}

/// Bytes of content that are being worked on, by whoever shares this.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicUsize);

impl InFlight {
    /// Counts bytes unless they would be more than `most` in all. Nobody waits: who gets none goes
    /// on with what he has.
    pub(crate) fn try_add(&self, bytes: usize, most: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, more).is_ok()
    }

    /// Counts bytes that have to be there.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes back what was counted.
    pub(crate) fn remove(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Pool {
    /// Starts the threads; 0 counts as 1.
    ///
    /// # Errors
    /// [`Code::Io`] if the system does not give that many threads.
    pub fn new(jobs: usize) -> Result<Self> {
        let jobs = jobs.max(1);
        let threads = ThreadPoolBuilder::new()
            .num_threads(jobs)
            .thread_name(|index| format!("imgconv-{index}"))
            .build()
            .map_err(|error| {
                Error::new(Code::Io, format!("can't start {jobs} threads: {error}"))
                    .hint("fewer `--jobs` need fewer threads")
            })?;
        let in_flight = InFlight::default();
        Ok(Self { threads, in_flight })
    }

    /// Returns how many threads it has.
    pub fn jobs(&self) -> usize {
        self.threads.current_num_threads()
    }

    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Runs `work` in the pool, where rayon's `join`, `scope` and iterators use its threads.
    /// Called from inside the pool it runs right there.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(work)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("jobs", &self.jobs()).finish()
    }
}
