//! Settings and shared state of an operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{Code, Error, Limits, Network, Notes, Platform, Progress, Result, Secrets, Silent};

/// Everything that comes from outside an operation and is the same for all its parts.
#[derive(Clone, Debug)]
pub struct Env {
    /// How many threads work.
    pub jobs: usize,
    /// Where temporary files go.
    pub tmpdir: PathBuf,
    /// The bounds on input.
    pub limits: Limits,
    /// `SOURCE_DATE_EPOCH`: generated times are this, seconds since 1970.
    pub epoch: Option<i64>,
    /// The platform that is assumed where the source names none.
    pub host: Platform,
    /// Follow symbolic links of a layout's blobs (robustness D1b).
    pub follow_blob_links: bool,
    /// The registry that a registry's storage belonged to, `HOST[:PORT]`: the storage itself does
    /// not say.
    pub registry_host: Option<String>,
    /// Refuse to replace a file that is there already, unless it is one to which is added.
    pub keep_files: bool,
    /// The namespace of containerd whose images are meant; all if none is given.
    pub namespace: Option<String>,
    /// What the user said about the network.
    pub network: Arc<Network>,
    /// Set to end the work early.
    pub cancel: Arc<AtomicBool>,
    /// Takes events.
    pub progress: Arc<dyn Progress>,
    /// The next number of a piece of work.
    pub next_id: Arc<AtomicU64>,
    /// Copies of what came out of pipes, by what the user calls them: it comes only once.
    pub copies: Arc<Mutex<BTreeMap<String, Arc<File>>>>,
    /// Takes what is found while bytes stream by; every image has its own.
    pub notes: Notes,
    /// The directories in which leftovers of killed processes were looked for in this run.
    pub swept: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// What no message may show.
    pub secrets: Secrets,
}

impl Env {
    /// Makes an environment with the default limits, one thread, and no progress.
    pub fn new(tmpdir: impl Into<PathBuf>, host: Platform) -> Self {
        Self {
            jobs: 1,
            tmpdir: tmpdir.into(),
            limits: Limits::default(),
            epoch: None,
            host,
            follow_blob_links: false,
            registry_host: None,
            keep_files: false,
            namespace: None,
            network: Arc::default(),
            cancel: Arc::default(),
            progress: Arc::new(Silent),
            next_id: Arc::default(),
            copies: Arc::default(),
            notes: Notes::default(),
            swept: Arc::default(),
            secrets: Secrets::default(),
        }
    }

    /// Fails if the work was cancelled.
    ///
    /// # Errors
    /// [`Code::Cancelled`].
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Cancelled, "interrupted"));
        }
        Ok(())
    }
}
