//! A codec: the decoder of one unit, and why it stops.

use std::io;

use imgconv_model::{Code, Error, Result};

use super::input::Input;

/// Why decoding stopped.
pub(super) enum Fault {
    /// The source failed: its error comes out as it is.
    Source(io::Error),
    /// The stream is not acceptable: the error gets the stream's name as its place.
    Stream(Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}

/// Makes the error of a malformed stream; `offset` counts compressed bytes.
pub(super) fn malformed(offset: u64, message: impl Into<String>) -> Fault {
    Fault::Stream(at_offset(Error::new(Code::BadCompression, message), offset))
}

pub(super) fn at_offset(error: Error, offset: u64) -> Error {
    error.at(format!("compressed offset {offset}"))
}

/// What a step of a codec did.
pub(super) struct Step {
    /// Bytes written to the output.
    pub(super) written: usize,
    /// The unit is complete and checked.
    pub(super) done: bool,
}

/// Decodes one unit after the other.
pub(super) trait Codec: Send {
    /// What a unit is called in messages, such as `gzip member`.
    fn unit(&self) -> &'static str;

    /// Says whether a unit begins with these bytes (at least four, if there are as many).
    fn begins(&self, prefix: &[u8]) -> bool;

    /// Starts a unit: reads or checks its header. Returns whether it has a body to step through.
    fn begin(&mut self, input: &mut Input) -> Result<bool, Fault>;

    /// Decodes into `out`, which is not empty. Fails unless it gets on.
    fn step(&mut self, input: &mut Input, out: &mut [u8]) -> Result<Step, Fault>;

    /// Says whether so many NULs after a unit belong to the format itself.
    fn is_padding(&self, _zeros: u64) -> bool {
        false
    }
}
