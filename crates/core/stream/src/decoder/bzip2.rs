//! One bzip2 stream. The library checks block and stream checksums.

use bzip2::{Decompress, Status};
use imgconv_model::{Compression, Result};

use super::{
    codec::{Codec, Fault, Step, malformed},
    input::Input,
};

/// Decodes bzip2 streams.
pub(super) struct Bzip2 {
    library: Decompress,
}

impl Bzip2 {
    pub(super) fn new() -> Self {
        Self {
            library: Decompress::new(false),
        }
    }
}

impl Codec for Bzip2 {
    fn unit(&self) -> &'static str {
        "bzip2 stream"
    }

    fn begins(&self, prefix: &[u8]) -> bool {
        crate::sniff(prefix) == Compression::Bzip2
    }

    fn begin(&mut self, _: &mut Input) -> Result<bool, Fault> {
        self.library = Decompress::new(false);
        Ok(true)
    }

    fn step(&mut self, input: &mut Input, out: &mut [u8]) -> Result<Step, Fault> {
        let offset = input.offset();
        let chunk = input.fill()?;
        let (before_in, before_out) = (self.library.total_in(), self.library.total_out());
        let result = self.library.decompress(chunk, out);
        // Both differences are at most the lengths of the slices.
        let consumed = (self.library.total_in() - before_in) as usize;
        let written = (self.library.total_out() - before_out) as usize;
        let status = result.map_err(|error| {
            let message = format!("the bzip2 stream is corrupt: {error}");
            malformed(offset + consumed as u64, message)
        })?;
        input.consume(consumed);
        let done = matches!(status, Status::StreamEnd);
        if !done && consumed == 0 && written == 0 {
            let message = "the stream ends inside a bzip2 stream";
            return Err(malformed(input.offset(), message));
        }
        Ok(Step { written, done })
    }
}
