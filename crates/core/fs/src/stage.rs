//! Blobs that are written but not yet visible: a private directory beside their destination.
//!
//! The directory has mode 0700 and a random name, and is removed with all its files when it is
//! dropped. Files in it are made with mode 0644 less the umask, and keep that mode when they move.
//! A marker file in it marks it as a directory of this program, and the process holds locks on the
//! directory and on the marker: the second is seen by the machine that a network file system is on. So
//! [`Stale`](crate::Stale) can distinguish the directory of a killed process from a directory in use
//! and from directories of the user.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_model::{BlobWriter, Code, Digest, Error, Result, quote_path};
use imgconv_stream::read_to_limit;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::TempDir;

use crate::{
    descriptor::open_directory_at,
    lock::{try_lock, try_lock_file},
    own_lock::lock_own,
    remove::remove_contents,
    rename::rename_file,
};

const BUFFER: usize = 1 << 20;
/// The number of attempts to make a directory while other processes remove the new ones as
/// leftovers.
const TRIES: usize = 100;

/// A private directory with complete blobs.
#[derive(Debug)]
pub struct Stage {
    directory: TempDir,
    descriptor: OwnedFd,
    /// The marker file, locked until the descriptor is closed; `None` on a file system without locks.
    marker: Option<File>,
    /// True if a blob is flushed to the disk as soon as it is complete.
    durable: bool,
    next: AtomicU64,
    blobs: Mutex<BTreeMap<Digest, Staged>>,
}

/// A complete blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The path below the stage.
    pub path: String,
    /// The number of bytes.
    pub size: u64,
}

impl Stage {
    /// The usual prefix of the directory's name.
    pub const PREFIX: &str = ".imgconv-";
    /// The empty marker file in a stage, which distinguishes the stage from a directory of the user
    /// with such a name. No blob has the marker's name, and the marker is removed last.
    pub const MARKER: &str = "imgconv-stage";

    /// Makes a private directory in `parent`.
    ///
    /// # Errors
    /// [`Code::Io`] that names `parent`.
    pub fn new(parent: &Path, prefix: &str, durable: bool) -> Result<Arc<Self>> {
        let shown = quote_path(parent);
        let failed = |error| Error::io(error, format!("temporary directory in {shown}"));
        // Before the new directory is locked, another process may remove it as a leftover.
        for _ in 1..TRIES {
            match Self::make(parent, prefix, durable) {
                Ok(mut stage)
                    if lock_own(&stage.descriptor, || try_lock(&stage.descriptor))
                        .map_err(failed)?
                        && stage.is_there() =>
                {
                    // Another machine sees the lock of the marker alone, and may have removed the directory
                    // before.
                    let marker = match stage.make_marker(Self::MARKER) {
                        Ok(marker) => marker,
                        Err(error) if stage.is_there() => return Err(error),
                        Err(_) => continue,
                    };
                    let locked = try_lock_file(&marker);
                    let is_named = rustix::fs::fstat(&marker).is_ok_and(|found| found.st_nlink > 0);
                    if matches!(locked, Ok(false)) || !is_named || !stage.is_there() {
                        continue;
                    }
                    stage.marker = locked.is_ok().then_some(marker);
                    return Ok(Arc::new(stage));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(_) | Err(_) => {}
            }
        }
        Self::make(parent, prefix, durable)
            .map(Arc::new)
            .map_err(failed)
    }

    fn make(parent: &Path, prefix: &str, durable: bool) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        // The umask may have removed even the owner's rights.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        let path = directory.path().as_os_str().as_encoded_bytes();
        let descriptor = open_directory_at(CWD, path)?;
        Ok(Self {
            directory,
            descriptor,
            marker: None,
            durable,
            next: AtomicU64::new(0),
            blobs: Mutex::default(),
        })
    }

    /// Returns the prefix for a stage beside `path`, in which the directory `path` is made.
    pub fn prefix_beside(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default();
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        // A name may have 255 bytes, and the random end of the stage's name needs room.
        match prefix.len() {
            0..=200 => prefix,
            _ => Self::PREFIX.to_owned(),
        }
    }

    /// Returns true if the name of the stage still leads to the open directory.
    fn is_there(&self) -> bool {
        let at = rustix::fs::lstat(self.path());
        let own = rustix::fs::fstat(&self.descriptor);
        matches!((at, own), (Ok(at), Ok(own)) if (at.st_dev, at.st_ino) == (own.st_dev, own.st_ino))
    }

    /// Returns the open directory, for moving its files.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Returns true if the stage has a complete blob.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        self.blobs()
            .get(digest)
            .is_some_and(|staged| staged.size == size)
    }

    /// Returns every complete blob, in order.
    pub fn list(&self) -> Vec<(Digest, Staged)> {
        let blobs = self.blobs();
        blobs.iter().map(|(d, s)| (*d, s.clone())).collect()
    }

    /// Gives a complete blob to the caller, who moves its file. `None` if the stage has no such
    /// blob.
    pub fn take(&self, digest: &Digest) -> Option<Staged> {
        self.blobs().remove(digest)
    }

    /// Registers a file of the stage as a complete blob; false if the stage has a blob of that
    /// digest already, so that the file is not needed.
    pub fn complete(&self, name: &str, digest: &Digest, size: u64) -> bool {
        match self.blobs().entry(*digest) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                let path = name.to_owned();
                entry.insert(Staged { path, size });
                true
            }
        }
    }

    /// Moves a file of the stage to its final name. With `keep` an existing file is not replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if `keep` is set and the file exists, and the errors of the
    /// file system.
    pub fn rename(
        &self,
        name: &str,
        directory: impl AsFd,
        to: impl rustix::path::Arg + Copy,
        keep: bool,
    ) -> io::Result<()> {
        rename_file(&self.descriptor, name, directory, to, keep)
    }

    /// Returns a free name in the stage, for a file that the caller makes itself.
    pub fn free_name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Registers the new path of a blob that was moved within the stage.
    pub fn moved(&self, digest: &Digest, path: String) {
        if let Some(staged) = self.blobs().get_mut(digest) {
            staged.path = path;
        }
    }

    fn blobs(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Staged>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an empty file; also returns its path below the stage.
    ///
    /// # Errors
    /// [`Code::Io`] that names the file.
    pub fn file(&self) -> Result<(File, String)> {
        let name = self.free_name();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = || self.show(&name);
        let mode = Mode::from_raw_mode(0o644);
        let descriptor = rustix::fs::openat(&self.descriptor, &*name, flags, mode)
            .map_err(|error| Error::io(error.into(), place()))?;
        let file = File::from(descriptor);
        let mode = file.metadata().map_err(|e| Error::io(e, place()))?.mode() & 0o777;
        if mode & 0o600 != 0o600 {
            // A umask may remove even the owner's right to read the file back.
            file.set_permissions(fs::Permissions::from_mode(mode | 0o600))
                .map_err(|e| Error::io(e, place()))?;
        }
        Ok((file, name))
    }

    /// Writes a whole small file durably; returns its path below the stage.
    ///
    /// # Errors
    /// [`Code::Io`] that names the file.
    pub fn write(&self, bytes: &[u8]) -> Result<String> {
        let (mut file, name) = self.file()?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| Error::io(error, self.show(&name)))?;
        Ok(name)
    }

    /// Makes an empty marker file for other processes. No blob has the marker's name.
    ///
    /// # Errors
    /// [`Code::Io`] that names the file.
    pub fn mark(&self, name: &str) -> Result<()> {
        self.make_marker(name).map(drop)
    }

    fn make_marker(&self, name: &str) -> Result<File> {
        // The file is made in one step, so that a process killed meanwhile leaves no incomplete
        // marker.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::openat(&self.descriptor, name, flags, mode)
            .map(File::from)
            .map_err(|error| Error::io(error.into(), self.show(name)))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`Code::Io`] that names the file.
    pub fn open(&self, path: &str) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.descriptor, path, flags, Mode::empty());
        opened
            .map(File::from)
            .map_err(|error| Error::io(error.into(), self.show(path)))
    }

    /// Reads a whole file of at most `limit` bytes; `what` names the content.
    ///
    /// # Errors
    /// [`Code::Io`] that names the file, [`Code::Limit`].
    pub fn read(&self, path: &str, limit: (&'static str, u64), what: &str) -> Result<Vec<u8>> {
        let read = read_to_limit(self.open(path)?, limit, what);
        read.map_err(|error| match error.code() {
            Code::Io => error.at(self.show(path)),
            _ => error,
        })
    }

    /// Removes a file. A failure is ignored: the file is removed with the stage.
    pub fn remove(&self, path: &str) {
        let _ = rustix::fs::unlinkat(&self.descriptor, path, AtFlags::empty());
    }

    /// Makes the error of a blob that was never written.
    pub fn never_written(digest: &Digest) -> Error {
        let message = format!("blob {digest} was never written, so nothing may refer to it");
        Error::new(Code::Missing, message)
    }

    fn show(&self, name: &str) -> String {
        quote_path(&self.path().join(name))
    }

    /// Starts a blob.
    ///
    /// # Errors
    /// [`Code::Io`] that names its file.
    pub fn writer(self: &Arc<Self>) -> Result<Box<dyn BlobWriter>> {
        let (file, name) = self.file()?;
        Ok(Box::new(StageWriter {
            stage: Arc::clone(self),
            file: BufWriter::with_capacity(BUFFER, file),
            name,
            count: 0,
            complete: false,
        }))
    }
}

impl Drop for Stage {
    /// Empties the directory, the marker last; then [`TempDir`] removes the directory itself. The marker is
    /// closed first: NFS and FUSE keep an open file, under another name in the same directory.
    fn drop(&mut self) {
        self.marker = None;
        let _ = remove_contents(&self.descriptor, Self::MARKER.as_bytes());
    }
}

/// A blob that is being written.
#[derive(Debug)]
struct StageWriter {
    stage: Arc<Stage>,
    file: BufWriter<File>,
    name: String,
    count: u64,
    complete: bool,
}

impl StageWriter {
    /// Adds the name of the file to an error; an interrupted call stays an error that is retried.
    fn place(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        Error::io(error, self.stage.show(&self.name)).into()
    }
}

impl Write for StageWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes).map_err(|e| self.place(e))?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|e| self.place(e))
    }
}

impl BlobWriter for StageWriter {
    fn finish(mut self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        self.flush().map_err(Error::from_io)?;
        if self.count != size {
            let what = format!("size of blob {digest} as it was written");
            return Err(Error::mismatch(what, size, self.count));
        }
        if self.stage.durable {
            // The flush is done before the blob gets its name, while other blobs are still made. It
            // reports a late write error of the kernel.
            let synced = self.file.get_ref().sync_all();
            synced.map_err(|e| Error::from_io(self.place(e)))?;
        }
        self.complete = self.stage.complete(&self.name, digest, size);
        Ok(())
    }
}

impl Drop for StageWriter {
    fn drop(&mut self) {
        if !self.complete {
            self.stage.remove(&self.name);
        }
    }
}
