//! One xz stream (The .xz File Format 1.2): liblzma checks blocks, index and checksums, under a
//! limit of memory.
//!
//! Streams in a row and the padding between them are framed by `mod.rs`, not by liblzma, so that
//! NULs after the end are treated as with every other compression.

use imgconv_model::{Code, Error as OurError, Limits, Result};
use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::{
    codec::{Codec, Fault, Step, at_offset, malformed},
    input::Input,
};

/// Decodes xz streams.
pub(super) struct Xz {
    library: Option<Stream>,
    memory_limit: u64,
}

impl Xz {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            library: None,
            memory_limit: limits.xz_memory.max(1),
        }
    }

    fn fault(&self, error: Error, offset: u64) -> Fault {
        let unsupported = |what: &str| {
            let message = format!("the xz stream uses {what} that is not supported");
            at_offset(OurError::new(Code::Unsupported, message), offset).into()
        };
        match error {
            Error::MemLimit | Error::Mem => {
                let what = "memory to decode the xz stream";
                let error = Limits::exceeded("xz_memory", self.memory_limit, what);
                at_offset(error, offset).into()
            }
            Error::Options => unsupported("a filter or an option"),
            Error::UnsupportedCheck => unsupported("a kind of check"),
            Error::Data | Error::Format | Error::Program | Error::NoCheck => {
                malformed(offset, format!("the xz stream is corrupt: {error}"))
            }
        }
    }
}

impl Codec for Xz {
    fn unit(&self) -> &'static str {
        "xz stream"
    }

    fn begins(&self, prefix: &[u8]) -> bool {
        prefix.starts_with(b"\xfd7zXZ\0")
    }

    fn begin(&mut self, input: &mut Input) -> Result<bool, Fault> {
        let stream = Stream::new_stream_decoder(self.memory_limit, TELL_UNSUPPORTED_CHECK);
        self.library = Some(stream.map_err(|error| self.fault(error, input.offset()))?);
        Ok(true)
    }

    fn step(&mut self, input: &mut Input, out: &mut [u8]) -> Result<Step, Fault> {
        let offset = input.offset();
        let Some(library) = &mut self.library else {
            return Ok(Step {
                written: 0,
                done: true,
            });
        };
        let chunk = input.fill()?;
        let (before_in, before_out) = (library.total_in(), library.total_out());
        let result = library.process(chunk, out, Action::Run);
        // Both differences are at most the lengths of the slices.
        let consumed = (library.total_in() - before_in) as usize;
        let written = (library.total_out() - before_out) as usize;
        let status = result.map_err(|error| self.fault(error, offset + consumed as u64))?;
        input.consume(consumed);
        let done = status == Status::StreamEnd;
        if !done && consumed == 0 && written == 0 {
            return Err(malformed(
                input.offset(),
                "the stream ends inside an xz stream",
            ));
        }
        Ok(Step { written, done })
    }

    /// Stream padding is a multiple of four bytes, section 2.2 of the format.
    fn is_padding(&self, zeros: u64) -> bool {
        zeros.is_multiple_of(4)
    }
}
