//! The header of a record: 160 bytes that name both tars.

use std::io::Read;

use imgconv_model::{Algorithm, Code, Compression, Digest, Error, Result};

use crate::number::ended;

/// The first bytes of a record.
const MAGIC: [u8; 8] = *b"\x89ACIREV\n";
/// The version of the format.
const VERSION: u16 = 1;
/// The bytes of the header.
pub(crate) const SIZE: usize = 160;

/// The facts about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The SHA-512 of the tar: the image ID of an ACI.
    pub image_id: Digest,
    /// The bytes of the tar.
    pub length: u64,
    /// The compression that the file of the tar had. The way back does not promise it.
    pub compression: Compression,
    /// The layer whose bytes are used; `None` for a record that holds all bytes itself.
    pub layer: Option<Copied>,
}

/// The layer whose bytes are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// The end of the last used range of the uncompressed layer.
    pub reach: u64,
}

/// The compressions by their numbers.
pub(crate) const COMPRESSIONS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Bzip2,
    Compression::Xz,
    Compression::Zstd,
];
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The place of a value in a list that has all values.
pub(crate) fn code<T: PartialEq>(list: &[T], value: &T) -> u8 {
    let place = list.iter().position(|one| one == value);
    place.map_or(u8::MAX, |place| place as u8)
}

impl Header {
    pub(crate) fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &[code(&COMPRESSIONS, &self.compression)]);
        put(16, &self.length.to_le_bytes());
        put(32, self.image_id.hash());
        if let Some(Copied { diff_id, reach }) = &self.layer {
            put(11, &[code(&ALGORITHMS, &diff_id.algorithm()) + 1]);
            put(24, &reach.to_le_bytes());
            put(96, diff_id.hash());
        }
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`Code::BadManifest`] for what is no header, [`Code::Unsupported`] for another version.
    pub(crate) fn read(source: &mut impl Read) -> Result<Self> {
        let bad = |message: &str| Error::new(Code::BadManifest, message);
        let mut bytes = [0; SIZE];
        source.read_exact(&mut bytes).map_err(ended)?;
        if bytes[..8] != MAGIC {
            return Err(bad("the bytes are no record of reversal"));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            let message = format!("the record has version {version}, expected {VERSION}");
            return Err(Error::new(Code::Unsupported, message)
                .hint("a newer imgconv may read it; without the record the ACI is made anew"));
        }
        let number = |at: usize| {
            let mut part = [0; 8];
            part.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(part)
        };
        let compression = COMPRESSIONS.get(usize::from(bytes[10])).copied();
        let compression = compression.ok_or_else(|| bad("the compression is unknown"))?;
        let (length, reach) = (number(16), number(24));
        let hash = &bytes[96..];
        let layer = match bytes[11] {
            0 => None,
            // A layer of which nothing is used is not named.
            _ if reach == 0 => {
                return Err(bad("the record uses nothing of the layer that it names"));
            }
            code => {
                let algorithm = ALGORITHMS.get(usize::from(code) - 1).copied();
                let algorithm = algorithm.ok_or_else(|| bad("the digest is of no known kind"))?;
                let size = match algorithm {
                    Algorithm::Sha256 => 32,
                    Algorithm::Sha512 => 64,
                };
                let diff_id = Digest::new(algorithm, &hash[..size]);
                Some(Copied { diff_id, reach })
            }
        };
        let header = Self {
            image_id: Digest::new(Algorithm::Sha512, &bytes[32..96]),
            length,
            compression,
            layer,
        };
        // One header has one spelling: what is not used is zero.
        match header.to_bytes() == bytes && length > 0 {
            true => Ok(header),
            false => Err(bad("the header has bytes that mean nothing")),
        }
    }
}
