//! Tar sums: the names by which docker 1.5 and 1.6 pushed layers to a registry. A tar sum is made
//! of the entries of the tar and not of its stored bytes, so a place must know which blob belongs
//! to the tar sum.
//!
//! This module does not compute tar sums.

/// A tar sum, such as `tarsum.v1+sha256:` and hex digits (distribution 2.0, digest/tarsum.go).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarSum {
    version: String,
    algorithm: String,
    hex: String,
}

impl TarSum {
    /// The most characters of a tar sum; the longest hash has 128 hex digits.
    const LONGEST: usize = 200;

    /// Reads `tarsum[.VERSION]+ALGORITHM:HEX`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > Self::LONGEST {
            return None;
        }
        let (version, rest) = text.strip_prefix("tarsum")?.split_once('+')?;
        let (algorithm, hex) = rest.split_once(':')?;
        let version = match version {
            // The first version has an empty name.
            "" => "v0",
            version => version.strip_prefix('.')?,
        };
        let word = |text: &str| {
            let mut bytes = text.bytes();
            !text.is_empty() && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        (word(version) && word(algorithm) && is_hex).then(|| Self {
            version: version.to_owned(),
            algorithm: algorithm.to_owned(),
            hex: hex.to_owned(),
        })
    }

    /// Returns the path below `_layers` in a registry's storage: `tarsum/VERSION/ALGORITHM/HEX`.
    pub fn path(&self) -> String {
        format!("tarsum/{}/{}/{}", self.version, self.algorithm, self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k04_a_tar_sum_has_a_path_and_nothing_else_has() {
        let path = |text: &str| TarSum::parse(text).map(|sum| sum.path());
        let found = path("tarsum.v1+sha256:0a").unwrap();
        assert_eq!(found, "tarsum/v1/sha256/0a");
        assert_eq!(path("tarsum+sha256:0a").unwrap(), "tarsum/v0/sha256/0a");
        assert_eq!(path("tarsum.dev+md5:0A").unwrap(), "tarsum/dev/md5/0A");
        let long = format!("tarsum.v1+sha256:{}", "a".repeat(1 << 20));
        for text in [
            "",
            "tarsum",
            "sha256:0a",
            "tarsum.v1+sha256",
            "tarsum.v1+sha256:",
            "tarsum.+sha256:0a",
            "tarsum.v1+:0a",
            "tarsum.../..+sha256:0a",
            "tarsum.v1+sha256:../0a",
            "tarsum.v1+sha256:0g",
            "tarsumv1+sha256:0a",
            &long,
        ] {
            assert_eq!(path(text), None, "{text:.40}");
        }
    }
}
