//! The lock on a layout.
//!
//! A layout has two locks, which are always taken in this order. The one of its directory keeps runs on
//! the same machine out, also those of older versions, which take no other; where a server keeps
//! locks, only one run of each machine asks it. The one of the file `oci-layout` keeps out the runs of
//! all machines that share the file system. That file is in every layout, and is written once: only
//! `index.json` is replaced. No lock file of imgconv is added to a layout, which belongs to the user.
//!
//! In an empty directory there is no such file yet: the writer that makes a layout there makes the
//! file first, without replacing that of another writer, and locks the file.

use std::{fs::File, path::Path};

use imgconv_fs::{Stage, lock_directory, lock_file_at, refresh};
use imgconv_layout::MARKER;
use imgconv_model::{Env, Error, Result, quote_path};
use rustix::fs::AtFlags;

use crate::{
    directory::Directory,
    files::{Files, INDEX_FILE, LAYOUT_FILE},
};

/// The number of attempts to make and lock `oci-layout` while other writers remove theirs.
const TRIES: usize = 100;

/// The lock on a layout, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Dropped first: the locks are released in the reverse order.
    marker: Option<File>,
    _directory: File,
    /// True if `oci-layout` was made for this lock.
    made: bool,
}

/// Waits for the lock on a layout. In a directory without `oci-layout`, which is no layout yet, the
/// lock keeps out the runs of this machine only. `path` names the directory in messages.
pub(crate) fn lock(directory: &Directory, path: &Path, env: &Env) -> Result<Lock> {
    let what = what(path);
    let first = lock_directory(directory.descriptor(), env, &what)?;
    let marker = lock_file_at(directory.descriptor(), LAYOUT_FILE, env, &what)?;
    refresh(directory.descriptor(), INDEX_FILE);
    Ok(Lock {
        marker,
        _directory: first,
        made: false,
    })
}

/// Waits for the lock on a layout, or on a directory in which a layout is made now: it gets its
/// `oci-layout`. `stage` is a stage in the same file system.
pub(crate) fn lock_to_commit(
    directory: &Directory,
    path: &Path,
    stage: &Stage,
    env: &Env,
) -> Result<Lock> {
    let mut lock = lock(directory, path, env)?;
    let there = |name: &str| directory.open(&[name]).map(|found| found.is_some());
    for _ in 0..TRIES {
        // A directory with an index and without the marker is no layout, which the caller says.
        if lock.marker.is_some() || there(INDEX_FILE)? {
            return Ok(lock);
        }
        let staged = stage.write(MARKER.as_bytes())?;
        match stage.rename(&staged, directory.descriptor(), LAYOUT_FILE, true) {
            Ok(()) => lock.made = true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                stage.remove(&staged)
            }
            Err(error) => return Err(Error::io(error, format!("file {LAYOUT_FILE}"))),
        }
        lock.marker = lock_file_at(directory.descriptor(), LAYOUT_FILE, env, &what(path))?;
        refresh(directory.descriptor(), INDEX_FILE);
    }
    Ok(lock)
}

/// Returns the name of the lock in errors and events.
fn what(path: &Path) -> String {
    format!("lock of the layout {}", quote_path(path))
}

impl Lock {
    /// Removes an `oci-layout` that was made for this lock, after the commit has failed: the directory
    /// is as empty as it was. Writers that wait for the lock see that the file is gone.
    pub(crate) fn undo(&self, directory: &Directory) {
        if self.made && matches!(directory.open(&[INDEX_FILE]), Ok(None)) {
            let _ = rustix::fs::unlinkat(directory.descriptor(), LAYOUT_FILE, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use imgconv_model::Platform;
    use imgconv_testkit::waits;

    use super::*;

    #[test]
    fn a_run_that_waits_names_the_layout() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LAYOUT_FILE), MARKER).unwrap();
        let open = || Directory::open_to_change(folder.path()).unwrap();
        let env = || Env::new("/", Platform::new("linux", "amd64"));
        let mut told = env();
        let (progress, receiver) = waits();
        told.progress = progress;
        let path = Path::new("some/layout");
        let held = lock(&open(), path, &env()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| lock(&open(), path, &told).unwrap());
            assert_eq!(
                receiver.recv().unwrap(),
                "waiting for the lock of the layout \"some/layout\", which another run holds"
            );
            drop(held);
        });
    }
}
