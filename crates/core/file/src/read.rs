//! Reading one file as often as needed, and detecting that the file has changed.
//!
//! No content is verified here, because no digest is known: each pass checks that it reads the same
//! file with the same size and the same times; no program can reset the time of the last status
//! change.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant},
};

use imgconv_fs::{
    HeldFile, Stamp, file_state, open_nonblocking, open_regular, path_of, set_blocking,
};
use imgconv_model::{
    Blob, Bundle, Code, Counted, Document, Env, Error, Extras, Facts, Limits, Open, Reader, Result,
    Root, RootEntry, Signature, Signed, States, Work, quote, quote_path,
};
use imgconv_stream::Interruptible;

/// The number of bytes that are read or written at a time.
const BLOCK: usize = 1 << 20;

/// The time that a named pipe may have no writer.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);

/// One file that is a whole image.
#[derive(Debug)]
pub struct FileBundle {
    locator: String,
    size: u64,
    bytes: Arc<dyn Open>,
    /// A text that changes when the file does; `None` for standard input.
    state: Option<String>,
    /// The copy of a stream.
    copy: Option<Arc<File>>,
}

impl FileBundle {
    /// Opens a regular file; a symbolic link that the user names is followed.
    ///
    /// # Errors
    /// [`Code::Missing`] if there is no file, [`Code::Io`] if it is not a regular file.
    pub fn open(path: &str) -> Result<Self> {
        let (file, identity) = open(Path::new(path))?;
        let metadata = file.metadata().map_err(|e| Error::io(e, quote(path)))?;
        Ok(Self {
            locator: path.to_owned(),
            size: identity.size,
            state: Some(file_state(&metadata)),
            copy: None,
            bytes: Arc::new(OnDisk {
                path: path.into(),
                identity,
            }),
        })
    }
}

impl FileBundle {
    /// Makes a bundle from the copy of a stream.
    fn of_copy(locator: &str, file: Arc<File>, size: u64) -> Self {
        Self {
            locator: locator.to_owned(),
            size,
            state: None,
            copy: Some(Arc::clone(&file)),
            // No other process can change an unnamed file.
            bytes: Arc::new(HeldFile(file)),
        }
    }

    /// Returns a path by which the copy of a stream can be opened as long as the bundle exists;
    /// `None` for a regular file, and where the system has no such paths.
    pub fn copy_path(&self) -> Option<PathBuf> {
        let path = PathBuf::from(path_of(self.copy.as_ref()?));
        path.exists().then_some(path)
    }
}

/// Copies standard input (`-`) or the contents of a FIFO, such as `<(…)` of a shell, as
/// [`from_reader`] does; once in a run, for all callers.
///
/// # Errors
/// If the stream can't be opened, and the errors of [`from_reader`].
pub fn from_pipe(path: &str, env: &Env) -> Result<FileBundle> {
    let mut copies = env.copies.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = copies.get(path) {
        let metadata = file
            .metadata()
            .map_err(|error| Error::io(error, quote(path)))?;
        return Ok(FileBundle::of_copy(path, Arc::clone(file), metadata.len()));
    }
    let bundle = match path {
        "-" => from_reader(Interruptible::standard_input(env)?, env)?,
        path => from_fifo(path, env)?,
    };
    copies.extend(bundle.copy.clone().map(|file| (path.to_owned(), file)));
    Ok(bundle)
}

fn from_fifo(path: &str, env: &Env) -> Result<FileBundle> {
    let failed = |error| Error::io(error, quote(path));
    let mut file = open_nonblocking(Path::new(path)).map_err(failed)?;
    let mut first = vec![0; BLOCK];
    let began = Instant::now();
    // A FIFO without a writer would block without end (robustness D2).
    let count = loop {
        env.check_cancelled()?;
        match file.read(&mut first) {
            Ok(0) if began.elapsed() > WRITER_PATIENCE => {
                let message = "the named pipe has no writer";
                return Err(Error::new(Code::Io, message).at(quote(path)));
            }
            Ok(0) => thread::sleep(Duration::from_millis(10)),
            Ok(count) => break count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    };
    first.truncate(count);
    set_blocking(&file).map_err(failed)?;
    let rest = Interruptible::new(file, env);
    let mut bundle = from_reader(io::Cursor::new(first).chain(rest), env)?;
    bundle.locator = path.to_owned();
    Ok(bundle)
}

/// Copies a stream (standard input) to an unnamed temporary file in `env.tmpdir`, because an image
/// is read more than once; at most as many bytes as an image may have.
///
/// # Errors
/// If the stream fails, [`Code::Limit`] if the stream does not end, or [`Code::Io`] that names the
/// temporary directory if that is full.
pub fn from_reader(mut reader: impl Read, env: &Env) -> Result<FileBundle> {
    // The copy is read as the source, whose bytes are counted then.
    let work = Work::begin("standard input", Counted::Result, None, env);
    let place = || format!("temporary directory {}", quote_path(&env.tmpdir));
    let mut file = tempfile::tempfile_in(&env.tmpdir).map_err(|e| Error::io(e, place()))?;
    let mut buffer = vec![0; BLOCK];
    let mut size = 0u64;
    loop {
        env.check_cancelled()?;
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io(error, "standard input")),
        };
        file.write_all(&buffer[..count])
            .map_err(|e| Error::io(e, place()))?;
        size += count as u64;
        work.advance(count as u64);
        let limit = env.limits.image_bytes;
        if size > limit {
            return Err(Limits::exceeded("image_bytes", limit, "standard input"));
        }
    }
    Ok(FileBundle::of_copy("-", Arc::new(file), size))
}

impl Bundle for FileBundle {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    /// A file is exactly one image, without a name.
    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(vec![RootEntry::only(None)])
    }

    fn root(&self, _: &RootEntry) -> Result<Root> {
        Ok(Root::Stream(Blob {
            facts: Facts {
                digest: None,
                size: Some(self.size),
            },
            bytes: Arc::clone(&self.bytes),
        }))
    }

    fn document(&self, kind: &str, facts: &Facts, _: (&'static str, u64)) -> Result<Document> {
        let message = format!("a file holds no document of type {}", quote(kind));
        Err(self.not_here(facts, message))
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        Err(self.not_here(facts, "a file holds no blob".to_owned()))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            states: Some(self),
            signed: Some(self),
            ..Extras::default()
        }
    }
}

impl States for FileBundle {
    fn state(&self, _: &RootEntry) -> Result<Option<String>> {
        Ok(self.state.clone())
    }
}

/// The end that the name of a detached signature has after the name of the signed file.
pub(crate) const SIGNATURE_SUFFIX: &str = ".asc";

impl Signed for FileBundle {
    /// The signature of a file is in `FILE.asc`; standard input has none.
    fn signature(&self, limits: &Limits) -> Result<Option<Signature>> {
        if self.locator == "-" {
            return Ok(None);
        }
        let path = format!("{}{SIGNATURE_SUFFIX}", self.locator);
        let file = match open(Path::new(&path)) {
            Ok((file, _)) => file,
            Err(error) if error.code() == Code::Missing => return Ok(None),
            Err(error) => return Err(error),
        };
        let limit = ("signature_file", limits.signature_file);
        let bytes = imgconv_stream::read_to_limit(file, limit, &quote(&path))?;
        Ok(Some(Signature {
            bytes,
            ..Signature::default()
        }))
    }
}

impl FileBundle {
    fn not_here(&self, facts: &Facts, mut message: String) -> Error {
        if let Some(digest) = facts.digest {
            message = format!("{message} with the digest {digest}");
        }
        Error::new(Code::Missing, message).at(self.locator.clone())
    }
}

/// Fails if the file has changed since it was opened (robustness D4).
fn expect(found: &Stamp, first: &Stamp) -> Result<()> {
    let changed = |what: &str| {
        let message = format!("the file was {what} while it was read");
        Err(Error::new(Code::Mismatch, message).hint("run it again when nothing writes to it"))
    };
    if (found.device, found.inode) != (first.device, first.inode) {
        return changed("replaced by another");
    }
    if found.size != first.size {
        let sizes = format!("changed from {} to {} bytes", first.size, found.size);
        return changed(&sizes);
    }
    if found.modified != first.modified {
        return changed("written to");
    }
    if found.changed != first.changed {
        return changed("changed (its ctime says so)");
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, Stamp)> {
    open_regular(path).map_err(|error| error.at(quote_path(path)))
}

/// A file that is opened again for each pass.
#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    identity: Stamp,
}

impl Open for OnDisk {
    fn open(&self) -> Result<Reader> {
        let place = quote_path(&self.path);
        let (file, identity) = open(&self.path)?;
        expect(&identity, &self.identity).map_err(|e| e.at(place.clone()))?;
        Ok(Box::new(Pass {
            file,
            place,
            identity,
            count: 0,
        }))
    }
}

/// One pass over a file. The pass ends only if the file is unchanged since its start, and reads at
/// most one byte more than the file had.
#[derive(Debug)]
struct Pass {
    file: File,
    place: String,
    identity: Stamp,
    count: u64,
}

impl Pass {
    fn check(&self) -> Result<()> {
        let found = Stamp::of_file(&self.file).map_err(Error::from_io)?;
        expect(&found, &self.identity)?;
        if self.count != self.identity.size {
            return Err(Error::mismatch(
                "the size of the file",
                self.identity.size,
                self.count,
            ));
        }
        Ok(())
    }
}

impl Read for Pass {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = (self.identity.size - self.count).saturating_add(1);
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = match self.file.read(&mut buffer[..most]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(Error::io(error, self.place.clone()).into()),
        };
        let total = self.count + count as u64;
        if count == 0 || total > self.identity.size {
            self.check().map_err(|e| e.at(self.place.clone()))?;
            if total > self.identity.size {
                let error = Error::mismatch("the size of the file", self.identity.size, total);
                return Err(error.at(self.place.clone()).into());
            }
        }
        self.count = total;
        Ok(count)
    }
}
