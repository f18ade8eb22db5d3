//! Decompression, one level, by magic bytes, with an outer framing that is stricter than that of
//! the libraries.
//!
//! Each codec decodes one *unit* (a gzip member, a zstd frame, a bzip2 or xz stream); this file
//! joins units, defines the bytes that may follow the last unit, and ensures that the source is
//! read to its end. The decoders start no process, and allocate no declared size before a limit
//! allowed it.

mod bzip2;
mod codec;
mod gzip;
mod input;
#[cfg(test)]
mod tests;
mod xz;
mod zstd;

use std::{
    fmt,
    io::{self, Read},
};

use imgconv_model::{Code, Compression, Error, Limits, Notes, Reader, Result};

use self::{
    codec::{Codec, Fault, at_offset, malformed},
    input::Input,
};
use crate::{
    BUFFER_SIZE,
    failure::Failure,
    sniff::{SNIFF_SIZE, sniff},
};

/// The decompressed bytes from which on a suspicious ratio gets a warning.
const RATIO_FROM: u64 = 1 << 30;

/// Reads shorter than this go through a buffer: decoders are slow in small steps.
const DIRECT_SIZE: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Inside,
    Between,
    Ended,
}

/// Decompresses a stream by its magic bytes; [`Compression::None`] passes through. Exactly one
/// level is removed.
///
/// - Several gzip members, zstd frames, bzip2 or xz streams in a row are one stream, empty ones
///   included.
/// - NULs after the last unit, up to the end and to [`Limits::padding`], are skipped with the warning
///   `trailing-zeros` (no warning for xz padding, a multiple of four). Any other byte there is
///   [`Code::BadCompression`].
/// - An output of more than [`Limits::ratio_warn`] times the input, and of more than 1 GiB, gets
///   the warning `ratio` at the end.
/// - The source is read to its very last byte before the end is reported, so that a
///   [`Verified`](crate::Verified) source below has checked all bytes. Its errors come out
///   unchanged; and if a stream is malformed, the rest of the source is read too, up to
///   [`Limits::layer_bytes`], so that a wrong digest is reported as such.
/// - After an error every further read fails with the same error.
pub struct Decoder {
    input: Input,
    compression: Compression,
    codec: Option<Box<dyn Codec>>,
    state: State,
    what: String,
    notes: Notes,
    ratio_warn: u64,
    ratio_from: u64,
    /// The most NULs after a unit.
    padding: u64,
    /// The most bytes that are read after a fault, to find a wrong digest.
    rest: u64,
    /// Decompressed bytes so far.
    produced: u64,
    trailing_zeros: u64,
    /// Decoded bytes that a short read did not take.
    ready: Box<[u8]>,
    ready_start: usize,
    ready_end: usize,
    failure: Option<Failure>,
}

impl Decoder {
    /// Reads the magic bytes and makes the decoder for them.
    ///
    /// `what` names the stream in errors and warnings; warnings go to `notes`.
    ///
    /// # Errors
    /// The errors of the source, unchanged.
    pub fn new(source: Reader, limits: &Limits, notes: &Notes, what: &str) -> Result<Self> {
        let mut input = Input::new(source);
        let compression = sniff(input.peek(SNIFF_SIZE).map_err(Error::from_io)?);
        let codec: Option<Box<dyn Codec>> = match compression {
            Compression::None => None,
            Compression::Gzip => Some(Box::new(gzip::Gzip::new(limits))),
            Compression::Zstd => Some(Box::new(zstd::Zstd::new(limits)?)),
            Compression::Bzip2 => Some(Box::new(bzip2::Bzip2::new())),
            Compression::Xz => Some(Box::new(xz::Xz::new(limits))),
        };
        let ready = if codec.is_some() { BUFFER_SIZE } else { 0 };
        Ok(Self {
            input,
            compression,
            codec,
            state: State::First,
            what: what.to_owned(),
            notes: notes.clone(),
            ratio_warn: limits.ratio_warn,
            ratio_from: RATIO_FROM,
            padding: limits.padding,
            rest: limits.layer_bytes,
            produced: 0,
            trailing_zeros: 0,
            ready: vec![0; ready].into_boxed_slice(),
            ready_start: 0,
            ready_end: 0,
            failure: None,
        })
    }

    /// Returns the compression by the magic bytes.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Decodes into `out`, which is not empty. Returns 0 at the end only.
    fn decode(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        let Some(codec) = &mut self.codec else {
            return Ok(self.input.pass(out)?);
        };
        loop {
            match self.state {
                State::First => {
                    let body = codec.begin(&mut self.input)?;
                    self.state = if body { State::Inside } else { State::Between };
                }
                State::Inside => {
                    let step = codec.step(&mut self.input, out)?;
                    if step.done {
                        self.state = State::Between;
                    }
                    if step.written > 0 {
                        self.produced += step.written as u64;
                        return Ok(step.written);
                    }
                }
                State::Between => match follows(codec.as_ref(), &mut self.input, self.padding)? {
                    Next::Unit => self.state = State::First,
                    Next::End { zeros } => {
                        self.state = State::Ended;
                        self.trailing_zeros = zeros;
                        break;
                    }
                },
                State::Ended => return Ok(0),
            }
        }
        self.warn_at_end();
        Ok(0)
    }

    /// Adds the warnings that are known only at the end, so that they do not depend on the sizes of
    /// reads.
    fn warn_at_end(&self) {
        if self.trailing_zeros > 0 {
            let message = format!(
                "{} NUL bytes follow the {} stream; they count in the blob's digest and were skipped",
                self.trailing_zeros, self.compression
            );
            self.notes.warn("trailing-zeros", &self.what, message);
        }
        let consumed = self.input.offset().max(1);
        let suspicious = consumed.saturating_mul(self.ratio_warn);
        if self.produced > self.ratio_from && self.produced > suspicious {
            let message = format!(
                "{consumed} compressed bytes expand to {}, {} times as many",
                self.produced,
                self.produced / consumed
            );
            self.notes.warn("ratio", &self.what, message);
        }
    }

    fn serve(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        if self.ready_start == self.ready_end {
            if self.codec.is_none() || out.len() >= DIRECT_SIZE {
                return self.decode(out);
            }
            let mut ready = std::mem::take(&mut self.ready);
            let result = self.decode(&mut ready);
            self.ready = ready;
            (self.ready_start, self.ready_end) = (0, result?);
        }
        let n = out.len().min(self.ready_end - self.ready_start);
        out[..n].copy_from_slice(&self.ready[self.ready_start..self.ready_start + n]);
        self.ready_start += n;
        Ok(n)
    }

    /// Turns a fault into the error that the reader returns.
    fn fail(&mut self, fault: Fault) -> io::Error {
        let error = match fault {
            Fault::Source(error) => error,
            Fault::Stream(error) if error.code() == Code::BadCompression => {
                match self.input.skip(self.rest) {
                    Ok(_) => error.at(&self.what).into(),
                    Err(error) => error,
                }
            }
            Fault::Stream(error) => error.at(&self.what).into(),
        };
        self.failure = Some(Failure::of(&error));
        error
    }
}

impl Read for Decoder {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(failure.again());
        }
        if buf.is_empty() {
            return Ok(0);
        }
        self.serve(buf).map_err(|fault| self.fail(fault))
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("what", &self.what)
            .field("compression", &self.compression)
            .field("state", &self.state)
            .field("consumed", &self.input.offset())
            .field("produced", &self.produced)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// The bytes after a unit.
enum Next {
    Unit,
    End { zeros: u64 },
}

/// Finds out whether another unit or only NULs, at most `limit`, follow a unit.
fn follows(codec: &dyn Codec, input: &mut Input, limit: u64) -> Result<Next, Fault> {
    let begin = input.offset();
    let mut zeros = 0u64;
    loop {
        let chunk = input.fill()?;
        let nulls = chunk.iter().take_while(|byte| **byte == 0).count();
        let (empty, all) = (chunk.is_empty(), nulls == chunk.len());
        input.consume(nulls);
        zeros += nulls as u64;
        // The hole of a sparse file has no end that a reader would see.
        if zeros > limit {
            let what = format!("the padding of NUL bytes after the {}", codec.unit());
            return Err(at_offset(Limits::exceeded("padding", limit, what), begin).into());
        }
        if empty {
            let zeros = if codec.is_padding(zeros) { 0 } else { zeros };
            return Ok(Next::End { zeros });
        }
        if !all {
            break;
        }
    }
    let (unit, offset) = (codec.unit(), input.offset());
    let another = codec.begins(input.peek(SNIFF_SIZE)?);
    match zeros {
        _ if another && (zeros == 0 || codec.is_padding(zeros)) => Ok(Next::Unit),
        0 => Err(malformed(
            offset,
            format!("data that is not another {unit} follows the {unit}"),
        )),
        _ => Err(malformed(
            offset,
            format!("{zeros} NUL bytes and then more data follow the {unit}"),
        )),
    }
}
