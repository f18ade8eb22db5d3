//! The choice of an image of a place.

use std::fmt;

use imgconv_model::{Code, Digest, Error, Result, quote};

/// The reference to an image of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name: the exact text at the place, a full reference, or a tag that is unique there.
    Name(String),
    /// `@ALGORITHM:HEX`.
    Digest(Digest),
    /// `#N`: a position, from 0.
    Position(usize),
}

impl Reference {
    /// Reads a `REF`: a digest, a position, or a name.
    ///
    /// # Errors
    /// [`Code::Usage`](imgconv_model::Code::Usage) if the digest or the position is malformed.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(digest) = text.strip_prefix('@') {
            return Digest::parse(digest).map(Self::Digest);
        }
        if let Some(position) = text.strip_prefix('#') {
            return position.parse().map(Self::Position).map_err(|_| {
                let message = format!("{} is not a position: `#` and a number", quote(text));
                Error::new(Code::Usage, message)
            });
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Digest(digest) => write!(f, "@{digest}"),
            Self::Position(position) => write!(f, "#{position}"),
        }
    }
}
