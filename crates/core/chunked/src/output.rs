//! The destination of a layer, with its digest and size.

use std::io::Write;

use imgconv_model::{Error, Result};
use imgconv_stream::Hasher;

/// Where the layer is written.
pub(crate) struct Output<'a> {
    pub(crate) sink: &'a mut (dyn Write + Send),
    pub(crate) hasher: Hasher,
    pub(crate) size: u64,
}

impl Output<'_> {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(Error::from_io)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}
