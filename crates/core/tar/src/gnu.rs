//! GNU extensions: long names, and the four forms of the map of a sparse file.

use crate::{
    BLOCK, number,
    source::Source,
    value::{self, decimal},
};
use imgconv_model::{Code, Error, Limits, Result, quote};
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

/// A run of stored bytes in a sparse file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Piece {
    /// Returns the end of the piece; both numbers are below 2^63.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// A sparse file: its logical size, and the pieces that are stored.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) size: u64,
    pub(crate) pieces: Vec<Piece>,
}

impl Map {
    /// Checks the map against the stored bytes and returns the number of hole bytes.
    ///
    /// # Errors
    /// [`Code::BadTar`] if pieces overlap, are not in order, leave the file, or differ from the
    /// stored bytes.
    pub(crate) fn check(&self, stored: u64) -> Result<u64> {
        let (mut end, mut total) = (0, 0u64);
        for piece in &self.pieces {
            if piece.offset < end {
                let message = format!(
                    "the sparse map is not in order: a piece starts at {}, the one before ends at {end}",
                    piece.offset
                );
                return Err(Error::new(Code::BadTar, message));
            }
            end = piece.end();
            if end > self.size {
                let message = format!(
                    "the sparse map ends at {end}, beyond the size of {}",
                    self.size
                );
                return Err(Error::new(Code::BadTar, message));
            }
            total += piece.length;
        }
        if total != stored {
            let message =
                format!("the sparse map needs {total} stored bytes, the member has {stored}");
            return Err(Error::new(Code::BadTar, message));
        }
        Ok(self.size - total)
    }

    fn push(&mut self, piece: Piece, limits: &Limits) -> Result<()> {
        if self.pieces.len() as u64 >= limits.sparse_map {
            return Err(Limits::exceeded(
                "sparse_map",
                limits.sparse_map,
                "the sparse map",
            ));
        }
        self.pieces.push(piece);
        Ok(())
    }
}

/// Returns the name in the payload of an `L` or `K` header: the bytes before the first NUL.
pub(crate) fn long_name(mut payload: Vec<u8>) -> Result<Vec<u8>> {
    let end = payload
        .iter()
        .position(|b| *b == 0)
        .unwrap_or(payload.len());
    if payload[end..].iter().any(|b| *b != 0) {
        let message = format!("a GNU long name goes on after its NUL: {}", quote(&payload));
        return Err(Error::new(Code::BadTar, message));
    }
    if end == 0 {
        return Err(Error::new(Code::BadTar, "a GNU long name is empty"));
    }
    payload.truncate(end);
    Ok(payload)
}

/// Reads the map of an old GNU sparse header: four slots there, and 21 in every extension block.
pub(crate) fn old_map<R: Read>(
    header: &GnuHeader,
    source: &mut Source<R>,
    limits: &Limits,
) -> Result<Map> {
    let mut map = Map {
        size: slot_number(&header.realsize)?,
        pieces: Vec::new(),
    };
    let mut full = add_slots(&mut map, &header.sparse, limits)?;
    let mut extended = header.isextended[0] != 0;
    let mut block = GnuExtSparseHeader::new();
    while extended {
        if !full {
            let message = "a sparse map goes on in an extension block after an empty slot";
            return Err(Error::new(Code::BadTar, message));
        }
        source.need_block(block.as_mut_bytes(), "a sparse map")?;
        full = add_slots(&mut map, &block.sparse, limits)?;
        extended = block.isextended[0] != 0;
    }
    Ok(map)
}

/// Adds the slots up to the first empty one; returns true if all slots were used.
fn add_slots(map: &mut Map, slots: &[GnuSparseHeader], limits: &Limits) -> Result<bool> {
    let blank = |field: &[u8]| field[0] == 0;
    let used = slots
        .iter()
        .position(|slot| blank(&slot.offset))
        .unwrap_or(slots.len());
    for slot in &slots[..used] {
        if blank(&slot.numbytes) {
            return Err(Error::new(
                Code::BadTar,
                "a slot of the sparse map has no length",
            ));
        }
        let (offset, length) = (slot_number(&slot.offset)?, slot_number(&slot.numbytes)?);
        map.push(Piece { offset, length }, limits)?;
    }
    let empty = |slot: &GnuSparseHeader| blank(&slot.offset) && blank(&slot.numbytes);
    if !slots[used..].iter().all(empty) {
        let message = "a slot of the sparse map is used after an empty one, or has no offset";
        return Err(Error::new(Code::BadTar, message));
    }
    Ok(used == slots.len())
}

fn slot_number(field: &[u8]) -> Result<u64> {
    let number = number::field(field).and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| {
        let message = format!("a number of the sparse map is malformed: {}", quote(field));
        Error::new(Code::BadTar, message)
    })
}

/// The `GNU.sparse.*` records of one PAX header.
#[derive(Debug, Default)]
pub(crate) struct SparseRecords {
    pub(crate) name: Option<Vec<u8>>,
    version: (Option<Vec<u8>>, Option<Vec<u8>>),
    size: Option<u64>,
    real_size: Option<u64>,
    blocks: Option<u64>,
    /// The map of form 0.1.
    map: Option<Vec<u8>>,
    /// Offsets and lengths, alternating: the map of form 0.0.
    turns: Vec<u64>,
}

impl SparseRecords {
    /// Adds one record.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key.strip_prefix(b"GNU.sparse.").unwrap_or(key) {
            b"name" => self.name = Some(value::name(key, value)?),
            b"major" => self.version.0 = Some(value.to_vec()),
            b"minor" => self.version.1 = Some(value.to_vec()),
            b"size" => self.size = Some(decimal(key, value)?),
            b"realsize" => self.real_size = Some(decimal(key, value)?),
            b"numblocks" => self.blocks = Some(decimal(key, value)?),
            b"map" => self.map = Some(value.to_vec()),
            b"offset" if self.turns.len().is_multiple_of(2) => {
                self.turns.push(decimal(key, value)?);
            }
            b"numbytes" if !self.turns.len().is_multiple_of(2) => {
                self.turns.push(decimal(key, value)?);
            }
            _ => {
                let message = format!("the PAX record {} is unknown or out of order", quote(key));
                return Err(Error::new(Code::BadTar, message));
            }
        }
        Ok(())
    }

    /// Returns true if there is at least one record.
    pub(crate) fn is_present(&self) -> bool {
        let Self {
            name,
            version,
            size,
            real_size,
            blocks,
            map,
            turns,
        } = self;
        name.is_some()
            || version.0.is_some()
            || version.1.is_some()
            || size.is_some()
            || real_size.is_some()
            || blocks.is_some()
            || map.is_some()
            || !turns.is_empty()
    }

    /// Makes the map from the records. In form 1.0 the map stands before the content and is read
    /// from there; `stored` is reduced by the bytes of the map.
    ///
    /// # Errors
    /// [`Code::Ambiguous`] if the records are incomplete: some readers would then see a plain file.
    /// [`Code::BadTar`] and [`Code::Limit`] for the map itself.
    pub(crate) fn map<R: Read>(
        &self,
        source: &mut Source<R>,
        stored: &mut u64,
        limits: &Limits,
    ) -> Result<Map> {
        let size = match (self.size, self.real_size) {
            (Some(size), Some(real)) if size != real => return Err(incomplete("two sizes")),
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => return Err(incomplete("no size")),
        };
        let mut map = Map {
            size,
            pieces: Vec::new(),
        };
        let version = (self.version.0.as_deref(), self.version.1.as_deref());
        let in_records = self.blocks.is_some() || self.map.is_some() || !self.turns.is_empty();
        match version {
            (Some(b"1"), Some(b"0")) if in_records => {
                return Err(incomplete("a map of another version"));
            }
            (Some(b"1"), Some(b"0")) => map_in_content(&mut map, source, stored, limits)?,
            (None, None) if self.map.is_none() && self.turns.is_empty() => {
                return Err(incomplete("no map"));
            }
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {
                self.map_in_records(&mut map, limits)?;
            }
            _ => return Err(incomplete("an unknown version")),
        }
        Ok(map)
    }

    /// Reads the map of forms 0.0 and 0.1.
    fn map_in_records(&self, map: &mut Map, limits: &Limits) -> Result<()> {
        let blocks = self
            .blocks
            .ok_or_else(|| incomplete("no number of pieces"))?;
        if blocks > limits.sparse_map {
            return Err(Limits::exceeded(
                "sparse_map",
                limits.sparse_map,
                "the sparse map",
            ));
        }
        let listed;
        let numbers = match &self.map {
            Some(_) if !self.turns.is_empty() => return Err(incomplete("two maps")),
            Some(text) if text.is_empty() => &[][..],
            Some(text) => {
                let number = |part| decimal(b"GNU.sparse.map", part);
                listed = text
                    .split(|b| *b == b',')
                    .map(number)
                    .collect::<Result<Vec<_>>>()?;
                &listed
            }
            None => &self.turns,
        };
        if numbers.len() as u64 != 2 * blocks {
            let found = numbers.len();
            let message = format!("a sparse map of {blocks} pieces has {found} numbers");
            return Err(Error::new(Code::BadTar, message));
        }
        for pair in numbers.chunks_exact(2) {
            let piece = Piece {
                offset: pair[0],
                length: pair[1],
            };
            map.push(piece, limits)?;
        }
        Ok(())
    }
}

fn incomplete(problem: &str) -> Error {
    let message =
        format!("the GNU.sparse records have {problem}: only some readers read the file as sparse");
    Error::new(Code::Ambiguous, message)
}

/// Reads the map of form 1.0: decimal lines (the number of pieces, then offset and length of each)
/// in whole blocks before the content.
fn map_in_content<R: Read>(
    map: &mut Map,
    source: &mut Source<R>,
    stored: &mut u64,
    limits: &Limits,
) -> Result<()> {
    let mut lines = Lines {
        source,
        stored,
        block: [0; BLOCK],
        used: BLOCK,
    };
    let count = lines.number()?;
    if count > limits.sparse_map {
        return Err(Limits::exceeded(
            "sparse_map",
            limits.sparse_map,
            "the sparse map",
        ));
    }
    for _ in 0..count {
        let (offset, length) = (lines.number()?, lines.number()?);
        map.push(Piece { offset, length }, limits)?;
    }
    Ok(())
}

struct Lines<'a, R> {
    source: &'a mut Source<R>,
    stored: &'a mut u64,
    block: [u8; BLOCK],
    used: usize,
}

impl<R: Read> Lines<'_, R> {
    /// Reads a line that is a number.
    fn number(&mut self) -> Result<u64> {
        let mut text = Vec::new();
        loop {
            if self.used == BLOCK {
                let Some(left) = self.stored.checked_sub(BLOCK as u64) else {
                    let message = "the sparse map is longer than the member";
                    return Err(Error::new(Code::BadTar, message));
                };
                self.source.need_block(&mut self.block, "a sparse map")?;
                (*self.stored, self.used) = (left, 0);
            }
            let byte = self.block[self.used];
            self.used += 1;
            if byte == b'\n' {
                break;
            }
            text.push(byte);
            // No number up to 2^63 - 1 has more digits.
            if text.len() > 19 {
                break;
            }
        }
        number::decimal(&text).ok_or_else(|| {
            let message = format!("a line of the sparse map is not a number: {}", quote(&text));
            Error::new(Code::BadTar, message)
        })
    }
}
