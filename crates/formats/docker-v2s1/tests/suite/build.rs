//! Manifests and envelopes as text, built by the recipe of robustness section B.

use imgconv_json::{Value, canonical};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};

pub(crate) const EMPTY: &str =
    "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";

/// A digest of one digit, repeated.
pub(crate) fn blob(digit: char) -> String {
    format!("sha256:{}", id(digit))
}

/// An id of one digit, repeated.
pub(crate) fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// The JSON of a v1 image. `more` begins with a comma or is empty.
pub(crate) fn v1(own: char, parent: Option<char>, more: &str) -> String {
    let parent = parent.map(|digit| format!(r#","parent":"{}""#, id(digit)));
    format!(
        r#"{{"id":"{}"{}{more}}}"#,
        id(own),
        parent.unwrap_or_default()
    )
}

pub(crate) fn quoted(text: &str) -> String {
    String::from_utf8(canonical(&Value::from(text))).unwrap()
}

/// A manifest of entries, top first: the blob's digest and the raw JSON value of v1Compatibility.
pub(crate) fn raw_manifest(entries: &[(String, String)]) -> String {
    let list = |items: Vec<String>| items.join(",\n      ");
    let blobs = entries
        .iter()
        .map(|(blob, _)| format!(r#"{{"blobSum": "{blob}"}}"#));
    let history = entries
        .iter()
        .map(|(_, value)| format!(r#"{{"v1Compatibility": {value}}}"#));
    format!(
        "{{\n   \"schemaVersion\": 1,\n   \"name\": \"a/b\",\n   \"tag\": \"t\",\n   \"architecture\": \
         \"amd64\",\n   \"fsLayers\": [\n      {}\n   ],\n   \"history\": [\n      {}\n   ]\n}}",
        list(blobs.collect()),
        list(history.collect())
    )
}

/// A manifest of entries, top first: the blob's digest and the text of v1Compatibility.
pub(crate) fn manifest(entries: &[(String, String)]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|(blob, text)| (blob.clone(), quoted(text)))
        .collect();
    raw_manifest(&entries)
}

/// One layer, no more.
pub(crate) fn minimal() -> String {
    manifest(&[(blob('1'), v1('a', None, r#","os":"linux""#))])
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1))
        .collect();
    bits.chunks(6)
        .map(|chunk| {
            let value = chunk.iter().fold(0, |value, bit| value << 1 | bit);
            char::from(DIGITS[usize::from(value << (6 - chunk.len()))])
        })
        .collect()
}

/// The parts of one signature, to be changed before they are put together.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) jwk: String,
    pub(crate) alg: &'static str,
    pub(crate) protected: String,
    pub(crate) signature: Vec<u8>,
    pub(crate) header_more: String,
}

impl Part {
    pub(crate) fn print(&self) -> String {
        format!(
            r#"{{"header": {{"jwk": {}, "alg": "{}"{}}}, "signature": "{}", "protected": "{}"}}"#,
            self.jwk,
            self.alg,
            self.header_more,
            b64(&self.signature),
            self.protected
        )
    }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_slice(&[7; 32]).unwrap()
}

pub(crate) fn point(key: &SigningKey) -> (Vec<u8>, Vec<u8>) {
    let point = key.verifying_key().to_encoded_point(false);
    let bytes = point.as_bytes();
    (bytes[1..33].to_vec(), bytes[33..].to_vec())
}

pub(crate) fn jwk(key: &SigningKey) -> String {
    let (x, y) = point(key);
    format!(
        r#"{{"kty": "EC", "crv": "P-256", "x": "{}", "y": "{}"}}"#,
        b64(&x),
        b64(&y)
    )
}

/// The protected header of a payload, cut before its last two bytes.
pub(crate) fn protected(payload: &str) -> String {
    region(payload.len() - 2, &payload[payload.len() - 2..])
}

pub(crate) fn region(length: usize, tail: &str) -> String {
    b64(format!(
        r#"{{"formatLength":{length},"formatTail":"{}","time":"2015-01-01T00:00:00Z"}}"#,
        b64(tail.as_bytes())
    )
    .as_bytes())
}

/// An ES256 signature over a payload, whatever the protected header says.
pub(crate) fn es256(payload: &str, protected: String, key: &SigningKey) -> Part {
    let signed = format!("{protected}.{}", b64(payload.as_bytes()));
    let signature: Signature = key.sign(signed.as_bytes());
    Part {
        jwk: jwk(key),
        alg: "ES256",
        protected,
        signature: signature.to_bytes().to_vec(),
        header_more: String::new(),
    }
}

/// Puts signatures into a payload, two bytes before its end.
pub(crate) fn envelope(payload: &str, signatures: &[String]) -> String {
    let (head, tail) = payload.split_at(payload.len() - 2);
    format!(
        "{head},\n   \"signatures\": [{}]{tail}",
        signatures.join(", ")
    )
}

/// A payload with one good signature.
pub(crate) fn signed(payload: &str) -> String {
    let part = es256(payload, protected(payload), &key());
    envelope(payload, &[part.print()])
}
