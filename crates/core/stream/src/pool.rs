//! The CPU pool: one for a run, for layers and for the blocks of a layer.
//!
//! Work in the pool must not wait for the network or on a channel; tasks wait for each other only
//! by rayon's own `join`, `scope` and iterators.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use imgconv_model::{Code, Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The CPU pool of `jobs` threads, never rayon's global pool (which ignores `--jobs`).
pub struct Pool {
    threads: ThreadPool,
    /// The bytes in flight of all encoders that share the threads.
    in_flight: InFlight,
}

/// The bytes of content that all encoders with this counter are processing.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicUsize);

impl InFlight {
    /// Counts bytes unless the sum would be more than `most`. The call never waits: an encoder
    /// without more bytes continues with those that it has.
    pub(crate) fn try_add(&self, bytes: usize, most: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, more).is_ok()
    }

    /// Counts bytes that an encoder needs in any case.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts bytes that were counted.
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

    /// Returns the number of threads.
    pub fn jobs(&self) -> usize {
        self.threads.current_num_threads()
    }

    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// Runs `work` in the pool, where rayon's `join`, `scope` and iterators use its threads. A call
    /// from inside the pool runs `work` at once.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.threads.install(work)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("jobs", &self.jobs()).finish()
    }
}
