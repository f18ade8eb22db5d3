//! Writing a tar that is published at once: the same content always gives the same bytes.
//!
//! The file is written in a private directory beside its place and renamed; an existing file is
//! replaced. Every attribute of a member is fixed: owner 0, mode 0644 or 0755, time 0.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_fs::{Stage, is_there, open_directory, parent, standard_output, sweep, sync};
use imgconv_model::{Code, Compression, Env, Error, Result, quote, quote_path};
use imgconv_stream::{Level, PieceEncoder};

use crate::{END, Entry, EntryKind, head, padding};

/// A tar that will be written: a file, standard output, or what a caller sends on.
#[derive(Debug)]
pub struct Output {
    /// The file; `None` is standard output, or a writer of the caller.
    path: Option<PathBuf>,
    /// The compression that the name of the file asks for.
    compression: Compression,
    locator: String,
    stage: Arc<Stage>,
    env: Env,
}

impl Output {
    /// Opens a destination: a file, which is replaced if it exists and `env` allows that, or `-`
    /// for standard output. `scheme` is the start of its locator. The whole archive is compressed
    /// with gzip or zstd if its name asks for that.
    ///
    /// # Errors
    /// [`Code::Denied`] if the path is not a file, or is a file that must stay,
    /// [`Code::Unsupported`] if the name asks for another compression, [`Code::Io`] if the
    /// directory can't be written, [`Code::Usage`] for an empty path.
    pub fn create(scheme: &str, path: &str, env: &Env) -> Result<Self> {
        let locator = format!("{scheme}:{path}");
        let compression = compression_of(path)?;
        let (path, stage) = match path {
            "" => return Err(Error::new(Code::Usage, "the path of the archive is empty")),
            "-" => {
                sweep(&env.tmpdir, Stage::PREFIX, env);
                (None, Stage::new(&env.tmpdir, Stage::PREFIX, false)?)
            }
            path => {
                let destination = PathBuf::from(path);
                refuse_odd(&destination, scheme)?;
                sweep(parent(&destination), Stage::PREFIX, env);
                if env.places.keeps(&destination) && is_there(&destination)? {
                    return Err(Error::exists(quote(path)));
                }
                let stage = Stage::new(parent(&destination), Stage::PREFIX, false)?;
                (Some(destination), stage)
            }
        };
        let env = env.clone();
        Ok(Self {
            path,
            compression,
            locator,
            stage,
            env,
        })
    }

    /// Makes a tar that the caller sends on by [`Output::send`], without a file: the unpublished
    /// content is in the temporary directory. `locator` names the destination in messages.
    ///
    /// # Errors
    /// [`Code::Io`] if the temporary directory can't be written.
    pub fn streamed(locator: &str, env: &Env) -> Result<Self> {
        sweep(&env.tmpdir, Stage::PREFIX, env);
        Ok(Self {
            path: None,
            compression: Compression::None,
            locator: locator.to_owned(),
            stage: Stage::new(&env.tmpdir, Stage::PREFIX, false)?,
            env: env.clone(),
        })
    }

    /// Returns the locator, `SCHEME:PATH`.
    pub fn locator(&self) -> &str {
        &self.locator
    }

    /// Returns the private directory of unpublished content.
    pub fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    /// Writes the whole archive by `compose`, completes it, and publishes it.
    ///
    /// # Errors
    /// The errors of `compose`, [`Code::Io`], [`Code::Cancelled`], and [`Code::Denied`] if the
    /// destination is not a file by now; then nothing was published.
    pub fn write(&self, compose: impl FnOnce(&mut Pack<'_>) -> Result<()>) -> Result<()> {
        match &self.path {
            None => self.to_stdout(compose),
            Some(path) => self.to_file(path, compose),
        }
    }

    /// Writes the whole archive by `compose` to a writer of the caller, uncompressed.
    ///
    /// # Errors
    /// The errors of `compose`, [`Code::Io`] of the writer, [`Code::Cancelled`].
    pub fn send(
        &self,
        output: &mut dyn Write,
        compose: impl FnOnce(&mut Pack<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut buffered = io::BufWriter::with_capacity(1 << 18, output);
        self.pack_plain(&mut buffered, compose)?;
        let flushed = buffered.flush();
        flushed.map_err(|error| Error::io(error, self.locator.clone()))
    }

    fn pack(
        &self,
        output: &mut dyn Write,
        compose: impl FnOnce(&mut Pack<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.compression == Compression::None {
            return self.pack_plain(output, compose);
        }
        let mut compressed = Compressed {
            output,
            encoder: PieceEncoder::new(self.compression, Level::Default)?,
            piece: Vec::with_capacity(PIECE),
        };
        self.pack_plain(&mut compressed, compose)?;
        let last = compressed.end();
        last.map_err(|error| Error::io(error, self.locator.clone()))
    }

    fn pack_plain(
        &self,
        output: &mut dyn Write,
        compose: impl FnOnce(&mut Pack<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut pack = Pack {
            output,
            env: &self.env,
            place: &self.locator,
            complete: false,
        };
        compose(&mut pack)?;
        match pack.complete {
            true => Ok(()),
            false => pack.write(&END),
        }
    }

    fn to_stdout(&self, compose: impl FnOnce(&mut Pack<'_>) -> Result<()>) -> Result<()> {
        let mut output = io::BufWriter::with_capacity(1 << 18, standard_output()?);
        self.pack(&mut output, compose)?;
        output.flush().map_err(|e| Error::io(e, "standard output"))
    }

    fn to_file(
        &self,
        path: &Path,
        compose: impl FnOnce(&mut Pack<'_>) -> Result<()>,
    ) -> Result<()> {
        let (file, name) = self.stage.file()?;
        let mut output = io::BufWriter::with_capacity(1 << 18, file);
        self.pack(&mut output, compose)?;
        let file = output
            .into_inner()
            .map_err(|error| Error::io(error.into_error(), quote_path(path)))?;
        self.publish_at(path, &file, &name)
    }

    /// Says whether the archive is a file without compression, so that members can be written at
    /// their places in any order.
    pub fn has_places(&self) -> bool {
        self.path.is_some() && self.compression == Compression::None
    }

    /// Publishes a complete archive that is a file of the stage: `file`, by its `name` there.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`Code::Unsupported`] for standard output.
    pub fn publish(&self, file: &File, name: &str) -> Result<()> {
        match &self.path {
            Some(path) => self.publish_at(path, file, name),
            None => Err(Error::new(
                Code::Unsupported,
                "standard output has no file to publish",
            )),
        }
    }

    fn publish_at(&self, path: &Path, file: &File, name: &str) -> Result<()> {
        let place = quote_path(path);
        let failed = |error| Error::io(error, place.clone());
        file.sync_all().map_err(failed)?;
        self.env.check_cancelled()?;
        let above = open_directory(parent(path))?;
        refuse_odd(path, self.scheme())?;
        let last = path.file_name().unwrap_or_default();
        let keep = self.env.places.keeps(path);
        let renamed = self.stage.rename(name, &above, last, keep);
        if let Err(error) = renamed {
            return Err(match error.kind() {
                io::ErrorKind::AlreadyExists if keep => Error::exists(place),
                _ => failed(error),
            });
        }
        sync(&above, place)
    }

    fn scheme(&self) -> &str {
        self.locator.split(':').next().unwrap_or_default()
    }
}

/// The number of bytes of an archive that are compressed at once.
const PIECE: usize = 1 << 20;

/// Compresses piece by piece: each piece becomes a gzip member or zstd frame of its own.
struct Compressed<'a> {
    output: &'a mut dyn Write,
    encoder: PieceEncoder,
    piece: Vec<u8>,
}

impl Compressed<'_> {
    fn end(&mut self) -> io::Result<()> {
        let packed = self.encoder.compress(&self.piece)?;
        self.piece.clear();
        self.output.write_all(&packed)
    }
}

impl Write for Compressed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.end()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Returns the compression that the name of an archive asks for (robustness K23).
fn compression_of(path: &str) -> Result<Compression> {
    let says = |suffixes: &[&str]| suffixes.iter().any(|suffix| path.ends_with(suffix));
    if says(&[".gz", ".tgz"]) {
        return Ok(Compression::Gzip);
    }
    if says(&[".zst", ".tzst"]) {
        return Ok(Compression::Zstd);
    }
    if says(&[".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".lzma", ".lz4"]) {
        let message = "the suffix of the name stands for a compression that imgconv can only read";
        return Err(Error::new(Code::Unsupported, message)
            .at(quote(path))
            .hint("use a name that ends with `.tar`, `.tar.gz` or `.tar.zst`"));
    }
    Ok(Compression::None)
}

/// Refuses to replace anything except a file or a symbolic link to a file.
fn refuse_odd(path: &Path, scheme: &str) -> Result<()> {
    let place = || quote_path(path);
    let odd = match fs::metadata(path) {
        Ok(metadata) => !metadata.is_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.file_name().is_none(),
        Err(error) => return Err(Error::io(error, place())),
    };
    if odd {
        let message = "an archive is a file, but the path exists and is not a file";
        return Err(Error::new(Code::Denied, message)
            .hint(format!("`{scheme}:-` writes to standard output"))
            .at(place()));
    }
    Ok(())
}

/// Makes the header blocks of a file in such an archive, see [`head`].
///
/// # Errors
/// The errors of [`head`].
pub fn file_head(name: &str, size: u64) -> Result<Vec<u8>> {
    member_head(name, EntryKind::Regular, 0o644, size)
}

fn member_head(name: &str, kind: EntryKind, mode: u32, size: u64) -> Result<Vec<u8>> {
    head(&Entry {
        mode,
        size,
        ..Entry::new(name.as_bytes().to_vec(), kind)
    })
}

/// A tar that is being written.
pub struct Pack<'a> {
    output: &'a mut dyn Write,
    env: &'a Env,
    place: &'a str,
    /// True if the end of the archive is written.
    complete: bool,
}

impl std::fmt::Debug for Pack<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Pack<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output
            .write_all(bytes)
            .map_err(|error| Error::io(error, self.place))
    }

    /// Writes a directory.
    ///
    /// # Errors
    /// [`Code::Io`], and the errors of [`head`].
    pub fn directory(&mut self, name: &str) -> Result<()> {
        self.write(&member_head(name, EntryKind::Directory, 0o755, 0)?)
    }

    /// Writes a file of exactly `size` bytes.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::Cancelled`], [`Code::Mismatch`] if the source has another size, and
    /// the errors of [`head`].
    pub fn file(&mut self, name: &str, mut source: impl Read, size: u64) -> Result<()> {
        self.write(&file_head(name, size)?)?;
        let count = self.copy(&mut source, name)?;
        if count != size {
            return Err(Error::mismatch(
                format!("size of the temporary file of {name}"),
                size,
                count,
            ));
        }
        self.write(&END[..padding(size)])
    }

    /// Writes the bytes of a whole archive, which has an end of its own.
    ///
    /// # Errors
    /// [`Code::Io`], [`Code::Cancelled`].
    pub fn whole(&mut self, mut source: impl Read) -> Result<()> {
        self.complete = true;
        self.copy(&mut source, "the archive").map(drop)
    }

    /// Copies bytes, and returns their number.
    fn copy(&mut self, source: &mut dyn Read, name: &str) -> Result<u64> {
        let mut buffer = vec![0; 1 << 18];
        let mut count = 0u64;
        loop {
            self.env.check_cancelled()?;
            let read = match source.read(&mut buffer) {
                Ok(0) => return Ok(count),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io(error, format!("temporary file of {name}"))),
            };
            count += read as u64;
            self.write(&buffer[..read])?;
        }
    }
}
