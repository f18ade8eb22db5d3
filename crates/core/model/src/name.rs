//! Names of images: one neutral form, and the strict grammar of Docker references.

use std::fmt;

use crate::{Code, Error, Outcome, Report, Result, quote, without_userinfo};

/// The name of an image: a repository and a tag, either of which may be unknown.
///
/// For a Docker reference the repository is fully qualified (`docker.io/library/busybox`); for an
/// ACI it is the image's name (`example.com/app`) and the tag its label `version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The repository, or the ACI's name.
    pub repository: Option<String>,
    /// The tag, or the ACI's version.
    pub tag: Option<String>,
}

impl Name {
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
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            crate::Digest::parse(digest).map_err(|_| bad("has a malformed digest after `@`"))?;
        }
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("has a malformed tag"));
        }
        let (host, path) = match path.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path.to_owned()),
            _ if path.contains('/') => ("docker.io", path.to_owned()),
            _ => ("docker.io", format!("library/{path}")),
        };
        let host = if host == "index.docker.io" {
            "docker.io"
        } else {
            host
        };
        if !host_is_well_formed(host) {
            return Err(bad("has a malformed host"));
        }
        if path.len() > 255 || !path.split('/').all(is_component) {
            return Err(bad("has a malformed repository"));
        }
        Ok(Self {
            repository: Some(format!("{host}/{path}")),
            tag: tag.map(str::to_owned),
        })
    }

    /// Returns the Docker reference, fully qualified; a tag that is not known is `latest`, as
    /// docker reads it. A character that a reference can't hold is replaced, and reported.
    /// `None` if there is no repository.
    pub fn to_reference(&self, report: &mut Report) -> Option<String> {
        let repository = self.repository.as_deref()?;
        let fixed = fix_repository(repository);
        let tag = self.to_tag(report);
        let text = format!("{fixed}:{tag}");
        let name = Self::parse_reference(&text).ok()?;
        let qualified = name
            .repository
            .expect("a parsed reference has a repository");
        if fixed != repository {
            let why = format!(
                "a reference can't hold {}; it is `{qualified}`",
                quote(repository)
            );
            report.lose("name", Outcome::Approximated, why);
        }
        Some(format!("{qualified}:{tag}"))
    }

    /// Returns the tag that a reference would have, `latest` if none is known.
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
            (Some(repository), Some(tag)) => write!(f, "{repository}:{tag}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => Ok(()),
        }
    }
}

/// Replaces what a repository path can't hold: upper case becomes lower, `~` and runs of
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
        && host_is_well_formed(first)
        && name.contains('/')
    {
        out.push((*first).to_owned());
        parts.next();
    }
    out.extend(parts.map(component));
    out.join("/")
}

/// Says whether the first component of a reference is a host: docker's rule.
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

/// Says whether a text is a tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && text.bytes().next().is_some_and(word)
}

impl Name {
    /// Says whether a text can be one component of a repository's path, such as `library`.
    pub fn is_component(text: &str) -> bool {
        is_component(text)
    }

    /// Says whether a text is a tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
    pub fn is_tag(text: &str) -> bool {
        is_tag(text)
    }

    /// Says whether a text is read as an AC Identifier. appc's own code, and so everything that was
    /// written with it, asks only for the letters and that separators stand between them: docker2aci
    /// wrote `volume-data--x`, and the specification's examples have `example.com/~bob/database`. A
    /// component that is `.` or `..` is none: it would lead elsewhere in a path or a URL.
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

    /// Says whether a text is an AC Identifier (appc spec, types.md):
    /// `[a-z0-9]+([-._~/][a-z0-9]+)*`. What is written follows this rule, which is stricter than what
    /// is read ([`Self::reads_as_ac_identifier`]).
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
}
