//! Changing the entries of a tar while it streams by: renaming, dropping, refusing.
//!
//! Bodies are copied; nothing is reordered or merged, see [`crate::Tree`] for that.

use std::{
    fmt,
    io::{self, Read},
};

use imgconv_model::{Code, Error, Limits, Notes, Result, quote};
use imgconv_tar::{Entry, EntryKind, Reader, Trace, padding, put_head};

use crate::emit::{Emit, Members};

/// A streaming rewrite of a tar: each member goes through `map`, which changes, drops (`None`) or
/// refuses it; bodies follow unchanged; the result is canonical and ends with two zero blocks.
///
/// The source is read to its last byte before the two zero blocks come out, so that readers below
/// have verified everything when this reader ends. Memory is one header.
///
/// An entry that stays a regular file keeps its size; an entry that becomes another kind loses its
/// body.
pub struct Rewrite<R, F> {
    emit: Emit<Mapped<R, F>>,
}

impl<R, F> fmt::Debug for Rewrite<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").finish_non_exhaustive()
    }
}

impl<R: Read, F: FnMut(Entry) -> Result<Option<Entry>>> Rewrite<R, F> {
    /// Makes a rewrite of the uncompressed tar `inner`; `what` names the tar in warnings.
    ///
    /// Errors of the source and of `map` come out of `read` without a change: `map` names the
    /// entry.
    pub fn new(inner: R, limits: &Limits, notes: &Notes, what: &str, map: F) -> Self {
        let source = Reader::new(inner, limits, notes, what);
        Self {
            emit: Emit::new(Mapped {
                source,
                map,
                written: 0,
            }),
        }
    }

    /// Reports to `trace` what becomes of every byte of the source. The call comes before the first read.
    #[must_use]
    pub fn traced(self, trace: Box<dyn Trace>) -> Self {
        let Mapped {
            source,
            map,
            written,
        } = self.emit.into_inner();
        let source = source.traced(trace);
        Self {
            emit: Emit::new(Mapped {
                source,
                map,
                written,
            }),
        }
    }
}

impl<R: Read, F: FnMut(Entry) -> Result<Option<Entry>>> Read for Rewrite<R, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.emit.read(buf)
    }
}

struct Mapped<R, F> {
    source: Reader<R>,
    map: F,
    /// The bytes of the members so far.
    written: u64,
}

impl<R: Read, F: FnMut(Entry) -> Result<Option<Entry>>> Mapped<R, F> {
    fn mapped(&mut self, entry: Entry, head: &mut Vec<u8>) -> Result<Option<u64>> {
        let size = entry.size;
        let Some(mut entry) = (self.map)(entry)? else {
            return Ok(None);
        };
        if entry.kind != EntryKind::Regular {
            entry.size = 0;
        } else if entry.size != size {
            let message = format!("the size {size} was changed to {}", entry.size);
            let place = format!("entry {}", quote(&entry.path));
            return Err(Error::new(Code::Usage, message).at(place));
        }
        put_head(&entry, head)?;
        let body = self.written + head.len() as u64;
        self.source.body_goes_to(body);
        self.written = body + entry.size + padding(entry.size) as u64;
        Ok(Some(entry.size))
    }
}

impl<R: Read, F: FnMut(Entry) -> Result<Option<Entry>>> Members for Mapped<R, F> {
    fn next(&mut self, head: &mut Vec<u8>) -> Result<Option<u64>> {
        while let Some(entry) = self.source.next_entry()? {
            let mapped = self.mapped(entry, head)?;
            if mapped.is_some() {
                return Ok(mapped);
            }
        }
        Ok(None)
    }

    fn body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.read(buf)
    }
}
