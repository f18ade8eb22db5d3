//! The directory of what was made: blobs and documents under their digests, each complete and verified.
//!
//! A file gets its name when it is complete, so a killed process leaves no file that is not. Whatever is
//! read here is compared with its digest again: a directory that is kept may have been changed.

use std::{
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::{Directory, Stage, StoredBlob, sweep};
use imgconv_model::{Blob, BlobWriter, Digest, Env, Error, Facts, Result, quote_path};

/// The directory.
#[derive(Debug)]
pub(super) struct Cache {
    /// Incomplete files; also the home of complete ones, unless the user named another directory.
    stage: Arc<Stage>,
    /// The home of complete files.
    home: Arc<Directory>,
    /// The same directory, for moving files there.
    to: OwnedFd,
    shown: String,
    /// Held while a file gets its name.
    naming: Arc<Mutex<()>>,
}

impl Cache {
    /// Opens the directory that the user named and makes it if it is missing, or makes a private one.
    pub(super) fn open(given: Option<&Path>, env: &Env) -> Result<Arc<Self>> {
        let parent = given.unwrap_or(&env.tmpdir);
        if given.is_some() {
            std::fs::create_dir_all(parent)
                .map_err(|error| Error::io(error, quote_path(parent)))?;
        }
        sweep(parent, Stage::PREFIX, env);
        let stage = Stage::new(parent, Stage::PREFIX, false)?;
        let home = given.unwrap_or(stage.path()).to_owned();
        let to = imgconv_fs::open_directory(&home)
            .map_err(|error| Error::io(error.into(), quote_path(&home)))?;
        Ok(Arc::new(Self {
            home: Arc::new(Directory::open(&home)?),
            stage,
            to,
            shown: format!("cache {}", quote_path(&home)),
            naming: Arc::default(),
        }))
    }

    /// Returns the directory for messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Says whether a complete file of that digest and size is there.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        self.size(digest).is_ok_and(|found| found == Some(size))
    }

    /// Returns the size of a file; `None` if there is none.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let found = self.home.file(&name(digest));
        let found = found.map_err(|error| error.at(&*self.shown))?;
        Ok(found.map(|(_, size)| size))
    }

    /// Returns a file as a blob that is verified whenever it is read; `None` if there is none.
    pub(super) fn blob(&self, digest: &Digest, size: Option<u64>) -> Result<Option<Blob>> {
        let facts = Facts {
            digest: Some(*digest),
            size,
        };
        let path = name(digest);
        let what = format!("blob {digest}");
        let found = StoredBlob::find(&self.home, path, facts.clone(), &self.shown, what)?;
        Ok(found.map(|bytes| Blob {
            facts,
            bytes: Arc::new(bytes),
        }))
    }

    /// Starts a file.
    pub(super) fn writer(self: &Arc<Self>) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Writer {
            inner: self.stage.writer()?,
            cache: Arc::clone(self),
        }))
    }
}

/// The name of a file: no digest has a character that leads elsewhere.
fn name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

struct Writer {
    inner: Box<dyn BlobWriter>,
    cache: Arc<Cache>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BlobWriter for Writer {
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        let Self { inner, cache } = *self;
        let _naming = cache.naming.lock().unwrap_or_else(PoisonError::into_inner);
        inner.finish(digest, size)?;
        let Some(staged) = cache.stage.take(digest) else {
            return Ok(());
        };
        let name = name(digest);
        let moved = cache.stage.rename(&staged.path, &cache.to, &*name, true);
        match moved {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && cache.has(digest, size) =>
            {
                cache.stage.remove(&staged.path);
                Ok(())
            }
            // A file of the wrong size is damaged.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let replaced = cache.stage.rename(&staged.path, &cache.to, &*name, false);
                replaced.map_err(|error| Error::io(error, cache.shown()))
            }
            moved => moved.map_err(|error| Error::io(error, cache.shown())),
        }
    }
}
