//! What became of each byte of a tar that a [`Reader`](crate::Reader) reads: the input of a record from
//! which the same tar can be put together again.
//!
//! This module does not keep any bytes.

use std::fmt;

use imgconv_model::Result;

/// A receiver of every byte of a tar, in the order of the tar.
pub trait Trace: Send {
    /// Takes bytes that no output holds: headers, padding, the end, bodies that are left out.
    ///
    /// # Errors
    /// If the bytes can't be kept.
    fn literal(&mut self, bytes: &[u8]) -> Result<()>;

    /// Notes that the next `count` bytes are those from `offset` on in the output.
    ///
    /// # Errors
    /// If the note can't be kept.
    fn copied(&mut self, offset: u64, count: u64) -> Result<()>;

    /// Says whether bodies that the output holds are reported as literal bytes all the same.
    fn keeps_bodies(&self) -> bool;

    /// Notes that the tar was read to its last byte and is valid as far as a tar can be.
    ///
    /// # Errors
    /// If the record can't be completed.
    fn ended(&mut self) -> Result<()>;
}

/// Makes the trace for each pass over a tar, which may be read several times.
pub trait Tracing: fmt::Debug + Send + Sync {
    /// Starts a trace; an earlier trace that did not end is forgotten.
    ///
    /// # Errors
    /// If nothing can be kept.
    fn begin(&self) -> Result<Box<dyn Trace>>;
}
