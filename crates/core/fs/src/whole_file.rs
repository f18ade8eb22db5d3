//! An additional output file of a run, such as a report: written at its end, as a whole.
//!
//! A regular file is replaced, so that a killed run leaves the old file. Anything else that can be
//! written to, such as `/dev/null` or a FIFO with a reader, is opened before the work and is never
//! replaced.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use imgconv_model::{Code, Env, Error, Result, quote_path};
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
};

use crate::{
    given::set_blocking, path::parent, rename::sync_directory, stage::Stage, stale::sweep,
};

/// A file that will be written as a whole.
#[derive(Debug)]
pub struct WholeFile {
    path: PathBuf,
    /// The opened file at the path, if it is no regular file.
    special: Option<File>,
    env: Env,
}

impl WholeFile {
    /// Checks early whether writing would fail after everything else is done.
    ///
    /// # Errors
    /// [`Code::Io`] for a directory, a FIFO without a reader, and a place that can't be read.
    pub fn open(path: &Path, env: &Env) -> Result<Self> {
        let failed = |error: io::Error| Error::io(error, quote_path(path));
        let special = match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                return Err(Error::new(Code::Io, "it can't be a directory").at(quote_path(path)));
            }
            Ok(found) if !found.is_file() => Some(open_special(path)?),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if special.is_none() {
            fs::read_dir(parent(path)).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            special,
            env: env.clone(),
        })
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        let failed = |error: io::Error| Error::io(error, quote_path(&self.path));
        if let Some(mut special) = self.special {
            return special.write_all(bytes).map_err(failed);
        }
        // A symbolic link of the user is followed, not replaced.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = parent(&path);
        sweep(folder, Stage::PREFIX, &self.env);
        let stage = match Stage::new(folder, Stage::PREFIX, true) {
            Ok(stage) => stage,
            // A user with the right to write the file, but not its directory, can't replace the
            // file. After any other error, such as a full disk, the old file stays.
            Err(error) if is_refused(&error) && path.is_file() => {
                return fs::write(&path, bytes).map_err(failed);
            }
            Err(error) => return Err(error),
        };
        let staged = stage.write(bytes)?;
        rustix::fs::renameat(stage.descriptor(), &*staged, CWD, &path)
            .map_err(|error| failed(error.into()))?;
        sync_directory(folder)
    }
}

/// Returns true if the user may not write to the directory.
fn is_refused(error: &Error) -> bool {
    error.cause().is_some_and(|failed| {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(failed.kind(), PermissionDenied | ReadOnlyFilesystem)
    })
}

/// Opens a file that is not regular, without waiting for a reader of a FIFO.
fn open_special(path: &Path) -> Result<File> {
    let failed = |error: Errno| match error {
        Errno::NXIO => {
            let message = "no process reads from the FIFO, so it can't be written";
            Error::new(Code::Io, message).at(quote_path(path))
        }
        error => Error::io(error.into(), quote_path(path)),
    };
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened: OwnedFd = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    set_blocking(&opened).map_err(|error| Error::io(error, quote_path(path)))?;
    Ok(File::from(opened))
}
