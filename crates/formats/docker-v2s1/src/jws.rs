//! The envelope of a signed schema 1 manifest: the signed bytes and the keys of the signatures.
//!
//! The signatures stand inside the document that they sign. Each has the length of the payload,
//! from the start of the document, and the end of the payload; only that payload is ever read as a
//! manifest. A valid signature proves that the payload fits a key that stands beside it, not the
//! identity of the key's owner.

use std::{ops::Range, sync::Arc};

use imgconv_json::{Object, Value, canonical, folds_to, parse};
use imgconv_model::{Algorithm, Code, Digest, Error, Limits, Result};
use imgconv_stream::digest;

use crate::key::{KeyId, PublicKey, SigningKey, bad, base64url, shape, to_base64url};

/// The most signatures of one document. Each costs a verification.
const MOST_SIGNATURES: usize = 16;

/// The most bytes of a payload's end in a signature: a brace and white space.
const LONGEST_TAIL: usize = 1024;

/// The result of checking the signatures of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureState {
    /// The document has no signatures.
    Unsigned,
    /// All signatures are valid; the identities of their keys, in the document's order.
    Valid(Vec<KeyId>),
}

/// Checks every signature of a schema 1 document (robustness B1 to B5).
///
/// # Errors
/// [`Code::BadSignature`] if a signature is malformed or wrong, [`Code::Ambiguous`] if there is
/// data outside of the signed region, [`Code::Limit`] if there are more than 16, [`Code::BadJson`]
/// if the document is not a JSON object.
pub fn verify_document(bytes: &[u8]) -> Result<SignatureState> {
    Envelope::open(bytes, &Limits::default())?.verify()
}

/// Returns the digest of a schema 1 document in a registry: that of the payload if the document is
/// signed, of all bytes otherwise. A place that is addressed by the bytes of files, such as an OCI
/// layout, uses the digest of all bytes, signed or not.
///
/// The signatures are not verified.
///
/// # Errors
/// The errors of [`verify_document`] about the document's shape.
pub fn manifest_digest(bytes: &[u8]) -> Result<Digest> {
    let envelope = Envelope::open(bytes, &Limits::default())?;
    Ok(digest(Algorithm::Sha256, &envelope.payload))
}

/// Signs an unsigned schema 1 document. The result holds the payload byte for byte, and depends on
/// the payload and the key alone: the signature has no date.
///
/// # Errors
/// [`Code::BadJson`] if the payload is not a JSON object with a member, [`Code::Usage`] if it is
/// signed already.
pub fn sign(payload: &[u8], key: &SigningKey) -> Result<Vec<u8>> {
    let value = parse(payload, &Limits::default(), "payload")?;
    let members = value.as_object().map_or(0, imgconv_json::Map::len);
    let trimmed = trim_end(payload).strip_suffix(b"}").map(trim_end);
    let (Some(head), 1..) = (trimmed, members) else {
        let message = "only a JSON object with members can be signed";
        return Err(Error::new(Code::BadJson, message));
    };
    if signatures(payload).is_some() {
        return Err(Error::new(Code::Usage, "the payload is signed already"));
    }
    let tail = &payload[head.len()..];
    let protected = format!(
        r#"{{"formatLength":{},"formatTail":"{}"}}"#,
        head.len(),
        to_base64url(tail)
    );
    let protected = to_base64url(protected.as_bytes());
    let signed = format!("{protected}.{}", to_base64url(payload));
    let signature = to_base64url(&key.sign(signed.as_bytes()));
    let point = key.point();
    let (x, y) = (to_base64url(&point[1..33]), to_base64url(&point[33..]));
    let kid = key.id();
    let block = format!(
        r#",
   "signatures": [
      {{
         "header": {{
            "jwk": {{
               "crv": "P-256",
               "kid": "{kid}",
               "kty": "EC",
               "x": "{x}",
               "y": "{y}"
            }},
            "alg": "ES256"
         }},
         "signature": "{signature}",
         "protected": "{protected}"
      }}
   ]"#
    );
    Ok([head, block.as_bytes(), tail].concat())
}

/// The parts of a document.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// The bytes that were signed; all bytes of an unsigned document.
    pub(crate) payload: Arc<[u8]>,
    /// The signatures, not yet verified; `None` if there is no such field.
    signatures: Option<Vec<Signature>>,
}

#[derive(Debug)]
struct Signature {
    /// The text that the signature covers together with the payload.
    protected: String,
    header: Value,
    signature: String,
}

impl Envelope {
    /// Finds the payload. Outside of the payload only the signatures and white space are allowed.
    pub(crate) fn open(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let Some(found) = signatures(bytes) else {
            // A document without signatures is its own payload; the JSON is checked here and read
            // later.
            parse(bytes, limits, "manifest")?;
            return Ok(Self {
                payload: bytes.into(),
                signatures: None,
            });
        };
        let outside = || {
            Error::new(
                Code::Ambiguous,
                "data outside the signed region: some readers would read the data as part of the \
                 manifest",
            )
        };
        let [member] = &found[..] else {
            return Err(outside());
        };
        if member.key != "signatures" {
            let message = format!(
                "non-canonical field name {}: some readers read the field as `signatures`",
                imgconv_model::quote(&member.key)
            );
            return Err(Error::new(Code::BadJson, message).at("manifest"));
        }
        let list = parse(&bytes[member.value.clone()], limits, "field signatures")?;
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        if list.is_empty() {
            return Err(bad("the field `signatures` holds no signature"));
        }
        if list.len() > MOST_SIGNATURES {
            let message = format!(
                "{} signatures exceed the limit `jws_signatures` of {MOST_SIGNATURES}",
                list.len()
            );
            return Err(Error::new(Code::Limit, message));
        }
        let mut region: Option<(usize, Vec<u8>)> = None;
        let mut signatures = Vec::new();
        for (i, value) in list.iter().enumerate() {
            let place = format!("signatures[{i}]");
            let (signature, length, tail) =
                read_signature(value, bytes.len(), limits).map_err(|error| error.at(&*place))?;
            match &region {
                Some(first) if *first != (length, tail.clone()) => {
                    let message = "the signature covers another part of the document than the \
                                   first signature";
                    return Err(bad(message).at(place));
                }
                _ => region = Some((length, tail)),
            }
            signatures.push(signature);
        }
        let (length, tail) = region.expect("the list is not empty");
        let Some(between) = bytes.get(length..member.start) else {
            let message = format!(
                "the signed region of {length} bytes reaches into the signatures, which begin at \
                 offset {}",
                member.start
            );
            return Err(bad(message));
        };
        let after = &bytes[member.value.end..];
        if trim(between) != b"," || trim(after) != b"}" {
            return Err(outside());
        }
        let payload = [&bytes[..length], &*tail].concat();
        // The envelope without its signatures is the payload, if the payload is an object.
        let value = parse(&payload, limits, "signed payload")
            .map_err(|error| bad(format!("the signed region is no document: {error}")))?;
        let again = |map: &imgconv_json::Map<String, Value>| {
            map.keys().any(|key| folds_to(key, "signatures"))
        };
        match value.as_object() {
            Some(map) if !again(map) => {}
            _ => return Err(outside()),
        }
        Ok(Self {
            payload: payload.into(),
            signatures: Some(signatures),
        })
    }

    /// Verifies every signature.
    pub(crate) fn verify(&self) -> Result<SignatureState> {
        let Some(signatures) = &self.signatures else {
            return Ok(SignatureState::Unsigned);
        };
        let payload = to_base64url(&self.payload);
        let mut keys = Vec::new();
        for (i, signature) in signatures.iter().enumerate() {
            let key = verify(signature, &payload)
                .map_err(|error| error.at(format!("signatures[{i}]")))?;
            keys.push(key);
        }
        Ok(SignatureState::Valid(keys))
    }
}

fn verify(signature: &Signature, payload: &str) -> Result<KeyId> {
    let header = Object::new(&signature.header, "header").map_err(shape)?;
    if header.get("x5c").is_some() {
        return Err(bad("keys in certificates (`x5c`) are not supported"));
    }
    let algorithm = header.string("alg").map_err(shape)?;
    let key = PublicKey::read(&header.object("jwk").map_err(shape)?)?;
    let bytes = base64url(&signature.signature)
        .ok_or_else(|| bad("the signature is not base64url without padding"))?;
    let signed = format!("{}.{payload}", signature.protected);
    key.verify(algorithm, signed.as_bytes(), &bytes)?;
    Ok(key.id())
}

/// Reads one signature: its value, the number of bytes that it covers, and the text after them.
fn read_signature(
    value: &Value,
    most: usize,
    limits: &Limits,
) -> Result<(Signature, usize, Vec<u8>)> {
    let object = Object::new(value, "").map_err(shape)?;
    let protected = object.string("protected").map_err(shape)?;
    let decoded = base64url(protected)
        .ok_or_else(|| bad("field protected is not base64url without padding"))?;
    let decoded = parse(&decoded, limits, "field protected").map_err(shape)?;
    let region = Object::new(&decoded, "protected").map_err(shape)?;
    // RFC 7515: a critical extension must be supported, and none is; a parameter stands once.
    for name in ["alg", "crit", "jwk", "x5c", "b64"] {
        if region.map().contains_key(name) {
            return Err(bad(format!("the protected header has the field `{name}`")));
        }
    }
    let length = region.map().get("formatLength").and_then(Value::as_number);
    let length = length
        .and_then(|number| usize::try_from(number.as_u64()?).ok())
        .filter(|length| (1..=most).contains(length));
    let Some(length) = length else {
        let found = region.map().get("formatLength").unwrap_or(&Value::Null);
        let found = imgconv_model::quote(canonical(found));
        return Err(bad(format!(
            "formatLength is {found}, expected an integer from 1 to {most}"
        )));
    };
    let tail = region.string("formatTail").map_err(shape)?;
    // The base64 text is a third longer than its bytes.
    let tail = Some(tail)
        .filter(|tail| tail.len() <= LONGEST_TAIL * 4 / 3 + 4)
        .and_then(base64url)
        .filter(|tail| tail.len() <= LONGEST_TAIL && trim(tail) == b"}")
        .ok_or_else(|| {
            bad(format!(
                "formatTail is not a closing brace and white space, base64url without padding, of \
                 at most {LONGEST_TAIL} bytes"
            ))
        })?;
    let signature = Signature {
        protected: protected.to_owned(),
        header: object.need("header").map_err(shape)?.clone(),
        signature: object.string("signature").map_err(shape)?.to_owned(),
    };
    Ok((signature, length, tail))
}

/// A member of the outermost object.
#[derive(Debug)]
pub(crate) struct Member {
    /// The key, escapes decoded.
    pub(crate) key: String,
    /// The start of the key.
    start: usize,
    /// The position of the value.
    pub(crate) value: Range<usize>,
}

/// Returns the members that some reader would read as the signatures; `None` if there are none.
fn signatures(bytes: &[u8]) -> Option<Vec<Member>> {
    let mut found = members(bytes)?;
    found.retain(|member| folds_to(&member.key, "signatures"));
    Some(found).filter(|found| !found.is_empty())
}

/// Lists the members of the outermost object with their positions, equal keys included. The
/// function follows the structure only, so it may accept text that is not JSON. `None` if the
/// structure can't be followed, which never happens for a valid JSON object.
pub(crate) fn members(bytes: &[u8]) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    let mut at = space(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at = space(bytes, at + 1);
    while bytes.get(at) != Some(&b'}') {
        let start = at;
        at = string_end(bytes, start)?;
        let key = match parse(&bytes[start..at], &Limits::default(), "key") {
            Ok(Value::String(key)) => key,
            _ => return None,
        };
        at = space(bytes, at);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        let from = space(bytes, at + 1);
        at = value_end(bytes, from)?;
        let end = from + trim_end(&bytes[from..at]).len();
        members.push(Member {
            key,
            start,
            value: from..end,
        });
        if bytes[at] == b',' {
            at = space(bytes, at + 1);
        }
    }
    Some(members)
}

/// Returns the end of the string that begins at `start`, its last quote included.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Returns the position of the comma or brace that ends a member's value.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0u64);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' | b'}' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn space(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| is_space(byte)).count()
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().rev().take_while(|byte| is_space(byte)).count();
    &bytes[..bytes.len() - spaces]
}

fn trim(bytes: &[u8]) -> &[u8] {
    &trim_end(bytes)[space(bytes, 0).min(trim_end(bytes).len())..]
}
