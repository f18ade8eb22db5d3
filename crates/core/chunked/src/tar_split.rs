//! Tar-split: the headers and paddings of a tar, from which, with the contents of its files, the
//! tar can be restored to the byte. zstd:chunked has a tar-split, so that a reader that fetched
//! single files can still compute the diff ID; containers/storage requires that.
//!
//! The form is that of vbatts/tar-split (tar/storage/entry.go): a line of JSON for each run of
//! raw bytes, and one for each file.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_model::{Algorithm, Digest, Result};
use imgconv_stream::{Hasher, PieceEncoder};
use serde::Serialize;

/// The size at which lines are compressed.
const PIECE: usize = 4 << 20;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    payload: Option<String>,
    position: u64,
}

const FILE: u8 = 1;
const SEGMENT: u8 = 2;

/// A tar-split that is being made; it is compressed at once.
#[derive(Debug, Default)]
pub(crate) struct TarSplit {
    lines: Vec<u8>,
    packed: Vec<u8>,
    uncompressed: u64,
    position: u64,
    names: BTreeSet<String>,
    /// True if the format can't describe the tar.
    given_up: bool,
}

/// A finished tar-split.
#[derive(Debug)]
pub(crate) struct Packed {
    /// zstd frames.
    pub(crate) bytes: Vec<u8>,
    /// The number of uncompressed bytes.
    pub(crate) uncompressed: u64,
    /// The SHA-256 of the frames.
    pub(crate) digest: Digest,
}

impl TarSplit {
    /// Makes no tar-split: readers then fetch the layer as a whole.
    pub(crate) fn give_up(&mut self) {
        *self = Self {
            given_up: true,
            ..Self::default()
        };
    }

    /// Adds raw bytes: headers, with the padding of the file before them.
    pub(crate) fn segment(&mut self, bytes: &[u8], pieces: &PieceEncoder) -> Result<()> {
        if self.given_up || bytes.is_empty() {
            return Ok(());
        }
        self.line(SEGMENT, None, None, Some(STANDARD.encode(bytes)), pieces)
    }

    /// Adds an entry; `crc` is that of its content, if it has any. The format can't hold a repeated
    /// name, and a name with `..` could be that of another file.
    pub(crate) fn file(
        &mut self,
        name: &str,
        size: u64,
        crc: Option<Crc64>,
        pieces: &PieceEncoder,
    ) -> Result<()> {
        if self.given_up {
            return Ok(());
        }
        let parts: Vec<&str> = name
            .split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect();
        if parts.contains(&"..") || !self.names.insert(parts.join("/")) {
            self.give_up();
            return Ok(());
        }
        let crc = crc.map(|crc| STANDARD.encode(crc.finish().to_be_bytes()));
        self.line(FILE, Some(name), (size > 0).then_some(size), crc, pieces)
    }

    fn line(
        &mut self,
        kind: u8,
        name: Option<&str>,
        size: Option<u64>,
        payload: Option<String>,
        pieces: &PieceEncoder,
    ) -> Result<()> {
        let line = Line {
            kind,
            name,
            size,
            payload,
            position: self.position,
        };
        serde_json::to_writer(&mut self.lines, &line).expect("memory, text and numbers");
        self.lines.push(b'\n');
        self.position += 1;
        if self.lines.len() >= PIECE {
            self.pack(pieces)?;
        }
        Ok(())
    }

    fn pack(&mut self, pieces: &PieceEncoder) -> Result<()> {
        self.packed.append(&mut pieces.compress(&self.lines)?);
        self.uncompressed += self.lines.len() as u64;
        self.lines.clear();
        Ok(())
    }

    /// Completes the tar-split; `None` if this form can't describe the tar.
    pub(crate) fn finish(mut self, pieces: &PieceEncoder) -> Result<Option<Packed>> {
        if self.given_up {
            return Ok(None);
        }
        self.pack(pieces)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.packed);
        Ok(Some(Packed {
            bytes: self.packed,
            uncompressed: self.uncompressed,
            digest: hasher.finish(),
        }))
    }
}

/// The CRC-64 of ISO 3309, as in Go's `hash/crc64`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc64(u64);

const CRC_TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xd800_0000_0000_0000
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

impl Crc64 {
    /// Starts a sum of no bytes.
    pub(crate) fn new() -> Self {
        Self(!0)
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = CRC_TABLE[usize::from(self.0 as u8 ^ byte)] ^ (self.0 >> 8);
        }
    }

    fn finish(self) -> u64 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_go() {
        // The check value of CRC-64/GO-ISO.
        let mut crc = Crc64::new();
        crc.update(b"12345");
        crc.update(b"6789");
        assert_eq!(crc.finish(), 0xb909_56c7_75a4_1001);
    }
}
