//! One directory of blobs that many layouts share, with the structure of a layout's `blobs`.
//!
//! Blobs in the pool are shared with the layout, and new blobs are put into the pool, by the same
//! rule (`link.rs`). A blob gets its name in the pool only when it is complete, so any number of
//! programs can use a pool. Nothing is ever removed from a pool, and no layout depends on one:
//! without hard links or clones a pool is only one more copy.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::{Link, Stage, Staged, Stale, share, sync};
use imgconv_model::{Code, Digest, Env, Error, Facts, Result, quote_path};
use imgconv_stream::{Cancellable, Verified};

use crate::{
    directory::{Directory, make_directory},
    files::Files,
    hold::is_whole,
};

/// An open pool.
#[derive(Debug)]
pub(crate) struct Pool {
    directory: Directory,
    /// The stage in the pool, so that complete blobs get their names by renaming.
    stage: Arc<Stage>,
    link: Link,
    env: Env,
    /// The blobs that do not match their names; they are replaced.
    damaged: Mutex<Vec<Digest>>,
}

impl Pool {
    /// Opens a pool; its directory is made if it is missing.
    ///
    /// # Errors
    /// If the pool can't be written to.
    pub(crate) fn open(path: &Path, link: Link, env: &Env) -> Result<Self> {
        let at = || quote_path(path);
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(error, at()));
            }
            _ => {}
        }
        let directory = Directory::open_to_change(path)?;
        let stage = Stage::new(path, Stage::PREFIX, true)?;
        // Leftovers that can't be removed now are left to a later run.
        for stale in Stale::find(directory.descriptor(), Stage::PREFIX).unwrap_or_default() {
            let _ = stale.remove(directory.descriptor());
        }
        Ok(Self {
            directory,
            stage,
            link,
            env: env.clone(),
            damaged: Mutex::default(),
        })
    }

    /// Brings a blob into a stage, if the blob is there and intact.
    ///
    /// # Errors
    /// If the blob can't be read, or can't be shared in the requested way.
    pub(crate) fn get(&self, digest: &Digest, size: u64, into: &Arc<Stage>) -> Result<bool> {
        let at = |error: Error| error.at(format!("blob {digest} of the pool"));
        let Some(file) = self.file(digest)? else {
            return Ok(false);
        };
        let work = || -> Result<bool> {
            if file.metadata().map_err(Error::from_io)?.len() != size {
                return Ok(false);
            }
            let Some(name) = share(Some(&file), into, self.link)? else {
                return self.copy(&file, digest, size, into);
            };
            let whole = is_whole(into.open(&name)?, digest, size);
            if !matches!(whole, Ok(true)) || !into.complete(&name, digest, size) {
                into.remove(&name);
            }
            whole
        };
        let found = work().map_err(at)?;
        if !found {
            let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
            damaged.push(*digest);
        }
        Ok(found)
    }

    fn file(&self, digest: &Digest) -> Result<Option<File>> {
        let names = [digest.algorithm().as_str(), &digest.hex()];
        match self.directory.file(&names) {
            // A symbolic link is replaced.
            Err(error) if error.code() == Code::Escape => Ok(None),
            other => other,
        }
    }

    fn copy(&self, file: &File, digest: &Digest, size: u64, into: &Arc<Stage>) -> Result<bool> {
        let facts = Facts {
            digest: Some(*digest),
            size: Some(size),
        };
        let source = Verified::new(file, &facts, format!("blob {digest}"));
        let mut source = Cancellable::new(source, &self.env);
        let mut writer = into.writer()?;
        match io::copy(&mut source, &mut writer).map_err(Error::from_io) {
            Ok(_) => writer.finish(digest, size).map(|()| true),
            Err(error) if error.code() == Code::Mismatch => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts a complete blob of a stage into the pool, unless it is there.
    ///
    /// # Errors
    /// If the blob can't be written, or can't be shared in the requested way.
    pub(crate) fn put(&self, digest: &Digest, staged: &Staged, from: &Stage) -> Result<()> {
        let at = |error: Error| error.at(format!("blob {digest} of the pool"));
        let damaged = || self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file(digest)?
            && !damaged().contains(digest)
            && file.metadata().map_err(Error::from_io)?.len() == staged.size
        {
            return Ok(());
        }
        let work = || -> Result<()> {
            let source = from.open(&staged.path)?;
            let name = match share(Some(&source), &self.stage, self.link)? {
                Some(name) => name,
                None => {
                    let (mut file, name) = self.stage.file()?;
                    self.fill(source, &mut file)?;
                    name
                }
            };
            let algorithm = digest.algorithm().as_str();
            let target = make_directory(self.directory.descriptor(), algorithm, algorithm)?;
            rustix::fs::renameat(self.stage.descriptor(), &*name, &target, digest.hex())
                .map_err(|error| Error::from_io(error.into()))?;
            // Renaming a link onto the same file does not remove the link.
            self.stage.remove(&name);
            sync(&target, algorithm)
        };
        work().map_err(at)?;
        damaged().retain(|known| known != digest);
        Ok(())
    }

    fn fill(&self, source: File, file: &mut File) -> Result<()> {
        let mut source = Cancellable::new(source, &self.env);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return file.sync_all().map_err(Error::from_io),
                Ok(count) => file.write_all(&buffer[..count]).map_err(Error::from_io)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io(error)),
            }
        }
    }
}
