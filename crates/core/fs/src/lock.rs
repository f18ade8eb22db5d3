//! Advisory locks, which the kernel releases when their process ends, also when it is killed.

use std::{
    fs::{File, TryLockError},
    io,
    os::fd::AsFd,
    time::Duration,
};

use imgconv_model::{Env, Error, Result};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
};

/// File systems whose locks are those of this machine, by their numbers in `statfs(2)`: ext2 to
/// ext4, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs, bcachefs.
const LOCAL: &[u64] = &[
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
];

/// The pause between two attempts to take a lock.
const PAUSE: Duration = Duration::from_millis(2);

/// Takes the lock of an open file or directory, which lasts until the descriptor is closed; false
/// if another process holds the lock.
///
/// # Errors
/// If the file system has no locks.
pub(crate) fn try_lock(descriptor: impl AsFd) -> io::Result<bool> {
    match flock(descriptor, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if a lock that can be taken proves that no process holds it. That holds for the
/// file systems of this machine only: on a network, another machine may hold the lock.
pub(crate) fn proves(directory: impl AsFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|found| {
        u64::try_from(found.f_type).is_ok_and(|kind| LOCAL.contains(&(kind & 0xffff_ffff)))
    })
}

/// Waits for the lock of a directory, which lasts until the returned file is dropped. `what` names
/// the lock in errors.
///
/// # Errors
/// [`Code::Io`](imgconv_model::Code::Io) if the file system has no locks, and
/// [`Code::Cancelled`](imgconv_model::Code::Cancelled).
pub fn lock_directory(directory: impl AsFd, env: &Env, what: &str) -> Result<File> {
    let failed = |error| Error::io(error, what);
    // A lock belongs to the open file, and a duplicate descriptor would keep it: so the directory
    // is opened anew.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty());
    let file = File::from(opened.map_err(|error| failed(error.into()))?);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                env.check_cancelled()?;
                std::thread::sleep(PAUSE);
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}
