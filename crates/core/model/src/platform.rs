//! Platforms in the words of Go (`GOOS`, `GOARCH`), as OCI and Docker write them.

use std::fmt;

use crate::{Code, Error, Result, quote};

/// An operating system and processor. An empty part is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor, such as `amd64` or `arm64`.
    pub architecture: String,
    /// The processor's variant, such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// Makes a platform without a variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: None,
        }
    }

    /// Reads `OS/ARCH[/VARIANT]`.
    ///
    /// # Errors
    /// [`Code::BadName`] if there are not two or three parts of `[A-Za-z0-9._-]`.
    pub fn parse(text: &str) -> Result<Self> {
        let token = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, arch] if token(os) && token(arch) => Ok(Self::new(os, arch)),
            [os, arch, variant] if token(os) && token(arch) && token(variant) => Ok(Self {
                variant: Some(variant.into()),
                ..Self::new(os, arch)
            }),
            _ => Err(Error::new(
                Code::BadName,
                format!(
                    "platform {} is not `OS/ARCH` or `OS/ARCH/VARIANT`",
                    quote(text)
                ),
            )),
        }
    }

    /// Says whether an image for this platform is what somebody asks for with `wanted`: os and
    /// architecture are equal, and the variant is too where `wanted` has one. `arm64` without a
    /// variant and `arm64/v8` are the same.
    pub fn fits(&self, wanted: &Self) -> bool {
        let variant = |platform: &Self| match (&*platform.architecture, platform.variant.as_deref())
        {
            ("arm64", Some("v8")) => None,
            (_, variant) => variant.map(str::to_owned),
        };
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || variant(self) == variant(wanted))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |part: &str| {
            if part.is_empty() {
                "unknown".to_owned()
            } else {
                part.into()
            }
        };
        write!(
            f,
            "{}/{}",
            or_unknown(&self.os),
            or_unknown(&self.architecture)
        )?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_print_are_inverse() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), text);
        }
        for text in ["linux", "linux/", "/amd64", "a/b/c/d", "../x", "l x/y"] {
            assert_eq!(
                Platform::parse(text).unwrap_err().code(),
                Code::BadName,
                "{text}"
            );
        }
    }

    #[test]
    fn a_wanted_variant_must_be_there() {
        let v8 = Platform::parse("linux/arm64/v8").unwrap();
        let arm64 = Platform::parse("linux/arm64").unwrap();
        assert!(v8.fits(&arm64) && arm64.fits(&v8));
        let v7 = Platform::parse("linux/arm/v7").unwrap();
        assert!(v7.fits(&Platform::new("linux", "arm")));
        assert!(!Platform::new("linux", "arm").fits(&v7));
    }
}
