//! The root cause of an error while a damaged blob is read.

use std::io::{self, Read};

use imgconv_model::{Code, Error};

/// Replaces an error by a digest mismatch if there is one: bytes that do not match their digest
/// explain every other error, so the rest of the blob is read to compare the digest (robustness
/// M9).
pub fn blame(error: Error, source: &mut dyn Read) -> Error {
    if !matches!(
        error.code(),
        Code::BadTar
            | Code::Ambiguous
            | Code::Escape
            | Code::Unsupported
            | Code::BadJson
            | Code::BadManifest
            | Code::Missing
    ) {
        return error;
    }
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return error,
            Ok(_) => {}
            Err(other) if other.kind() == io::ErrorKind::Interrupted => {}
            Err(other) => {
                let other = Error::from_io(other);
                return if other.code() == Code::Mismatch {
                    other
                } else {
                    error
                };
            }
        }
    }
}
