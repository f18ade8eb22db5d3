//! The blobs that a writer found in a layout and relies on.
//!
//! Until the commit no index lists these blobs, so a run that frees space could remove them. A
//! private link in the writer's stage keeps each of them, and the commit, under the layout's lock,
//! restores removed blobs. The link also makes the blob young again, for programs that take no lock
//! and check times. On a file system without links, a removed blob is an error of the commit.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek as _},
    sync::{Mutex, PoisonError},
};

use imgconv_fs::{Stage, Stamp, open_file_at, sync};
use imgconv_model::{Code, Digest, Error, Facts, Reader, Result};
use imgconv_stream::Verified;
use rustix::{fs::AtFlags, io::Errno};

use crate::{
    directory::{Directory, make_directory},
    files::{BLOBS, Files},
};

/// The facts about blobs that were there before.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<BTreeMap<(Digest, u64), Hold>>);

#[derive(Clone, Debug)]
enum Hold {
    /// The blob is missing, or does not match its name.
    No,
    /// The blob is intact; the name of the private link to it, if the file system has links.
    Yes(Option<String>),
}

impl Holds {
    /// Says whether a blob is there and intact; each blob is read once. From then on the blob is
    /// held.
    pub(crate) fn has(
        &self,
        directory: &Directory,
        stage: &Stage,
        digest: &Digest,
        size: u64,
    ) -> Result<bool> {
        let holds = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = holds().get(&(*digest, size)).cloned();
        let hold = match known {
            Some(hold) => hold,
            None => hold(directory, stage, digest, size)?,
        };
        let found = matches!(hold, Hold::Yes(_));
        holds().entry((*digest, size)).or_insert(hold);
        Ok(found)
    }

    /// Restores blobs that were removed meanwhile. The caller has the layout's lock.
    ///
    /// # Errors
    /// [`Code::Missing`] if a blob can't be restored.
    pub(crate) fn restore(&self, directory: &Directory, stage: &Stage) -> Result<()> {
        let holds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((digest, size), hold) in &*holds {
            let Hold::Yes(link) = hold else { continue };
            match directory.blob(digest) {
                Ok(Some((_, found))) if found == *size => continue,
                Ok(_) => {}
                Err(error) if error.code() == Code::Escape => {}
                Err(error) => return Err(error),
            }
            let Some(link) = link else {
                let message = format!("blob {digest} was removed while it was relied on");
                return Err(Error::new(Code::Missing, message).hint("run it again"));
            };
            let algorithm = digest.algorithm().as_str();
            let shown = format!("{BLOBS}/{algorithm}");
            let blobs = make_directory(directory.descriptor(), BLOBS, BLOBS)?;
            let target = make_directory(&blobs, algorithm, &shown)?;
            rustix::fs::renameat(stage.descriptor(), &**link, &target, digest.hex())
                .map_err(|error| Error::io(error.into(), format!("blob {digest}")))?;
            sync(&target, shown)?;
        }
        Ok(())
    }
}

fn hold(directory: &Directory, stage: &Stage, digest: &Digest, size: u64) -> Result<Hold> {
    let Some(folder) = directory.blobs_of(digest.algorithm())? else {
        return Ok(Hold::No);
    };
    let link = stage.free_name();
    let linked = rustix::fs::linkat(
        &folder,
        digest.hex(),
        stage.descriptor(),
        &*link,
        AtFlags::empty(),
    );
    match linked {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Hold::No),
        Err(_) => {
            let intact = is_intact(directory, digest, size)?;
            return Ok(if intact { Hold::Yes(None) } else { Hold::No });
        }
    }
    // The held file is checked, whatever file gets the blob's name meanwhile.
    let shown = format!("{BLOBS}/{}/{}", digest.algorithm().as_str(), digest.hex());
    let intact = match open_file_at(stage.descriptor(), &link) {
        Ok(Some(file)) => is_whole(file, digest, size),
        Ok(None) => Ok(false),
        // A symbolic link will be replaced.
        Err(error) if error.code() == Code::Escape => Ok(false),
        Err(error) => Err(error.at(format!("file {shown}"))),
    };
    if !matches!(intact, Ok(true)) {
        stage.remove(&link);
    }
    Ok(if intact? {
        Hold::Yes(Some(link))
    } else {
        Hold::No
    })
}

/// Reads a blob of a layout and says whether it matches its name.
pub(crate) fn is_intact(directory: &Directory, digest: &Digest, size: u64) -> Result<bool> {
    match directory.blob(digest) {
        Ok(Some((reader, found))) => Ok(found == size && is_what_it_says(reader, digest, size)?),
        Ok(None) => Ok(false),
        // A link, or anything but a file, will be replaced.
        Err(error) if error.code() == Code::Escape => Ok(false),
        Err(error) => Err(error),
    }
}

/// The most attempts to read a file that changes while it is read: another program may be making
/// links to the file, which changes no byte.
const READINGS: usize = 4;

/// Reads a file and says whether it is that blob, and remained the same file with the same bytes
/// until the end of the reading.
pub(crate) fn is_whole(file: File, digest: &Digest, size: u64) -> Result<bool> {
    let stamp = || Ok(Stamp::of(&file.metadata().map_err(Error::from_io)?));
    for _ in 0..READINGS {
        let before = stamp()?;
        if before.size != size {
            return Ok(false);
        }
        let mut again = file.try_clone().map_err(Error::from_io)?;
        again.rewind().map_err(Error::from_io)?;
        if !is_what_it_says(Box::new(again), digest, size)? {
            return Ok(false);
        }
        if stamp()? == before {
            return Ok(true);
        }
    }
    let message = format!("blob {digest} is being changed while it is read");
    Err(Error::new(Code::Mismatch, message).hint("run it again when nothing writes to it"))
}

fn is_what_it_says(reader: Reader, digest: &Digest, size: u64) -> Result<bool> {
    let facts = Facts {
        digest: Some(*digest),
        size: Some(size),
    };
    let mut reader = Verified::new(reader, &facts, format!("blob {digest}"));
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let error = Error::from_io(error);
                return match error.code() {
                    Code::Mismatch => Ok(false),
                    _ => Err(error),
                };
            }
        }
    }
}
