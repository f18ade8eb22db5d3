//! Blobs that get their final names as soon as they are complete, while the index is written only
//! at the end: for work that takes hours, and that can be resumed after any interruption.
//!
//! A blob that no index lists belongs to no image yet; its bytes are compared with its name before
//! a writer relies on it, as for every blob that was there before.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::{Stage, sync};
use imgconv_model::{BlobWriter, Digest, Env, Error, Result};

use crate::{
    directory::{Directory, make_directory},
    files::BLOBS,
    lock::lock,
    pool::Pool,
};

/// The file in a stage that marks its layout as growing.
pub(crate) const GROWING: &str = "growing";

/// The written blobs, which have their final names.
#[derive(Debug)]
pub(crate) struct Growing {
    stage: Arc<Stage>,
    /// The directory `blobs`; `algorithms` are the directories in it that got blobs.
    blobs: OwnedFd,
    algorithms: Mutex<BTreeMap<&'static str, Arc<OwnedFd>>>,
    /// True if names were added since the last sync. The lock is held during a sync, so that other
    /// callers wait for it.
    dirty: Mutex<bool>,
    placed: Mutex<BTreeMap<Digest, u64>>,
    /// The pool that gets the blobs too.
    pool: Option<Arc<Pool>>,
}

impl Growing {
    /// Makes the directory of all blobs, if it is missing. From then on, until the stage is gone,
    /// no run frees space.
    pub(crate) fn new(
        directory: &Directory,
        path: &Path,
        stage: &Arc<Stage>,
        env: &Env,
    ) -> Result<Self> {
        // This waits for a run that frees space now.
        let _lock = lock(directory, path, env)?;
        stage.mark(GROWING)?;
        Ok(Self {
            pool: None,
            stage: Arc::clone(stage),
            blobs: make_directory(directory.descriptor(), BLOBS, BLOBS)?,
            algorithms: Mutex::default(),
            dirty: Mutex::new(true),
            placed: Mutex::default(),
        })
    }

    /// Sets a pool that gets the blobs too.
    pub(crate) fn with_pool(self, pool: Option<Arc<Pool>>) -> Self {
        Self { pool, ..self }
    }

    /// Says whether a blob was written and has its name.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.get(digest) == Some(&size)
    }

    /// Moves a complete blob to its place.
    pub(crate) fn place(&self, digest: &Digest) -> Result<()> {
        let target = self.algorithm(digest.algorithm().as_str())?;
        let Some(staged) = self.stage.take(digest) else {
            // Another thread with the same bytes was faster and has moved them.
            return Ok(());
        };
        if let Some(pool) = &self.pool {
            pool.put(digest, &staged, &self.stage)?;
        }
        let hex = digest.hex();
        rustix::fs::renameat(self.stage.descriptor(), &*staged.path, &*target, &*hex)
            .map_err(|error| Error::io(error.into(), format!("blob {digest}")))?;
        *self.dirty.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.insert(*digest, staged.size);
        Ok(())
    }

    fn algorithm(&self, name: &'static str) -> Result<Arc<OwnedFd>> {
        let mut known = self
            .algorithms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = known.get(name) {
            return Ok(Arc::clone(directory));
        }
        let shown = format!("{BLOBS}/{name}");
        let directory = Arc::new(make_directory(&self.blobs, name, &shown)?);
        known.insert(name, Arc::clone(&directory));
        Ok(directory)
    }

    /// Makes the names of all blobs durable.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if !*dirty {
            return Ok(());
        }
        let known = self
            .algorithms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (name, directory) in &known {
            sync(&**directory, format!("{BLOBS}/{name}"))?;
        }
        sync(&self.blobs, BLOBS)?;
        *dirty = false;
        Ok(())
    }
}

/// A blob that is being written, and is moved to its place when it is complete.
pub(crate) struct GrowingWriter {
    pub(crate) inner: Box<dyn BlobWriter>,
    pub(crate) growing: Arc<Growing>,
}

impl Write for GrowingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BlobWriter for GrowingWriter {
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        self.inner.finish(digest, size)?;
        self.growing.place(digest)
    }
}
