//! The lines of a record.

use std::io::{self, BufRead, BufReader, Read};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_model::{Code, Error, Limits, Reader, Result};
use serde::Deserialize;

/// The most bytes of one line of a record. A segment is one header with its extensions, or the
/// padding of an archive; in base64 it takes four thirds of its size.
pub const MAX_LINE: u64 = 32 << 20;

/// One entry of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Bytes of the tar.
    Segment(Vec<u8>),
    /// The content of a file: its path, its size in bytes (not 0) and its CRC-64.
    File { path: Vec<u8>, size: u64, crc: u64 },
}

/// A line of the record.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: Option<i64>,
    #[serde(default)]
    payload: Option<String>,
}

/// The entries of a record, one after the other. At most one line is in memory.
pub(crate) struct Record {
    lines: BufReader<Reader>,
    what: String,
    number: u64,
    buffer: Vec<u8>,
    /// True if an entry was found that adds bytes.
    begun: bool,
}

impl Record {
    pub(crate) fn new(plain: Reader, what: String) -> Self {
        Self {
            lines: BufReader::with_capacity(64 << 10, plain),
            what,
            number: 0,
            buffer: Vec::new(),
            begun: false,
        }
    }

    /// Reads the next entry that adds bytes to the tar; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            self.number += 1;
            self.buffer.clear();
            let mut line = (&mut self.lines).take(MAX_LINE + 1);
            let count = line
                .read_until(b'\n', &mut self.buffer)
                .map_err(|error| read_error(error, &self.what))?;
            if count == 0 && self.begun {
                return Ok(None);
            }
            if count == 0 {
                let message = "the record is empty, but every tar has at least its trailer";
                return Err(Error::new(Code::BadManifest, message)
                    .at(self.what.clone())
                    .hint("restore the file from a backup, or pull the image again"));
            }
            if count as u64 > MAX_LINE {
                let what = format!("line {} of {}", self.number, self.what);
                return Err(Limits::exceeded("tar_split_line", MAX_LINE, what));
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match entry(&self.buffer) {
                Ok(Some(entry)) => {
                    self.begun = true;
                    return Ok(Some(entry));
                }
                Ok(None) => {}
                Err(why) => {
                    let error = Error::new(Code::BadManifest, why);
                    return Err(error
                        .at(format!("line {}", self.number))
                        .at(self.what.clone()));
                }
            }
        }
    }

    /// Returns the place of the entry that was read last.
    pub(crate) fn place(&self) -> String {
        format!("{} › line {}", self.what, self.number)
    }
}

/// Reads a line; `None` if its entry adds no bytes.
fn entry(line: &[u8]) -> Result<Option<Entry>, String> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| format!("the line is not an entry of tar-split: {error}"))?;
    let decode = |field: &str, text: Option<&str>| {
        let text = text.unwrap_or_default();
        let decoded = STANDARD.decode(text);
        decoded.map_err(|_| format!("the field `{field}` is not base64"))
    };
    match line.kind {
        2 => {
            let payload = decode("payload", line.payload.as_deref())?;
            Ok((!payload.is_empty()).then_some(Entry::Segment(payload)))
        }
        1 => {
            let size = u64::try_from(line.size.unwrap_or(0))
                .map_err(|_| "the size of the file is below zero".to_owned())?;
            if size == 0 {
                return Ok(None);
            }
            let raw = decode("name_raw", line.name_raw.as_deref())?;
            let path = match (raw.is_empty(), line.name) {
                (false, _) => raw,
                (true, Some(name)) if !name.is_empty() => name.into_bytes(),
                (true, _) => return Err("the file has no name".to_owned()),
            };
            let crc = decode("payload", line.payload.as_deref())?;
            let crc: [u8; 8] = crc.try_into().map_err(|found: Vec<u8>| {
                format!(
                    "the checksum has 8 bytes in tar-split, and {} here",
                    found.len()
                )
            })?;
            Ok(Some(Entry::File {
                path,
                size,
                crc: u64::from_be_bytes(crc),
            }))
        }
        kind => Err(format!(
            "the type of an entry is 1 (a file) or 2 (a segment), and this one is {kind}"
        )),
    }
}

/// Returns an error of this project unchanged; an error of the system gets the record's name as its
/// place.
fn read_error(error: io::Error, what: &str) -> Error {
    if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        Error::from_io(error)
    } else {
        Error::io(error, what)
    }
}
