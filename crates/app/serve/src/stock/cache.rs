//! The directory of what was made: blobs and documents under their digests, each complete and verified.
//!
//! A file gets its name when it is complete, so a killed process leaves no file that is not. A directory
//! that is kept may have been changed: before a file is used, its bytes are compared with its digest, once
//! for as long as its metadata stay the same. A file that is damaged or gone is made again.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::{Directory, Stage, Stamp, StoredBlob, sweep};
use imgconv_model::{Blob, BlobWriter, Digest, Env, Error, Facts, Result, quote_path};
use imgconv_stream::Verified;

/// The metadata of a file when its bytes had its digest. Whoever compares or names the file holds the lock.
type State = Arc<Mutex<Option<Stamp>>>;

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
    files: Mutex<BTreeMap<Digest, State>>,
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
            files: Mutex::default(),
        }))
    }

    /// Returns the directory for messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    fn state(&self, digest: &Digest) -> State {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(files.entry(*digest).or_default())
    }

    /// Says whether a file is there whose bytes had the digest, and has not changed since; false also while
    /// somebody compares the file.
    pub(super) fn is_verified(&self, digest: &Digest) -> bool {
        let state = self.state(digest);
        let Ok(known) = state.try_lock() else {
            return false;
        };
        known.is_some() && self.stamp(digest) == *known
    }

    fn stamp(&self, digest: &Digest) -> Option<Stamp> {
        let (file, _) = self.home.file(&name(digest)).ok()??;
        Stamp::of_file(&file).ok()
    }

    /// Returns the size of a file whose bytes have the digest. The bytes are compared unless that was done
    /// before, and the file has not changed since. `None` if there is no such file, or a damaged one.
    pub(super) fn verified(&self, digest: &Digest) -> Result<Option<u64>> {
        let state = self.state(digest);
        let mut known = state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.home.file(&name(digest));
        let Some((file, size)) = found.map_err(|error| error.at(&*self.shown))? else {
            *known = None;
            return Ok(None);
        };
        let stamp =
            |file: &File| Stamp::of_file(file).map_err(|error| Error::io(error, &*self.shown));
        let before = stamp(&file)?;
        if *known == Some(before) {
            return Ok(Some(size));
        }
        let facts = Facts {
            digest: Some(*digest),
            size: Some(size),
        };
        let mut reader = Verified::new(&file, &facts, digest.to_string());
        let read = io::copy(&mut reader, &mut io::sink());
        let after = stamp(&file)?;
        // A file that can't be read is damaged too.
        *known = (read.is_ok() && before == after).then_some(after);
        Ok(known.map(|_| size))
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
        let state = cache.state(digest);
        let mut known = state.lock().unwrap_or_else(PoisonError::into_inner);
        inner.finish(digest, size)?;
        let Some(staged) = cache.stage.take(digest) else {
            return Ok(());
        };
        if known.is_some() && cache.stamp(digest) == *known {
            // A file that is being sent stays as it is.
            cache.stage.remove(&staged.path);
            return Ok(());
        }
        let moved = cache
            .stage
            .rename(&staged.path, &cache.to, &*name(digest), false);
        moved.map_err(|error| Error::io(error, cache.shown()))?;
        *known = cache.stamp(digest);
        Ok(())
    }
}
