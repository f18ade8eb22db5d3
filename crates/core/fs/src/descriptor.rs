//! Operations on one component below an open directory, none of which follows a link.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, chmodat, fstat, openat},
    io::Errno,
};

/// Opens the directory `name` in `parent`; a symbolic link is an error.
///
/// # Errors
/// If there is none, or it can't be read.
pub fn open_directory(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Sets the mode of something that can't be opened for reading, or must not be: a device, a FIFO, a
/// directory without permissions. Fails if `name` is not of the type `kind`.
///
/// No portable system call sets a mode by name without following a link. So the inode is held by a
/// descriptor that gives no access to its contents, and `/proc` has a name for exactly that inode.
///
/// # Errors
/// If it is of another type, or its mode can't be set.
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
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(chmodat(CWD, path, mode, AtFlags::empty())?)
}
