//! A directory that is filled beside its place and gets its name when it is complete.
//!
//! A lock file beside the partial directory, which is made before the directory and removed after
//! it, marks the directory as a temporary one of this program. The process that fills the directory
//! holds a lock on that file: the next run for the same place removes a partial directory whose
//! lock file no process holds. A [`Stage`](crate::Stage) has its marker inside instead; here the
//! directory becomes the user's, so no file may be added to it.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, fsync, mkdirat, openat, renameat, unlinkat},
    io::Errno,
    process::geteuid,
};

use crate::{
    descriptor::open_directory_at,
    lock::{proves, try_lock_file},
    own_lock::lock_own,
    remove::remove_contents,
};

/// The number of bytes of the place's name at the start of the partial directory's name: a name may
/// have 255, and the suffix needs room.
const NAME_BYTES: usize = 200;
/// The number of random characters at the end of the partial directory's name.
const RANDOM: usize = 8;
/// The suffix of the lock file's name after the partial directory's name.
const LOCK: &[u8] = b".lock";

/// A partial directory. The caller publishes or removes it.
#[derive(Debug)]
pub struct Partial {
    /// The directory that holds the place and the partial directory.
    parent: OwnedFd,
    name: Vec<u8>,
    top: OwnedFd,
    /// The lock file, locked until the descriptor is closed.
    _lock: OwnedFd,
}

impl Partial {
    /// Makes a directory of a random name that begins with `name`, after its lock file. Only its
    /// owner can enter it.
    ///
    /// # Errors
    /// If the directory can't be made.
    pub fn create(parent: OwnedFd, name: &[u8]) -> io::Result<Self> {
        let prefix = prefix(name);
        let mut partial = Vec::new();
        // `tempfile` only makes names here, and tries another name when one is taken. The path is
        // never used: the directory is made by descriptor.
        let lock = tempfile::Builder::new()
            .prefix(OsStr::from_bytes(&prefix))
            .rand_bytes(RANDOM)
            .disable_cleanup(true)
            .make_in(PathBuf::from("/"), |path| {
                let file_name = path
                    .file_name()
                    .expect("the path ends with the random name");
                partial = file_name.as_bytes().to_vec();
                let lock = make_lock(parent.as_fd(), &partial)?;
                if let Err(error) = mkdirat(&parent, file_name, Mode::RWXU) {
                    let _ = unlinkat(&parent, lock_name(&partial), AtFlags::empty());
                    return Err(error.into());
                }
                Ok(lock)
            })?
            .into_file();
        let top = open_directory_at(&parent, &partial).and_then(|top| {
            // In a directory that others may write to, another user could have replaced the new
            // directory.
            match fstat(&top)?.st_uid == geteuid().as_raw() {
                true => Ok(top),
                false => Err(Errno::PERM.into()),
            }
        });
        let top = match top {
            Ok(top) => top,
            Err(error) => {
                let _ = unlinkat(&parent, &*partial, AtFlags::REMOVEDIR);
                let _ = unlinkat(&parent, lock_name(&partial), AtFlags::empty());
                return Err(error);
            }
        };
        Ok(Self {
            parent,
            name: partial,
            top,
            _lock: lock,
        })
    }

    /// Returns the directory to write to.
    pub fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// Returns the name of the partial directory, for messages.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Makes the directory durable and gives it its name, which [`Partial::flush_name`] makes durable. Only
    /// an empty directory of that name is replaced; any other file that appeared there meanwhile stays.
    ///
    /// # Errors
    /// [`Errno::EXIST`], [`Errno::NOTEMPTY`] or [`Errno::NOTDIR`] if another file has the name, and
    /// the errors of the file system; then the partial directory still exists.
    pub fn publish(&self, name: &[u8]) -> io::Result<()> {
        flush(self.top.as_fd())?;
        renameat(&self.parent, &*self.name, &self.parent, name)?;
        // The next run for this place removes a lock file that stays.
        let _ = unlinkat(&self.parent, lock_name(&self.name), AtFlags::empty());
        Ok(())
    }

    /// Makes the name of a published directory durable.
    ///
    /// # Errors
    /// The errors of the file system; the directory is visible and complete.
    pub fn flush_name(&self) -> io::Result<()> {
        flush(self.parent.as_fd())
    }

    /// Removes the partial directory with everything in it, and its lock file.
    ///
    /// # Errors
    /// If a file can't be removed.
    pub fn remove(&self) -> io::Result<()> {
        remove_contents(&self.top, b"")?;
        unlinkat(&self.parent, &*self.name, AtFlags::REMOVEDIR)?;
        Ok(unlinkat(
            &self.parent,
            lock_name(&self.name),
            AtFlags::empty(),
        )?)
    }

    /// Removes the partial directories that killed processes left beside the place `name`.
    /// Directories that can't be removed now are left to the next run.
    ///
    /// # Errors
    /// If `parent` can't be listed.
    pub fn remove_leftovers(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
        let parent = parent.as_fd();
        if !proves(parent) {
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
            // A directory that can't be removed must not keep the others from being removed.
            let _ = remove_leftover(parent, &partial);
        }
        Ok(())
    }
}

/// Flushes a directory, if the file system supports that.
fn flush(directory: BorrowedFd<'_>) -> io::Result<()> {
    match fsync(directory) {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes and locks the lock file of a partial directory.
fn make_lock(parent: BorrowedFd<'_>, partial: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = openat(parent, lock_name(partial), flags, Mode::RUSR | Mode::WUSR)?;
    let found = lock_own(&lock, || try_lock_file(&lock)).and_then(|_| Ok(fstat(&lock)?.st_nlink));
    match found {
        // Another run may have removed the file as a leftover before it was locked.
        Ok(0) => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => Ok(lock),
        Err(error) => {
            let _ = unlinkat(parent, lock_name(partial), AtFlags::empty());
            Err(error)
        }
    }
}

/// Returns the prefix of the names of partial directories.
fn prefix(name: &[u8]) -> Vec<u8> {
    [&name[..name.len().min(NAME_BYTES)], b".partial-"].concat()
}

/// Returns the name of the lock file of a partial directory.
fn lock_name(partial: &[u8]) -> Vec<u8> {
    [partial, LOCK].concat()
}

fn is_partial(name: &[u8], prefix: &[u8]) -> bool {
    name.strip_prefix(prefix).is_some_and(|random| {
        random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric)
    })
}

/// Removes a partial directory and its lock file, if the lock file is an empty file of this user
/// that no process has locked.
fn remove_leftover(parent: BorrowedFd<'_>, partial: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = openat(parent, lock_name(partial), flags, Mode::empty())?;
    let is_own = |stat: &rustix::fs::Stat| stat.st_uid == geteuid().as_raw();
    let stat = fstat(&lock)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile
        || stat.st_size != 0
        || !is_own(&stat)
        || !try_lock_file(&lock)?
    {
        return Ok(());
    }
    match open_directory_at(parent, partial) {
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
