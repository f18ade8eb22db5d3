//! The choice of a place's entries by a reference.

use imgconv_model::{Code, Error, Name, Result, RootEntry, quote};

use crate::locator::Reference;

/// Picks the entries that a reference means. Several different images are an error.
pub fn select(entries: Vec<RootEntry>, reference: Option<&Reference>) -> Result<Vec<RootEntry>> {
    let Some(reference) = reference else {
        if entries.is_empty() {
            return Err(Error::new(Code::Missing, "the place has no images"));
        }
        return Ok(entries);
    };
    let matches: Vec<&RootEntry> = match reference {
        Reference::Position(n) => {
            let mut all = entries.iter();
            all.find(|entry| entry.position == *n).into_iter().collect()
        }
        Reference::Digest(digest) => {
            let mut all = entries.iter();
            match all.find(|entry| entry.digest() == Some(*digest)) {
                Some(found) => vec![found],
                // The digest may be an image ID of docker, by which some places know their images.
                None => by_name(&entries, &digest.hex()),
            }
        }
        Reference::Name(text) => by_name(&entries, text),
    };
    // A name whose platforms are files of their own means all of these files.
    let platforms = matches.len() > 1
        && matches.iter().all(|entry| {
            entry.child.is_none() && entry.name.is_some() && entry.name == matches[0].name
        });
    if platforms {
        return Ok(matches.into_iter().cloned().collect());
    }
    let is_other =
        |entry: &&RootEntry| entry.child.is_none() || entry.digest() != matches[0].digest();
    let distinct = matches.len() > 1 && matches.iter().any(is_other);
    match matches[..] {
        [] => {
            let message = format!("the place has no image {}", quote(reference.to_string()));
            let available = list(&entries.iter().collect::<Vec<_>>());
            Err(Error::new(Code::Missing, message).hint(format!("available: {available}")))
        }
        _ if distinct => {
            let message = format!("{} matches several images", quote(reference.to_string()));
            Err(Error::new(Code::Ambiguous, message)
                .hint(format!("use one of: {}", list(&matches))))
        }
        _ => Ok(vec![matches[0].clone()]),
    }
}

/// Finds entries by their exact text or name; else by a full reference; else by a tag.
pub fn by_name<'a>(entries: &'a [RootEntry], text: &str) -> Vec<&'a RootEntry> {
    let exact: Vec<&RootEntry> = entries
        .iter()
        .filter(|entry| {
            let name = entry.name.as_ref().map(Name::to_string);
            name.iter().chain(&entry.texts).any(|known| known == text)
        })
        .collect();
    if !exact.is_empty() {
        return exact;
    }
    if text.starts_with("sha512-") {
        // An image ID, whole or shortened; a store of rkt holds only the first half.
        let fits = |known: &String| {
            known.starts_with(text) || known.starts_with("sha512-") && text.starts_with(&**known)
        };
        let id = |entry: &&RootEntry| entry.texts.iter().any(fits);
        return entries.iter().filter(id).collect();
    }
    if let Ok(wanted) = Name::parse_reference(text) {
        let fits = |entry: &&RootEntry| {
            let name = entry.name.as_ref();
            name.is_some_and(|name| fits(name, &wanted, entry))
        };
        let full: Vec<&RootEntry> = entries.iter().filter(fits).collect();
        if !full.is_empty() {
            return full;
        }
    }
    let has_tag = |entry: &&RootEntry| entry.tag() == Some(text);
    entries.iter().filter(has_tag).collect()
}

/// Says whether the full reference `wanted` means an entry of that name. A digest in the reference
/// has to be the image's, or be part of the name too.
fn fits(name: &Name, wanted: &Name, entry: &RootEntry) -> bool {
    let Some(digest) = wanted.digest else {
        // An ACI can have a name that no reference holds; lists show it as a reference.
        return name.repository.is_some() && name.as_referred().qualified() == wanted.qualified();
    };
    name.repository == wanted.repository
        && (wanted.tag.is_none() || wanted.tag == name.tag)
        && (name.digest == Some(digest) || entry.digest() == Some(digest))
}

/// Lists entries for a message: at most twenty.
fn list(entries: &[&RootEntry]) -> String {
    let shown = |entry: &&RootEntry| {
        let digest = entry.digest().map(|digest| format!(" (@{digest})"));
        let digest = digest.unwrap_or_default();
        match (&entry.name, entry.texts.first()) {
            (Some(name), _) => format!("{}{digest}", quote(name.to_string())),
            (None, Some(text)) => quote(text),
            (None, None) => format!("#{}{digest}", entry.position),
        }
    };
    let mut names: Vec<String> = entries.iter().take(20).map(shown).collect();
    if entries.len() > 20 {
        names.push(format!("and {} more", entries.len() - 20));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use imgconv_model::{Algorithm, Child, Digest};

    use super::*;

    fn entry(position: usize, text: &str, hash: u8) -> RootEntry {
        let name = Name::parse_reference(text)
            .ok()
            .filter(|_| text.contains('/'))
            .unwrap_or(Name {
                tag: Some(text.into()),
                ..Name::default()
            });
        RootEntry {
            position,
            name: Some(name),
            texts: vec![text.into()],
            ..RootEntry::only(Some(Child::new(
                "",
                Digest::new(Algorithm::Sha256, &[hash; 32]),
                1,
            )))
        }
    }

    fn positions(reference: &str, entries: &[RootEntry]) -> Result<Vec<usize>> {
        let reference = Reference::Name(reference.into());
        Ok(select(entries.to_vec(), Some(&reference))?
            .iter()
            .map(|e| e.position)
            .collect())
    }

    #[test]
    fn a_name_is_matched_exactly_then_in_full_then_by_tag() {
        let entries = [
            entry(0, "example.com/app:1.0", 1),
            entry(1, "docker.io/library/busybox:latest", 2),
            entry(2, "3.11", 3),
        ];
        assert_eq!(positions("example.com/app:1.0", &entries).unwrap(), [0]);
        assert_eq!(positions("busybox", &entries).unwrap(), [1]);
        assert_eq!(positions("1.0", &entries).unwrap(), [0]);
        assert_eq!(positions("3.11", &entries).unwrap(), [2]);
        let missing = positions("nope", &entries).unwrap_err();
        assert_eq!(missing.code(), Code::Missing);
        assert!(missing.advice().unwrap().contains("example.com/app:1.0"));
    }

    #[test]
    fn a_tag_that_fits_two_images_is_ambiguous_and_lists_both() {
        let two = [
            entry(0, "example.com/a:latest", 1),
            entry(1, "example.com/b:latest", 2),
        ];
        let error = positions("latest", &two).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
        let advice = error.advice().unwrap();
        assert!(advice.contains("example.com/a:latest") && advice.contains("example.com/b:latest"));
        let same = [
            entry(0, "example.com/a:latest", 1),
            entry(1, "example.com/b:latest", 1),
        ];
        assert_eq!(
            positions("latest", &same).unwrap(),
            [0],
            "two names of one image"
        );
    }

    #[test]
    fn files_of_one_name_are_its_platforms_and_two_names_are_ambiguous() {
        let file = |position: usize, text: &str| RootEntry {
            child: None,
            ..entry(position, text, 0)
        };
        let entries = [
            file(0, "example.com/a:1"),
            file(1, "example.com/a:1"),
            file(2, "example.com/b:1"),
        ];
        assert_eq!(positions("example.com/a:1", &entries).unwrap(), [0, 1]);
        assert_eq!(positions("example.com/b:1", &entries).unwrap(), [2]);
        let error = positions("1", &entries).unwrap_err();
        assert_eq!(error.code(), Code::Ambiguous);
    }
}
