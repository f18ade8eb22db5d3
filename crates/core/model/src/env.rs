//! Settings and shared state of an operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    Code, Error, Event, Limits, Network, Notes, Phase, Platform, Progress, Result, Secrets, Silent,
};

/// The settings of single transports; all others ignore them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceOptions {
    /// Layouts: follow symbolic links of blobs (robustness D1b).
    pub follow_blob_links: bool,
    /// The registry that the storage of a registry belonged to, `HOST[:PORT]`. The storage itself
    /// does not hold this name.
    pub registry_host: Option<String>,
    /// Files: refuse to replace an existing file, unless content is added to the file.
    pub keep_files: bool,
    /// Files that may be replaced all the same: those of earlier runs of a migration.
    pub own_files: Arc<BTreeSet<PathBuf>>,
    /// containerd: the namespace whose images are read; `None` for all namespaces.
    pub namespace: Option<String>,
    /// Engines: the address, such as `unix:///var/run/docker.sock`; `None` for docker's usual socket.
    pub docker_host: Option<String>,
    /// Engines: the directory with `ca.pem`, `cert.pem` and `key.pem`, which means that an address
    /// `tcp://…` is one of TLS.
    pub docker_certificates: Option<PathBuf>,
    /// containerd: make a layer anew from its snapshot if its blob is gone.
    pub from_snapshots: bool,
    /// containers-storage: where the default store is looked for.
    pub storage: StorageSettings,
}

impl PlaceOptions {
    /// Says whether an existing file at a path must stay.
    pub fn keeps(&self, path: &Path) -> bool {
        self.keep_files && !self.own_files.contains(path)
    }
}

/// The facts of the user and the machine by which podman's default store is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// The files that may be `storage.conf`, the most important first.
    pub configs: Vec<PathBuf>,
    /// The one of these that is the user's own.
    pub user_config: Option<PathBuf>,
    /// Whether the user is not root.
    pub rootless: bool,
    /// The root of the store if no file names one.
    pub root: PathBuf,
    /// The variables that a path in `storage.conf` may have, without `$`, and their values.
    pub variables: Vec<(String, String)>,
}

/// The environment of an operation: the settings and the shared state of the run, the settings of
/// single transports ([`PlaceOptions`]), and the receiver of warnings about one image ([`Notes`]).
#[derive(Clone, Debug)]
pub struct Env {
    /// The number of threads.
    pub jobs: usize,
    /// The directory of temporary files.
    pub tmpdir: PathBuf,
    /// The bounds on input.
    pub limits: Limits,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: the value of every generated time.
    pub epoch: Option<i64>,
    /// The platform that is assumed where the source names none.
    pub host: Platform,
    /// The settings of single transports.
    pub places: PlaceOptions,
    /// The user's settings of the network.
    pub network: Arc<Network>,
    /// A flag that ends the work early when it is set.
    pub cancel: Arc<AtomicBool>,
    /// The receiver of progress events.
    pub progress: Arc<dyn Progress>,
    /// The image that the work is for, in progress events; `None` if the work is for no single image.
    pub image: Option<Arc<str>>,
    /// The next number of a piece of work in progress events.
    pub next_id: Arc<AtomicU64>,
    /// Copies of streams from pipes, by the path that the user gave. A pipe can be read only once.
    pub copies: Arc<Mutex<BTreeMap<String, Arc<File>>>>,
    /// The receiver of warnings about streamed bytes. Each image has its own, see
    /// [`Env::with_notes`].
    pub notes: Notes,
    /// The directories in which this run has looked for leftovers of killed processes.
    pub swept: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Passwords and tokens that no message may show.
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
            places: PlaceOptions::default(),
            network: Arc::default(),
            cancel: Arc::default(),
            progress: Arc::new(Silent),
            image: None,
            next_id: Arc::default(),
            copies: Arc::default(),
            notes: Notes::default(),
            swept: Arc::default(),
            secrets: Secrets::default(),
        }
    }

    /// Returns the same environment with another receiver of warnings: that of one image, or of one
    /// place.
    #[must_use]
    pub fn with_notes(&self, notes: &Notes) -> Self {
        Self {
            notes: notes.clone(),
            ..self.clone()
        }
    }

    /// Returns the environment of the work for one image, which progress events then name. Work for a part
    /// of an image is for that image.
    #[must_use]
    pub fn for_image(&self, name: &str) -> Self {
        Self {
            image: Some(self.image.clone().unwrap_or_else(|| name.into())),
            ..self.clone()
        }
    }

    /// Tells that another phase of the work begins.
    pub fn phase(&self, phase: Phase) {
        self.progress.event(Event::Phase { phase });
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
