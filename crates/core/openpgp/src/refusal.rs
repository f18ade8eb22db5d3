//! The errors of signatures that are not accepted.

use imgconv_model::{Code, Error};

/// Makes a [`Code::BadSignature`] error.
pub(crate) fn bad(message: impl Into<String>) -> Error {
    refused(Error::new(Code::BadSignature, message))
}

/// Adds the advice for an image whose signature is refused.
pub(crate) fn refused(error: Error) -> Error {
    error.hint("`--insecure-image` accepts an image whose signature is bad or missing")
}
