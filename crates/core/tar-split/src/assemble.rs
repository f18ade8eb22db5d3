//! Reading the tar of a record and its files.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use crc::{CRC_64_GO_ISO, Crc, Digest, Table};
use imgconv_fs::Near;
use imgconv_model::{Code, Error, Result, quote};

use crate::{
    files::Files,
    record::{Entry, Record},
};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

/// The bytes of the tar, in order.
pub(crate) struct Assembly {
    record: Record,
    files: Arc<dyn Files>,
    near: Near,
    /// The stored size of a sparse file, if the last segment ends with the header of such a file.
    sparse: Option<u64>,
    state: State,
}

enum State {
    /// The next entry has to be read.
    Between,
    /// Bytes of a segment, and the number of them that were returned.
    Segment(Vec<u8>, usize),
    /// The content of a file.
    Content(Content),
    /// All bytes were returned.
    Ended,
    /// An error was returned; every further read fails with its code and its text.
    Failed(Code, String),
}

struct Content {
    file: File,
    path: Vec<u8>,
    size: u64,
    left: u64,
    expected: u64,
    crc: Digest<'static, u64, Table<16>>,
}

impl Assembly {
    pub(crate) fn new(record: Record, files: Arc<dyn Files>) -> Self {
        Self {
            record,
            files,
            near: Near::default(),
            sparse: None,
            state: State::Between,
        }
    }

    fn advance(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            match &mut self.state {
                State::Ended => return Ok(0),
                State::Failed(code, text) => return Err(Error::new(*code, text.clone())),
                State::Between => {
                    self.state = match self.record.next()? {
                        None => State::Ended,
                        Some(Entry::Segment(bytes)) => {
                            self.sparse = sparse_size(&bytes);
                            State::Segment(bytes, 0)
                        }
                        Some(Entry::File { path, size, crc }) => {
                            State::Content(self.content(path, size, crc)?)
                        }
                    };
                }
                State::Segment(bytes, start) => {
                    let count = out.len().min(bytes.len() - *start);
                    out[..count].copy_from_slice(&bytes[*start..*start + count]);
                    *start += count;
                    if *start == bytes.len() {
                        self.state = State::Between;
                    }
                    return Ok(count);
                }
                State::Content(content) => {
                    let count = content
                        .read(out)
                        .map_err(|error| error.at(self.record.place()))?;
                    if content.left == 0 {
                        self.state = State::Between;
                    }
                    return Ok(count);
                }
            }
        }
    }

    fn content(&mut self, path: Vec<u8>, size: u64, expected: u64) -> Result<Content> {
        if self.sparse.take().is_some_and(|stored| stored != size) {
            let message = "the engine kept the content of this sparse file, but not the form in which \
                           the tar of the layer stored it, so the tar can't be put together again";
            return Err(Error::new(Code::Unsupported, message)
                .hint(
                    "the engine can't save this image either; pull the image again from a registry, \
                     or convert the output of `docker export` of a container as `rootfs:FILE`",
                )
                .at(place(&path))
                .at(self.record.place()));
        }
        let found = self.files.open(&path, &mut self.near);
        let found = found.map_err(|error| error.at(self.record.place()))?;
        let Some((file, stored)) = found else {
            let message = "the store has no such file";
            return Err(Error::new(Code::Missing, message)
                .at(place(&path))
                .at(self.record.place()));
        };
        let content = Content {
            file,
            path,
            size,
            left: size,
            expected,
            crc: CRC.digest(),
        };
        match stored == size {
            true => Ok(content),
            false => Err(content.wrong_size(stored).at(self.record.place())),
        }
    }
}

impl Content {
    /// Reads some of the content, at least a byte; checks the CRC with the last one. The size of the
    /// file was compared when the file was opened.
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let count = match self.file.read(&mut out[..most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.read(out),
            result => result.map_err(|error| Error::io(error, place(&self.path)))?,
        };
        if count == 0 {
            return Err(self.wrong_size(self.size - self.left));
        }
        self.crc.update(&out[..count]);
        self.left -= count as u64;
        if self.left == 0 {
            self.check_end()?;
        }
        Ok(count)
    }

    fn check_end(&mut self) -> Result<()> {
        let crc = std::mem::replace(&mut self.crc, CRC.digest()).finalize();
        if crc != self.expected {
            let expected = format!("{:016x}", self.expected);
            return Err(self.changed("CRC-64", expected, format!("{crc:016x}")));
        }
        Ok(())
    }

    fn wrong_size(&self, found: u64) -> Error {
        let expected = format!("{} bytes", self.size);
        self.changed("size", expected, format!("{found} bytes"))
    }

    fn changed(&self, what: &str, expected: String, found: String) -> Error {
        Error::mismatch(format!("the {what} of the extracted file"), expected, found)
            .at(place(&self.path))
            .hint("the file was changed after the engine extracted it; restore it from a backup")
    }
}

/// Returns the stored size in the header at the end of a segment if the segment marks a sparse file: by
/// a record of PAX, or by the type of GNU tar.
fn sparse_size(segment: &[u8]) -> Option<u64> {
    const BLOCK: usize = 512;
    let header = &segment[segment.len().checked_sub(BLOCK)?..];
    // A header of PAX, its records and the header of the file.
    let has_records = segment.len() >= 3 * BLOCK;
    let mark = b"GNU.sparse.";
    let is_sparse = header[156] == b'S'
        || has_records && segment.windows(mark.len()).any(|window| window == mark);
    if !is_sparse || !header[257..].starts_with(b"ustar") {
        return None;
    }
    let digits = str::from_utf8(&header[124..136]).ok()?;
    u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8).ok()
}

fn place(path: &[u8]) -> String {
    format!("file {}", quote(path))
}

impl Read for Assembly {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.advance(out).map_err(|error| {
            self.state = State::Failed(error.code(), error.to_string());
            error.into()
        })
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembly")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
