//! Streams of bytes: hash, verify, limit, decompress, compress.
//!
//! All input of the program is read through a [`Verified`] reader, or counted and hashed by a
//! [`HashingReader`]; only [`read_to_limit`] reads whole documents into memory. [`Decoder`] removes
//! one level of compression, which it finds by magic bytes; [`encode`] is the only place that
//! compresses, in parallel and with the same bytes at any number of threads.
//!
//! This crate does not use tar, JSON or the file system, and starts no process.

mod ahead;
mod blame;
mod block;
mod decoder;
mod encoder;
mod encoding;
mod expected;
mod failure;
mod hash;
mod limit;
mod piece;
mod pipe;
mod pool;
mod sniff;
mod verified;

pub use ahead::ahead;
pub use blame::blame;
pub use block::ENCODER_REVISION;
pub use decoder::Decoder;
pub use encoder::{Encoded, copy, encode};
pub use encoding::{Encoding, Level};
pub use expected::expected_size;
pub use hash::{Hasher, HashingReader, digest};
pub use limit::{read_document, read_to_limit};
pub use piece::PieceEncoder;
pub use pipe::{Cancellable, Interruptible};
pub use pool::Pool;
pub use sniff::sniff;
pub use verified::Verified;

/// Bytes of the buffers between a source and a decoder.
const BUFFER_SIZE: usize = 256 << 10;
