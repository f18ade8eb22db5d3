//! The stores of the bodies of regular files while a layer is scanned: a temporary file,
//! fingerprints, no store, or the place where the bodies already are.
//!
//! The stores do not use paths.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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

    /// Ends a layer: the store writes what it still holds in memory.
    ///
    /// # Errors
    /// If that can't be written.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Bodies in one unlinked temporary file, except the bodies of a layer that can be read by
/// position: these stay in the layer. A key is a number, 0 for the file and from 1 on for a tar,
/// and an offset there.
///
/// Several layers may be read at once, each with a [`SpoolLayer`] of its own. A spool that is used
/// as a store itself puts bodies one after the other without a gap.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    own: SpoolLayer,
}

/// What all layers of a spool have in common.
#[derive(Debug)]
struct Shared {
    file: File,
    tmpdir: PathBuf,
    /// The end of the part of the file that layers reserved.
    reserved: AtomicU64,
    /// The tars that hold bodies, and the end of the last body in each.
    tars: Mutex<Vec<(Arc<dyn ReadAt>, u64)>>,
}

impl Shared {
    fn tars(&self) -> MutexGuard<'_, Vec<(Arc<dyn ReadAt>, u64)>> {
        self.tars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Makes an empty spool in `env.tmpdir`.
    ///
    /// # Errors
    /// [`Code::Io`] that names the directory.
    pub fn new(env: &Env) -> Result<Self> {
        let tmpdir = env.tmpdir.clone();
        let file = tempfile::tempfile_in(&tmpdir).map_err(|error| failed(error, &tmpdir))?;
        let shared = Arc::new(Shared {
            file,
            tmpdir,
            reserved: AtomicU64::new(0),
            tars: Mutex::default(),
        });
        let own = SpoolLayer::new(&shared);
        Ok(Self { shared, own })
    }

    /// Makes a store for one layer. Stores of one spool may be used by several threads at once.
    pub fn layer(&self) -> SpoolLayer {
        SpoolLayer::new(&self.shared)
    }

    /// Ends writing: from now on several threads may read the spool. Every [`SpoolLayer`] was
    /// ended before.
    ///
    /// # Errors
    /// [`Code::Io`] if the rest can't be written.
    pub fn freeze(mut self) -> Result<Arc<FrozenSpool>> {
        self.own.end()?;
        let tars = std::mem::take(&mut *self.shared.tars());
        let size = self.shared.file.metadata();
        let size = size.map_err(|error| failed(error, &self.shared.tmpdir))?;
        Ok(Arc::new(FrozenSpool {
            tars,
            size: size.len(),
            shared: self.shared,
        }))
    }
}

impl ContentStore for Spool {
    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        self.own.put(body, size)
    }

    fn begin(&mut self, tar: Option<Arc<dyn ReadAt>>) {
        self.own.begin(tar);
    }

    fn put_at(&mut self, offset: u64, body: &mut dyn Read, size: u64) -> Result<u64> {
        self.own.put_at(offset, body, size)
    }
}

/// The part of a [`Spool`] that one layer fills.
#[derive(Debug)]
pub struct SpoolLayer {
    shared: Arc<Shared>,
    /// The number of the tar that holds the bodies, from 1, and the end of the last body there.
    place: Option<(usize, u64)>,
    /// Bytes that are not written yet, and their offset in the file. The buffer has no bytes before
    /// the first body, then always [`BUFFER`].
    buffer: Box<[u8]>,
    filled: usize,
    at: u64,
    /// The end of the reserved part of the file.
    reserved: u64,
}

/// The bits of a key that are the offset; the bits above, except the highest, are the place.
const OFFSET: u64 = (1 << 48) - 1;
const PLACES: usize = 1 << 15;

impl SpoolLayer {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            place: None,
            buffer: Box::default(),
            filled: 0,
            at: 0,
            reserved: 0,
        }
    }

    /// Notes how far the bodies of the current tar reach.
    fn leave(&mut self) {
        if let Some((place, end)) = self.place.take()
            && let Some((_, known)) = self.shared.tars().get_mut(place - 1)
        {
            *known = end;
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.shared
            .file
            .write_all_at(&self.buffer[..self.filled], self.at)
            .map_err(|error| failed(error, &self.shared.tmpdir))?;
        self.at += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    /// Reserves room for a body and returns its offset: after the last body, unless another layer
    /// reserved that room.
    fn reserve(&mut self, size: u64) -> Result<u64> {
        let next = self.at + self.filled as u64;
        let there = self.reserved - next;
        if size <= there {
            return Ok(next);
        }
        let more = (size - there).max(BUFFER as u64);
        let end = self.reserved.checked_add(more).filter(|end| *end <= OFFSET);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let reserved = &self.shared.reserved;
        if let Some(end) = end
            && reserved
                .compare_exchange(self.reserved, end, set, get)
                .is_ok()
        {
            self.reserved = end;
            return Ok(next);
        }
        self.flush()?;
        let room = size.max(BUFFER as u64);
        let fits = |start: u64| start.checked_add(room).filter(|end| *end <= OFFSET);
        let start = self.shared.reserved.fetch_update(set, get, fits);
        self.at = start
            .map_err(|_| Error::new(Code::Limit, "the contents of all files exceed 256 TiB"))?;
        self.reserved = self.at + room;
        Ok(self.at)
    }
}

impl ContentStore for SpoolLayer {
    fn begin(&mut self, tar: Option<Arc<dyn ReadAt>>) {
        self.leave();
        let mut tars = self.shared.tars();
        if let Some(tar) = tar
            && tars.len() + 1 < PLACES
        {
            tars.push((tar, 0));
            self.place = Some((tars.len(), 0));
        }
    }

    fn put_at(&mut self, offset: u64, body: &mut dyn Read, size: u64) -> Result<u64> {
        let end = offset.checked_add(size).filter(|end| *end <= OFFSET);
        match (&mut self.place, end) {
            (Some((place, last)), Some(end)) => {
                *last = end.max(*last);
                Ok((*place as u64) << OFFSET.count_ones() | offset)
            }
            _ => self.put(body, size),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.flush()?;
        self.leave();
        Ok(())
    }

    fn put(&mut self, body: &mut dyn Read, size: u64) -> Result<u64> {
        let key = self.reserve(size)?;
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER].into_boxed_slice();
        }
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
    shared: Arc<Shared>,
    /// The tars that hold bodies, and the end of the last body in each.
    tars: Vec<(Arc<dyn ReadAt>, u64)>,
    /// Bytes of the file.
    size: u64,
}

impl FrozenSpool {
    /// Fills `buf` from the key of a body plus an offset in the body.
    ///
    /// # Errors
    /// If the temporary file can't be read or is too short (the error names the directory), or if a
    /// layer's tar can't be read or has changed.
    pub fn read_exact_at(&self, buf: &mut [u8], key_plus_offset: u64) -> io::Result<()> {
        if let Some((tar, _)) = self.tar(key_plus_offset) {
            return tar.read_exact_at(buf, key_plus_offset & OFFSET);
        }
        self.shared
            .file
            .read_exact_at(buf, key_plus_offset)
            .map_err(|error| failed(error, &self.shared.tmpdir).into())
    }

    /// The tar that holds a body; `None` for a body in the file.
    fn tar(&self, key: u64) -> Option<&(Arc<dyn ReadAt>, u64)> {
        let place = key >> OFFSET.count_ones();
        place.checked_sub(1).and_then(|i| self.tars.get(i as usize))
    }

    /// The number of bytes from a key on that bodies of the same place have.
    pub(crate) fn after(&self, key: u64) -> u64 {
        let end = self.tar(key).map_or(self.size, |(_, end)| *end);
        end.saturating_sub(key & OFFSET)
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
