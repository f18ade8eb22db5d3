//! One gzip member (RFC 1952): header and trailer are read here, the body by zlib-rs.
//!
//! Stricter than usual: the header checksum is verified, reserved flags and other compression
//! methods are refused, and names have a limit. Name, comment and time are not kept.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use imgconv_model::{Limits, Result};

use super::{
    codec::{Codec, Fault, Step, at_offset, malformed},
    input::Input,
};

const HEADER_CHECKSUM: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

/// Decodes gzip members.
pub(super) struct Gzip {
    inflate: Decompress,
    checksum: Crc,
    /// Decompressed bytes of this member.
    size: u64,
    field_limit: u64,
}

impl Gzip {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            inflate: Decompress::new(false),
            checksum: Crc::new(),
            size: 0,
            field_limit: limits.gzip_field,
        }
    }

    /// Consumes a NUL-terminated header field.
    fn skip_text(&self, name: &str, input: &mut Input, sum: &mut Crc) -> Result<(), Fault> {
        let (begin, mut length) = (input.offset(), 0u64);
        loop {
            let chunk = input.fill()?;
            if chunk.is_empty() {
                return Err(truncated(input, name));
            }
            let end = chunk.iter().position(|byte| *byte == 0);
            length += end.unwrap_or(chunk.len()) as u64;
            if length > self.field_limit {
                let what = format!("{name} of the gzip member");
                let error = Limits::exceeded("gzip_field", self.field_limit, what);
                return Err(at_offset(error, begin).into());
            }
            let taken = end.map_or(chunk.len(), |end| end + 1);
            sum.update(&chunk[..taken]);
            input.consume(taken);
            if end.is_some() {
                return Ok(());
            }
        }
    }

    fn check_trailer(&self, input: &mut Input) -> Result<(), Fault> {
        let offset = input.offset();
        let trailer: [u8; 8] = take(input, "trailer", None)?;
        let [a, b, c, d, e, f, g, h] = trailer;
        let (checksum, size) = (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        );
        if checksum != self.checksum.sum() {
            let found = self.checksum.sum();
            let message =
                format!("CRC-32 of the gzip member is {checksum:08x}, computed {found:08x}");
            return Err(malformed(offset, message));
        }
        // RFC 1952 section 2.3.1: ISIZE is the size modulo 2^32.
        let found = self.size & 0xffff_ffff;
        if u64::from(size) != found {
            let message = format!("ISIZE of the gzip member is {size}, computed {found}");
            return Err(malformed(offset + 4, message));
        }
        Ok(())
    }
}

impl Codec for Gzip {
    fn unit(&self) -> &'static str {
        "gzip member"
    }

    fn begins(&self, prefix: &[u8]) -> bool {
        prefix.starts_with(&[0x1f, 0x8b])
    }

    fn begin(&mut self, input: &mut Input) -> Result<bool, Fault> {
        let offset = input.offset();
        let mut sum = Crc::new();
        let [_, _, method, flags, ..]: [u8; 10] = take(input, "header", Some(&mut sum))?;
        if method != 8 {
            let message = format!("compression method of the gzip member is {method}, expected 8");
            return Err(malformed(offset + 2, message));
        }
        if flags & RESERVED != 0 {
            let message =
                format!("flags of the gzip member are {flags:#04x}: reserved ones are set");
            return Err(malformed(offset + 3, message));
        }
        if flags & EXTRA != 0 {
            let length: [u8; 2] = take(input, "FEXTRA", Some(&mut sum))?;
            let length = usize::from(u16::from_le_bytes(length));
            let Some(extra) = input.peek(length)?.get(..length) else {
                return Err(truncated(input, "FEXTRA"));
            };
            sum.update(extra);
            input.consume(length);
        }
        if flags & NAME != 0 {
            self.skip_text("FNAME", input, &mut sum)?;
        }
        if flags & COMMENT != 0 {
            self.skip_text("FCOMMENT", input, &mut sum)?;
        }
        if flags & HEADER_CHECKSUM != 0 {
            let offset = input.offset();
            let stored = u16::from_le_bytes(take(input, "FHCRC", None)?);
            let computed = sum.sum() & 0xffff;
            if u32::from(stored) != computed {
                let message =
                    format!("FHCRC of the gzip member is {stored:04x}, computed {computed:04x}");
                return Err(malformed(offset, message));
            }
        }
        self.inflate.reset(false);
        self.checksum.reset();
        self.size = 0;
        Ok(true)
    }

    fn step(&mut self, input: &mut Input, out: &mut [u8]) -> Result<Step, Fault> {
        let offset = input.offset();
        let chunk = input.fill()?;
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(chunk, out, FlushDecompress::None)
            .map_err(|error| {
                let near = offset + (self.inflate.total_in() - before_in);
                let why = error.message().unwrap_or("invalid deflate data");
                malformed(
                    near,
                    format!("deflate data of the gzip member is corrupt: {why}"),
                )
            })?;
        // Both differences are at most the lengths of the slices.
        let consumed = (self.inflate.total_in() - before_in) as usize;
        let written = (self.inflate.total_out() - before_out) as usize;
        let stuck = consumed == 0 && written == 0;
        self.checksum.update(&out[..written]);
        self.size += written as u64;
        input.consume(consumed);
        let done = status == Status::StreamEnd;
        if done {
            self.check_trailer(input)?;
        } else if stuck {
            return Err(truncated(input, "deflate data"));
        }
        Ok(Step { written, done })
    }
}

/// Takes exactly `N` bytes of a part of the member.
fn take<const N: usize>(
    input: &mut Input,
    part: &str,
    sum: Option<&mut Crc>,
) -> Result<[u8; N], Fault> {
    let Some(bytes) = input.peek(N)?.first_chunk::<N>().copied() else {
        return Err(truncated(input, part));
    };
    if let Some(sum) = sum {
        sum.update(&bytes);
    }
    input.consume(N);
    Ok(bytes)
}

fn truncated(input: &Input, part: &str) -> Fault {
    malformed(
        input.offset(),
        format!("the stream ends inside the {part} of a gzip member"),
    )
}
