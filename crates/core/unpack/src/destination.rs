//! The target directory: all of it or nothing.
//!
//! Everything is written to a partial directory beside the target, which its process holds a lock
//! on. A marker in it, a file that no image can name, says until the root gets its metadata that the
//! directory is no user's: the next run beside it removes one that has a marker and no process.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use imgconv_model::{Code, Error, Result, quote};
use imgconv_stream::{Stage, Stale, remove_contents};
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

/// A partial directory beside the target. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The directory that holds both.
    parent: OwnedFd,
    name: Vec<u8>,
    partial: Vec<u8>,
    top: OwnedFd,
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
        refuse_unless_empty(parent.as_fd(), &name, &shown)?;
        // What can't be looked for or removed now is for the next run.
        let _ = remove_leftovers(parent.as_fd(), &name);
        let (partial, top) =
            make_partial(parent.as_fd(), &name).map_err(|error| Error::io(error, shown.clone()))?;
        Ok(Self {
            parent,
            name,
            partial,
            top,
            shown,
            published: false,
        })
    }

    /// Returns the directory to write to.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Returns the name of the marker, which has to go before the root gets its metadata.
    pub(crate) fn marker(&self) -> Vec<u8> {
        marker(&self.partial)
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
        remove_contents(&self.top, &self.marker())?;
        let (parent, partial) = (&self.parent, self.partial.as_slice());
        Ok(unlinkat(parent, partial, AtFlags::REMOVEDIR)?)
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

/// Makes a directory of a random name that begins with `name`, and opens it.
fn make_partial(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<(Vec<u8>, OwnedFd)> {
    let prefix = prefix(name);
    let mut partial = Vec::new();
    // Only the random name is wanted of `tempfile`, and that it tries again when one is taken. The
    // place that it is told is never touched: the directory is made by descriptor.
    tempfile::Builder::new()
        .prefix(std::ffi::OsStr::from_bytes(&prefix))
        .rand_bytes(RANDOM)
        .disable_cleanup(true)
        .make_in(PathBuf::from("/"), |path| {
            let file_name = path.file_name().expect("it ends with the random name");
            mkdirat(parent, file_name, Mode::RWXU)?;
            partial = file_name.as_bytes().to_vec();
            Ok(())
        })?;
    let top = open_directory(parent, &partial)?;
    // In a directory that others may write to, somebody could have put another one in its place.
    if fstat(&top)?.st_uid != geteuid().as_raw() {
        return Err(Errno::PERM.into());
    }
    // Where there are no locks, nothing is ever taken for a leftover.
    let _ = flock(&top, FlockOperation::NonBlockingLockExclusive);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(&top, marker(&partial), flags, Mode::RUSR | Mode::WUSR)?;
    Ok((partial, top))
}

/// What the name of a partial directory begins with.
fn prefix(name: &[u8]) -> Vec<u8> {
    [&name[..name.len().min(NAME_BYTES)], b".partial-"].concat()
}

/// The name of the marker in a partial directory: as random as the directory's own.
fn marker(partial: &[u8]) -> Vec<u8> {
    let random = &partial[partial.len().saturating_sub(RANDOM)..];
    [Stage::PREFIX.as_bytes(), random].concat()
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
        let name = entry.file_name().to_bytes();
        let is_partial = name.strip_prefix(&*prefix).is_some_and(|random| {
            random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric)
        });
        if is_partial {
            found.push(name.to_vec());
        }
    }
    for name in found {
        let Ok(top) = open_directory(parent, &name) else {
            continue;
        };
        let marker = marker(&name);
        let marked = statat(&top, &*marker, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_size == 0
        });
        let stat = fstat(&top)?;
        let private = Mode::from_raw_mode(stat.st_mode) == Mode::RWXU;
        let own = stat.st_uid == geteuid().as_raw();
        let free = || flock(&top, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !own || !free() {
            continue;
        }
        if marked {
            remove_contents(&top, &marker)?;
            unlinkat(parent, &*name, AtFlags::REMOVEDIR)?;
        } else if private {
            // Its process was killed before the marker was there; a directory that holds anything
            // is not removed by this call.
            let _ = unlinkat(parent, &*name, AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}
