//! The byte stream under the framing: whole blocks, skips, and the offset of the next byte.
//!
//! The source reads ahead into one buffer, so that headers are cheap and skipped bodies are never
//! copied; the skipped bodies of a seekable source are not even read. Of the tar format the source
//! uses only the size of a block.

use crate::{BLOCK, trace::Trace};
use imgconv_model::{Code, Error, Result};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// The size of the buffer; bodies that are read in larger pieces bypass it.
const BUFFER: usize = 64 << 10;

/// Skips bytes without reading them, and returns their number.
pub(crate) type Skip<R> = fn(&mut R, u64) -> u64;

/// A buffered source that counts its offset and repeats interrupted reads.
pub(crate) struct Source<R> {
    inner: BufReader<R>,
    offset: u64,
    skip: Option<Skip<R>>,
    trace: Option<Box<dyn Trace>>,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R, skip: Option<Skip<R>>) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER, inner),
            offset: 0,
            skip,
            trace: None,
        }
    }

    /// Reports every byte from here on to `trace`.
    pub(crate) fn set_trace(&mut self, trace: Box<dyn Trace>) {
        self.trace = Some(trace);
    }

    /// Returns the receiver of the bytes that are read.
    pub(crate) fn trace(&mut self) -> Option<&mut dyn Trace> {
        match &mut self.trace {
            Some(trace) => Some(&mut **trace),
            None => None,
        }
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<()> {
        self.trace
            .as_mut()
            .map_or(Ok(()), |trace| trace.literal(bytes))
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner.into_inner()
    }

    /// Returns the offset of the next byte in the stream.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads some bytes, which the caller reports to the trace; 0 is the end.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buf) {
                Ok(n) => {
                    self.offset += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Fills one block and returns the number of bytes: fewer than a block only at the end.
    pub(crate) fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<usize> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..]).map_err(Error::from_io)? {
                0 => break,
                n => filled += n,
            }
        }
        self.literal(&block[..filled])?;
        Ok(filled)
    }

    /// Reads a required block; `what` names the block in errors.
    pub(crate) fn need_block(&mut self, block: &mut [u8; BLOCK], what: &str) -> Result<()> {
        match self.read_block(block)? {
            BLOCK => Ok(()),
            found => Err(truncated(what, BLOCK as u64, found as u64).at(self.place())),
        }
    }

    /// Reads exactly `size` bytes of an extension header, and the padding after them, which must be
    /// NUL: some readers read these bytes as part of the payload. The buffer grows with the bytes
    /// that arrive; `size` is never allocated ahead.
    pub(crate) fn read_payload(&mut self, size: u64) -> Result<Vec<u8>> {
        let padding = crate::padding(size);
        let padded = size + padding as u64;
        // Most headers fit into a page, and allocating a page does no harm.
        let mut payload = Vec::with_capacity(padded.min(4096) as usize);
        let found = (&mut self.inner)
            .take(padded)
            .read_to_end(&mut payload)
            .map_err(Error::from_io)? as u64;
        self.offset += found;
        self.literal(&payload)?;
        if found < padded {
            return Err(truncated("an extension header", padded, found).at(self.place()));
        }
        let end = payload.len() - padding;
        if payload[end..].iter().any(|b| *b != 0) {
            let message = "the padding of an extension header is not NUL";
            return Err(Error::new(Code::Ambiguous, message));
        }
        payload.truncate(end);
        Ok(payload)
    }

    /// Skips `count` bytes and returns the number of skipped bytes: fewer only at the end.
    pub(crate) fn skip(&mut self, count: u64) -> Result<u64> {
        let mut left = count;
        while left > 0 {
            if let Some(skip) = self.skip
                && self.inner.buffer().is_empty()
            {
                let n = skip(self.inner.get_mut(), left);
                self.offset += n;
                return Ok(count - left + n);
            }
            let there = self.fill()?.len();
            if there == 0 {
                break;
            }
            let n = usize::try_from(left).map_or(there, |left| left.min(there));
            self.pass(n)?;
            left -= n as u64;
        }
        Ok(count - left)
    }

    /// Reads to the end of the stream. Returns the offset of the first byte that is not NUL, if
    /// there is one.
    pub(crate) fn drain(&mut self) -> Result<Option<u64>> {
        let mut first = None;
        loop {
            let bytes = self.fill()?;
            let (there, found) = (bytes.len(), bytes.iter().position(|b| *b != 0));
            if there == 0 {
                return Ok(first);
            }
            if let (None, Some(found)) = (first, found) {
                first = Some(self.offset + found as u64);
            }
            self.pass(there)?;
        }
    }

    /// Returns the place of the next byte, for errors.
    pub(crate) fn place(&self) -> String {
        format!("offset {}", self.offset)
    }

    fn fill(&mut self) -> Result<&[u8]> {
        // The borrow of `fill_buf` ends only outside of the loop.
        while self.inner.buffer().is_empty() {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io(error)),
            }
        }
        Ok(self.inner.buffer())
    }

    /// Passes over buffered bytes.
    fn pass(&mut self, count: usize) -> Result<()> {
        if let Some(trace) = &mut self.trace {
            trace.literal(&self.inner.buffer()[..count])?;
        }
        self.inner.consume(count);
        self.offset += count as u64;
        Ok(())
    }
}

/// Makes the error of a stream that ends too early.
pub(crate) fn truncated(what: &str, expected: u64, found: u64) -> Error {
    let message =
        format!("the archive ends inside {what}: expected {expected} bytes, found {found}");
    Error::new(Code::BadTar, message)
}
