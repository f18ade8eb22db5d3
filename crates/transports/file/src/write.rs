//! Writing files that appear all at once: temporary files beside the destination, renamed at the
//! commit.
//!
//! A file is created with mode 0644 less the umask, so it is never writable by others, whatever
//! the umask is. Only the destination's own directory is written to; a directory that is missing
//! is made at the commit, its parents are not.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Env, Error, FormatId, Publication, Result, quote,
};
use tempfile::{NamedTempFile, TempPath};

use crate::{naming::file_names, read::BLOCK};

/// The prefix of every temporary file.
const PREFIX: &str = ".imgconv-";

pub(crate) fn create(rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
    let (place, staging) = match rest {
        "" => {
            return Err(Error::new(Code::Usage, "the path of the output is empty"));
        }
        "-" => (Place::Stdout, env.tmpdir.clone()),
        path => place(path)?,
    };
    if let Place::File(path) = &place
        && env.keep_files
    {
        return Err(Error::exists(show(path)));
    }
    let metadata = fs::metadata(&staging).map_err(|e| Error::io(e, show(&staging)))?;
    if !metadata.is_dir() {
        return Err(Error::new(Code::Io, "not a directory").at(show(&staging)));
    }
    Ok(Box::new(FileSink {
        locator: rest.to_owned(),
        place,
        staging,
        env: env.clone(),
        staged: Arc::default(),
    }))
}

/// Says whether an output would be the input itself or lie inside it, so that reading and writing
/// would disturb each other (robustness D13b). Paths that can't be resolved overlap with nothing.
pub fn overlaps(input: &Path, output: &Path) -> bool {
    let resolve = |path: &Path| -> Option<PathBuf> {
        if let Ok(path) = fs::canonicalize(path) {
            return Some(path);
        }
        Some(fs::canonicalize(parent(path)).ok()?.join(path.file_name()?))
    };
    let same_file = match (fs::metadata(input), fs::metadata(output)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    same_file
        || match (resolve(input), resolve(output)) {
            (Some(input), Some(output)) => output.starts_with(input),
            _ => false,
        }
}

/// Where the files go.
#[derive(Debug)]
enum Place {
    /// Standard output, at the commit.
    Stdout,
    /// A directory, made at the commit if it is missing.
    Directory(PathBuf),
    /// A file that exists.
    File(PathBuf),
    /// Nothing is there: one publication is a file, several are a directory.
    New(PathBuf),
}

/// Finds out what a path is, and the directory for temporary files: on the same file system, and
/// there already.
fn place(path: &str) -> Result<(Place, PathBuf)> {
    let destination = PathBuf::from(path);
    match fs::metadata(&destination) {
        Ok(metadata) if metadata.is_dir() => {
            Ok((Place::Directory(destination.clone()), destination))
        }
        Ok(_) if path.ends_with('/') => {
            Err(Error::new(Code::Io, "not a directory").at(show(&destination)))
        }
        Ok(metadata) if metadata.is_file() => {
            let staging = parent(&destination);
            Ok((Place::File(destination), staging))
        }
        // Renaming a file over a device or a FIFO would destroy it.
        Ok(_) => Err(
            Error::new(Code::Denied, "the output exists and is not a regular file")
                .hint("`-` writes to standard output")
                .at(show(&destination)),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let staging = parent(&destination);
            let place = if path.ends_with('/') {
                Place::Directory(destination)
            } else {
                Place::New(destination)
            };
            Ok((place, staging))
        }
        Err(error) => Err(Error::io(error, show(&destination))),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn show(path: &Path) -> String {
    quote(path.as_os_str().as_encoded_bytes())
}

/// The complete files that have no final name yet, by the digest of their bytes.
type Staged = Arc<Mutex<BTreeMap<Digest, (TempPath, u64)>>>;

fn lock(staged: &Staged) -> MutexGuard<'_, BTreeMap<Digest, (TempPath, u64)>> {
    staged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for files that are whole images.
#[derive(Debug)]
struct FileSink {
    locator: String,
    place: Place,
    staging: PathBuf,
    env: Env,
    staged: Staged,
}

impl FileSink {
    fn temporary(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(".partial")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(&self.staging)
            .map_err(|e| Error::io(e, format!("temporary file in {}", show(&self.staging))))
    }

    /// Takes the file of a digest; a second image with the same bytes gets a copy.
    fn take(&self, digest: &Digest, last: bool) -> Result<TempPath> {
        let mut staged = lock(&self.staged);
        let missing = || {
            let message = format!("image {digest} was never written");
            Error::new(Code::Missing, message).at(self.locator.clone())
        };
        if last {
            return Ok(staged.remove(digest).ok_or_else(missing)?.0);
        }
        let (path, _) = staged.get(digest).ok_or_else(missing)?;
        let mut source = File::open(path).map_err(|e| Error::io(e, show(path)))?;
        let mut copy = self.temporary()?;
        io::copy(&mut source, copy.as_file_mut())
            .and_then(|_| copy.as_file().sync_all())
            .map_err(|e| Error::io(e, show(copy.path())))?;
        Ok(copy.into_temp_path())
    }

    /// Makes the images visible under these paths.
    fn publish(&self, publications: &[Publication], paths: &[PathBuf]) -> Result<()> {
        let mut moves: Vec<(TempPath, &Path)> = Vec::with_capacity(paths.len());
        for (i, (publication, path)) in publications.iter().zip(paths).enumerate() {
            if moves.iter().any(|(_, other)| other == path) {
                continue;
            }
            refuse_odd(path)?;
            if self.env.keep_files && path.symlink_metadata().is_ok() {
                return Err(Error::exists(show(path)));
            }
            let digest = &publication.root.digest;
            let rest = publications[i + 1..].iter().zip(&paths[i + 1..]);
            let last = !rest
                .into_iter()
                .any(|(other, to)| other.root.digest == *digest && to != path);
            let temporary = self.take(digest, last)?;
            moves.push((temporary, path.as_path()));
        }
        let mut done: Vec<Renamed> = Vec::with_capacity(moves.len());
        let several = moves.len() > 1;
        for (temporary, path) in moves {
            match Renamed::rename(temporary, path, several, self.env.keep_files) {
                Ok(renamed) => done.push(renamed),
                Err(error) => {
                    for renamed in done.into_iter().rev() {
                        renamed.undo();
                    }
                    let exists = error.kind() == io::ErrorKind::AlreadyExists;
                    return Err(match exists && self.env.keep_files {
                        true => Error::exists(show(path)),
                        false => Error::io(error, show(path)),
                    });
                }
            }
        }
        for renamed in done {
            renamed.keep();
        }
        Ok(())
    }

    fn publish_in(&self, directory: &Path, publications: &[Publication]) -> Result<Vec<PathBuf>> {
        let names = file_names(publications, &self.env.limits)?;
        let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
        let made = match fs::create_dir(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::io(error, show(directory))),
        };
        let published = self
            .publish(publications, &paths)
            .and_then(|()| sync_directory(directory));
        if let Err(error) = published {
            if made {
                // It is empty, since everything was taken back; if not, it stays.
                let _ = fs::remove_dir(directory);
            }
            return Err(error);
        }
        if made {
            sync_directory(&parent(directory))?;
        }
        Ok(paths)
    }

    fn publish_stdout(&self, publications: &[Publication]) -> Result<Vec<String>> {
        let one = single(publications)?;
        let temporary = self.take(&one.root.digest, true)?;
        let mut source = File::open(&temporary).map_err(|e| Error::io(e, show(&temporary)))?;
        // Past the line buffer of `Stdout`, which looks for line ends in what is no text.
        let descriptor = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| Error::io(e, "standard output"))?;
        io::copy(&mut source, &mut File::from(descriptor))
            .map_err(|e| Error::io(e, "standard output"))?;
        Ok(vec!["-".to_owned()])
    }
}

fn single(publications: &[Publication]) -> Result<&Publication> {
    match publications {
        [one] => Ok(one),
        [] => Err(Error::new(Code::Missing, "there is no image to write")),
        [first, rest @ ..] if rest.iter().all(|p| p.root.digest == first.root.digest) => Ok(first),
        more => {
            let message = format!("{} images can't be written to one file", more.len());
            Err(Error::new(Code::Ambiguous, message)
                .hint("name a directory, or choose one image with `:REF` or `--platform`"))
        }
    }
}

/// Refuses to replace anything but a file or a symbolic link.
fn refuse_odd(path: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(error, show(path))),
    };
    if kind.is_file() || kind.is_symlink() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory is in the way"
    } else {
        "what is there is not a regular file"
    };
    Err(Error::new(Code::Denied, what).at(show(path)))
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io(e, show(path)))
}

/// A file that has its final name, and what it takes to undo that.
#[derive(Debug)]
struct Renamed {
    path: PathBuf,
    replaced: Option<TempPath>,
}

impl Renamed {
    /// Renames; if `backup`, what was there before stays reachable under a temporary name where
    /// the file system has hard links.
    fn rename(temporary: TempPath, path: &Path, backup: bool, keep: bool) -> io::Result<Self> {
        let mut replaced = None;
        if backup && path.symlink_metadata().is_ok() {
            let directory = parent(path);
            replaced = tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(".partial")
                .make_in(directory, |name| fs::hard_link(path, name))
                .ok()
                .map(|link| link.into_temp_path());
        }
        let renamed = match keep {
            true => temporary.persist_noclobber(path),
            false => temporary.persist(path),
        };
        renamed.map_err(|error| error.error)?;
        Ok(Self {
            path: path.to_owned(),
            replaced,
        })
    }

    fn undo(self) {
        match self.replaced {
            Some(replaced) => drop(replaced.persist(&self.path)),
            None => drop(fs::remove_file(&self.path)),
        }
    }

    fn keep(self) {
        drop(self.replaced);
    }
}

impl BundleSink for FileSink {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn accepts(&self) -> &'static [FormatId] {
        &[FormatId("aci")]
    }

    /// Only what this sink was given itself counts: a file that exists has no digest.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        Ok(lock(&self.staged)
            .get(digest)
            .is_some_and(|(_, staged)| *staged == size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        let file = self.temporary()?;
        let metadata = file.as_file().metadata();
        let mode = metadata
            .map_err(|e| Error::io(e, show(file.path())))?
            .mode()
            & 0o777;
        if mode & 0o600 != 0o600 {
            // A umask may take away even the owner's right to read it back.
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(mode | 0o600))
                .map_err(|e| Error::io(e, show(file.path())))?;
        }
        Ok(Box::new(FileWriter {
            file: BufWriter::with_capacity(BLOCK, file),
            count: 0,
            locator: self.locator.clone(),
            durable: !matches!(self.place, Place::Stdout),
            staged: Arc::clone(&self.staged),
        }))
    }

    fn commit(self: Box<Self>, publications: &[Publication]) -> Result<Vec<String>> {
        self.env.check_cancelled()?;
        let paths = match &self.place {
            Place::Stdout => return self.publish_stdout(publications),
            Place::New(path) if publications.len() > 1 && single(publications).is_err() => {
                self.publish_in(path, publications)?
            }
            Place::Directory(path) => self.publish_in(path, publications)?,
            Place::New(path) | Place::File(path) => {
                single(publications)?;
                let paths = vec![path.clone(); publications.len()];
                self.publish(publications, &paths)?;
                sync_directory(&parent(path))?;
                paths
            }
        };
        Ok(paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect())
    }
}

/// One file that is being written.
#[derive(Debug)]
struct FileWriter {
    file: BufWriter<NamedTempFile>,
    count: u64,
    locator: String,
    durable: bool,
    staged: Staged,
}

impl FileWriter {
    /// Names the output in an error; an interrupted call stays one that is tried again.
    fn name(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        Error::io(error, self.locator.clone()).into()
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes).map_err(|e| self.name(e))?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|e| self.name(e))
    }
}

impl BlobWriter for FileWriter {
    fn finish(mut self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        self.flush().map_err(Error::from_io)?;
        if self.count != size {
            let error = Error::mismatch("the size of what was written", size, self.count);
            return Err(error.at(self.locator.clone()));
        }
        if self.durable {
            // Before it has its name, and while other images are still being made. An error that
            // the kernel held back until now shows here.
            let synced = self.file.get_ref().as_file().sync_all();
            synced.map_err(|error| Error::io(error, self.locator.clone()))?;
        }
        let Self {
            file,
            locator,
            staged,
            ..
        } = *self;
        let file = file
            .into_inner()
            .map_err(|error| Error::io(error.into_error(), locator))?;
        lock(&staged)
            .entry(*digest)
            .or_insert_with(|| (file.into_temp_path(), size));
        Ok(())
    }
}
