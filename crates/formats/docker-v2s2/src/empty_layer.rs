//! Layers of no bytes at all, which old engines saved for steps without changes (robustness A11a).
//! No tar is that short, so such a layer is read as the shortest tar.

use std::{
    io::{Cursor, ErrorKind, Read},
    sync::Arc,
};

use imgconv_model::{Digest, Error, Open, ReadAt, Reader, Result};
use imgconv_stream::digest;

/// The shortest tar: its two final blocks.
const EMPTY_TAR: [u8; 1024] = [0; 1024];

/// Returns the diff ID of the empty tar if `claimed` is the digest of no bytes.
pub(crate) fn replacement(claimed: &Digest) -> Option<Digest> {
    let algorithm = claimed.algorithm();
    (digest(algorithm, b"") == *claimed).then(|| digest(algorithm, &EMPTY_TAR))
}

/// Bytes that are read as an empty tar if there are none.
#[derive(Debug)]
pub(crate) struct NeverEmpty(pub(crate) Arc<dyn Open>);

impl Open for NeverEmpty {
    fn open(&self) -> Result<Reader> {
        let mut reader = self.0.open()?;
        let mut first = [0];
        loop {
            return match reader.read(&mut first) {
                Ok(0) => Ok(Box::new(Cursor::new(EMPTY_TAR))),
                Ok(_) => Ok(Box::new(Cursor::new(first).chain(reader))),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(Error::from_io(error)),
            };
        }
    }

    /// The empty tar is not stored, and has no content that could be read by position.
    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        self.0.positioned()
    }
}
