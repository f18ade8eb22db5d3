//! The checksums that a registry of version 1 has for the layer of an image (docker-registry's
//! `docker_registry/images.py`): an id is no digest, so a checksum is the only fact about the bytes.
//!
//! A checksum `sha256:` covers the `json` of the image, a newline, and the layer as the registry stores it.
//! Older clients sent a tar sum, over the members of the tar, which is not checked here.

use std::{
    collections::BTreeSet,
    io::{self, Cursor, Read},
};

use imgconv_json::{Value, parse};
use imgconv_model::{Algorithm, Digest, Error, Facts, Limits, Reader, Result};
use imgconv_stream::Verified;

/// Reads checksums as a registry keeps and sends them: a JSON list of texts, one JSON text, or, in the
/// oldest registries, the bare text.
pub fn checksums(bytes: &[u8], limits: &Limits) -> Vec<String> {
    match parse(bytes, limits, "checksums") {
        Ok(Value::Array(texts)) => {
            let texts = texts.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }
        Ok(Value::String(text)) => vec![text],
        Ok(_) => Vec::new(),
        Err(_) => vec![String::from_utf8_lossy(bytes).trim().to_owned()],
    }
}

/// Returns the one checksum that covers the bytes. `None` if there is none, or if there are several: the
/// registry accepted a layer that matched any of them.
pub fn checksum<'t>(texts: impl IntoIterator<Item = &'t str>) -> Option<Digest> {
    let sums: BTreeSet<Digest> = texts
        .into_iter()
        .filter_map(|text| Digest::parse(text).ok())
        .filter(|digest| digest.algorithm() == Algorithm::Sha256)
        .collect();
    sums.first().copied().filter(|_| sums.len() == 1)
}

/// Returns a reader of a layer that verifies its size, if that is known, and its checksum, if there is one.
/// `json` is the `json` of the image; `what` names both in messages.
///
/// # Errors
/// The errors of a read from memory, which do not happen.
pub fn verified(
    layer: impl Read + Send + 'static,
    size: Option<u64>,
    sum: Option<(Digest, Vec<u8>)>,
    what: String,
) -> Result<Reader> {
    let Some((digest, mut begin)) = sum else {
        let facts = Facts { digest: None, size };
        return Ok(Box::new(Verified::new(layer, &facts, what)));
    };
    begin.push(b'\n');
    let before = begin.len() as u64;
    let facts = Facts {
        digest: Some(digest),
        size: size.map(|size| size.saturating_add(before)),
    };
    let whole = Cursor::new(begin).chain(layer);
    let mut verified = Verified::new(whole, &facts, what);
    io::copy(&mut (&mut verified).take(before), &mut io::sink()).map_err(Error::from_io)?;
    Ok(Box::new(verified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_have_three_spellings_and_only_one_sha256_counts() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let one = |text: String| {
            let texts = checksums(text.as_bytes(), &Limits::default());
            checksum(texts.iter().map(String::as_str)).map(|digest| digest.hex())
        };
        assert_eq!(one(format!("sha256:{a}\n")), Some(a.clone()));
        assert_eq!(one(format!("\"sha256:{a}\"")), Some(a.clone()));
        let list = format!("[\"tarsum+sha256:{b}\",\"sha256:{a}\",\"sha256:{a}\",5]");
        assert_eq!(one(list), Some(a.clone()));
        assert_eq!(one(format!("[\"sha256:{a}\",\"sha256:{b}\"]")), None);
        for text in ["", "5", "{}", "[]", "tarsum+sha256:00", "sha256:AB"] {
            assert_eq!(one(text.to_owned()), None, "{text}");
        }
    }
}
