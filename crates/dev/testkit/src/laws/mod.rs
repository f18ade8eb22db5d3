//! Laws for every format or every transport, as suites that their tests call.
//!
//! | law | what holds |
//! | --- | --- |
//! | [`Honest`], [`Streamed`] | an image that is written and read again differs where the report says so, and nowhere else |
//! | [`Documents`] | malformed manifests, indexes and configs are refused, each fault by its code |
//! | [`StrictJson`] | no member of a document stands twice, is misspelt, has another type, or is dropped silently |
//! | [`hostile`] | no damage of bytes ends in a panic |
//! | [`Readable`] | a place that is read: entries, absent blobs, refused writes; damage of each of its files |
//! | [`Writable`] | a place that is written: nothing before the commit, no trace without one |
//! | [`Writes`] | images of every kind are read again as they were written, also after a second write |
//!
//! [`Memory`] is the place from which a format reads. The traits of `imgconv-model` are called in
//! this module alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a law reports")]

mod honesty;
mod json;
mod memory;
mod place;
mod round_trip;
mod stream;
mod strict;
mod transport;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::honesty::{Honest, Written};
pub use self::json::StrictJson;
pub use self::memory::{
    ID_A, ID_B, Memory, Sealed, decode, encode, env, fails, kept, layer, root, text,
};
pub use self::place::Readable;
pub use self::round_trip::{Again, Images, Writes};
pub use self::stream::Streamed;
pub use self::strict::{Documents, bad_digests, shown};
pub use self::transport::{Find, Writable, by_digest, facts, put, put_root, read, stream};

/// Checks that a reader ends without a panic for every beginning of the bytes, and for the bytes
/// with any one of them changed. Returns the number of these inputs that were read without an
/// error.
///
/// # Panics
/// If the reader panics, or reads none of the inputs, not even the unchanged bytes.
pub fn hostile<T, E>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, E>) -> usize {
    assert!(read(bytes).is_ok(), "the bytes themselves are not read");
    let cut = (0..bytes.len()).map(|end| bytes[..end].to_vec());
    let changed = (0..bytes.len()).flat_map(|at| {
        [0x01, 0x20, 0x80, 0xff].map(|bits| {
            let mut changed = bytes.to_vec();
            changed[at] ^= bits;
            changed
        })
    });
    let mut taken = 0;
    for input in cut.chain(changed) {
        let result = catch_unwind(AssertUnwindSafe(|| read(&input).is_ok()));
        let shown = String::from_utf8_lossy(&input);
        taken += usize::from(result.unwrap_or_else(|_| panic!("a panic for {shown}")));
    }
    taken
}
