//! The body of the current member: stored bytes, with the holes of a sparse file put back.

use crate::{
    gnu::Piece,
    source::{Source, truncated},
};
use imgconv_model::{Error, Result, quote};
use std::{
    io::{self, Read},
    vec,
};

/// The position in the body of the current member.
///
/// A plain file is one piece that covers the whole body; a sparse file has holes between and after
/// its pieces.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// The name of the member, for errors.
    name: Vec<u8>,
    /// The number of logical bytes, and the number of those that were returned.
    size: u64,
    position: u64,
    /// Remaining bytes in the stream: of the content, and of the padding after it.
    stored: u64,
    padding: u64,
    piece: Piece,
    pieces: vec::IntoIter<Piece>,
    /// The place of the logical bytes in the output, if the output holds them.
    output: Option<u64>,
}

impl Body {
    /// Starts the body of a plain file; a member without a body has size 0.
    pub(crate) fn start_plain(&mut self, name: &[u8], size: u64) {
        let padding = crate::padding(size) as u64;
        self.start(name, size, size, padding);
        self.piece.length = size;
    }

    /// Starts the body of a sparse file. The pieces are ordered, do not overlap, lie within `size`
    /// and add up to the stored bytes; `padding` follows them.
    pub(crate) fn start_sparse(
        &mut self,
        name: &[u8],
        size: u64,
        pieces: Vec<Piece>,
        padding: u64,
    ) {
        let stored = pieces.iter().map(|piece| piece.length).sum();
        self.start(name, size, stored, padding);
        self.pieces = pieces.into_iter();
    }

    fn start(&mut self, name: &[u8], size: u64, stored: u64, padding: u64) {
        self.name.clear();
        self.name.extend_from_slice(name);
        (self.size, self.position) = (size, 0);
        (self.stored, self.padding) = (stored, padding);
        self.piece = Piece::default();
        self.pieces = Vec::new().into_iter();
        self.output = None;
    }

    /// Says where the logical bytes of the body will be in the output.
    pub(crate) fn goes_to(&mut self, offset: u64) {
        self.output = Some(offset);
    }

    /// Returns true if the body is one piece of which no byte was read yet.
    pub(crate) fn is_whole(&self) -> bool {
        self.position == 0 && self.piece.offset == 0 && self.piece.length == self.size
    }

    /// Reads logical bytes; 0 is the end of the body.
    pub(crate) fn read<R: Read>(
        &mut self,
        source: &mut Source<R>,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        if buf.is_empty() || self.position == self.size {
            return Ok(0);
        }
        while self.position >= self.piece.end() {
            let end = Piece {
                offset: self.size,
                length: 0,
            };
            self.piece = self.pieces.next().unwrap_or(end);
            if self.piece.offset == self.size {
                break;
            }
        }
        let is_hole = self.position < self.piece.offset;
        let until = if is_hole {
            self.piece.offset
        } else {
            self.piece.end()
        };
        let run = usize::try_from(until - self.position).unwrap_or(usize::MAX);
        let wanted = run.min(buf.len());
        let count = if is_hole {
            buf[..wanted].fill(0);
            wanted
        } else {
            let count = source.read(&mut buf[..wanted])?;
            if count == 0 {
                return Err(self.truncated("the body", self.stored, 0, source).into());
            }
            self.stored -= count as u64;
            if let Some(trace) = source.trace() {
                match self.output.filter(|_| !trace.keeps_bodies()) {
                    Some(output) => trace.copied(output + self.position, count as u64)?,
                    None => trace.literal(&buf[..count])?,
                }
            }
            count
        };
        self.position += count as u64;
        Ok(count)
    }

    /// Skips the rest of the body and its padding; later reads return nothing.
    pub(crate) fn finish<R: Read>(&mut self, source: &mut Source<R>) -> Result<()> {
        self.position = self.size;
        for (what, left) in [
            ("the body", self.stored),
            ("the padding of the body", self.padding),
        ] {
            let found = source.skip(left)?;
            if found < left {
                return Err(self.truncated(what, left, found, source));
            }
        }
        (self.stored, self.padding) = (0, 0);
        Ok(())
    }

    fn truncated<R: Read>(
        &self,
        what: &str,
        expected: u64,
        found: u64,
        source: &Source<R>,
    ) -> Error {
        let error = truncated(what, expected, found).at(source.place());
        error.at(format!("entry {}", quote(&self.name)))
    }
}
