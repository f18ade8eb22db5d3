//! One Zstandard frame or skippable frame (RFC 8878): this file checks the header, libzstd the
//! rest.
//!
//! Dictionaries and the formats before version 0.8 are refused by name.

use imgconv_model::{Code, Error, Limits, Result};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{
    codec::{Codec, Fault, Step, at_offset, malformed},
    input::Input,
};

/// The longest frame header: magic, descriptor, window, dictionary ID, content size.
const HEADER_SIZE: usize = 4 + 1 + 1 + 4 + 8;

/// The largest window that a window descriptor can express, about 3.75 TiB (section 3.1.1.1.2).
const LARGEST_WINDOW: u64 = (1 << 41) + 7 * (1 << 38);

/// The largest window exponent that libzstd accepts.
const LIBRARY_WINDOW_LOG: u32 = if cfg!(target_pointer_width = "64") {
    31
} else {
    30
};

/// Decodes zstd frames.
pub(super) struct Zstd {
    library: Decoder<'static>,
    window_limit: u64,
    content_size: Option<u64>,
    /// Decompressed bytes of this frame.
    size: u64,
    /// The offset of the frame.
    start: u64,
    blocks: Blocks,
}

impl Zstd {
    pub(super) fn new(limits: &Limits) -> Result<Self> {
        let mut library = Decoder::new().map_err(Error::from_io)?;
        // The window is checked here exactly; the library's own check is by powers of two.
        library
            .set_parameter(DParameter::WindowLogMax(LIBRARY_WINDOW_LOG))
            .map_err(Error::from_io)?;
        Ok(Self {
            library,
            window_limit: limits.zstd_window.min(1 << LIBRARY_WINDOW_LOG),
            content_size: None,
            size: 0,
            start: 0,
            blocks: Blocks::default(),
        })
    }

    /// Checks a frame header, which stays in the input for the library.
    fn check_header(&mut self, offset: u64, header: &[u8]) -> Result<(), Fault> {
        let Some(frame) = FrameHeader::parse(header) else {
            let message = "the stream ends inside the header of a zstd frame";
            return Err(malformed(offset + header.len() as u64, message));
        };
        if frame.reserved {
            let message = "the reserved bit in the header of the zstd frame is set";
            return Err(malformed(offset + 4, message));
        }
        if frame.dictionary != 0 {
            let id = frame.dictionary;
            let message =
                format!("the zstd frame needs the dictionary {id}: dictionaries are not supported");
            return Err(at_offset(Error::new(Code::Unsupported, message), offset).into());
        }
        if let Some(size) = frame.content_size.filter(|_| frame.window > LARGEST_WINDOW) {
            let message = format!("content size {size} of the zstd frame is beyond any window");
            return Err(malformed(offset, message));
        }
        if frame.window > self.window_limit {
            let what = format!("window of {} bytes of the zstd frame", frame.window);
            let error = Limits::exceeded("zstd_window", self.window_limit, what);
            return Err(at_offset(error, offset).into());
        }
        self.content_size = frame.content_size;
        self.blocks = Blocks::after(frame.length);
        Ok(())
    }

    fn check_size(&self, offset: u64, done: bool) -> Result<(), Fault> {
        let Some(declared) = self.content_size else {
            return Ok(());
        };
        let found = match self.size {
            size if size > declared => format!("more than {declared}"),
            size if done && size < declared => size.to_string(),
            _ => return Ok(()),
        };
        let message = format!(
            "content size of the zstd frame at offset {} is {declared}, found {found}",
            self.start
        );
        Err(malformed(offset, message))
    }
}

impl Codec for Zstd {
    fn unit(&self) -> &'static str {
        "zstd frame"
    }

    fn begins(&self, prefix: &[u8]) -> bool {
        crate::sniff(prefix) == imgconv_model::Compression::Zstd
    }

    fn begin(&mut self, input: &mut Input) -> Result<bool, Fault> {
        let offset = input.offset();
        let header = input.peek(HEADER_SIZE)?;
        match header {
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, rest @ ..] => {
                let Some(length) = rest.first_chunk::<4>() else {
                    let message = "the stream ends inside the header of a skippable zstd frame";
                    return Err(malformed(offset + header.len() as u64, message));
                };
                let length = u64::from(u32::from_le_bytes(*length));
                input.consume(8);
                let found = input.skip(length)?;
                if found < length {
                    let message = format!(
                        "the skippable zstd frame declares {length} bytes, but {found} follow"
                    );
                    return Err(malformed(offset + 4, message));
                }
                Ok(false)
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                // The header is copied, since it stays in the input.
                let mut copy = [0; HEADER_SIZE];
                let length = header.len().min(HEADER_SIZE);
                copy[..length].copy_from_slice(&header[..length]);
                self.check_header(offset, &copy[..length])?;
                (self.size, self.start) = (0, offset);
                Ok(true)
            }
            _ => {
                let message =
                    "the zstd frame has a format from before version 0.8, which is not supported";
                Err(at_offset(Error::new(Code::Unsupported, message), offset).into())
            }
        }
    }

    fn step(&mut self, input: &mut Input, out: &mut [u8]) -> Result<Step, Fault> {
        let offset = input.offset();
        let chunk = input.fill()?;
        let ended = chunk.is_empty();
        let mut from = InBuffer::around(chunk);
        let mut to = OutBuffer::around(out);
        let result = self.library.run(&mut from, &mut to);
        let (consumed, written) = (from.pos(), to.pos());
        let hint = result.map_err(|error| {
            let message = format!(
                "the zstd frame at offset {} is corrupt: {error}",
                self.start
            );
            malformed(offset + consumed as u64, message)
        })?;
        if !self.blocks.follow(&chunk[..consumed]) {
            let start = self.start;
            let message =
                format!("the zstd frame at offset {start} has a compressed block without content");
            return Err(malformed(offset + consumed as u64, message));
        }
        input.consume(consumed);
        self.size += written as u64;
        let done = hint == 0;
        self.check_size(input.offset(), done)?;
        if !done && consumed == 0 && written == 0 {
            let how = if ended {
                "the stream ends inside"
            } else {
                "no progress in"
            };
            let message = format!("{how} the zstd frame at offset {}", self.start);
            return Err(malformed(input.offset(), message));
        }
        Ok(Step { written, done })
    }
}

/// The smallest compressed block: the headers of literals and of sequences (RFC 8878 section 3.1.1.3).
const SMALLEST_BLOCK: u64 = 2;

/// The blocks of a frame by their headers (RFC 8878 section 3.1.1.2). libzstd skips a compressed block of no bytes,
/// unless it gets the frame whole; the reader of Go refuses such a block.
#[derive(Debug, Default)]
struct Blocks {
    /// The bytes before the next block header.
    skipped: u64,
    /// The bytes of the next block header that were met.
    header: u32,
    met: u32,
    is_last: bool,
}

impl Blocks {
    /// Starts after a frame header of `length` bytes.
    fn after(length: usize) -> Self {
        Self {
            skipped: length as u64,
            ..Self::default()
        }
    }

    /// Goes through the next bytes of the frame. Returns false for a compressed block that is too small.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let passed = usize::try_from(self.skipped)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.skipped -= passed as u64;
            bytes = &bytes[passed..];
            let Some((next, rest)) = bytes.split_first().filter(|_| !self.is_last) else {
                return true;
            };
            bytes = rest;
            self.header |= u32::from(*next) << (8 * self.met);
            self.met += 1;
            if self.met < 3 {
                continue;
            }
            let (kind, size) = (self.header >> 1 & 3, u64::from(self.header >> 3));
            self.is_last = self.header & 1 != 0;
            (self.header, self.met) = (0, 0);
            // A block of type 1 is one byte that is repeated, and type 2 is a compressed block.
            self.skipped = if kind == 1 { 1 } else { size };
            if kind == 2 && size < SMALLEST_BLOCK {
                return false;
            }
        }
        true
    }
}

/// The fields of a frame header, RFC 8878 section 3.1.1.1.
#[derive(Debug, PartialEq, Eq)]
struct FrameHeader {
    /// The bytes of the header.
    length: usize,
    reserved: bool,
    dictionary: u64,
    window: u64,
    content_size: Option<u64>,
}

impl FrameHeader {
    /// Reads a header from its magic on; `None` if the header is cut off.
    fn parse(header: &[u8]) -> Option<Self> {
        let (&descriptor, mut rest) = header.get(4..)?.split_first()?;
        let mut number = |length: usize| {
            let (field, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(
                field
                    .iter()
                    .rev()
                    .fold(0, |value, byte| value << 8 | u64::from(*byte)),
            )
        };
        let single_segment = descriptor & 0x20 != 0;
        let window = if single_segment {
            None
        } else {
            let byte = number(1)?;
            let base = 1u64 << (10 + (byte >> 3));
            Some(base + base / 8 * (byte & 7))
        };
        let dictionary = number([0, 1, 2, 4][usize::from(descriptor & 3)])?;
        let content_size = match descriptor >> 6 {
            0 if !single_segment => None,
            0 => Some(number(1)?),
            1 => Some(number(2)? + 256),
            2 => Some(number(4)?),
            _ => Some(number(8)?),
        };
        Some(Self {
            reserved: descriptor & 0x08 != 0,
            dictionary,
            window: window.or(content_size)?,
            content_size,
            length: header.len() - rest.len(),
        })
    }
}
