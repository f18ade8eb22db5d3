//! What a locator says: a repository on a host, and a tag or a digest there.

use std::fmt;

use imgconv_model::{Code, Digest, Error, Name, Result, quote};

/// Docker's own registry: what it is called, and where it is.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// An image, or all images, of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The host as references name it, `HOST[:PORT]`.
    pub host: String,
    /// The repository's path on it.
    pub repository: String,
    /// The tag, if one was given.
    pub tag: Option<String>,
    /// The digest, if one was given; it decides (robustness L12a).
    pub digest: Option<Digest>,
}

impl Location {
    /// Reads `//HOST[:PORT]/REPO[:TAG][@DIGEST]`, a Docker reference after two slashes, and
    /// qualifies it as docker does.
    ///
    /// # Errors
    /// [`Code::Usage`] without the slashes, else as [`Name::parse_reference`].
    pub fn parse(rest: &str) -> Result<Self> {
        let Some(reference) = rest.strip_prefix("//") else {
            let message = format!("`docker:{rest}` is no place in a registry");
            return Err(
                Error::new(Code::Usage, message).hint("write it as `docker://HOST/REPOSITORY:TAG`")
            );
        };
        let name = Name::parse_reference(reference)?;
        let qualified = name.repository.unwrap_or_default();
        let Some((host, repository)) = qualified.split_once('/') else {
            let message = format!("{} names no repository", quote(reference));
            return Err(Error::new(Code::BadName, message));
        };
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: name.tag,
            digest: name.digest,
        })
    }

    /// Returns the host that is connected to.
    pub(crate) fn server(&self) -> &str {
        if self.host == DOCKER.0 {
            DOCKER.1
        } else {
            &self.host
        }
    }

    /// Returns the repository's qualified name.
    pub(crate) fn qualified(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Returns the name of a tag here.
    pub(crate) fn name(&self, tag: &str) -> Name {
        Name {
            repository: Some(self.qualified()),
            tag: Some(tag.to_owned()),
            digest: None,
        }
    }
}

/// As a locator.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker://{}", self.qualified())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn l12a_references_are_read_as_docker_reads_them() {
        for (rest, shown) in [
            ("//x", "docker://docker.io/library/x"),
            ("//a/b:t", "docker://docker.io/a/b:t"),
            ("//localhost/x", "docker://localhost/x"),
            ("//[::1]:5000/x", "docker://[::1]:5000/x"),
            ("//host:5000/repo:tag", "docker://host:5000/repo:tag"),
        ] {
            assert_eq!(Location::parse(rest).unwrap().to_string(), shown);
        }
        let both = Location::parse(&format!("//host:5000/repo:tag@sha256:{HEX}")).unwrap();
        assert_eq!(
            (both.host.as_str(), both.tag.as_deref()),
            ("host:5000", Some("tag"))
        );
        assert_eq!(both.digest.unwrap().hex(), HEX);
        assert_eq!(
            Location::parse("//x").unwrap().server(),
            "registry-1.docker.io"
        );
    }

    #[test]
    fn l12b_what_is_no_reference_is_refused() {
        let long = format!("//host.example/{}", "a".repeat(256));
        let tag = format!("//host.example/a:{}", "t".repeat(129));
        for rest in [
            "//host.example/../x",
            "//host.example/a%2fb",
            "//h\u{f6}st.example/x",
            "//host.example/A",
            "//user:password@host.example/x",
            "//host.example/",
            "//",
            &long,
            &tag,
        ] {
            let error = Location::parse(rest).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{rest}");
        }
        assert_eq!(Location::parse("x").unwrap_err().code(), Code::Usage);
    }
}
