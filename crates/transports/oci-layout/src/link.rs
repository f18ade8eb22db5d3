//! Sharing bytes instead of copying them: clones and hard links of files that are blobs already.
//!
//! A clone shares blocks until one side is written to, so it is as good as a copy. A hard link is the
//! same file: damage to one is damage to all, which is why only files of this user that nobody else
//! can write to are linked, and why no linked file is ever written to, or given another owner or
//! mode, here. What is linked is what a descriptor leads to, never what a name does, and it is
//! hashed through the new link before it gets its name. A file that changed between the beginning of
//! that and its end (its ctime says so) is hashed once more, and is refused if it is another by then.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    sync::Arc,
};

use imgconv_fs::{Stage, Stamp};
use imgconv_model::{Adopted, Code, Digest, Error, Reader, Result};
use rustix::fs::{AtFlags, CWD};

use crate::{growing::Growing, hold::is_whole};

/// How a blob that is a file already gets into a layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// As a clone, else as a hard link, else as a copy.
    #[default]
    Auto,
    /// As a hard link, or not at all.
    Hard,
    /// As a clone, or not at all.
    Reflink,
    /// As a copy: nothing that happens to one of them happens to the other.
    Copy,
}

/// What blobs share their bytes with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// How.
    pub link: Link,
    /// A directory of the shape of a layout's `blobs`, which blobs come from and go to.
    pub pool: Option<PathBuf>,
}

/// Why a file is not shared.
type Refused = String;

/// Makes a file in a stage that shares its bytes with another; returns its name there. `None` if it
/// has to be copied.
///
/// # Errors
/// [`Code::Unsupported`] if it has to be shared in a way that is not possible.
pub(crate) fn share(file: Option<&File>, stage: &Stage, link: Link) -> Result<Option<String>> {
    if link == Link::Copy {
        return Ok(None);
    }
    let (cloned, linked): (Option<Refused>, Option<Refused>) = match file {
        None => {
            let why = "its source is no file of its own".to_owned();
            (Some(why.clone()), Some(why))
        }
        Some(file) => {
            let cloned = match link {
                Link::Hard => None,
                _ => match clone(file, stage)? {
                    Ok(name) => return Ok(Some(name)),
                    Err(why) => Some(why),
                },
            };
            let linked = match link {
                Link::Reflink => None,
                _ => match hard_link(file, stage) {
                    Ok(name) => return Ok(Some(name)),
                    Err(why) => Some(why),
                },
            };
            (cloned, linked)
        }
    };
    let message = match (link, cloned, linked) {
        (Link::Hard, _, Some(why)) => format!("it can't be hard-linked: {why}"),
        (Link::Reflink, Some(why), _) => format!("it can't be cloned: {why}"),
        _ => return Ok(None),
    };
    Err(Error::new(Code::Unsupported, message).hint("`--link auto` copies what can't be linked"))
}

fn clone(file: &File, stage: &Stage) -> Result<std::result::Result<String, Refused>> {
    let (target, name) = stage.file()?;
    Ok(match rustix::fs::ioctl_ficlone(&target, file) {
        Ok(()) => Ok(name),
        Err(error) => {
            stage.remove(&name);
            Err(io::Error::from(error).to_string())
        }
    })
}

fn hard_link(file: &File, stage: &Stage) -> std::result::Result<String, Refused> {
    let own = file.metadata().map_err(|error| error.to_string())?;
    if !own.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if own.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    if own.mode() & 0o022 != 0 {
        return Err("others can write to it".to_owned());
    }
    let name = stage.free_name();
    // By the descriptor: a name could lead to another file by now.
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, &*path, stage.descriptor(), &*name, flags)
        .map_err(|error| io::Error::from(error).to_string())?;
    let linked = stage.open(&name).and_then(|linked| {
        let found = linked.metadata().map_err(Error::from_io)?;
        Ok((found.dev(), found.ino()) == (own.dev(), own.ino()))
    });
    if !matches!(linked, Ok(true)) {
        stage.remove(&name);
        return Err("/proc leads to another file".to_owned());
    }
    Ok(name)
}

/// A file in a stage that shares its bytes with one elsewhere.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stage: Arc<Stage>,
    pub(crate) growing: Option<Arc<Growing>>,
    /// Its name in the stage; `None` when that is no longer ours.
    name: Option<String>,
    /// What the file system said of it before it was read.
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
        // Whoever wrote it need not have.
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
