//! Bytes that can be read again: their claimed digest and size, and how they are opened.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use crate::{Counted, Digest, Result};

/// A stream of bytes, as [`Open::open`] returns it.
pub type Reader = Box<dyn Read + Send>;

/// A receiver of the numbers of bytes that are read, for progress.
pub type Count = Arc<dyn Fn(u64) + Send + Sync>;

/// The compression of a stream, found by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not compressed.
    None,
    /// gzip, one or many members.
    Gzip,
    /// Zstandard, one or many frames.
    Zstd,
    /// bzip2, one or many streams; read only.
    Bzip2,
    /// xz, one or many streams; read only.
    Xz,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

/// The claimed digest and size of a blob; never a digest or size that a user asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The claimed digest, from a descriptor or another reference.
    pub digest: Option<Digest>,
    /// The claimed size in bytes.
    pub size: Option<u64>,
}

impl Facts {
    /// The facts of a blob of which only the digest is claimed.
    pub fn of(digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            size: None,
        }
    }
}

/// A source of bytes that can be opened as often as needed.
///
/// A stream whose digest or size was claimed verifies them: it fails with
/// [`Mismatch`](crate::Code::Mismatch) instead of reporting its end when they are wrong, and never
/// reads more than one byte beyond the claimed size.
pub trait Open: fmt::Debug + Send + Sync {
    /// Opens the bytes from the start.
    ///
    /// # Errors
    /// If they can't be opened; errors met later come out of the reader and hold a
    /// [`crate::Error`].
    fn open(&self) -> Result<Reader>;

    /// Returns the same bytes for reading by position, if that needs no copy of them. Such reads do
    /// not verify the claimed digest and size: a caller that asks before a verified pass gets the
    /// verified bytes afterwards, or an error.
    ///
    /// # Errors
    /// If they can't be opened.
    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        Ok(None)
    }

    /// Returns a text that identifies these bytes during a run where no digest does: the place
    /// where they are stored. `None` if the bytes are made while they are read, or have no such
    /// text.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Returns how many bytes the place stores for these bytes, as it states itself, if the place
    /// keeps them in another form and the claimed size is unknown: a number to show, which nothing
    /// verifies.
    fn stored_size(&self) -> Option<u64> {
        None
    }

    /// Opens the bytes like [`Open::open`], and tells `count` how many bytes each read takes from the
    /// place: these bytes, or those that they are made of while they are read.
    ///
    /// # Errors
    /// As [`Open::open`].
    fn open_counted(&self, count: &Count) -> Result<Reader> {
        Ok(Box::new(CountedReader {
            inner: self.open()?,
            count: Arc::clone(count),
        }))
    }

    /// Returns which bytes [`Open::open_counted`] counts, and their number in a whole pass, if these are
    /// other bytes than the claimed size is about. The number is for people; nothing verifies it.
    fn counted(&self) -> (Counted, Option<u64>) {
        (Counted::Source, None)
    }

    /// Returns the open file of the local file system that holds exactly these bytes, if there is
    /// one and its path has no symbolic link. The claimed digest and size are not verified.
    ///
    /// # Errors
    /// If it can't be opened.
    fn file(&self) -> Result<Option<File>> {
        Ok(None)
    }
}

/// A stream whose reads are counted.
struct CountedReader {
    inner: Reader,
    count: Count,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.count)(read as u64);
        Ok(read)
    }
}

/// Bytes that are read by position, from several threads.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// If the bytes can't be read, end before, or changed since the value was made.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Bytes with their claimed digest and size.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The claimed digest and size of exactly these bytes.
    pub facts: Facts,
    /// The bytes.
    pub bytes: Arc<dyn Open>,
}

impl Blob {
    /// Opens the bytes from the start.
    ///
    /// # Errors
    /// See [`Open::open`].
    pub fn open(&self) -> Result<Reader> {
        self.bytes.open()
    }

    /// Returns the number of bytes of a whole pass as progress counts them, if known. Nothing verifies
    /// the number.
    pub fn size_to_count(&self) -> Option<u64> {
        let counted = || self.bytes.counted().1;
        let stored = || self.bytes.stored_size();
        self.facts.size.or_else(counted).or_else(stored)
    }
}

/// Bytes in memory.
impl Open for Arc<[u8]> {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(std::io::Cursor::new(Arc::clone(self))))
    }
}
