//! Directories and files of this user, whose content no other user can have written.

use std::{
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use imgconv_model::{Code, Error, Result, quote_path};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::descriptor::set_mode;

/// Makes a directory that only this user may use, unless something exists at the path.
///
/// # Errors
/// [`Code::Io`] that names the path.
pub fn make_own_directory(path: &Path) -> Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(Error::io(error.into(), quote_path(path))),
    }
}

/// Opens a private directory; the directory is made if it is missing. It is no symbolic link, belongs to
/// this user, and no other user may read it.
///
/// # Errors
/// [`Code::Denied`] if something else is there, without the path; [`Code::Io`] that names the path.
pub fn own_directory(path: &Path) -> Result<OwnedFd> {
    let failed = |error: Errno| Error::io(error.into(), quote_path(path));
    make_own_directory(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::open(path, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::ACCESS) => {
            // The umask may have taken away even the owner's rights.
            let name = path.as_os_str().as_encoded_bytes();
            set_mode(CWD, name, FileType::Directory, Mode::RWXU)
                .map_err(|error| Error::io(error, quote_path(path)))?;
            open()
        }
        opened => opened,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(Error::new(Code::Denied, "the path is not a directory"));
        }
        Err(error) => return Err(failed(error)),
    };
    let stat = rustix::fs::fstat(&opened).map_err(failed)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        let message = format!("the directory belongs to user {}", stat.st_uid);
        return Err(Error::new(Code::Denied, message));
    }
    if Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
        rustix::fs::fchmod(&opened, Mode::RWXU).map_err(failed)?;
    }
    Ok(opened)
}

/// Opens a file that nobody else can have written: a regular file of this user with one name, that others
/// can't write to. The open follows no link and does not wait for a FIFO. `mode` is that of a file that
/// the flags let it make.
///
/// # Errors
/// [`Code::Denied`] for any other file, [`Code::Io`] if the file can't be opened. The errors do not name
/// the file.
pub fn open_own_file(directory: impl AsFd, name: &str, flags: OFlags, mode: Mode) -> Result<File> {
    let denied = |why: String| Err(Error::new(Code::Denied, why));
    let safe = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(directory, name, flags | safe, mode) {
        Ok(opened) => File::from(opened),
        Err(Errno::LOOP) => return denied("the path is a symbolic link".into()),
        Err(Errno::ISDIR | Errno::NXIO) => return denied("the path is not a regular file".into()),
        Err(error) => return Err(Error::from_io(error.into())),
    };
    let metadata = file.metadata().map_err(Error::from_io)?;
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        return denied("the path is not a regular file".into());
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return denied(format!("the file belongs to user {}", metadata.uid()));
    }
    if mode & 0o022 != 0 {
        return denied(format!("others can write to it (its mode is {mode:04o})"));
    }
    if metadata.nlink() != 1 {
        let names = metadata.nlink();
        return denied(format!("the file has {names} names (hard links)"));
    }
    Ok(file)
}
