//! The lock by which a process marks a temporary directory as in use.

use std::{io, os::fd::AsFd};

use crate::lock;

/// Takes the lock of a new temporary directory or of its lock file by `take`; false if another process removes
/// it as a leftover. On a file system without locks, or of several machines, there may be no lock,
/// and no directory is ever removed there.
///
/// # Errors
/// If there is no lock where [`Stale::find`](crate::Stale::find) relies on locks: without its lock, the directory would
/// count as a leftover while it is in use.
pub(crate) fn lock_own(
    descriptor: impl AsFd,
    take: impl Fn() -> io::Result<bool>,
) -> io::Result<bool> {
    loop {
        return match take() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if lock::proves(&descriptor) => Err(error),
            locked => Ok(locked.unwrap_or(true)),
        };
    }
}
