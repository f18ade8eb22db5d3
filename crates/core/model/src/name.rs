//! Names of images: one neutral form, and the strict grammar of Docker references.

use std::fmt;

use crate::{Code, Digest, Error, Outcome, Report, Result, quote, without_userinfo};

/// The longest path of a repository (distribution's `reference.NameTotalLengthMax`).
const LONGEST_PATH: usize = 255;

/// The host of a reference without a host.
const DOCKER_HUB: &str = "docker.io";

/// The name of an image: a repository and a tag, either of which may be unknown.
///
/// For a Docker reference the repository is fully qualified (`docker.io/library/busybox`); for an
/// ACI it is the image's name (`example.com/app`) and the tag its label `version`. A reference may
/// name its image by a digest (`busybox@sha256:…`): without a tag beside it the name has no tag,
/// not even `latest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The repository, or the ACI's name.
    pub repository: Option<String>,
    /// The tag, or the ACI's version.
    pub tag: Option<String>,
    /// The digest after `@`.
    pub digest: Option<Digest>,
}

impl Name {
    /// Makes a name without a digest.
    pub fn new(repository: impl Into<String>, tag: Option<String>) -> Self {
        Self {
            repository: Some(repository.into()),
            tag,
            digest: None,
        }
    }

    /// Reads a Docker reference (`[HOST[:PORT]/]PATH[:TAG][@DIGEST]`) by the grammar of the
    /// distribution project's reference package, and qualifies it as docker does.
    ///
    /// # Errors
    /// [`Code::BadName`] for anything else.
    pub fn parse_reference(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let shown = quote(without_userinfo(text));
            let message = format!("image reference {shown} {why}");
            Error::new(Code::BadName, message).hint("write it as `HOST/REPOSITORY:TAG`")
        };
        if text.len() > 1024 {
            return Err(bad("is longer than 1024 bytes"));
        }
        if Digest::parse(text).is_ok() {
            return Err(bad("is a digest, and names no repository"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let digest = digest
            .map(Digest::parse)
            .transpose()
            .map_err(|_| bad("has a malformed digest after `@`"))?;
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("has a malformed tag"));
        }
        let (host, path) = match path.split_once('/') {
            Some(("index.docker.io", path)) => (DOCKER_HUB, path),
            Some((host, path)) if is_host(host) => (host, path),
            _ => (DOCKER_HUB, path),
        };
        // `splitDockerDomain` of distribution's package `reference`.
        let path = match host == DOCKER_HUB && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        if !host_is_well_formed(host) {
            return Err(bad("has a malformed host"));
        }
        if path.len() > LONGEST_PATH || !path.split('/').all(is_component) {
            return Err(bad("has a malformed repository"));
        }
        Ok(Self {
            repository: Some(format!("{host}/{path}")),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Returns the Docker reference with a tag, fully qualified; an unknown tag is `latest`, as
    /// docker reads it. Characters that a reference can't hold are replaced, a path that is too
    /// long is shortened, and both are reported. `None` if there is no repository, or if only a
    /// digest identifies the image in its repository.
    pub fn to_reference(&self, report: &mut Report) -> Option<String> {
        if self.is_by_digest() {
            return None;
        }
        let repository = self.to_repository(report)?;
        let tag = self.to_tag(report);
        Some(format!("{repository}:{tag}"))
    }

    /// Returns the same reference with the digest, if there is one: `REPOSITORY:TAG@DIGEST`, or
    /// `REPOSITORY@DIGEST` for an unknown tag.
    pub fn to_full_reference(&self, report: &mut Report) -> Option<String> {
        let tagged = match self.is_by_digest() {
            true => self.to_repository(report)?,
            false => self.to_reference(report)?,
        };
        Some(match &self.digest {
            Some(digest) => format!("{tagged}@{digest}"),
            None => tagged,
        })
    }

    /// Returns the name as a Docker reference holds it ([`Self::to_full_reference`]); the name itself if no
    /// reference can.
    #[must_use]
    pub fn as_referred(&self) -> Self {
        let text = self.to_full_reference(&mut Report::default());
        let read = text.and_then(|text| Self::parse_reference(&text).ok());
        read.unwrap_or_else(|| self.clone())
    }

    /// Returns true if only a digest identifies the image in its repository.
    pub fn is_by_digest(&self) -> bool {
        self.digest.is_some() && self.tag.is_none()
    }

    /// Returns the name with the tag that docker assumes: `latest`, unless there is a tag or a
    /// digest. Names that are equal then are one name.
    #[must_use]
    pub fn qualified(&self) -> Self {
        let mut name = self.clone();
        if name.repository.is_some() && name.digest.is_none() {
            name.tag.get_or_insert_with(|| "latest".to_owned());
        }
        if name.tag.is_some() {
            name.digest = None;
        }
        name
    }

    /// Returns the fully qualified repository of the reference.
    fn to_repository(&self, report: &mut Report) -> Option<String> {
        let repository = self.repository.as_deref()?;
        let fixed = shorten(fix_repository(repository), repository);
        let parsed = Self::parse_reference(&fixed).ok();
        let Some(qualified) = parsed.and_then(|name| name.repository) else {
            let why = format!("no reference can hold {}", quote(repository));
            report.lose("name", Outcome::Dropped, why);
            return None;
        };
        if fixed != repository {
            let why = format!(
                "a reference can't hold {}; it is `{qualified}`",
                quote(repository)
            );
            report.lose("name", Outcome::Approximated, why);
        }
        Some(qualified)
    }

    /// Returns the tag of a reference to the image, `latest` if the tag is unknown.
    pub fn to_tag(&self, report: &mut Report) -> String {
        let Some(version) = self.tag.as_deref().filter(|tag| !tag.is_empty()) else {
            return "latest".to_owned();
        };
        if is_tag(version) {
            return version.to_owned();
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let mut tag: String = version
            .chars()
            .map(|c| if valid(c) { c } else { '_' })
            .take(128)
            .collect();
        if tag.starts_with(['.', '-']) {
            tag.replace_range(..1, "_");
        }
        let why = format!("a tag can't hold {}; it is `{tag}`", quote(version));
        report.lose("labels.version", Outcome::Approximated, why);
        tag
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.repository, &self.tag) {
            (Some(repository), Some(tag)) => write!(f, "{repository}:{tag}")?,
            (Some(one), None) | (None, Some(one)) => f.write_str(one)?,
            (None, None) => {}
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Shortens the path of a repository that is longer than a reference can hold. The end, a hash of
/// the whole name, keeps different names apart.
fn shorten(fixed: String, whole: &str) -> String {
    let (host, path) = match fixed.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, &*fixed),
    };
    let assumed = match host {
        None | Some(DOCKER_HUB) if !path.contains('/') => "library/".len(),
        _ => 0,
    };
    if path.len() + assumed <= LONGEST_PATH {
        return fixed;
    }
    // FNV-1a: the name has to be the same in every run, and nothing relies on the hash.
    let hash = whole.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let end = format!("-{hash:016x}");
    let kept = path.get(..LONGEST_PATH - assumed - end.len());
    let kept = kept
        .unwrap_or_default()
        .trim_end_matches(['.', '_', '-', '/']);
    match host {
        Some(host) => format!("{host}/{kept}{end}"),
        None => format!("{kept}{end}"),
    }
}

/// Replaces characters that a repository path can't hold: upper case becomes lower, `~` and runs of
/// separators that the grammar refuses become `_` or their first character.
fn fix_repository(name: &str) -> String {
    let component = |part: &str| -> String {
        if is_component(part) {
            return part.to_owned();
        }
        let mut out = String::new();
        for c in part.chars().flat_map(char::to_lowercase) {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                out.push(c);
            } else if out.ends_with(|last: char| last.is_ascii_alphanumeric()) {
                out.push(if "._-".contains(c) { c } else { '_' });
            }
        }
        let trimmed = out.trim_end_matches(['.', '_', '-']);
        if trimmed.is_empty() {
            "x".to_owned()
        } else {
            trimmed.to_owned()
        }
    };
    let mut parts = name.split('/').peekable();
    let mut out = Vec::new();
    if let Some(first) = parts.peek()
        && is_host(first)
        && name.contains('/')
    {
        out.push(fix_host(first));
        parts.next();
    }
    out.extend(parts.map(component));
    out.join("/")
}

/// Replaces characters that a host name can't hold by `-`, and drops labels that are empty then.
fn fix_host(host: &str) -> String {
    if host_is_well_formed(host) {
        return host.to_owned();
    }
    let labels = host.split('.').map(|label| {
        let label: String = label
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        label.trim_matches('-').to_owned()
    });
    let labels: Vec<String> = labels.filter(|label| !label.is_empty()).collect();
    match &labels[..] {
        // The first component has to stay a host.
        [] | [_] => format!("{}.invalid", labels.join("."))
            .trim_start_matches('.')
            .to_owned(),
        _ => labels.join("."),
    }
}

/// Returns true if the first component of a reference is a host: docker's rule.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn host_is_well_formed(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let well_formed = match address {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => name.split('.').all(label),
    };
    well_formed
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// `alphanumeric (separator alphanumeric)*`, separator one of `.`, `_`, `__` or dashes.
fn is_component(part: &str) -> bool {
    let mut rest = part;
    loop {
        let word = rest
            .bytes()
            .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            .count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = if rest.starts_with('.') {
            1
        } else if rest.starts_with("__") {
            2
        } else if rest.starts_with('_') {
            1
        } else {
            rest.bytes().take_while(|b| *b == b'-').count()
        };
        if separator == 0 {
            return false;
        }
        rest = &rest[separator..];
    }
}

/// Returns true if a text is a tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && text.bytes().next().is_some_and(word)
}

impl Name {
    /// Returns true if a text can be one component of a repository's path, such as `library`.
    pub fn is_component(text: &str) -> bool {
        is_component(text)
    }

    /// Returns true if a text is a tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
    pub fn is_tag(text: &str) -> bool {
        is_tag(text)
    }

    /// Returns true if a text is read as an AC Identifier. appc's own code, and so every ACI that
    /// was written with it, checks only the letters and that separators stand between them:
    /// docker2aci wrote `volume-data--x`, and the specification's examples have
    /// `example.com/~bob/database`. A component that is `.` or `..` is refused: it would lead
    /// elsewhere in a path or a URL.
    pub fn reads_as_ac_identifier(text: &str) -> bool {
        let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        bytes.first().is_some_and(word)
            && bytes.last().is_some_and(word)
            && bytes
                .iter()
                .all(|byte| word(byte) || b"-._~/".contains(byte))
            && !text.split('/').any(|part| part == "." || part == "..")
    }

    /// Returns true if a text is an AC Identifier (appc spec, types.md):
    /// `[a-z0-9]+([-._~/][a-z0-9]+)*`. Written identifiers follow this rule, which is stricter than
    /// the rule for reading ([`Self::reads_as_ac_identifier`]).
    pub fn is_ac_identifier(text: &str) -> bool {
        let mut after_word = false;
        for byte in text.bytes() {
            if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
                after_word = true;
            } else if after_word && b"-._~/".contains(&byte) {
                after_word = false;
            } else {
                return false;
            }
        }
        after_word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> String {
        Name::parse_reference(text).unwrap().to_string()
    }

    #[test]
    fn references_are_qualified_as_docker_does() {
        assert_eq!(reference("busybox"), "docker.io/library/busybox");
        assert_eq!(reference("busybox:1.35"), "docker.io/library/busybox:1.35");
        assert_eq!(reference("library/busybox"), "docker.io/library/busybox");
        assert_eq!(reference("index.docker.io/a/b"), "docker.io/a/b");
        for hub in ["docker.io", "index.docker.io"] {
            let name = "docker.io/library/busybox:1";
            assert_eq!(reference(&format!("{hub}/busybox:1")), name);
            assert_eq!(reference(&format!("{hub}/library/busybox:1")), name);
        }
        assert_eq!(reference("example.com/busybox"), "example.com/busybox");
        assert_eq!(reference("localhost/x:y"), "localhost/x:y");
        assert_eq!(reference("localhost:5000/x"), "localhost:5000/x");
        assert_eq!(reference("[::1]:5000/x"), "[::1]:5000/x");
        assert_eq!(
            reference("example.com/a__b/c-d--e:T_1.x"),
            "example.com/a__b/c-d--e:T_1.x"
        );
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "../../x:latest",
            "x:../../y",
            "X/Y:z",
            "a//b",
            "/a",
            "a/",
            "a_-b",
            "a:b:c",
            "a b",
            "x:\u{1b}",
            "x@sha256:zz",
            "-a",
            "exa_mple.com/x",
            "x:",
        ] {
            assert_eq!(
                Name::parse_reference(text).unwrap_err().code(),
                Code::BadName,
                "{text}"
            );
        }
        assert!(Name::parse_reference(&format!("x:{}", "t".repeat(129))).is_err());
        assert!(Name::parse_reference(&"x".repeat(256)).is_err());
    }

    #[test]
    fn an_aci_name_becomes_a_reference_and_says_what_changed() {
        let name = |repository: &str, tag: Option<&str>| Name {
            repository: Some(repository.into()),
            tag: tag.map(str::to_owned),
            digest: None,
        };
        let mut report = Report::default();
        let text = name("example.com/app", Some("1.0")).to_reference(&mut report);
        assert_eq!(text.as_deref(), Some("example.com/app:1.0"));
        let text = name("busybox", None).to_reference(&mut report);
        assert_eq!(text.as_deref(), Some("docker.io/library/busybox:latest"));
        assert!(report.is_clean());
        let text = name("example.com/my~app", Some("1.0+git~2")).to_reference(&mut report);
        assert_eq!(text.as_deref(), Some("example.com/my_app:1.0_git_2"));
        assert_eq!(report.losses.len(), 2);
    }

    // K14
    #[test]
    fn a_name_by_digest_has_no_tag() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let by_digest = Name::parse_reference(&format!("alpine@{digest}")).unwrap();
        let mut report = Report::default();
        assert_eq!(by_digest.to_reference(&mut report), None);
        let full = format!("docker.io/library/alpine@{digest}");
        assert_eq!(by_digest.to_full_reference(&mut report), Some(full.clone()));
        assert_eq!(by_digest.to_string(), full);
        assert_eq!(by_digest.qualified(), by_digest);
        let both = Name::parse_reference(&format!("alpine:3@{digest}")).unwrap();
        assert_eq!(
            both.to_reference(&mut report).unwrap(),
            "docker.io/library/alpine:3"
        );
        assert_eq!(both.qualified().to_string(), "docker.io/library/alpine:3");
        assert!(report.is_clean());
        assert_ne!(
            by_digest.qualified(),
            Name::parse_reference("alpine").unwrap().qualified()
        );
        // The ID of an image, as CRI names it.
        assert_eq!(
            Name::parse_reference(&digest).unwrap_err().code(),
            Code::BadName
        );
    }

    // K13
    #[test]
    fn a_name_that_no_reference_can_hold_is_changed_and_reported() {
        let name = |repository: String| Name {
            repository: Some(repository),
            ..Name::default()
        };
        let long = "a".repeat(300);
        for (own, start) in [
            (long.clone(), "docker.io/library/aaa"),
            (format!("example.com/{long}"), "example.com/aaa"),
            (format!("example.com/b/{long}/{long}"), "example.com/b/aaa"),
            ("exa_mple.com/x".to_owned(), "exa-mple.com/x:"),
            ("a~b.com/x".to_owned(), "a-b.com/x:"),
        ] {
            let mut report = Report::default();
            let text = name(own.clone()).to_reference(&mut report).unwrap();
            assert!(text.starts_with(start), "{own}: {text}");
            assert!(Name::parse_reference(&text).is_ok(), "{text}");
            assert_eq!(report.losses.len(), 1, "{own}");
        }
        let [a, b] = ["b", "c"].map(|end| {
            let own = name(format!("{long}{end}"));
            own.to_reference(&mut Report::default())
        });
        assert_ne!(a, b);
        let mut report = Report::default();
        let host = name(format!("{}.com/x", "a".repeat(2000)));
        assert_eq!(host.to_reference(&mut report), None);
        assert_eq!(report.losses[0].outcome, Outcome::Dropped);
    }
}
