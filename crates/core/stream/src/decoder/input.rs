//! The compressed side of a decoder: a buffered source that counts its offset and detects its end.
//!
//! Errors of the source come out unchanged; this file makes no errors of its own.

use std::io::{self, Read};

use imgconv_model::Reader;

use crate::BUFFER_SIZE;

/// A source with a buffer in front.
pub(super) struct Input {
    source: Reader,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes consumed so far.
    offset: u64,
    /// True if the source has reported its end; it is not read again.
    ended: bool,
}

impl Input {
    pub(super) fn new(source: Reader) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_SIZE].into_boxed_slice(),
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
        }
    }

    /// Returns the offset in the compressed stream of the next byte that is not consumed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the buffered bytes, after a read if there are none; empty at the end only.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Returns the buffered bytes, at least `n` unless the source ends before.
    pub(super) fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        debug_assert!(n <= self.buffer.len(), "no more than the buffer is asked");
        if self.end - self.start < n {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < n && !self.ended {
                self.read_more()?;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Consumes `n` of the bytes that were returned last.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        self.offset += n as u64;
    }

    /// Consumes `n` bytes, or all if there are fewer, and returns their number.
    pub(super) fn skip(&mut self, n: u64) -> io::Result<u64> {
        let mut left = n;
        while left > 0 {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                break;
            }
            let take = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            self.consume(take);
            left -= take as u64;
        }
        Ok(n - left)
    }

    /// Copies bytes without decoding, past the buffer where that saves a copy.
    pub(super) fn pass(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && out.len() >= self.buffer.len() {
            let n = if self.ended {
                0
            } else {
                read_some(&mut self.source, out)?
            };
            self.ended |= n == 0;
            self.offset += n as u64;
            return Ok(n);
        }
        let chunk = self.fill()?;
        let n = chunk.len().min(out.len());
        out[..n].copy_from_slice(&chunk[..n]);
        self.consume(n);
        Ok(n)
    }

    fn read_more(&mut self) -> io::Result<()> {
        if !self.ended {
            let n = read_some(&mut self.source, &mut self.buffer[self.end..])?;
            self.end += n;
            self.ended = n == 0;
        }
        Ok(())
    }
}

/// Reads once, and again after an interrupting signal.
fn read_some(source: &mut Reader, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
