//! The error of a database that is not in order.

use imgconv_model::{Code, Error};

/// Makes the error of a database that is not in order.
pub(crate) fn damaged(why: impl Into<String>) -> Error {
    Error::new(Code::BadManifest, why)
}
