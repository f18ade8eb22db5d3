//! The CPU pool: one for a run, for layers and for the blocks of a layer.
//!
//! Nothing in it may wait for the network or on a channel; tasks wait for each other only by
//! rayon's own `join`, `scope` and iterators.

use std::fmt;

use imgconv_model::{Code, Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The CPU pool, `jobs` threads, never rayon's global one (which knows nothing of `--jobs`).
pub struct Pool(ThreadPool);

impl Pool {
    /// Starts the threads; 0 counts as 1.
    ///
    /// # Errors
    /// [`Code::Io`] if the system does not give that many threads.
    pub fn new(jobs: usize) -> Result<Self> {
        let jobs = jobs.max(1);
        let pool = ThreadPoolBuilder::new()
            .num_threads(jobs)
            .thread_name(|index| format!("imgconv-{index}"))
            .build()
            .map_err(|error| {
                Error::new(Code::Io, format!("can't start {jobs} threads: {error}"))
                    .hint("fewer `--jobs` need fewer threads")
            })?;
        Ok(Self(pool))
    }

    /// Returns how many threads it has.
    pub fn jobs(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` in the pool, where rayon's `join`, `scope` and iterators use its threads.
    /// Called from inside the pool it runs right there.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("jobs", &self.jobs()).finish()
    }
}
