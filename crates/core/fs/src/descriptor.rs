//! Single steps by descriptors: a directory of the user, and one component below an open directory.
//! Only the user's own path is followed through links.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use imgconv_model::{Error, Result, quote_path};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fstat, openat},
    io::Errno,
    process::{Resource, getrlimit},
};

/// The descriptors that a process has open whatever it does.
const FIXED: u64 = 24;
/// The descriptors that a job has open at a time: of the source, of a stage, of a spool.
const OF_A_JOB: u64 = 8;

/// Returns how many of `jobs` can run at a time within the limit on open descriptors of this process,
/// and at least 1.
pub fn jobs_within_limit(jobs: usize) -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return jobs;
    };
    let possible = limit.saturating_sub(FIXED) / OF_A_JOB;
    jobs.min(usize::try_from(possible).unwrap_or(jobs)).max(1)
}

/// Opens a directory by a path of the user; symbolic links in the path are followed.
///
/// # Errors
/// [`Code::Io`](imgconv_model::Code::Io) that names the path.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| Error::io(error.into(), quote_path(path)))
}

/// Opens the directory `name` in `parent`; a symbolic link is an error.
///
/// # Errors
/// If there is no such directory, or it can't be read.
pub fn open_directory_at(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Returns true if an open directory has no entries.
///
/// # Errors
/// If the directory can't be listed.
pub fn is_empty(directory: impl AsFd) -> io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sets the mode of a file that can't be opened for reading, or must not be: a device, a FIFO, a
/// directory without permissions. Fails if `name` is not of the type `kind`.
///
/// No portable system call sets a mode by name without following a link. So the inode is held by a
/// descriptor that gives no access to its contents, and `/proc` has a name for exactly that inode.
///
/// # Errors
/// If the file is of another type, or its mode can't be set.
pub fn set_mode(parent: impl AsFd, name: &[u8], kind: FileType, mode: Mode) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(parent, name, flags, Mode::empty())?;
    let found = fstat(&held)?;
    if FileType::from_raw_mode(found.st_mode) != kind {
        return Err(Errno::LOOP.into());
    }
    if Mode::from_raw_mode(found.st_mode) == mode {
        return Ok(());
    }
    Ok(chmodat(CWD, path_of(&held), mode, AtFlags::empty())?)
}

/// Returns the path under which Linux has the file of an open descriptor, even if another file has
/// its name by now. The path is valid as long as the descriptor is open.
pub fn path_of(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}
