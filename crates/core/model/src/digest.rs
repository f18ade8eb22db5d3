//! Content digests: the algorithms that are computed, and the strict text forms.

use std::fmt;

use crate::{Code, Error, Result, quote};

/// A digest algorithm that this project computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the algorithm of OCI and Docker.
    Sha256,
    /// SHA-512, the algorithm of ACI image IDs; OCI allows it too.
    Sha512,
}

impl Algorithm {
    /// Returns the registered name, `sha256` or `sha512`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the length of the hash in bytes.
    pub fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// A valid digest: an algorithm and a hash of its exact length.
///
/// The text form is that of OCI (`sha256:` and 64 lower-case hex digits); ACI writes
/// `sha512-` and 128 hex digits, see [`Digest::image_id`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hash: [u8; 64],
}

impl Digest {
    /// Makes a digest of a computed hash.
    ///
    /// # Panics
    /// If `hash` has not the length of the algorithm.
    pub fn new(algorithm: Algorithm, hash: &[u8]) -> Self {
        assert_eq!(
            hash.len(),
            algorithm.hash_len(),
            "the hash has the algorithm's length"
        );
        let mut bytes = [0; 64];
        bytes[..hash.len()].copy_from_slice(hash);
        Self {
            algorithm,
            hash: bytes,
        }
    }

    /// Reads `ALGORITHM:HEX` by the grammar of the OCI image specification, descriptor.md.
    ///
    /// # Errors
    /// [`Code::BadDigest`] if the text breaks the grammar, [`Code::Unsupported`] if the text is
    /// valid but this project does not compute the algorithm.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Code::BadDigest, format!("digest {} {why}", quote(text)));
        let (algorithm, encoded) = text.split_once(':').ok_or_else(|| bad("has no `:`"))?;
        match algorithm {
            "sha256" => Self::from_hex(Algorithm::Sha256, encoded)
                .ok_or_else(|| bad("needs 64 lower-case hex digits after `sha256:`")),
            "sha512" => Self::from_hex(Algorithm::Sha512, encoded)
                .ok_or_else(|| bad("needs 128 lower-case hex digits after `sha512:`")),
            _ => {
                let component = |part: &str| {
                    !part.is_empty()
                        && part
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                };
                let known = algorithm.split(['+', '.', '_', '-']).all(component)
                    && !encoded.is_empty()
                    && text.len() <= 512
                    && encoded
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'));
                if known {
                    let message = format!("digest algorithm {} is not supported", quote(algorithm));
                    Err(Error::new(Code::Unsupported, message)
                        .hint("sha256 and sha512 can be verified"))
                } else {
                    Err(bad("is not of the form `algorithm:encoded`"))
                }
            }
        }
    }

    /// Reads an ACI image ID, `sha512-` and 128 lower-case hex digits (appc spec, aci.md).
    ///
    /// # Errors
    /// [`Code::BadDigest`] for anything else, shortened forms included.
    pub fn parse_image_id(text: &str) -> Result<Self> {
        text.strip_prefix("sha512-")
            .and_then(|hex| Self::from_hex(Algorithm::Sha512, hex))
            .ok_or_else(|| {
                let message = format!(
                    "image ID {} is not `sha512-` and 128 lower-case hex digits",
                    quote(text)
                );
                Error::new(Code::BadDigest, message)
            })
    }

    /// Makes a digest of exactly the right number of lower-case hex digits.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Self> {
        let hex = hex.as_bytes();
        if hex.len() != algorithm.hash_len() * 2 {
            return None;
        }
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 64];
        for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self { algorithm, hash })
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the hash, whose length is that of the algorithm.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.hash_len()]
    }

    /// Returns the hash as lower-case hex digits.
    pub fn hex(&self) -> String {
        let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
        let mut hex = String::with_capacity(self.hash().len() * 2);
        for byte in self.hash() {
            hex.push(digit(byte >> 4));
            hex.push(digit(byte & 15));
        }
        hex
    }

    /// Returns the ACI form of the digest, such as `sha512-` and 128 hex digits.
    pub fn image_id(&self) -> String {
        format!("{}-{}", self.algorithm.as_str(), self.hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness C3a, C3b, C3c
    #[test]
    fn the_grammar_is_exact() {
        let hex = "0123456789abcdef".repeat(4);
        assert_eq!(
            Digest::parse(&format!("sha256:{hex}")).unwrap().to_string(),
            format!("sha256:{hex}")
        );
        assert!(Digest::parse(&format!("sha512:{hex}{hex}")).is_ok());
        let a = "a".repeat(64);
        let bad = [
            String::new(),
            "sha256".into(),
            "sha256:".into(),
            format!(":{hex}"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{}", hex.to_uppercase()),
            format!("SHA256:{hex}"),
            "sha256:../../../../x".into(),
            format!("sha256:{a}/../.."),
            format!("sha256:{a}?x=1"),
            format!("sha256:{a}%2f"),
            format!("sha256:{a}\n"),
            format!("sha256:{}é", &hex[1..]),
            format!("sha512:{hex}"),
            "a".repeat(1 << 20),
        ];
        for text in &bad {
            assert_eq!(
                Digest::parse(text).unwrap_err().code(),
                Code::BadDigest,
                "{text:.80}"
            );
        }
        for text in ["sha256+b64u:abc", "blake3:ab", "md5:00", "sha1:00"] {
            assert_eq!(
                Digest::parse(text).unwrap_err().code(),
                Code::Unsupported,
                "{text}"
            );
        }
    }

    // robustness H3c
    #[test]
    fn image_ids_have_no_short_form() {
        let hex = "0a".repeat(64);
        let digest = Digest::parse_image_id(&format!("sha512-{hex}")).unwrap();
        assert_eq!(digest.image_id(), format!("sha512-{hex}"));
        for text in [
            format!("sha512-{}", &hex[..64]),
            format!("sha512-{}", hex.to_uppercase()),
        ] {
            assert_eq!(
                Digest::parse_image_id(&text).unwrap_err().code(),
                Code::BadDigest
            );
        }
    }
}
