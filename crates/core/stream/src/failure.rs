//! The error of a reader, kept so that every further read fails with it.
//!
//! A reader that reported its end after an error could make a caller that lost the error accept
//! half a stream.

use std::io;

use imgconv_model::{Code, Error};

/// A copy of an error that came out of a reader.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An [`Error`] of this project.
    Ours {
        code: Code,
        places: Vec<String>,
        message: String,
        hint: Option<String>,
    },
    /// An error of the system or of another reader.
    Other(io::ErrorKind, String),
}

impl Failure {
    pub(crate) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(error) => Self::of_error(error),
            None => Self::Other(error.kind(), error.to_string()),
        }
    }

    fn of_error(error: &Error) -> Self {
        Self::Ours {
            code: error.code(),
            places: error.places().to_vec(),
            message: error.message().to_owned(),
            hint: error.advice().map(ToOwned::to_owned),
        }
    }

    /// Makes the same error again.
    pub(crate) fn again(&self) -> io::Error {
        match self {
            Self::Ours {
                code,
                places,
                message,
                hint,
            } => {
                let mut error = Error::new(*code, message.clone());
                for place in places.iter().rev() {
                    error = error.at(place.clone());
                }
                if let Some(hint) = hint {
                    error = error.hint(hint.clone());
                }
                error.into()
            }
            Self::Other(kind, message) => io::Error::new(*kind, message.clone()),
        }
    }
}
