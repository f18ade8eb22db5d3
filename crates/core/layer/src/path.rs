//! Entry names as keys: one spelling for each path.
//!
//! This module works on the text of a name only. The tree resolves symbolic links.

use imgconv_model::{Code, Error, Limits, Result, quote};

/// Cleans an entry name to the one key of its path: no leading or trailing slash, no empty
/// component, no `.`, no `..`; the root is the empty key. `..` removes the component before it.
///
/// # Errors
/// [`Code::BadTar`] if the name is empty or holds a NUL, [`Code::Limit`] if it is longer than
/// `path`, [`Code::Escape`] if it climbs out of the root.
pub fn clean(path: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let mut key = Vec::with_capacity(path.len());
    clean_into(path, limits, &mut key)?;
    Ok(key)
}

/// Appends the key of an entry name, see [`clean`]. After an error `out` may have a part of the key.
pub(crate) fn clean_into(path: &[u8], limits: &Limits, out: &mut Vec<u8>) -> Result<()> {
    if path.is_empty() {
        return Err(Error::new(Code::BadTar, "the name is empty"));
    }
    // The slash that marks a directory is not part of its path.
    if path.strip_suffix(b"/").unwrap_or(path).len() as u64 > limits.path {
        let what = format!("path {} of {} bytes", quote(path), path.len());
        return Err(Limits::exceeded("path", limits.path, what));
    }
    if path.contains(&0) {
        let message = format!("path {} holds a NUL", quote(path));
        return Err(Error::new(Code::BadTar, message));
    }
    let start = out.len();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if out.len() == start => {
                let message = format!("path {} leaves the root", quote(path));
                return Err(Error::new(Code::Escape, message));
            }
            b".." => {
                let parent = split(&out[start..]).0.len();
                out.truncate(start + parent);
            }
            _ => {
                if out.len() > start {
                    out.push(b'/');
                }
                out.extend_from_slice(component);
            }
        }
    }
    Ok(())
}

/// Splits a cleaned path into its parent's path and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness E5a
    #[test]
    fn e5a_one_key_for_every_spelling() {
        let limits = Limits::default();
        for name in [
            "a", "./a", "/a", ".//a", "a/.", "b/../a", "//a", "a/", "./a/",
        ] {
            assert_eq!(clean(name.as_bytes(), &limits).unwrap(), b"a", "{name}");
        }
        for name in [".", "./", "/", "//", "a/..", "./."] {
            assert_eq!(clean(name.as_bytes(), &limits).unwrap(), b"", "{name}");
        }
        assert_eq!(clean(b"a/b/../c//d/", &limits).unwrap(), b"a/c/d");
        assert_eq!(clean(b"..a/...", &limits).unwrap(), b"..a/...");
    }

    // robustness E4
    #[test]
    fn e4_bytes_are_kept() {
        let limits = Limits::default();
        for name in [
            &b"\xff\xfe"[..],
            b"C:foo",
            b"a\\b",
            b"\r\t\x1b ",
            "\u{202e}x".as_bytes(),
        ] {
            assert_eq!(clean(name, &limits).unwrap(), name);
        }
        let deep = vec![&b"a"[..]; 2048].join(&b'/');
        assert_eq!(clean(&deep, &limits).unwrap(), deep);
    }

    // robustness E5b, E11 (path), bad_name
    #[test]
    fn e5b_e11_refused_names() {
        let limits = Limits::default();
        let rows: [(&[u8], Code, &str); 8] = [
            (b"../x", Code::Escape, r#"path "../x" leaves the root"#),
            (b"a/../../x", Code::Escape, r#""a/../../x""#),
            (b"../../escape", Code::Escape, r#""../../escape""#),
            (b"..", Code::Escape, r#""..""#),
            (b"/..", Code::Escape, r#""/..""#),
            (b"", Code::BadTar, "the name is empty"),
            (b"a\0b", Code::BadTar, "holds a NUL"),
            (
                &[b'a'; 4096],
                Code::Limit,
                "of 4096 bytes exceeds the limit `path` of 4095",
            ),
        ];
        for (name, code, says) in rows {
            let error = clean(name, &limits).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(clean(&[b'a'; 4095], &limits).is_ok());
    }
}
