//! ASCII armour around signatures and keys (RFC 9580, section 6): one block, of the right kind.

use imgconv_model::{Code, Error, Limits, Result};
use pgp::{
    composed::{Deserializable, DetachedSignature, PublicOrSecret},
    packet::Signature,
};

use crate::refusal::bad;

/// Reads the signatures of a `.asc` file.
pub(crate) fn signatures(bytes: &[u8], limits: &Limits) -> Result<Vec<Signature>> {
    let limit = limits.signature_file;
    if bytes.len() as u64 > limit {
        return Err(Limits::exceeded("signature_file", limit, "the signature"));
    }
    let kinds = kinds(bytes);
    match &kinds[..] {
        [b"SIGNATURE"] => {}
        [b"SIGNED MESSAGE", ..] | [b"MESSAGE", ..] => {
            let message = "this is a signed or encrypted message, not a detached signature";
            return Err(Error::new(Code::Unsupported, message)
                .hint("`gpg --armor --detach-sign FILE` makes a detached signature"));
        }
        [] => return Err(bad("this is no ASCII-armoured OpenPGP signature")),
        _ => return Err(bad("the file has more than one armoured signature block")),
    }
    let (found, _) =
        DetachedSignature::from_armor_many(bytes).map_err(|error| malformed(&error))?;
    let mut signatures = Vec::new();
    for signature in found {
        signatures.push(signature.map_err(|error| malformed(&error))?.signature);
    }
    if signatures.is_empty() {
        return Err(bad("the armour holds no signature that can be read"));
    }
    Ok(signatures)
}

fn malformed(error: &pgp::errors::Error) -> Error {
    bad(format!("the signature is malformed: {error}"))
}

/// Reads the keys of a file, armoured (also several blocks) or binary. Packets that do not belong
/// to a key and keys of unknown versions are an error, so that no key is silently left out.
pub(crate) fn keys(bytes: &[u8]) -> Result<Vec<PublicOrSecret>> {
    let bad = |error: pgp::errors::Error| {
        let message = format!("these are no OpenPGP keys: {error}");
        Error::new(Code::BadSignature, message)
    };
    let mut keys = Vec::new();
    let mut read = |block: &[u8]| -> Result<()> {
        let (found, _) = PublicOrSecret::from_reader_many(block).map_err(bad)?;
        for key in found {
            keys.push(key.map_err(bad)?);
        }
        Ok(())
    };
    let starts = starts(bytes);
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(bytes.len());
        read(&bytes[*start..end])?;
    }
    if starts.is_empty() {
        read(bytes)?;
    }
    if keys.is_empty() {
        return Err(Error::new(
            Code::BadSignature,
            "there is no OpenPGP key here",
        ));
    }
    Ok(keys)
}

const BEGIN: &[u8] = b"-----BEGIN PGP ";

/// Returns the starts of armoured blocks: at the beginning of a line.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(BEGIN) {
            starts.push(offset);
        }
        offset += line.len();
    }
    starts
}

/// The kinds of the armoured blocks, such as `SIGNATURE`.
fn kinds(bytes: &[u8]) -> Vec<&[u8]> {
    let kind = |start: &usize| {
        let rest = &bytes[start + BEGIN.len()..];
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or(rest);
        line.trim_ascii_end().strip_suffix(b"-----").unwrap_or(line)
    };
    starts(bytes).iter().map(kind).collect()
}
