//! Compressing one block: all code that determines output bytes is in this file.
//!
//! Each block becomes a gzip member or a zstd frame of its own, a function of the block's bytes
//! and the method alone.

use std::sync::{Mutex, PoisonError};

use imgconv_model::{Code, Compression, Error, Result};
use libdeflater::{CompressionLvl, Compressor as Deflate};
use zstd::{bulk::Compressor as Zstandard, zstd_safe::CParameter};

use crate::encoding::{Encoding, Level};

/// Raised with every change of constants or encoders that changes output bytes.
pub const ENCODER_REVISION: u32 = 3;

// A change of any of these changes every digest: raise ENCODER_REVISION.

/// Bytes of content in one gzip member. Smaller members compress worse, larger members hardly
/// better.
const GZIP_BLOCK: usize = 1 << 20;
/// The cheapest level whose output is no larger than that of the usual tools.
const GZIP_DEFAULT: i32 = 2;
const GZIP_FAST: i32 = 1;
const GZIP_LEVELS: std::ops::RangeInclusive<i32> = 0..=12;
/// ID1, ID2, CM = deflate, FLG = 0, MTIME = 0, XFL = 0, OS = 255 (unknown), RFC 1952 section 2.3.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Bytes of content in one zstd frame, and the longest distance of a match in it, which every
/// decoder must support, RFC 8878 section 3.1.1.1.2.
const ZSTD_BLOCK: usize = 1 << ZSTD_WINDOW_LOG;
const ZSTD_WINDOW_LOG: u32 = 23;
/// The level with the fewest CPU seconds whose output is no larger than that of skopeo at its default.
const ZSTD_DEFAULT: i32 = 3;
const ZSTD_FAST: i32 = 1;
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// The number of samples of the store test, and their size in bytes.
const SAMPLES: usize = 16;
const SAMPLE_SIZE: usize = 1 << 10;
/// Random bytes give about 5120; text, code and most tables far more.
const SAMPLE_STORE: u32 = 6200;
/// The longest stored block of deflate, RFC 1951 section 3.2.4.
const STORED_SIZE: usize = 0xffff;

// End of the constants that change every digest.

/// Bytes of a block that is copied without compression.
const COPY_BLOCK: usize = 1 << 20;

/// The way blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Copy,
    Gzip(i32),
    Zstd(i32),
}

impl Method {
    /// Returns the method of an encoding, or the reason why there is none.
    pub(crate) fn of(encoding: &Encoding) -> Result<Self> {
        let level = |default, fast, levels: std::ops::RangeInclusive<i32>| match encoding.level {
            Level::Default => Ok(default),
            Level::Fast => Ok(fast),
            Level::Number(number) if levels.contains(&number) => Ok(number),
            Level::Number(number) => {
                let message = format!(
                    "{} has no compression level {number}: levels are {} to {}",
                    encoding.compression,
                    levels.start(),
                    levels.end()
                );
                Err(Error::new(Code::Usage, message))
            }
        };
        match encoding.compression {
            Compression::None => Ok(Self::Copy),
            Compression::Gzip => level(GZIP_DEFAULT, GZIP_FAST, GZIP_LEVELS).map(Self::Gzip),
            Compression::Zstd => level(ZSTD_DEFAULT, ZSTD_FAST, ZSTD_LEVELS).map(Self::Zstd),
            Compression::Bzip2 | Compression::Xz => {
                let message = format!("{} is only read, not written", encoding.compression);
                Err(Error::new(Code::Unsupported, message).hint("gzip, zstd and none are written"))
            }
        }
    }

    /// Returns the bytes of content that may be in flight for each thread of the pool, in all
    /// streams together: enough that threads rarely wait for the last block of a batch.
    pub(crate) fn in_flight(self) -> usize {
        match self {
            Self::Copy => 4 << 20,
            Self::Gzip(_) => 12 << 20,
            Self::Zstd(_) => 24 << 20,
        }
    }

    /// Returns the bytes of content of a block; only the last block has fewer.
    pub(crate) fn block_size(self) -> usize {
        match self {
            Self::Copy => COPY_BLOCK,
            Self::Gzip(_) => GZIP_BLOCK,
            Self::Zstd(_) => ZSTD_BLOCK,
        }
    }
}

/// Compressors that wait for their next block: at most as many as blocks are compressed at once.
///
/// Reusing a compressor does not change its output; the tests compare with fresh ones.
pub(crate) struct Compressors {
    method: Method,
    idle: Mutex<Vec<Compressor>>,
}

impl Compressors {
    pub(crate) fn new(method: Method) -> Self {
        let idle = Mutex::default();
        Self { method, idle }
    }

    /// Compresses a block to a whole member or frame.
    pub(crate) fn compress(&self, content: &[u8], packed: &mut Vec<u8>) -> Result<()> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut compressor = match waiting {
            Some(compressor) => compressor,
            None => Compressor::new(self.method)?,
        };
        compressor.compress(content, packed)?;
        idle().push(compressor);
        Ok(())
    }
}

struct Compressor {
    library: Library,
    /// Room for the worst case of deflate, so that blocks keep only their compressed size.
    scratch: Vec<u8>,
}

enum Library {
    Copy,
    Gzip(Deflate),
    Zstd(Zstandard<'static>),
}

impl Compressor {
    fn new(method: Method) -> Result<Self> {
        let library = match method {
            Method::Copy => Library::Copy,
            Method::Gzip(level) => {
                let level = CompressionLvl::new(level)
                    .map_err(|_| Error::new(Code::Usage, format!("no gzip level {level}")))?;
                Library::Gzip(Deflate::new(level))
            }
            Method::Zstd(level) => {
                let mut library = Zstandard::new(level).map_err(Error::from_io)?;
                for parameter in [
                    CParameter::ChecksumFlag(true),
                    CParameter::ContentSizeFlag(true),
                    CParameter::WindowLog(ZSTD_WINDOW_LOG),
                ] {
                    library.set_parameter(parameter).map_err(Error::from_io)?;
                }
                Library::Zstd(library)
            }
        };
        let scratch = Vec::new();
        Ok(Self { library, scratch })
    }

    fn compress(&mut self, content: &[u8], packed: &mut Vec<u8>) -> Result<()> {
        packed.clear();
        match &mut self.library {
            Library::Copy => packed.extend_from_slice(content),
            Library::Gzip(deflate) => {
                packed.extend_from_slice(&GZIP_HEADER);
                if is_incompressible(content) {
                    store(content, packed);
                } else {
                    let room = room(
                        &mut self.scratch,
                        deflate.deflate_compress_bound(content.len()),
                    );
                    let size = deflate.deflate_compress(content, room).map_err(|error| {
                        Error::new(Code::Io, format!("deflate failed: {error}"))
                    })?;
                    packed.extend_from_slice(&room[..size]);
                }
                packed.extend_from_slice(&libdeflater::crc32(content).to_le_bytes());
                // ISIZE; a block is far below 4 GiB.
                packed.extend_from_slice(&(content.len() as u32).to_le_bytes());
            }
            Library::Zstd(library) => {
                // Memory that is not written to is not used, so no scratch is needed.
                packed.reserve(zstd::compress_bound(content.len()));
                library
                    .compress_to_buffer(content, packed)
                    .map_err(|error| {
                        Error::new(Code::Io, format!("zstd compression failed: {error}"))
                    })?;
            }
        }
        Ok(())
    }
}

/// Returns room for at least `bound` bytes. Its size does not affect the output: the library only
/// needs enough room.
fn room(scratch: &mut Vec<u8>, bound: usize) -> &mut [u8] {
    if scratch.len() < bound {
        scratch.resize(bound, 0);
    }
    &mut scratch[..bound]
}

/// Returns true if every sample of a block looks random, so that deflate would only waste time on
/// it.
fn is_incompressible(content: &[u8]) -> bool {
    let Some(span) = content.len().checked_sub(SAMPLE_SIZE) else {
        return false;
    };
    if content.len() < SAMPLES * SAMPLE_SIZE {
        return false;
    }
    (0..SAMPLES).all(|sample| {
        let start = span * sample / (SAMPLES - 1);
        let mut counts = [0u32; 256];
        for byte in &content[start..start + SAMPLE_SIZE] {
            counts[usize::from(*byte)] += 1;
        }
        counts.iter().map(|count| count * count).sum::<u32>() <= SAMPLE_STORE
    })
}

/// Writes deflate data that stores the bytes uncompressed, RFC 1951 section 3.2.4.
fn store(content: &[u8], packed: &mut Vec<u8>) {
    let last = content.len().div_ceil(STORED_SIZE);
    for (piece, bytes) in (1..).zip(content.chunks(STORED_SIZE)) {
        // BFINAL and BTYPE = 00; LEN and its complement.
        let length = bytes.len() as u16;
        packed.push(u8::from(piece == last));
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 7u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as u8
        };
        (0..size).map(|_| next()).collect()
    }

    #[test]
    fn the_store_test_takes_noise_only() {
        let random = noise(1 << 20);
        assert!(is_incompressible(&random));
        assert!(!is_incompressible(&random[..16 * 1024 - 1]));
        assert!(is_incompressible(&random[..16 * 1024]));
        let mut mixed = random.clone();
        mixed[1 << 19..(1 << 19) + (1 << 17)].fill(b'x');
        assert!(!is_incompressible(&mixed));
        assert!(!is_incompressible(&vec![0; 1 << 20]));
        assert!(!is_incompressible(b""));
    }

    #[test]
    fn a_reused_compressor_gives_the_bytes_of_a_fresh_one() {
        let mut blocks = vec![noise(100_000), vec![b'a'; 300_000], Vec::new()];
        blocks.push(
            noise(400_000)
                .iter()
                .map(|byte| b"the quick brown"[usize::from(byte % 15)])
                .collect(),
        );
        blocks.push(blocks[3][1000..350_000].to_vec());
        let methods = (0..=9).map(Method::Gzip).chain((1..=15).map(Method::Zstd));
        for method in methods {
            let reused = Compressors::new(method);
            for block in blocks.iter().chain(blocks.iter().rev()) {
                let (mut warm, mut fresh) = (Vec::new(), Vec::new());
                reused.compress(block, &mut warm).unwrap();
                Compressors::new(method)
                    .compress(block, &mut fresh)
                    .unwrap();
                assert!(warm == fresh, "{method:?}, block of {}", block.len());
            }
            assert_eq!(reused.idle.lock().unwrap().len(), 1);
        }
    }

    #[test]
    fn levels_out_of_range_and_formats_that_are_only_read_are_refused() {
        let method = |compression, level| Method::of(&Encoding { compression, level });
        let code = |compression, level| method(compression, level).unwrap_err().code();
        use Compression::{Bzip2, Gzip, None, Xz, Zstd};
        for number in [-1, 13, i32::MAX, i32::MIN] {
            assert_eq!(code(Gzip, Level::Number(number)), Code::Usage);
        }
        for number in [-1, 0, 23] {
            assert_eq!(code(Zstd, Level::Number(number)), Code::Usage);
        }
        let error = method(Gzip, Level::Number(13)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gzip has no compression level 13: levels are 0 to 12"
        );
        assert_eq!(code(Bzip2, Level::Default), Code::Unsupported);
        assert_eq!(code(Xz, Level::Fast), Code::Unsupported);
        assert_eq!(method(Gzip, Level::Default).unwrap(), Method::Gzip(2));
        assert_eq!(method(Gzip, Level::Fast).unwrap(), Method::Gzip(1));
        assert_eq!(method(Zstd, Level::Default).unwrap(), Method::Zstd(3));
        assert_eq!(method(Zstd, Level::Fast).unwrap(), Method::Zstd(1));
        assert_eq!(method(None, Level::Number(99)).unwrap(), Method::Copy);
    }
}
