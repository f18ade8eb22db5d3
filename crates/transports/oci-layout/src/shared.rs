//! Blobs of a layout that share their bytes with files elsewhere.

use std::{fs::File, path::PathBuf, sync::Arc};

use imgconv_fs::{Link, Stage, Stamp};
use imgconv_model::{Adopted, Code, Digest, Error, Reader, Result};

use crate::{growing::Growing, hold::is_whole};

/// The files that share their bytes with blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// The way of sharing.
    pub link: Link,
    /// A directory with the structure of a layout's `blobs`, from which blobs are taken and to
    /// which they are added.
    pub pool: Option<PathBuf>,
}

/// A file in a stage that shares its bytes with one elsewhere.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stage: Arc<Stage>,
    pub(crate) growing: Option<Arc<Growing>>,
    /// The file's name in the stage; `None` after the file was handed over.
    name: Option<String>,
    /// The file's metadata before it was read.
    stamp: Stamp,
}

impl Shared {
    pub(crate) fn new(
        stage: &Arc<Stage>,
        growing: Option<&Arc<Growing>>,
        name: String,
    ) -> Result<Self> {
        let metadata = stage.open(&name)?.metadata();
        Ok(Self {
            stage: Arc::clone(stage),
            growing: growing.cloned(),
            name: Some(name),
            stamp: Stamp::of(&metadata.map_err(Error::from_io)?),
        })
    }

    fn file(&self) -> Result<File> {
        self.stage.open(self.name.as_deref().unwrap_or_default())
    }
}

impl Adopted for Shared {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(self.file()?))
    }

    fn finish(mut self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        let failed = |error| Error::io(error, format!("blob {digest}"));
        let file = self.file()?;
        // The writer of the file may not have made its bytes durable.
        file.sync_all().map_err(failed)?;
        let found = Stamp::of(&file.metadata().map_err(failed)?);
        if found != self.stamp && !is_whole(file, digest, size)? {
            let message = format!("blob {digest} was changed while it was read");
            return Err(
                Error::new(Code::Mismatch, message).hint("run it again when nothing writes to it")
            );
        }
        if let Some(name) = self.name.take()
            && !self.stage.complete(&name, digest, size)
        {
            self.stage.remove(&name);
        }
        match &self.growing {
            Some(growing) => growing.place(digest),
            None => Ok(()),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.stage.remove(name);
        }
    }
}
