//! AC Identifiers, AC Names and the other small grammars of a manifest: checking them, and making
//! them of any text.
//!
//! Texts are never made valid silently: the caller of [`sanitise`] reports the change.

use imgconv_model::Name;

/// Returns true if a text is an AC Identifier, see [`Name::is_ac_identifier`].
pub fn is_identifier(text: &str) -> bool {
    Name::is_ac_identifier(text)
}

/// Returns true if a text is an AC Name (appc spec, types.md): `[a-z0-9]+(-[a-z0-9]+)*`, an AC
/// Identifier with one kind of separator.
pub fn is_name(text: &str) -> bool {
    is_identifier(text) && !text.contains(['.', '_', '~', '/'])
}

/// Returns true if a text is read as an AC Identifier, see [`Name::reads_as_ac_identifier`].
pub fn reads_as_identifier(text: &str) -> bool {
    Name::reads_as_ac_identifier(text)
}

/// Returns true if a text is read as an AC Name: like [`reads_as_identifier`], with one kind of
/// separator.
pub fn reads_as_name(text: &str) -> bool {
    reads_as_identifier(text) && !text.contains(['.', '_', '~', '/'])
}

/// Makes an AC Identifier of any text: upper case becomes lower, other forbidden characters become
/// `_`, of a run of separators the first stays, separators at the ends are dropped. `None` if the
/// result is empty.
///
/// docker2aci does the same, except that it leaves runs of separators, which the specification's
/// grammar does not allow.
pub fn sanitise(text: &str) -> Option<String> {
    sanitise_with(text, "-._~/", '_')
}

/// Makes an AC Name of any text, like [`sanitise`]; forbidden characters become `-`.
pub fn sanitise_name(text: &str) -> Option<String> {
    sanitise_with(text, "-", '-')
}

fn sanitise_with(text: &str, separators: &str, other: char) -> Option<String> {
    let mut out = String::new();
    let mut separator = None;
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            if let Some(separator) = separator.take()
                && !out.is_empty()
            {
                out.push(separator);
            }
            out.push(c);
        } else {
            let c = if separators.contains(c) { c } else { other };
            separator.get_or_insert(c);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Returns true if a text can name an environment variable: `[A-Za-z_][A-Za-z_0-9.-]*` (aci.md).
pub(crate) fn is_variable(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Reads a semantic version (semver.org 2.0.0) to its three numbers.
pub(crate) fn semantic_version(text: &str) -> Option<[u64; 3]> {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let words = |text: &str| {
        text.split('.').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    if !pre.is_none_or(words) || !build.is_none_or(words) {
        return None;
    }
    let mut parts = core.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let canonical = part == "0" || !part.starts_with('0');
        (digits && canonical).then(|| part.parse().ok()).flatten()
    });
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Returns true if a text is a URL with the scheme http or https, as aci.md requires for
/// `homepage`.
pub(crate) fn is_url(text: &str) -> bool {
    let http = text
        .split_once(':')
        .is_some_and(|(scheme, _)| ["http", "https"].contains(&&*scheme.to_ascii_lowercase()));
    http && !text.chars().any(char::is_control)
}

/// Cleans a path of a manifest: a relative path is read from `/`, `.` and double slashes are
/// dropped, `..` goes up. Returns the path without slashes at its ends, `None` if it climbs out of
/// the root or holds a NUL.
pub(crate) fn clean_path(path: &str) -> Option<String> {
    if path.contains('\0') {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6c_identifiers_follow_the_specification() {
        for text in ["database", "example.com/app_v1", "a", "0", "a-b.c~d/e_f"] {
            assert!(is_identifier(text), "{text}");
        }
        for text in [
            "", "a\n", "A", "-a", "a-", "a--b", "a//b", "a b", "é", "/a", "a/", "x/~y",
        ] {
            assert!(!is_identifier(text), "{text:?}");
        }
        assert!(is_name("volume-data-1"));
        assert!(!is_name("volume.data"));
    }

    #[test]
    fn k17_what_actool_takes_is_read() {
        for text in [
            "a",
            "a__b",
            "a--b",
            "a..b",
            "a~~b",
            "a-_.b",
            "team/-x",
            "a//b",
            "example.com/~bob/x",
        ] {
            assert!(reads_as_identifier(text), "{text}");
        }
        for text in [
            "", "a\n", "A", "-a", "a-", "~bob/x", "a/", "a b", "é", "a/../b", "a/./b", "..", "../a",
        ] {
            assert!(!reads_as_identifier(text), "{text:?}");
        }
        assert!(reads_as_name("volume-data--x") && !reads_as_name("volume__x"));
        assert!(!is_identifier("a__b") && !is_name("volume-data--x"));
    }

    #[test]
    fn sanitised_texts_are_valid() {
        let table = [
            (
                "docker.io/library/busybox",
                Some("docker.io/library/busybox"),
            ),
            ("localhost:5000/My_App", Some("localhost_5000/my_app")),
            ("a__b--c", Some("a_b-c")),
            ("/x/", Some("x")),
            ("é", None),
            ("--", None),
            ("aéb", Some("a_b")),
        ];
        for (text, expected) in table {
            let found = sanitise(text);
            assert_eq!(found.as_deref(), expected, "{text}");
            assert!(found.is_none_or(|found| is_identifier(&found)));
        }
        assert_eq!(
            sanitise_name("volume/Data.x/").as_deref(),
            Some("volume-data-x")
        );
    }

    #[test]
    fn versions_urls_and_variables() {
        for (text, expected) in [
            ("0.8.11", Some([0, 8, 11])),
            ("1.0.0-rc.1+git-x", Some([1, 0, 0])),
            ("", None),
            ("0.8", None),
            ("0.8.11.1", None),
            ("v0.8.11", None),
            ("0.08.1", None),
            ("1.0.0-", None),
        ] {
            assert_eq!(semantic_version(text), expected, "{text}");
        }
        assert!(is_url("https://example.com") && is_url("HTTP://x"));
        assert!(!is_url("ftp://x") && !is_url("example.com") && !is_url("http://x\n"));
        assert!(
            is_variable("A_b.c-1") && !is_variable("1A") && !is_variable("") && !is_variable("A=B")
        );
    }

    #[test]
    fn h5b_a_path_that_climbs_out_is_none() {
        assert_eq!(clean_path("/a//b/./c/../d/").as_deref(), Some("a/b/d"));
        assert_eq!(clean_path("foo").as_deref(), Some("foo"));
        assert_eq!(clean_path("/").as_deref(), Some(""));
        assert_eq!(clean_path("/../etc"), None);
        assert_eq!(clean_path("/a\0"), None);
    }
}
