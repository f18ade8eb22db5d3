//! File names for several images in one directory: safe, and the same on every file system.
//!
//! Two names collide if some file system would treat them as one: they differ only in letter case,
//! or only in the composition of accented letters. The standard library has no normalisation
//! tables, so the comparison is coarse: a run of characters outside ASCII equals any other such
//! run. It may therefore report a collision where there is none (`é.aci` and `ñ.aci`), which costs
//! a longer name; it never misses one of the two kinds, except for letters whose case pair has
//! another length inside ASCII (`ß` and `ss`).

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{Code, Digest, Error, Limits, Publication, Result, quote};

/// Returns the file name of each publication, in their order. A name that collides with another
/// image's gets `-` and the first 12 hex digits of its image's digest before its extension
/// (robustness D14). The same image twice under one name has one file.
///
/// # Errors
/// [`Code::BadName`] if a name is missing or is not one safe path component of at most
/// `limits.file_token` bytes; [`Code::Ambiguous`] if two images have exactly one name
/// (robustness D13b).
pub fn file_names(publications: &[Publication], limits: &Limits) -> Result<Vec<String>> {
    let mut by_name: BTreeMap<&str, Digest> = BTreeMap::new();
    for publication in publications {
        let name = publication.file_name.as_deref().ok_or_else(|| {
            let message = format!("image {} has no file name", publication.root.digest);
            Error::new(Code::BadName, message).hint("name it with `--name`, or name one file")
        })?;
        check(name, limits)?;
        match by_name.insert(name, publication.root.digest) {
            Some(other) if other != publication.root.digest => {
                return Err(twice(name, &other, &publication.root.digest));
            }
            _ => {}
        }
    }
    let mut by_key: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for name in by_name.keys() {
        by_key.entry(key(name)).or_default().insert(name);
    }
    let mut taken: BTreeMap<String, (String, Digest)> = BTreeMap::new();
    let mut names = Vec::with_capacity(publications.len());
    for publication in publications {
        let name = publication.file_name.as_deref().unwrap_or_default();
        let digest = publication.root.digest;
        let collides = by_key.get(&key(name)).is_some_and(|names| names.len() > 1);
        let name = if collides {
            let name = with_digest(name, &digest);
            check(&name, limits)?;
            name
        } else {
            name.to_owned()
        };
        match taken.insert(key(&name), (name.clone(), digest)) {
            Some((other, of)) if (&other, of) != (&name, digest) => {
                return Err(twice(&name, &of, &digest));
            }
            _ => {}
        }
        names.push(name);
    }
    Ok(names)
}

fn twice(name: &str, first: &Digest, second: &Digest) -> Error {
    let message = format!(
        "two images would be written to the file {}: {first} and {second}",
        quote(name)
    );
    Error::new(Code::Ambiguous, message).hint("convert them one by one, or name them with `--name`")
}

/// Refuses a name that is not one plain component: no part is removed or replaced silently.
fn check(name: &str, limits: &Limits) -> Result<()> {
    let bad = |why: &str| {
        let message = format!("file name {} {why}", quote(name));
        Err(Error::new(Code::BadName, message)
            .hint("name the image with `--name`, or name one file"))
    };
    if name.is_empty() {
        return bad("is empty");
    }
    if name.len() as u64 > limits.file_token {
        return bad(&format!(
            "is longer than {} bytes (`file_token`)",
            limits.file_token
        ));
    }
    if name.starts_with('.') {
        return bad("starts with a dot");
    }
    if name.contains(['/', '\\']) {
        return bad("holds a separator of paths");
    }
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if name.chars().any(hidden) {
        return bad("holds a character that can't be seen");
    }
    Ok(())
}

/// Inserts the start of the digest before the extension, if there is an extension of letters.
fn with_digest(name: &str, digest: &Digest) -> String {
    let hex = digest.hex();
    let hex = &hex[..12];
    match name.rsplit_once('.') {
        Some((stem, extension))
            if !stem.is_empty()
                && !extension.is_empty()
                && extension.bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            format!("{stem}-{hex}.{extension}")
        }
        _ => format!("{name}-{hex}"),
    }
}

/// Returns a text that is equal for all names that collide. A run of characters outside ASCII
/// becomes one `\0`, and includes the letter before the run if it starts with a combining mark: so
/// the composed and the decomposed form are equal.
fn key(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        // These two characters have a case pair inside ASCII.
        let c = match c {
            'ſ' => 's',
            '\u{212a}' => 'k',
            c => c,
        };
        for c in c.to_lowercase() {
            if c.is_ascii() {
                out.push(c);
                continue;
            }
            let combining = ('\u{300}'..='\u{36f}').contains(&c);
            if combining && !out.ends_with('\0') {
                out.pop();
            }
            if !out.ends_with('\0') {
                out.push('\0');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use imgconv_model::{Algorithm, Child};

    fn publication(name: &str, digest: u8) -> Publication {
        Publication {
            root: Child {
                kind: "application/x".into(),
                digest: Digest::new(Algorithm::Sha256, &[digest; 32]),
                size: 1,
                platform: None,
                annotations: BTreeMap::new(),
                raw: String::new(),
            },
            name: None,
            reference: None,
            file_name: Some(name.into()),
        }
    }

    fn names(list: &[(&str, u8)]) -> Result<Vec<String>> {
        let list: Vec<_> = list
            .iter()
            .map(|(name, digest)| publication(name, *digest))
            .collect();
        file_names(&list, &Limits::default())
    }

    #[test]
    fn d14_names_that_differ_in_case_get_their_digest() {
        let found = names(&[("App.aci", 0xaa), ("other.aci", 1), ("app.aci", 0xbb)]).unwrap();
        assert_eq!(
            found,
            ["App-aaaaaaaaaaaa.aci", "other.aci", "app-bbbbbbbbbbbb.aci"]
        );
    }

    #[test]
    fn d14_names_that_differ_in_composition_get_their_digest() {
        for (composed, decomposed) in [
            ("caf\u{e9}.aci", "cafe\u{301}.aci"),
            (
                "\u{d55c}\u{ad6d}",
                "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}",
            ),
            ("x\u{1e69}", "xs\u{323}\u{307}"),
            ("\u{17f}", "S"),
            ("\u{212a}", "K"),
        ] {
            let found = names(&[(composed, 0xaa), (decomposed, 0xbb)]).unwrap();
            assert!(found[0].contains("-aaaaaaaaaaaa"), "{found:?}");
            assert!(found[1].contains("-bbbbbbbbbbbb"), "{found:?}");
        }
    }

    #[test]
    fn d13b_one_name_for_two_images_is_ambiguous() {
        let error = names(&[("a.aci", 1), ("a.aci", 2)]).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        assert!(error.message().contains("\"a.aci\""), "{error}");
        assert_eq!(names(&[("a.aci", 1), ("a.aci", 1)]).unwrap(), ["a.aci"; 2]);
        // The file name that a colliding name would get.
        let error = names(&[
            ("App.aci", 0xaa),
            ("app.aci", 0xbb),
            ("App-aaaaaaaaaaaa.aci", 3),
        ])
        .unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
    }

    #[test]
    fn a_name_is_one_safe_component() {
        let long = "x".repeat(201);
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "../x",
            "a\\b",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            "a\u{202e}b",
            &long,
        ] {
            let error = names(&[(name, 1)]).unwrap_err();
            assert_eq!(error.code(), Code::BadName, "{name:?}");
            assert!(error.message().contains(&quote(name)), "{error}");
        }
        let mut nameless = publication("", 1);
        nameless.file_name = None;
        let error = file_names(&[nameless], &Limits::default()).unwrap_err();
        assert_eq!(error.code(), Code::BadName);
        assert!(names(&[(&long[..200], 1)]).is_ok());
    }
}
