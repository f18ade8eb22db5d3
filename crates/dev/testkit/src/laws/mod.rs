//! Laws for every format or every transport, as suites that their tests call.
//!
//! [`Memory`] is the place from which a format reads. [`Honest`] checks that a report lists exactly
//! the differences, [`Documents`] that malformed documents are refused, [`hostile`] that no damage
//! ends in a panic. [`Writable`] checks the promises of a transport to writers.
//!
//! The traits of `imgconv-model` are called in [`Memory`] and [`Writable`] alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a law reports")]

mod honesty;
mod memory;
mod strict;
mod transport;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::honesty::{Honest, Written};
pub use self::memory::{ID_A, ID_B, Memory, Sealed, decode, encode, env, fails, kept, root, text};
pub use self::strict::{Documents, bad_digests};
pub use self::transport::{Find, Writable, by_digest, facts, put, put_root};

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
