//! The target directory: all of it or nothing.
//!
//! Everything is written to a partial directory beside the target. A lock file beside the partial
//! directory, which is made before it and removed after it, says that the directory is no user's.
//! The process that unpacks holds a lock on that file: the next run for the same target removes a
//! partial directory whose lock file no process holds.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use imgconv_fs::{Stale, remove_contents};
use imgconv_model::{Code, Error, Result, quote};
use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat,
        openat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

use crate::descriptor::open_directory;

/// How many bytes of the target's name the partial directory's name begins with: a name may have
/// 255, and the suffix needs room.
const NAME_BYTES: usize = 200;
/// Random characters at the end of the partial directory's name.
const RANDOM: usize = 8;
/// What the lock file's name adds to the partial directory's name.
const LOCK: &[u8] = b".lock";

/// A partial directory beside the target. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The directory that holds both.
    parent: OwnedFd,
    name: Vec<u8>,
    partial: Vec<u8>,
    top: OwnedFd,
    /// The lock file, locked until the descriptor is closed.
    _lock: OwnedFd,
    /// The target's path for messages.
    shown: String,
    published: bool,
}

impl Destination {
    /// Checks that the target can be written and makes the partial directory, which only its owner
    /// can enter.
    pub(crate) fn create(target: &Path) -> Result<Self> {
        let shown = quote(target.as_os_str().as_bytes());
        let Some(name) = target.file_name() else {
            let message = format!("{shown} can't be replaced by a complete directory");
            return Err(Error::new(Code::Denied, message)
                .hint("name a directory that does not exist, or an empty one by its own name"));
        };
        let name = name.as_bytes().to_vec();
        let beside = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, beside, flags, Mode::empty())
            .map_err(|error| Error::io(error.into(), quote(beside.as_os_str().as_bytes())))?;
        // A leftover that can't be found or removed now is left to the next run.
        let _ = remove_leftovers(parent.as_fd(), &name);
        refuse_unless_empty(parent.as_fd(), &name, &shown)?;
        let (partial, lock, top) =
            make_partial(parent.as_fd(), &name).map_err(|error| Error::io(error, shown.clone()))?;
        Ok(Self {
            parent,
            name,
            partial,
            top,
            _lock: lock,
            shown,
            published: false,
        })
    }

    /// Returns the directory to write to.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Returns the target's path, quoted.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Gives the partial directory the target's name.
    pub(crate) fn publish(mut self) -> Result<()> {
        let renamed = flush(self.top.as_fd()).and_then(|()| {
            // A directory only ever replaces an empty directory, so what appeared there meanwhile
            // is safe.
            let (parent, partial) = (&self.parent, self.partial.as_slice());
            Ok(renameat(parent, partial, parent, self.name.as_slice())?)
        });
        if let Err(error) = renamed {
            let error = match Errno::from_io_error(&error) {
                Some(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => occupied(&self.shown),
                Some(Errno::BUSY) => Error::io(error, self.shown.clone())
                    .hint("a mount point can't be replaced; name a directory below it"),
                _ => Error::io(error, self.shown.clone()),
            };
            return Err(self.abandon(error));
        }
        self.published = true;
        // A lock file that stays is removed by the next run for this target.
        let _ = unlinkat(&self.parent, lock_name(&self.partial), AtFlags::empty());
        // The tree is complete and visible; that it can't be made durable any sooner is no failure.
        let _ = flush(self.parent.as_fd());
        Ok(())
    }

    /// Removes the partial directory after an error; the error says so if that does not work.
    pub(crate) fn abandon(mut self, error: Error) -> Error {
        self.published = true; // Nothing is left to do when it is dropped.
        match self.remove() {
            Ok(()) => error,
            Err(problem) => error.hint(format!(
                "the partial directory {} beside {} could not be removed: {problem}",
                quote(&self.partial),
                self.shown
            )),
        }
    }

    fn remove(&self) -> io::Result<()> {
        remove_contents(&self.top, b"")?;
        unlinkat(&self.parent, self.partial.as_slice(), AtFlags::REMOVEDIR)?;
        let lock = lock_name(&self.partial);
        Ok(unlinkat(&self.parent, lock, AtFlags::empty())?)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.remove();
        }
    }
}

/// Flushes a directory, where the file system can.
fn flush(directory: BorrowedFd<'_>) -> io::Result<()> {
    match fsync(directory) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn occupied(shown: &str) -> Error {
    Error::new(Code::Denied, format!("{shown} is not an empty directory"))
        .hint("name a directory that does not exist or is empty")
}

fn refuse_unless_empty(parent: BorrowedFd<'_>, name: &[u8], shown: &str) -> Result<()> {
    let place = |error: io::Error| Error::io(error, shown);
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(place(error.into())),
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Directory => {
            return Err(occupied(shown));
        }
        Ok(_) => {}
    }
    let directory = open_directory(parent, name).map_err(place)?;
    let mut listing = Dir::new(directory).map_err(|error| place(error.into()))?;
    while let Some(entry) = listing.read() {
        let entry = entry.map_err(|error| place(error.into()))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Err(occupied(shown));
        }
    }
    Ok(())
}

/// Makes a directory of a random name that begins with `name`, after its lock file; returns the
/// directory's name, the lock and the directory.
fn make_partial(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<(Vec<u8>, OwnedFd, OwnedFd)> {
    let prefix = prefix(name);
    let mut partial = Vec::new();
    // `tempfile` only makes up names here, and tries another name when one is taken. The path is
    // never used: the directory is made by descriptor.
    let lock = tempfile::Builder::new()
        .prefix(std::ffi::OsStr::from_bytes(&prefix))
        .rand_bytes(RANDOM)
        .disable_cleanup(true)
        .make_in(PathBuf::from("/"), |path| {
            let file_name = path
                .file_name()
                .expect("the path ends with the random name");
            partial = file_name.as_bytes().to_vec();
            let lock = make_lock(parent, &partial)?;
            if let Err(error) = mkdirat(parent, file_name, Mode::RWXU) {
                let _ = unlinkat(parent, lock_name(&partial), AtFlags::empty());
                return Err(error.into());
            }
            Ok(lock)
        })?
        .into_file();
    let top = open_directory(parent, &partial)?;
    // In a directory that others may write to, somebody could have put another one in its place.
    if fstat(&top)?.st_uid != geteuid().as_raw() {
        return Err(Errno::PERM.into());
    }
    Ok((partial, lock, top))
}

/// Makes and locks the lock file of a partial directory.
fn make_lock(parent: BorrowedFd<'_>, partial: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = openat(parent, lock_name(partial), flags, Mode::RUSR | Mode::WUSR)?;
    // On file systems without locks nothing is ever taken for a leftover.
    let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    // Another run may have taken the file for a leftover before it was locked.
    match fstat(&lock)?.st_nlink {
        0 => Err(io::ErrorKind::AlreadyExists.into()),
        _ => Ok(lock),
    }
}

/// What the name of a partial directory begins with.
fn prefix(name: &[u8]) -> Vec<u8> {
    [&name[..name.len().min(NAME_BYTES)], b".partial-"].concat()
}

/// The name of the lock file of a partial directory.
fn lock_name(partial: &[u8]) -> Vec<u8> {
    [partial, LOCK].concat()
}

/// Removes the partial directories of this target that killed processes left.
fn remove_leftovers(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    if !Stale::can_tell(parent) {
        return Ok(());
    }
    let prefix = prefix(name);
    let mut found = Vec::new();
    for entry in Dir::read_from(parent)? {
        let entry = entry?;
        let partial = entry.file_name().to_bytes().strip_suffix(LOCK);
        found.extend(
            partial
                .filter(|name| is_partial(name, &prefix))
                .map(<[u8]>::to_vec),
        );
    }
    for partial in found {
        // What can't be removed is no reason to leave the rest.
        let _ = remove_leftover(parent, &partial);
    }
    Ok(())
}

fn is_partial(name: &[u8], prefix: &[u8]) -> bool {
    name.strip_prefix(prefix).is_some_and(|random| {
        random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric)
    })
}

/// Removes a partial directory and its lock file, if the lock file is an empty file of this user
/// that no process has locked.
fn remove_leftover(parent: BorrowedFd<'_>, partial: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = openat(parent, lock_name(partial), flags, Mode::empty())?;
    let is_own = |stat: &rustix::fs::Stat| stat.st_uid == geteuid().as_raw();
    let stat = fstat(&lock)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile || stat.st_size != 0 || !is_own(&stat) {
        return Ok(());
    }
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    match open_directory(parent, partial) {
        Ok(top) => {
            if !is_own(&fstat(&top)?) {
                return Ok(());
            }
            remove_contents(&top, b"")?;
            unlinkat(parent, partial, AtFlags::REMOVEDIR)?;
        }
        // The process was killed before the directory was made or after it was renamed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(unlinkat(parent, lock_name(partial), AtFlags::empty())?)
}
