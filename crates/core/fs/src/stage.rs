//! Blobs that are written but not yet visible: a private directory beside their destination.
//!
//! The directory has mode 0700 and a random name, and is removed with everything in it when it is
//! dropped. Files in it are made with mode 0644 less the umask, which they keep when they move.
//! Its process holds a lock on it, and a file in it says whose it is, so that what a killed process
//! leaves behind can be told from what is in use and from directories of the user, see
//! [`Stale`](crate::Stale).

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
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::TempDir;

use crate::{
    descriptor::open_directory_at, lock::try_lock, remove::remove_contents, rename::rename_file,
};

const BUFFER: usize = 1 << 20;
/// How often a directory is made anew that was taken for one that is left over.
const TRIES: usize = 100;

/// A private directory with complete blobs.
#[derive(Debug)]
pub struct Stage {
    directory: TempDir,
    descriptor: OwnedFd,
    /// Whether a blob is flushed to the disk as soon as it is complete.
    durable: bool,
    next: AtomicU64,
    blobs: Mutex<BTreeMap<Digest, Staged>>,
}

/// A complete blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Its path below the stage.
    pub path: String,
    /// Its bytes.
    pub size: u64,
}

impl Stage {
    /// The usual prefix of the directory's name.
    pub const PREFIX: &str = ".imgconv-";
    /// The empty file in a stage that tells it from a directory of the user with such a name. No blob
    /// has that name, and it goes last.
    pub const MARKER: &str = "imgconv-stage";

    /// Makes a private directory in another one.
    ///
    /// # Errors
    /// [`Code::Io`] that names `parent`.
    pub fn new(parent: &Path, prefix: &str, durable: bool) -> Result<Arc<Self>> {
        let shown = quote_path(parent);
        let failed = |error| Error::io(error, format!("temporary directory in {shown}"));
        // Between being made and being locked it may be taken for one that is left over.
        for _ in 1..TRIES {
            match Self::make(parent, prefix, durable) {
                // Where the file system has no locks, nothing is ever taken for one that is left over.
                Ok(stage) if try_lock(&stage.descriptor).unwrap_or(true) && stage.is_there() => {
                    stage.mark(Self::MARKER)?;
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
        // The umask may have taken away even the owner's rights.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700))?;
        let path = directory.path().as_os_str().as_encoded_bytes();
        let descriptor = open_directory_at(CWD, path)?;
        Ok(Self {
            directory,
            descriptor,
            durable,
            next: AtomicU64::new(0),
            blobs: Mutex::default(),
        })
    }

    /// Returns what the name of a stage begins with in which the directory of `path` is made, beside its
    /// place.
    pub fn prefix_beside(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default();
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        // A name may have 255 bytes, and the random end of the stage's name needs room.
        match prefix.len() {
            0..=200 => prefix,
            _ => Self::PREFIX.to_owned(),
        }
    }

    /// Says whether the directory is still the one of its name.
    fn is_there(&self) -> bool {
        let at = rustix::fs::lstat(self.path());
        let own = rustix::fs::fstat(&self.descriptor);
        matches!((at, own), (Ok(at), Ok(own)) if (at.st_dev, at.st_ino) == (own.st_dev, own.st_ino))
    }

    /// Returns the open directory, for moving what is in it.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Says whether a blob is complete here.
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

    /// Gives a complete blob away: whoever takes it moves it. `None` if it is not here.
    pub fn take(&self, digest: &Digest) -> Option<Staged> {
        self.blobs().remove(digest)
    }

    /// Notes that a file of the stage is a complete blob; false if there was one of that digest
    /// already, and the file is of no use.
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

    /// Moves a file of the stage to its final name. `keep` refuses to replace a file that is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if `keep` refuses, and the errors of the file system.
    pub fn rename(
        &self,
        name: &str,
        directory: impl AsFd,
        to: impl rustix::path::Arg + Copy,
        keep: bool,
    ) -> io::Result<()> {
        rename_file(&self.descriptor, name, directory, to, keep)
    }

    /// Returns a name in the stage that is not taken, for a file that is made otherwise.
    pub fn free_name(&self) -> String {
        self.next.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Notes that a blob was moved, to a path below the stage.
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
            // A umask may take away even the owner's right to read it back.
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

    /// Makes an empty file of a name that no blob has, for others to see.
    ///
    /// # Errors
    /// [`Code::Io`] that names the file.
    pub fn mark(&self, name: &str) -> Result<()> {
        // In one step: a process that is killed between two would leave a file that tells nothing.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::openat(&self.descriptor, name, flags, mode)
            .map(drop)
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

    /// Removes a file; that it can't be removed shows when the stage is.
    pub fn remove(&self, path: &str) {
        let _ = rustix::fs::unlinkat(&self.descriptor, path, AtFlags::empty());
    }

    /// Makes the error of a blob that nobody wrote.
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
    /// Removes what is in the directory, the marker last; what is left then goes with the directory.
    fn drop(&mut self) {
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
    /// Names the file in an error; an interrupted call stays one that is tried again.
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
            // Before it gets its name, and while other blobs are still being made. An error that
            // the kernel held back until now shows here.
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
