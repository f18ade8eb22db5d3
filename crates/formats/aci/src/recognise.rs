//! Recognising an ACI by its first bytes: a tar, perhaps compressed, that begins with `manifest` or
//! `rootfs`; and the PGP messages that the specification allows around an ACI.
//!
//! This module checks nothing: a file that only looks like an ACI is refused when it is read.

use std::io::{Cursor, Read};

use imgconv_layer::clean;
use imgconv_model::{Blob, Code, Compression, Error, Limits, Notes, Reader, Result};
use imgconv_stream::{Decoder, sniff};
use imgconv_tar::{Failed, header_in, names_of_headers};

/// The bytes of a file that are read, and of their decompressed content.
const PREFIX: u64 = 64 << 10;
/// The members that are read; at most a few come before the first name that decides.
const MEMBERS: usize = 16;

/// The way a PGP message wraps a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pgp {
    /// Encrypted, with a passphrase or to keys.
    Encrypted,
    /// Signed, with the content inside the signature.
    Signed,
}

impl Pgp {
    /// Makes the refusal of such a file (robustness H7c and H8).
    pub(crate) fn refuse(self) -> Error {
        let (what, hint) = match self {
            Self::Encrypted => (
                "the file is encrypted with PGP",
                "decrypt it first: `gpg --output IMAGE.aci --decrypt FILE`",
            ),
            Self::Signed => (
                "the file is inline-signed with PGP; an ACI's signature is a detached `.aci.asc`",
                "take the image out first: `gpg --output IMAGE.aci --decrypt FILE`",
            ),
        };
        Error::new(Code::Unsupported, what).hint(hint)
    }
}

/// Returns true if a file that begins with these bytes is an ACI: plain, gzip, bzip2 or xz, or
/// wrapped in a PGP message (which reading then refuses by name). A few kilobytes are enough,
/// except for bzip2, whose content is readable only after the end of its first block.
pub fn recognise_bytes(prefix: &[u8]) -> bool {
    if pgp(prefix).is_some() {
        return true;
    }
    let prefix: Vec<u8> = prefix.to_vec();
    looks_like_one(Box::new(Cursor::new(prefix)))
}

/// Like [`recognise_bytes`], for a stream that is read only as far as needed. A stream that can't be
/// read counts as an ACI, so that reading reports the error of the file system, instead of a word
/// about another format.
pub(crate) fn recognise(blob: &Blob) -> bool {
    let Ok((begin, stream)) = peek(blob) else {
        return true;
    };
    let failed = Failed::default();
    let stream = failed.watch(stream);
    pgp(&begin).is_some() || looks_like_one(stream) || failed.check().is_err()
}

/// Opens a stream and reads its first bytes, which the returned reader repeats.
pub(crate) fn peek(blob: &Blob) -> Result<(Vec<u8>, Reader)> {
    let mut stream = blob.open()?;
    let mut begin = Vec::new();
    (&mut stream)
        .take(512)
        .read_to_end(&mut begin)
        .map_err(Error::from_io)?;
    let again = Cursor::new(begin.clone()).chain(stream);
    Ok((begin, Box::new(again)))
}

fn looks_like_one(mut stream: Reader) -> bool {
    let mut begin = Vec::new();
    let _ = (&mut stream).take(512).read_to_end(&mut begin);
    let compression = sniff(&begin);
    let again: Reader = Box::new(Cursor::new(begin).chain(stream));
    let (limits, notes) = (Limits::default(), Notes::default());
    let decoded: Reader = match compression {
        Compression::None => again,
        Compression::Zstd => return false,
        Compression::Gzip | Compression::Bzip2 | Compression::Xz => {
            match Decoder::new(again, &limits, &notes, "a prefix") {
                Ok(decoder) => Box::new(decoder),
                Err(_) => return false,
            }
        }
    };
    // A prefix ends in the middle, so an error has no meaning: the bytes before it count.
    let mut tar = Vec::new();
    let _ = decoded.take(PREFIX).read_to_end(&mut tar);
    begins_like_one(&tar)
}

/// Checks the names of the first members. An archive whose first member is malformed is recognised by the
/// names in its headers, so that reading it reports the error.
fn begins_like_one(tar: &[u8]) -> bool {
    let (limits, notes) = (Limits::default(), Notes::default());
    let mut members = imgconv_tar::Reader::new(tar, &limits, &notes, "a prefix");
    for i in 0..MEMBERS {
        match members.next_entry() {
            Ok(Some(entry)) => {
                if let Ok(path) = clean(&entry.path, &limits)
                    && tells(&path)
                {
                    return true;
                }
            }
            Ok(None) => return false,
            Err(_) if i > 0 => return false,
            Err(_) => {
                let mut names = names_of_headers(header_in(tar)).take(MEMBERS);
                return names.any(|name| clean(&name, &limits).is_ok_and(|path| tells(&path)));
            }
        }
    }
    false
}

fn tells(path: &[u8]) -> bool {
    path == b"manifest" || path == b"rootfs" || path.starts_with(b"rootfs/")
}

/// Returns the way a file is wrapped in a PGP message (RFC 4880, sections 4.2 and 6.2), if it is.
pub(crate) fn pgp(begin: &[u8]) -> Option<Pgp> {
    if begin.starts_with(b"-----BEGIN PGP MESSAGE") {
        return Some(Pgp::Encrypted);
    }
    if begin.starts_with(b"-----BEGIN PGP SIGNED MESSAGE") {
        return Some(Pgp::Signed);
    }
    let first = *begin.first()?;
    if first & 0x80 == 0 {
        return None;
    }
    let (tag, body) = if first & 0x40 != 0 {
        let length = match *begin.get(1)? {
            0..192 | 224..255 => 1,
            192..224 => 2,
            255 => 5,
        };
        (first & 0x3f, 1 + length)
    } else {
        let length = [1, 2, 4, 0][usize::from(first & 3)];
        (first >> 2 & 0xf, 1 + length)
    };
    // A packet's first byte is its version; checking it excludes other binary files.
    let version = *begin.get(body)?;
    match (tag, version) {
        (1, 3 | 6) | (3, 4..=6) | (18, 1 | 2) => Some(Pgp::Encrypted),
        (2, 3..=6) | (4, 3 | 6) | (8, 1..=3) => Some(Pgp::Signed),
        _ => None,
    }
}
