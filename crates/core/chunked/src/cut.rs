//! Splitting a tar into pieces that are compressed separately: the content of a file starts a new
//! piece, and so does every further chunk of it.
//!
//! The bytes are recorded while the tar is framed, so that the written bytes are exactly those that
//! were read.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_model::{Algorithm, Code, Digest, Env, Error, Event, Result, quote};
use imgconv_stream::{Hasher, PieceEncoder};
use imgconv_tar::{END, Entry, EntryKind, Reader, padding};

use crate::{
    scheme::Scheme,
    tar_split::{Crc64, TarSplit},
    toc::{Row, octal},
};

// A change of any of these changes digests.

/// Bytes of content in a chunk; only the last chunk of a file has fewer. The value is that of
/// stargz-snapshotter.
const CHUNK: u64 = 4 << 20;
/// A piece of headers only ends at this size.
const HEADERS: usize = 1 << 20;

// End of the constants that change digests.

/// The approximate bytes of pieces that are compressed together.
const BATCH: usize = 8 << 20;
/// The most bytes after the end of a tar. GNU tar fills up to 10 KiB, or to a given size.
const TRAILING: usize = 64 << 20;

/// A piece of the tar.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) content: Vec<u8>,
    /// The chunk at the start of the piece.
    pub(crate) chunk: Option<Chunk>,
}

/// A chunk of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    /// The number of bytes.
    pub(crate) length: usize,
    /// The row of the chunk, and that of its file: the same for the first chunk.
    pub(crate) row: usize,
    pub(crate) file: usize,
    /// True if the chunk is the whole file.
    pub(crate) whole: bool,
}

/// Splits one tar into pieces.
pub(crate) struct Cutter<'a> {
    scheme: Scheme,
    tar: Reader<Recorder<'a>>,
    record: Arc<Mutex<VecDeque<u8>>>,
    /// The number of bytes of the tar that were taken out of the record.
    taken: u64,
    pieces: &'a PieceEncoder,
    env: &'a Env,
    id: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) tar_split: TarSplit,
    /// The hash of the content so far.
    pub(crate) content: Hasher,
    pub(crate) content_size: u64,
    /// The piece that is being filled.
    open: Piece,
    file: File,
    ended: bool,
}

/// The rest of the current file.
#[derive(Default)]
struct File {
    row: usize,
    size: u64,
    left: u64,
    /// The hash over all chunks; a file of one chunk has the digest of that chunk.
    hasher: Option<Hasher>,
    crc: Option<Crc64>,
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(
        source: Box<dyn Read + Send + 'a>,
        scheme: Scheme,
        hash: Algorithm,
        pieces: &'a PieceEncoder,
        env: &'a Env,
        (id, what): (u64, &str),
    ) -> Self {
        let record = Arc::default();
        let recorder = Recorder {
            inner: source,
            record: Arc::clone(&record),
        };
        let mut tar_split = TarSplit::default();
        if scheme == Scheme::Estargz {
            tar_split.give_up();
        }
        Self {
            scheme,
            tar: Reader::new(recorder, &env.limits, &env.notes, what),
            record,
            taken: 0,
            pieces,
            env,
            id,
            rows: Vec::new(),
            tar_split,
            content: Hasher::new(hash),
            content_size: 0,
            open: Piece::default(),
            file: File::default(),
            ended: false,
        }
    }

    /// Returns the next pieces, in their order; empty at the end.
    pub(crate) fn next_batch(&mut self) -> Result<Vec<Piece>> {
        let mut batch = Vec::new();
        let mut size = 0;
        while size < BATCH && !self.ended {
            self.env.check_cancelled()?;
            let before = batch.len();
            if self.file.left > 0 {
                self.chunk(&mut batch)?;
            } else {
                self.entry(&mut batch)?;
            }
            for piece in &batch[before..] {
                size += piece.content.len();
                let (id, bytes) = (self.id, piece.content.len() as u64);
                self.env.progress.event(Event::Advance { id, bytes });
            }
        }
        Ok(batch)
    }

    /// Counts bytes that are not from the source.
    pub(crate) fn count(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
        self.content_size += bytes.len() as u64;
    }

    fn close(&mut self, batch: &mut Vec<Piece>) {
        if !self.open.content.is_empty() {
            batch.push(std::mem::take(&mut self.open));
        }
    }

    /// Advances to the next entry, up to its content.
    fn entry(&mut self, batch: &mut Vec<Piece>) -> Result<()> {
        let Some(entry) = self.tar.next_entry()? else {
            let mut tail = self.take(None);
            if self.scheme == Scheme::Estargz {
                // The end of the canonical tar is removed; the table comes before it.
                tail.truncate(tail.len() - END.len());
            }
            self.headers(&tail)?;
            self.close(batch);
            self.ended = true;
            return Ok(());
        };
        self.started(&entry)
            .map_err(|error| error.at(format!("entry {}", quote(&entry.path))))?;
        if self.open.content.len() >= HEADERS {
            self.close(batch);
        }
        Ok(())
    }

    fn started(&mut self, entry: &Entry) -> Result<()> {
        let headers = self.recorded_headers();
        let body = headers.map(|headers| self.taken + headers.length as u64);
        if entry.kind == EntryKind::Regular && self.tar.body_offset() != body {
            let message = "the entry is a sparse file, and a table of contents can't hold the map \
                           of its holes";
            return Err(Error::new(Code::Unsupported, message)
                .hint("`--squash` or `--clamp-mtime` rewrites the tar with an ordinary file"));
        }
        let Some(headers) = headers else {
            let message = "the size of an extension header is not written in octal digits";
            return Err(Error::new(Code::Unsupported, message)
                .hint("`--squash` or `--clamp-mtime` rewrites the tar"));
        };
        if headers.global {
            self.tar_split.give_up();
        }
        let head = self.take(Some(headers.length));
        self.headers(&head)?;
        let header = &head[head.len() - 512..];
        self.rows.push(Row::new(entry, header, self.scheme)?);
        let row = self.rows.len() - 1;
        let size = entry.size;
        let split = self.scheme == Scheme::ZstdChunked;
        self.file = File {
            row,
            size,
            left: size,
            hasher: (size > CHUNK).then(|| Hasher::new(Algorithm::Sha256)),
            crc: split.then(Crc64::new),
        };
        if size == 0 {
            let name = &self.rows[row].name;
            self.tar_split.file(name, 0, None, self.pieces)?;
        }
        Ok(())
    }

    fn headers(&mut self, bytes: &[u8]) -> Result<()> {
        self.count(bytes);
        self.open.content.extend_from_slice(bytes);
        self.tar_split.segment(bytes, self.pieces)
    }

    /// Reads a chunk of the current file.
    fn chunk(&mut self, batch: &mut Vec<Piece>) -> Result<()> {
        self.close(batch);
        let File {
            row: file,
            size,
            left,
            ..
        } = self.file;
        let length = left.min(CHUNK);
        let (at, whole, last) = (size - left, size == length, left == length);
        let row = match at {
            0 => file,
            _ => {
                let name = self.rows[file].name.clone();
                self.rows.push(Row::chunk(name, at));
                self.rows.len() - 1
            }
        };
        self.rows[row].chunk_size = match self.scheme {
            Scheme::Estargz if last => 0,
            Scheme::ZstdChunked if whole => 0,
            _ => length,
        };
        let length = usize::try_from(length).expect("at most 4 MiB");
        let mut content = vec![0; length];
        self.tar.read_exact(&mut content).map_err(Error::from_io)?;
        self.drop_recorded(length);
        self.count(&content);
        if let Some(hasher) = &mut self.file.hasher {
            hasher.update(&content);
        }
        if let Some(crc) = &mut self.file.crc {
            crc.update(&content);
        }
        self.open = Piece {
            content,
            chunk: Some(Chunk {
                length,
                row,
                file,
                whole,
            }),
        };
        self.file.left -= length as u64;
        if last {
            let digest = self.file.hasher.take().map(Hasher::finish);
            self.rows[file].digest = digest.map(|digest: Digest| digest.to_string());
            let (name, crc) = (&self.rows[file].name, self.file.crc.take());
            self.tar_split.file(name, size, crc, self.pieces)?;
        }
        // A frame of zstd:chunked has content alone; the padding goes with the next header.
        if self.scheme == Scheme::ZstdChunked {
            self.close(batch);
        }
        Ok(())
    }

    /// Takes `count` of the recorded bytes; all if there is no count.
    fn take(&mut self, count: Option<usize>) -> Vec<u8> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.unwrap_or(record.len());
        self.taken += count as u64;
        record.drain(..count).collect()
    }

    /// Finds the headers in the bytes that were recorded since the last entry.
    fn recorded_headers(&self) -> Option<Headers> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        Headers::find(record.make_contiguous(), padding(self.file.size))
    }

    fn drop_recorded(&mut self, count: usize) {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.drain(..count);
        self.taken += count as u64;
    }
}

/// The headers of an entry, after the padding of the one before.
#[derive(Clone, Copy)]
struct Headers {
    /// Bytes of the padding and all headers.
    length: usize,
    /// True if a global PAX header, or a volume header, is among them: other formats only have
    /// headers that belong to one entry.
    global: bool,
}

impl Headers {
    /// Finds the end of the entry's own header, which was framed before. `None` if a size is in
    /// base-256, which no writer needs there.
    fn find(recorded: &[u8], padding_before: usize) -> Option<Self> {
        let mut global = false;
        let mut at = padding_before;
        loop {
            let header = recorded.get(at..at + 512)?;
            let size = octal(&header[124..136]);
            let payload = match header[156] {
                b'x' | b'L' | b'K' => size?,
                b'g' => {
                    global = true;
                    size?
                }
                b'V' => {
                    global = true;
                    0
                }
                _ => {
                    let length = at + 512;
                    return Some(Self { length, global });
                }
            };
            at += 512 + usize::try_from(payload).ok()? + padding(payload);
        }
    }
}

/// Keeps a copy of all bytes that are read through it.
struct Recorder<'a> {
    inner: Box<dyn Read + Send + 'a>,
    record: Arc<Mutex<VecDeque<u8>>>,
}

impl Read for Recorder<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.len() + n > TRAILING {
            let message = format!("more than {TRAILING} bytes follow the end of the tar");
            return Err(Error::new(Code::Unsupported, message)
                .hint("`--squash` or `--clamp-mtime` rewrites the tar without these bytes")
                .into());
        }
        record.extend(&buf[..n]);
        Ok(n)
    }
}
