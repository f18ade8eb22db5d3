//! The keys of schema 1 signatures: JSON Web Keys (RFC 7517) in, identities and verdicts out.
//!
//! The module supports the keys that docker's own signing library wrote: ES256 on P-256, and RS256.
//! The owner of a key is unknown here: the key stands in the document that it signs.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use imgconv_json::{Object, parse};
use imgconv_model::{Algorithm, Code, Error, Limits, Result, quote};
use imgconv_stream::digest;
use p256::ecdsa::{
    Signature, VerifyingKey,
    signature::{Signer as _, Verifier as _},
};
use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents},
};

/// The bytes before the point of a P-256 key in its DER form (RFC 5480).
const P256_DER_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The algorithm identifier of an RSA key in DER (RFC 3279).
const RSA_DER_ALGORITHM: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// The identity of a key as docker prints it: twelve groups of four letters and digits, the first
/// 240 bits of the SHA-256 of the public key's DER form in base32.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    fn of_der(der: &[u8]) -> Self {
        const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let hash = digest(Algorithm::Sha256, der);
        let mut text = String::new();
        // Five bytes are eight characters: two groups.
        for bytes in hash.hash()[..30].chunks_exact(5) {
            let bits = bytes
                .iter()
                .fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
            for i in 0..8u32 {
                if i % 4 == 0 && !text.is_empty() {
                    text.push(':');
                }
                let digit = bits >> (35 - 5 * i) & 31;
                text.push(char::from(DIGITS[digit as usize]));
            }
        }
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key that stands in a signature.
#[derive(Debug)]
pub(crate) enum PublicKey {
    P256 { key: VerifyingKey, point: Vec<u8> },
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

pub(crate) fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadSignature, message)
}

/// Makes a bad signature of any error about the shape of the key.
pub(crate) fn shape(error: Error) -> Error {
    bad(error.to_string())
}

impl PublicKey {
    /// Reads a JSON Web Key. A `kid` that is not the identity of the key is an error.
    pub(crate) fn read(jwk: &Object<'_>) -> Result<Self> {
        let bytes = |field: &str| -> Result<Vec<u8>> {
            let text = jwk.string(field).map_err(shape)?;
            base64url(text).ok_or_else(|| {
                bad(format!(
                    "field {} of the key is not base64url without padding",
                    quote(field)
                ))
            })
        };
        let kind = jwk.string("kty").map_err(shape)?;
        let key = match kind {
            "EC" => {
                let curve = jwk.string("crv").map_err(shape)?;
                if curve != "P-256" {
                    return Err(bad(format!(
                        "the key is on the curve {}, and only P-256 is supported",
                        quote(curve)
                    )));
                }
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    let message = format!(
                        "a coordinate of the key has {} and the other {} bytes, expected 32 each",
                        x.len(),
                        y.len()
                    );
                    return Err(bad(message));
                }
                let point = [&[4], &*x, &*y].concat();
                let key = VerifyingKey::from_sec1_bytes(&point)
                    .map_err(|_| bad("the key is no point of the curve P-256"))?;
                Self::P256 { key, point }
            }
            "RSA" => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                let bits = modulus.len() as u64 * 8
                    - u64::from(modulus.first().map_or(0, |byte| byte.leading_zeros()));
                if !(2048..=8192).contains(&bits) {
                    return Err(bad(format!(
                        "the RSA key has {bits} bits, expected 2048 to 8192"
                    )));
                }
                Self::Rsa { modulus, exponent }
            }
            other => {
                return Err(bad(format!(
                    "the key is of type {}, and only EC and RSA are supported",
                    quote(other)
                )));
            }
        };
        let id = key.id();
        match jwk.opt_string("kid").map_err(shape)? {
            Some(kid) if kid != id.as_str() => Err(bad(format!(
                "the key has the `kid` {}, but its identity is {id}",
                quote(kid)
            ))),
            _ => Ok(key),
        }
    }

    /// Returns the identity.
    pub(crate) fn id(&self) -> KeyId {
        match self {
            Self::P256 { point, .. } => KeyId::of_der(&[P256_DER_PREFIX, point].concat()),
            Self::Rsa { modulus, exponent } => {
                let numbers = [integer(modulus), integer(exponent)].concat();
                let key = [&[0], &*element(0x30, &numbers)].concat();
                let whole = [RSA_DER_ALGORITHM, &*element(0x03, &key)].concat();
                KeyId::of_der(&element(0x30, &whole))
            }
        }
    }

    /// Verifies a signature by the algorithm of that name (RFC 7518).
    pub(crate) fn verify(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> Result<()> {
        let wrong = || bad("the signature does not fit the payload and the key");
        match (self, algorithm) {
            (Self::P256 { key, .. }, "ES256") => {
                if signature.len() != 64 {
                    return Err(bad(format!(
                        "the signature has {} bytes, expected 64",
                        signature.len()
                    )));
                }
                let signature = Signature::from_slice(signature)
                    .map_err(|_| bad("a number of the signature is out of range"))?;
                key.verify(signed, &signature).map_err(|_| wrong())
            }
            (Self::Rsa { modulus, exponent }, "RS256") => {
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
                    .map_err(|_| wrong())
            }
            _ => Err(bad(format!(
                "the algorithm {} is not supported for this key",
                quote(algorithm)
            ))
            .hint("ES256 with a key on P-256 and RS256 with an RSA key can be verified")),
        }
    }
}

/// One DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|&&byte| byte == 0).count()..];
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=127 => out.push(short as u8),
        _ => {
            out.push(0x80 | digits.len() as u8);
            out.extend_from_slice(digits);
        }
    }
    out.extend_from_slice(content);
    out
}

/// Returns a positive number in DER.
fn integer(bytes: &[u8]) -> Vec<u8> {
    let digits = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    let sign: &[u8] = match digits.first() {
        Some(1..=127) => &[],
        _ => &[0],
    };
    element(0x02, &[sign, digits].concat())
}

/// A private key on P-256, with which manifests are signed.
#[derive(Clone)]
pub struct SigningKey(p256::ecdsa::SigningKey);

impl SigningKey {
    /// Makes a new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`Code::Io`] if the system has no random numbers.
    pub fn fresh() -> Result<Self> {
        loop {
            let mut private = [0; 32];
            SystemRandom::new()
                .fill(&mut private)
                .map_err(|_| Error::new(Code::Io, "the system has no random numbers"))?;
            // Zero and numbers from the order of the curve on are no keys: one of 2^32 numbers.
            if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&private) {
                return Ok(Self(key));
            }
        }
    }

    /// Reads a private JSON Web Key, such as docker's `key.json`.
    ///
    /// # Errors
    /// [`Code::BadJson`] if the text is not JSON, [`Code::BadSignature`] if it is not a private key
    /// on P-256, or its public part belongs to another key.
    pub fn from_jwk(bytes: &[u8]) -> Result<Self> {
        let value = parse(bytes, &Limits::default(), "signing key")?;
        let jwk = Object::new(&value, "").map_err(shape)?;
        let PublicKey::P256 { key, .. } =
            PublicKey::read(&jwk).map_err(|error| error.at("signing key"))?
        else {
            return Err(bad("the signing key is none on P-256").at("signing key"));
        };
        let private = jwk.string("d").map_err(shape)?;
        let private = base64url(private)
            .and_then(|private| p256::ecdsa::SigningKey::from_slice(&private).ok())
            .filter(|private| *private.verifying_key() == key);
        private
            .map(Self)
            .ok_or_else(|| bad("the private part does not fit the public one").at("signing key"))
    }

    /// Returns the identity of the public key.
    pub fn id(&self) -> KeyId {
        KeyId::of_der(&[P256_DER_PREFIX, &*self.point()].concat())
    }

    /// Returns the uncompressed public point.
    pub(crate) fn point(&self) -> Vec<u8> {
        self.0
            .verifying_key()
            .to_encoded_point(false)
            .as_bytes()
            .to_vec()
    }

    /// Signs by ES256; the same bytes get the same signature (RFC 6979).
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(bytes);
        signature.to_bytes().to_vec()
    }
}

/// Prints only the identity.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id()).finish()
    }
}

/// Decodes base64 of RFC 4648 section 5 without padding and without other characters.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes base64 of RFC 4648 section 5 without padding.
pub(crate) fn to_base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7515, appendix C and A.3
    #[test]
    fn base64url_as_the_rfc_has_it() {
        let bytes = [3, 236, 255, 224, 193];
        assert_eq!(to_base64url(&bytes), "A-z_4ME");
        assert_eq!(base64url("A-z_4ME").as_deref(), Some(&bytes[..]));
        assert_eq!(base64url("").as_deref(), Some(&[][..]));
        for text in ["A-z_4ME=", "A+z/4ME", "A-z_4MF", "A", "A-z\n"] {
            assert_eq!(base64url(text), None, "{text}");
        }
    }

    // RFC 7515, appendix A.3: ES256 with its key
    #[test]
    fn es256_as_the_rfc_has_it() {
        let jwk = br#"{"kty":"EC","crv":"P-256",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
        let key = SigningKey::from_jwk(jwk).unwrap();
        let value = parse(jwk, &Limits::default(), "key").unwrap();
        let public = PublicKey::read(&Object::new(&value, "").unwrap()).unwrap();
        assert_eq!(public.id(), key.id());
        let signed = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = base64url(
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        )
        .unwrap();
        public.verify("ES256", signed, &signature).unwrap();
        let error = public.verify("ES384", signed, &signature).unwrap_err();
        assert_eq!(error.code(), Code::BadSignature);
        assert!(public.verify("ES256", b"other", &signature).is_err());
    }
}
