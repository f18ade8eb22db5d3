//! The parts of a locator: a repository on a host, and a tag or a digest there.

use std::fmt;

use imgconv_model::{Code, Digest, Error, Name, Result, password_in, quote, without_userinfo};

/// Docker's own registry: its name in references, and its server.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// An image, or all images, of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The host as references name it, `HOST[:PORT]`.
    pub host: String,
    /// The path of the repository on the host.
    pub repository: String,
    /// The tag, if one was given.
    pub tag: Option<String>,
    /// The digest, if one was given; the digest has priority over the tag (robustness L12a).
    pub digest: Option<Digest>,
}

impl Location {
    /// Reads `//HOST[:PORT]/REPO[:TAG][@DIGEST]`, a Docker reference after two slashes, and
    /// qualifies it as docker does.
    ///
    /// # Errors
    /// [`Code::Usage`] without the slashes, else the errors of [`Name::parse_reference`].
    pub fn parse(rest: &str) -> Result<Self> {
        let Some(reference) = rest.strip_prefix("//") else {
            let shown = without_userinfo(rest);
            let message = format!("`docker:{shown}` is no place in a registry");
            return Err(
                Error::new(Code::Usage, message).hint("write it as `docker://HOST/REPOSITORY:TAG`")
            );
        };
        if password_in(reference).is_some() {
            let shown = quote(format!("docker://{}", without_userinfo(reference)));
            let message = format!("{shown} has a user name or a password in it");
            return Err(Error::new(Code::BadName, message).hint(
                "a locator holds none: `--creds HOST=USER:PASSWORD`, `--authfile` or `docker login` \
                 give them",
            ));
        }
        if let Some(host) = host_alone(reference) {
            let message = format!("{} is a registry, and names no repository", quote(host));
            let hub = reference.trim_end_matches('/');
            return Err(Error::new(Code::BadName, message).hint(format!(
                "write it as `docker://{host}/REPOSITORY:TAG`; an image of Docker Hub that is called \
                 so is `docker://library/{hub}`"
            )));
        }
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

    /// Returns the host to connect to.
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

/// Returns the host if a reference is only a host, where the user forgot the repository. Docker
/// reads a reference without a slash as an image of Docker Hub: the name of a private registry
/// would be sent there, and another owner's image might be the answer.
///
/// A host has the form that docker accepts before a slash, or is an address, or a name with a port.
/// A name without a dot and a number (`registry:5000`) may be a tag of Docker Hub; it is a host if
/// the number has four or five digits and is no year, since no such tag exists.
fn host_alone(reference: &str) -> Option<&str> {
    let whole = match reference.split_once('@') {
        Some((rest, digest)) if Digest::parse(digest).is_ok() => rest,
        // The text may be a password, which no message may show.
        Some(_) => return None,
        None => reference,
    };
    let (host, slash) = match whole.split_once('/') {
        None => (whole, false),
        // `HOST/` and `HOST/:TAG` have an empty path.
        Some((host, rest)) if rest.trim_start_matches('/').split(':').next() == Some("") => {
            (host, true)
        }
        Some(_) => return None,
    };
    if host.is_empty() || slash {
        return Some(host).filter(|host| !host.is_empty());
    }
    if host.starts_with('[') {
        return Some(host);
    }
    let (name, tag) = match host.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (host, None),
    };
    let number: Option<u32> = tag
        .filter(|tag| tag.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|tag| tag.parse().ok());
    let port = number
        .is_some_and(|number| (1000..=65535).contains(&number) && !(1900..2100).contains(&number));
    let is_host = name.contains('.')
        || name.eq_ignore_ascii_case("localhost")
        || name.bytes().any(|byte| byte.is_ascii_uppercase())
        || name.is_empty();
    (is_host || port).then_some(host)
}

/// Prints the location as a locator.
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
    fn k18_a_host_without_a_repository_is_refused() {
        let digest = format!("//127.0.0.1:5998@sha256:{HEX}");
        for (rest, host) in [
            ("//127.0.0.1:5998", "127.0.0.1:5998"),
            ("//127.0.0.1", "127.0.0.1"),
            ("//[::1]:5000", "[::1]:5000"),
            ("//[::1]", "[::1]"),
            ("//localhost", "localhost"),
            ("//localhost:5000", "localhost:5000"),
            ("//localhost:80", "localhost:80"),
            ("//localhost:latest", "localhost:latest"),
            ("//registry.example.com", "registry.example.com"),
            ("//registry.example.com:5000", "registry.example.com:5000"),
            ("//registry.example.com:5000/", "registry.example.com:5000"),
            ("//registry.example.com//", "registry.example.com"),
            ("//registry.example.com/:1", "registry.example.com"),
            ("//docker.io", "docker.io"),
            ("//docker.io/", "docker.io"),
            ("//MYHOST", "MYHOST"),
            ("//MyHost:5000", "MyHost:5000"),
            ("//registry:5000", "registry:5000"),
            ("//host/", "host"),
            (&digest, "127.0.0.1:5998"),
        ] {
            let error = Location::parse(rest).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{rest}");
            let message = error.to_string();
            let named = format!("\"{host}\" is a registry, and names no repository");
            assert!(message.contains(&named), "{rest}: {message}");
            let advice = error.advice().unwrap();
            assert!(
                advice.contains(&format!("`docker://{host}/REPOSITORY:TAG`")),
                "{advice}"
            );
        }
        for (rest, shown) in [
            ("//registry:2", "docker://docker.io/library/registry:2"),
            (
                "//amazonlinux:2023",
                "docker://docker.io/library/amazonlinux:2023",
            ),
            (
                "//debian:20240101",
                "docker://docker.io/library/debian:20240101",
            ),
            ("//python:3.12", "docker://docker.io/library/python:3.12"),
            (
                "//docker.io/library/x.y:5000",
                "docker://docker.io/library/x.y:5000",
            ),
        ] {
            assert_eq!(Location::parse(rest).unwrap().to_string(), shown);
        }
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
