//! Reading a whole stream into memory, up to a limit.
//!
//! The functions are for documents only: layers are never read into memory as a whole.

use std::io::Read;

use imgconv_model::{Document, Error, Facts, Limits, Result};

/// Reads to the end, at most `limit.1` bytes; `limit.0` is the name of the limit and `what` that of
/// the stream.
///
/// The function reads at most one byte more than the limit, and allocates as bytes arrive.
///
/// # Errors
/// [`Code::Limit`](imgconv_model::Code::Limit) if the stream is longer. An [`Error`] of the reader
/// comes out unchanged, an I/O error gets `what` as its place.
pub fn read_to_limit(reader: impl Read, limit: (&'static str, u64), what: &str) -> Result<Vec<u8>> {
    let (name, most) = limit;
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(most.saturating_add(1)).read_to_end(&mut bytes) {
        let ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
        return Err(if ours {
            Error::from_io(error)
        } else {
            Error::io(error, what)
        });
    }
    if bytes.len() as u64 > most {
        return Err(Limits::exceeded(name, most, what));
    }
    Ok(bytes)
}

/// Reads a document of at most `limit.1` bytes with the claimed `facts`; `limit.0` is the name of
/// the limit and `what` that of the document. The reader verifies the facts; a size above the limit
/// is refused before the first read.
///
/// # Errors
/// The errors of [`read_to_limit`].
pub fn read_document(
    reader: impl Read,
    kind: &str,
    facts: &Facts,
    limit: (&'static str, u64),
    what: &str,
) -> Result<Document> {
    if let Some(size) = facts.size.filter(|size| *size > limit.1) {
        let what = format!("{what} of {size} bytes");
        return Err(Limits::exceeded(limit.0, limit.1, what));
    }
    Ok(Document {
        kind: kind.to_owned(),
        bytes: read_to_limit(reader, limit, what)?.into(),
    })
}
