//! Reading a record, and with it and the layer the tar.
//!
//! The record is hostile input: every number is checked before it is used, the memory is fixed, and the end
//! of the tar is reported only if its SHA-512 is that of the header.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Read},
};

use imgconv_model::{Code, Compression, Error, Facts, Limits, Notes, Reader, Result};
use imgconv_stream::{Decoder, Verified};

use crate::{header::Header, number};

/// The buffers of the record and of the layer.
const BUFFER: usize = 64 << 10;

/// A record whose header was read.
pub struct Record {
    header: Header,
    body: Reader,
    limits: Limits,
    what: String,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// Reads the header of a record; `what` names the record in messages.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the header is malformed, [`Code::Unsupported`] for another version,
    /// [`Code::Limit`] if the tar is larger than `image_bytes`.
    pub fn open(mut record: Reader, limits: &Limits, what: &str) -> Result<Self> {
        let header = Header::read(&mut record).map_err(|error| error.at(what))?;
        check_length(header.length, limits).map_err(|error| error.at(what))?;
        Ok(Self {
            header,
            body: record,
            limits: *limits,
            what: what.to_owned(),
        })
    }

    /// Returns the facts of the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the tar, made of the record and of the uncompressed layer that the header names; a record that
    /// names no layer ignores `layer`. The layer is read forward only. The end of the tar is an error
    /// unless its length and its SHA-512 are those of the header.
    ///
    /// # Errors
    /// [`Code::BadCompression`] if the instructions are not compressed with zstd.
    pub fn rebuild(self, layer: Reader) -> Result<Reader> {
        let facts = Facts {
            digest: Some(self.header.image_id),
            size: Some(self.header.length),
        };
        let rebuilt = self.instructed(Some(layer))?;
        Ok(Box::new(Verified::new(rebuilt, &facts, "the ACI")))
    }

    /// Reads all instructions without the layer: a record that passes is well-formed, and may still be about
    /// another layer. The time depends on the bytes of the record alone, not on the sizes that the record claims.
    ///
    /// # Errors
    /// The first fault of the record.
    pub fn check(self) -> Result<()> {
        let mut rebuilt = self.instructed(None)?;
        io::copy(&mut rebuilt, &mut io::sink()).map_err(Error::from_io)?;
        Ok(())
    }

    /// Returns the tar as the instructions make it, without a check of its digest. Without a layer, the bytes of the
    /// layer are left out.
    fn instructed(self, layer: Option<Reader>) -> Result<Rebuilt> {
        let Self {
            header,
            body,
            limits,
            what,
        } = self;
        let reach = header.layer.as_ref().map_or(0, |layer| layer.reach);
        Ok(Rebuilt {
            body: instructions(body, &limits, &what)?,
            layer: layer.map(|layer| BufReader::with_capacity(BUFFER, layer)),
            position: 0,
            reach,
            left: header.length,
            state: State::Between,
            what,
        })
    }
}

/// Refuses a tar that is larger than the limit.
pub(crate) fn check_length(length: u64, limits: &Limits) -> Result<()> {
    let limit = ("image_bytes", limits.image_bytes);
    Limits::check(length, limit, "the tar of the record")
}

/// Opens the instructions of a record.
///
/// # Errors
/// [`Code::BadCompression`] if they are not compressed with zstd.
pub(crate) fn instructions(
    body: Reader,
    limits: &Limits,
    what: &str,
) -> Result<BufReader<Decoder>> {
    let body = Decoder::new(body, limits, &Notes::default(), what).map_err(|it| it.at(what))?;
    if body.compression() != Compression::Zstd {
        let message = "the instructions of the record are not compressed with zstd";
        return Err(Error::new(Code::BadCompression, message).at(what));
    }
    Ok(BufReader::with_capacity(BUFFER, body))
}

/// The tar.
struct Rebuilt {
    body: BufReader<Decoder>,
    /// `None` if the bytes of the layer are left out.
    layer: Option<BufReader<Reader>>,
    /// The offset of the layer's next byte, and the end of its last used range.
    position: u64,
    reach: u64,
    /// The bytes of the tar that are still to be made.
    left: u64,
    state: State,
    what: String,
}

#[derive(Clone, Copy)]
enum State {
    /// The next instruction has to be read.
    Between,
    /// Literal bytes that are left; false if the instruction has none.
    Literal(u64, bool),
    /// Bytes of the layer that are left.
    Copy(u64),
}

impl Rebuilt {
    fn advance(&mut self, out: &mut [u8]) -> Result<usize> {
        let bad = |message: &str| Error::new(Code::BadManifest, message);
        loop {
            match self.state {
                State::Between if self.left == 0 => {
                    if !self.body.fill_buf().map_err(Error::from_io)?.is_empty() {
                        return Err(bad("the record goes on after the end of the tar"));
                    }
                    return match self.position == self.reach {
                        true => Ok(0),
                        false => Err(bad(
                            "the record uses less of the layer than its header says",
                        )),
                    };
                }
                State::Between => {
                    let count = number::get(&mut self.body)?;
                    if count > self.left {
                        return Err(bad("the record makes more bytes than its header says"));
                    }
                    self.state = State::Literal(count, count > 0);
                }
                State::Literal(0, some) => {
                    let (gap, count) = (number::get(&mut self.body)?, number::get(&mut self.body)?);
                    let end = self.position.checked_add(gap);
                    let end = end.and_then(|begin| begin.checked_add(count));
                    if count == 0 && (gap != 0 || !some) {
                        return Err(bad("an instruction of the record makes nothing"));
                    }
                    if count > self.left {
                        return Err(bad("the record makes more bytes than its header says"));
                    }
                    if end.is_none_or(|end| end > self.reach) {
                        return Err(bad(
                            "the record uses more of the layer than its header says",
                        ));
                    }
                    self.skip(gap)?;
                    self.state = match count {
                        0 => State::Between,
                        count => State::Copy(count),
                    };
                }
                State::Literal(left, some) => {
                    let count = part(out, left);
                    let read = self.body.read(&mut out[..count]).map_err(Error::from_io)?;
                    if read == 0 {
                        return Err(bad("the record ends too early"));
                    }
                    self.state = State::Literal(left - read as u64, some);
                    self.left -= read as u64;
                    return Ok(read);
                }
                State::Copy(left) => {
                    let Some(layer) = &mut self.layer else {
                        self.position += left;
                        self.left -= left;
                        self.state = State::Between;
                        continue;
                    };
                    let count = part(out, left);
                    let read = layer.read(&mut out[..count]).map_err(Error::from_io)?;
                    if read == 0 {
                        return Err(self.short());
                    }
                    self.position += read as u64;
                    self.left -= read as u64;
                    self.state = match left - read as u64 {
                        0 => State::Between,
                        left => State::Copy(left),
                    };
                    return Ok(read);
                }
            }
        }
    }

    /// Passes over bytes of the layer.
    fn skip(&mut self, mut count: u64) -> Result<()> {
        let Some(layer) = &mut self.layer else {
            self.position += count;
            return Ok(());
        };
        while count > 0 {
            let there = layer.fill_buf().map_err(Error::from_io)?.len();
            if there == 0 {
                return Err(self.short());
            }
            let some = usize::try_from(count).map_or(there, |count| count.min(there));
            layer.consume(some);
            self.position += some as u64;
            count -= some as u64;
        }
        Ok(())
    }

    fn short(&self) -> Error {
        let expected = format!("at least {} bytes", self.reach);
        let found = format!("{} bytes", self.position);
        Error::mismatch("the length of the layer", expected, found)
    }
}

/// Returns how many of `left` bytes fit.
pub(crate) fn part(out: &[u8], left: u64) -> usize {
    usize::try_from(left).map_or(out.len(), |left| left.min(out.len()))
}

impl Read for Rebuilt {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.advance(out)
            .map_err(|error| error.at(&*self.what).into())
    }
}
