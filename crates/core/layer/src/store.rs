//! The stores of the bodies of regular files while a layer is scanned: a temporary file,
//! fingerprints, no store, or the place where the bodies already are.
//!
//! The stores do not use paths.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use imgconv_model::{Algorithm, Code, Env, Error, ReadAt, Reader, Result, quote_path};
use imgconv_stream::Hasher;

/// The number of bytes that are written to the temporary file at once.
const BUFFER: usize = 1 << 20;

/// The number of bytes of a body that are read at once when bodies are not kept.
const PIECE: usize = 256 << 10;

/// A store of the bodies of regular files while a layer is scanned.
pub trait ContentStore: Send {
    /// Takes one body of exactly `size` bytes and returns its key.
    ///
    /// # Errors
    /// If the body can't be read, is shorter, or can't be kept.
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64>;

    /// Starts a layer; `tar` is the same tar for reading by position, if it supports that.
    fn begin(&mut self, _tar: Option<Arc<dyn ReadAt>>) {}

    /// Takes one body like [`put`](Self::put), which stands whole at an offset of the layer's tar.
    /// The store need not read the body.
    ///
    /// # Errors
    /// The errors of [`put`](Self::put).
    fn put_at(&mut self, _offset: u64, body: &mut dyn Read, size: u64) -> Result<u64> {
        self.put(body, size)
    }
}

/// Bodies in one unlinked temporary file, except the bodies of a layer that can be read by
/// position: these stay in the layer. A key is a number, 0 for the file and from 1 on for a tar,
/// and an offset there.
#[derive(Debug)]
pub struct Spool {
    /// The tars that hold bodies; the last tar is that of the current layer if `in_place`.
    tars: Vec<Arc<dyn ReadAt>>,
    in_place: bool,
    file: File,
    tmpdir: PathBuf,
    /// Bytes that are not written yet; always [`BUFFER`] long.
    buffer: Box<[u8]>,
    filled: usize,
    /// Bytes in the file, without the buffer.
    written: u64,
}

impl Spool {
    /// Makes an empty spool in `env.tmpdir`.
    ///
    /// # Errors
    /// [`Code::Io`] that names the directory.
    pub fn new(env: &Env) -> Result<Self> {
        let tmpdir = env.tmpdir.clone();
        let file = tempfile::tempfile_in(&tmpdir).map_err(|error| failed(error, &tmpdir))?;
        Ok(Self {
            tars: Vec::new(),
            in_place: false,
            file,
            tmpdir,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            filled: 0,
            written: 0,
        })
    }

    /// Ends writing: from now on several threads may read the spool.
    ///
    /// # Errors
    /// [`Code::Io`] if the rest can't be written.
    pub fn freeze(mut self) -> Result<Arc<FrozenSpool>> {
        self.flush()?;
        Ok(Arc::new(FrozenSpool {
            tars: self.tars,
            file: self.file,
            tmpdir: self.tmpdir,
        }))
    }

    fn flush(&mut self) -> Result<()> {
        self.file
            .write_all(&self.buffer[..self.filled])
            .map_err(|error| failed(error, &self.tmpdir))?;
        self.written += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// The bits of a key that are the offset; the bits above, except the highest, are the place.
const OFFSET: u64 = (1 << 48) - 1;
const PLACES: usize = 1 << 15;

impl ContentStore for Spool {
    fn begin(&mut self, tar: Option<Arc<dyn ReadAt>>) {
        self.in_place = tar.is_some() && self.tars.len() + 1 < PLACES;
        self.tars.extend(tar.filter(|_| self.in_place));
    }

    fn put_at(&mut self, offset: u64, body: &mut dyn Read, size: u64) -> Result<u64> {
        let end = offset.checked_add(size);
        if !self.in_place || end.is_none_or(|end| end > OFFSET) {
            return self.put(body, size);
        }
        Ok((self.tars.len() as u64) << OFFSET.count_ones() | offset)
    }

    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        let key = self.written + self.filled as u64;
        let mut left = size;
        while left > 0 {
            if self.filled == BUFFER {
                self.flush()?;
            }
            let most = piece(left, BUFFER - self.filled);
            let n = some(
                body,
                &mut self.buffer[self.filled..self.filled + most],
                left,
            )?;
            self.filled += n;
            left -= n as u64;
        }
        Ok(key)
    }
}

/// A complete [`Spool`].
#[derive(Debug)]
pub struct FrozenSpool {
    tars: Vec<Arc<dyn ReadAt>>,
    file: File,
    tmpdir: PathBuf,
}

impl FrozenSpool {
    /// Fills `buf` from the key of a body plus an offset in the body.
    ///
    /// # Errors
    /// If the temporary file can't be read or is too short (the error names the directory), or if a
    /// layer's tar can't be read or has changed.
    pub fn read_exact_at(&self, buf: &mut [u8], key_plus_offset: u64) -> io::Result<()> {
        let place = key_plus_offset >> OFFSET.count_ones();
        if let Some(tar) = place.checked_sub(1).and_then(|i| self.tars.get(i as usize)) {
            return tar.read_exact_at(buf, key_plus_offset & OFFSET);
        }
        self.file
            .read_exact_at(buf, key_plus_offset)
            .map_err(|error| failed(error, &self.tmpdir).into())
    }

    /// Opens one body.
    pub fn open(self: &Arc<Self>, key: u64, size: u64) -> Reader {
        Box::new(Body {
            spool: Arc::clone(self),
            at: key,
            left: size,
        })
    }
}

struct Body {
    spool: Arc<FrozenSpool>,
    at: u64,
    left: u64,
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = piece(self.left, buf.len());
        self.spool.read_exact_at(&mut buf[..n], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// SHA-256 of bodies, for comparing; the key is an index into `digests`.
#[derive(Debug, Default)]
pub struct Fingerprints {
    /// The digest of each body, in the order of their arrival.
    pub digests: Vec<[u8; 32]>,
}

impl ContentStore for Fingerprints {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        each_piece(body, size, |bytes| hasher.update(bytes))?;
        let key = self.digests.len() as u64;
        let mut digest = [0; 32];
        digest.copy_from_slice(hasher.finish().hash());
        self.digests.push(digest);
        Ok(key)
    }
}

/// Reads bodies to their end and keeps nothing; the key is always 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl ContentStore for Discard {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        each_piece(body, size, |_| {})?;
        Ok(0)
    }
}

/// Reads a body piece by piece.
fn each_piece(body: &mut dyn Read, size: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; piece(size, PIECE)];
    let mut left = size;
    while left > 0 {
        let most = piece(left, buffer.len());
        let n = some(body, &mut buffer[..most], left)?;
        take(&buffer[..n]);
        left -= n as u64;
    }
    Ok(())
}

/// Reads at least one byte of a body of which `left` are missing.
fn some(body: &mut dyn Read, buf: &mut [u8], left: u64) -> Result<usize> {
    loop {
        match body.read(buf) {
            Ok(0) => {
                let message = format!("the content ends {left} bytes early");
                return Err(Error::new(Code::BadTar, message));
            }
            Ok(n) => return Ok(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from_io(error)),
        }
    }
}

fn piece(left: u64, most: usize) -> usize {
    usize::try_from(left).map_or(most, |left| left.min(most))
}

fn failed(error: io::Error, tmpdir: &std::path::Path) -> Error {
    let place = format!("temporary file in {}", quote_path(tmpdir));
    Error::io(error, place).hint("`--tmpdir DIR` puts temporary files elsewhere")
}
