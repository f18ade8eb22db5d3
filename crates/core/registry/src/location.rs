//! The parts of a locator: a repository on a host, and a tag or a digest there.

use std::fmt;

use imgconv_model::{Code, Digest, Error, Name, Result, password_in, quote, without_userinfo};

/// The name of Docker's own registry in references.
const DOCKER: &str = "docker.io";

/// The version of the protocol that a locator names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The registry API v1 of docker-registry: `dockerv1:`.
    V1,
    /// The Registry HTTP API v2, today's distribution specification: `docker:`.
    V2,
}

impl Protocol {
    /// Returns the scheme of locators.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::V1 => "dockerv1",
            Self::V2 => "docker",
        }
    }

    /// Returns the server of a host as references name it.
    pub fn server(self, host: &str) -> &str {
        match (host == DOCKER, self) {
            (false, _) => host,
            (true, Self::V1) => "index.docker.io",
            (true, Self::V2) => "registry-1.docker.io",
        }
    }
}

/// A registry as a whole: every repository there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// Reads `//HOST[:PORT]` or `//HOST[:PORT]/`. `None` for every other text: a reference, or a
    /// malformed text, which [`Location::parse`] describes.
    pub fn parse(rest: &str) -> Option<Self> {
        let host = host_alone(rest.strip_prefix("//")?)?;
        let whole = rest.trim_start_matches('/').trim_end_matches('/');
        if host != whole {
            // The text has a tag or a digest.
            return None;
        }
        let name = Name::parse_reference(&format!("{host}/x")).ok()?;
        let repository = name.repository?;
        // A word that docker takes for a part of the path is no host.
        let (found, _) = repository.split_once('/')?;
        (found == host).then(|| Self(host.to_owned()))
    }

    /// Returns the host as references name it, `HOST[:PORT]`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Returns the place of a repository here.
    ///
    /// # Errors
    /// [`Code::BadName`] if the text is no path of a repository.
    pub fn repository(&self, path: &str) -> Result<Location> {
        let qualified = format!("{}/{path}", self.0);
        let name = Name::parse_reference(&qualified);
        let repository = name.ok().and_then(|name| match name {
            Name {
                repository,
                tag: None,
                digest: None,
            } => repository,
            _ => None,
        });
        if repository.as_deref() != Some(&qualified) {
            let message = format!(
                "the registry lists {}, which is not a valid name of a repository",
                quote(path)
            );
            return Err(Error::new(Code::BadName, message));
        }
        Ok(Location {
            protocol: Protocol::V2,
            host: self.0.clone(),
            repository: path.to_owned(),
            tag: None,
            digest: None,
        })
    }
}

/// Prints the registry as a locator, with a slash where the host alone would be an image of Docker
/// Hub.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = match host_alone(&self.0) {
            Some(_) => "",
            None => "/",
        };
        write!(f, "docker://{}{slash}", self.0)
    }
}

/// An image, or all images, of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The protocol that the locator names.
    pub protocol: Protocol,
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
    /// Reads `//HOST[:PORT]/REPO[:TAG][@DIGEST]` of the scheme `docker`, a Docker reference after two
    /// slashes, and qualifies it as docker does.
    ///
    /// # Errors
    /// [`Code::Usage`] without the slashes, else the errors of [`Name::parse_reference`].
    pub fn parse(rest: &str) -> Result<Self> {
        Self::parse_as(Protocol::V2, rest)
    }

    /// Reads the text after the scheme of a protocol, see [`Location::parse`].
    ///
    /// # Errors
    /// The errors of [`Location::parse`]; [`Code::Unsupported`] for a host without a repository and
    /// [`Code::BadName`] for a digest in version 1, which has neither a list of repositories nor
    /// digests of images.
    pub fn parse_as(protocol: Protocol, rest: &str) -> Result<Self> {
        let scheme = protocol.scheme();
        let Some(reference) = rest.strip_prefix("//") else {
            let shown = without_userinfo(rest);
            let message = format!("`{scheme}:{shown}` is no place in a registry");
            return Err(Error::new(Code::Usage, message)
                .hint(format!("write it as `{scheme}://HOST/REPOSITORY:TAG`")));
        };
        if password_in(reference).is_some() {
            let shown = quote(format!("{scheme}://{}", without_userinfo(reference)));
            let message = format!("{shown} has a user name or a password in it");
            return Err(Error::new(Code::BadName, message).hint(
                "a locator holds none: `--creds HOST=USER:PASSWORD`, `--authfile` or `docker login` \
                 give them",
            ));
        }
        if let Some(host) = host_alone(reference) {
            if protocol == Protocol::V1 {
                return Err(whole_v1(host));
            }
            let message = format!("{} is a registry, and names no repository", quote(host));
            let hub = reference.trim_end_matches('/');
            return Err(Error::new(Code::BadName, message).hint(format!(
                "write it as `docker://{host}/REPOSITORY:TAG`; only `ls` and `migrate` read a whole \
                 registry; an image of Docker Hub that is called so is `docker://library/{hub}`"
            )));
        }
        let name = Name::parse_reference(reference)?;
        if let (Protocol::V1, Some(digest)) = (protocol, &name.digest) {
            let message =
                format!("{digest} can't be asked for: version 1 has no digests of images");
            return Err(Error::new(Code::BadName, message)
                .at(quote(reference))
                .hint(format!("write it as `{scheme}://HOST/REPOSITORY:TAG`")));
        }
        let qualified = name.repository.unwrap_or_default();
        let Some((host, repository)) = qualified.split_once('/') else {
            let message = format!("{} names no repository", quote(reference));
            return Err(Error::new(Code::BadName, message));
        };
        Ok(Self {
            protocol,
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: name.tag,
            digest: name.digest,
        })
    }

    /// Returns the host to connect to.
    pub fn server(&self) -> &str {
        self.protocol.server(&self.host)
    }

    /// Returns the repository's qualified name.
    pub fn qualified(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Returns the name of a tag here.
    pub fn name(&self, tag: &str) -> Name {
        Name {
            repository: Some(self.qualified()),
            tag: Some(tag.to_owned()),
            digest: None,
        }
    }
}

/// The error for a registry of version 1 as a whole.
fn whole_v1(host: &str) -> Error {
    let message = format!(
        "{} names no repository, and the registry API v1 has no list of repositories",
        quote(host)
    );
    Error::new(Code::Unsupported, message).hint(format!(
        "write it as `dockerv1://{host}/REPOSITORY:TAG`; only registries with a search (`/v1/search`) could \
         name their repositories, and the search is not asked; on the registry's own machine \
         `registry-storage:PATH` reads its disk"
    ))
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
        write!(f, "{}://{}", self.protocol.scheme(), self.qualified())?;
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
    fn l19g_version_1_names_neither_a_whole_host_nor_a_digest() {
        let parse = |rest: &str| Location::parse_as(Protocol::V1, rest);
        let location = parse("//host:5000/a/b:t").unwrap();
        assert_eq!(location.to_string(), "dockerv1://host:5000/a/b:t");
        assert_eq!(parse("//x").unwrap().server(), "index.docker.io");
        for rest in ["//host:5000", "//host.example/", "//localhost"] {
            let error = parse(rest).unwrap_err();
            assert_eq!(error.code(), Code::Unsupported, "{rest}");
            assert!(error.advice().unwrap().contains("/v1/search"), "{error}");
        }
        let digest = format!("//host:5000/a@sha256:{HEX}");
        assert_eq!(parse(&digest).unwrap_err().code(), Code::BadName);
        assert_eq!(parse("host/a").unwrap_err().code(), Code::Usage);
    }

    #[test]
    fn l17a_a_host_alone_is_a_whole_registry() {
        for (rest, shown) in [
            ("//127.0.0.1:5998", "docker://127.0.0.1:5998"),
            ("//[::1]", "docker://[::1]"),
            ("//localhost:80", "docker://localhost:80"),
            ("//registry.example.com", "docker://registry.example.com"),
            ("//registry.example.com//", "docker://registry.example.com"),
            ("//docker.io/", "docker://docker.io"),
            ("//registry:5000", "docker://registry:5000"),
            ("//registry:2/", "docker://registry:2/"),
        ] {
            let host = Host::parse(rest).unwrap();
            assert_eq!(host.to_string(), shown);
            let again = shown.strip_prefix("docker:").unwrap();
            assert_eq!(Host::parse(again), Some(host));
            assert_eq!(Location::parse(rest).unwrap_err().code(), Code::BadName);
        }
        let digest = format!("//127.0.0.1:5998@sha256:{HEX}");
        for rest in [
            "//x",
            "//x/",
            "//registry:2",
            "//a/b",
            "//localhost:latest",
            "//registry.example.com/:1",
            "//user:password@host.example",
            "//-/",
            "//../",
            "//",
            "///",
            "host.example",
            "",
            &digest,
        ] {
            assert_eq!(Host::parse(rest), None, "{rest}");
        }
    }

    // robustness L17c
    #[test]
    fn l17c_names_of_repositories_are_checked() {
        let host = Host::parse("//host.example:5000").unwrap();
        assert_eq!(
            host.repository("a/b").unwrap().qualified(),
            "host.example:5000/a/b"
        );
        let long = "a".repeat(256);
        for path in [
            "",
            "..",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "A",
            "a:t",
            "a b",
            "a\nb",
            "a\u{1b}[2J",
            "a%2fb",
            "a@b",
            "?x",
            "#",
            &long,
        ] {
            let error = host.repository(path).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{path:?}");
            assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
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
