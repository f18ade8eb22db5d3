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

    /// The bytes are the same whenever the stored bytes are: images that share a layer of an archive
    /// are recognised by it.
    fn identity(&self) -> Option<String> {
        self.0.identity()
    }

    fn stored_size(&self) -> Option<u64> {
        self.0.stored_size()
    }

    /// The empty tar is not stored, and has no content that could be read by position.
    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        self.0.positioned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Stored;

    impl Open for Stored {
        fn open(&self) -> Result<Reader> {
            Ok(Box::new(Cursor::new(b"")))
        }

        fn identity(&self) -> Option<String> {
            Some("a place".to_owned())
        }
    }

    #[test]
    fn the_place_of_the_stored_bytes_identifies_a_layer() {
        let identity = NeverEmpty(Arc::new(Stored)).identity();
        assert_eq!(identity.as_deref(), Some("a place"));
    }
}
