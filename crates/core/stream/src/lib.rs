//! Bytes in motion: hash, verify, limit, decompress, compress.
//!
//! Everything that enters the program is read through a [`Verified`] reader, or counted and hashed
//! by a [`HashingReader`]; whole documents come into memory by [`read_to_limit`] only. [`Decoder`]
//! undoes one level of compression by magic bytes, [`encode`] is the only place that compresses,
//! in parallel and with the same bytes at any number of threads. [`Stage`] holds blobs that are
//! written and not yet visible.
//!
//! This crate knows no tar and no JSON, and starts no process. Only [`Stage`] touches a file system;
//! [`Stale`] finds those that killed processes left.

mod ahead;
mod blame;
mod block;
mod decoder;
mod descriptor;
mod encoder;
mod failure;
mod given;
mod hash;
mod limit;
mod piece;
mod pipe;
mod pool;
mod remove;
mod sniff;
mod stage;
mod stale;
mod state;
mod verified;

pub use ahead::ahead;
pub use blame::blame;
pub use block::ENCODER_REVISION;
pub use decoder::Decoder;
pub use descriptor::{open_directory, set_mode};
pub use encoder::{Encoded, Encoding, Level, encode};
pub use given::open_given;
pub use hash::{Hasher, HashingReader, digest};
pub use limit::read_to_limit;
pub use piece::PieceEncoder;
pub use pipe::{Cancellable, Interruptible};
pub use pool::Pool;
pub use remove::remove_contents;
pub use sniff::sniff;
pub use stage::{Stage, Staged};
pub use stale::{Stale, sweep};
pub use state::{Stamp, file_state};
pub use verified::Verified;

/// Bytes of the buffers between a source and a decoder.
const BUFFER_SIZE: usize = 256 << 10;
