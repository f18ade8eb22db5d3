//! The names of images in a layout: reading and writing their annotations.
//!
//! Writers disagree on `org.opencontainers.image.ref.name`: it is a tag, a full reference, or any
//! text of a user. containerd's own annotation always holds the full reference. This module reads
//! both by one rule; the caller selects the image that a user asks for.

use std::collections::BTreeMap;

use imgconv_model::{Code, Error, Name, Publication, Report, Result, quote};

/// The annotation of a reference (image-spec, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's annotation of the full name.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Returns true if an annotation of a descriptor is a name of its image.
pub fn is_name(key: &str) -> bool {
    [REF_NAME, CONTAINERD_NAME].contains(&key)
}

/// The value of `org.opencontainers.image.ref.name` if the user gave no reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefName {
    /// The full reference, as podman and crane write it.
    #[default]
    Full,
    /// The tag alone, as docker, containerd and regctl write it.
    Tag,
}

/// The names of one descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The text of `org.opencontainers.image.ref.name`.
    pub reference: Option<String>,
    /// The text of `io.containerd.image.name`.
    pub containerd: Option<String>,
    /// The name that both texts give together.
    pub name: Option<Name>,
}

impl Names {
    /// Reads the names: containerd's first, then a `ref.name` that is a full reference, then one
    /// that is a tag. A single word is a tag (`latest`, `3.11`), never a repository. Any other text
    /// is not a name, but it selects the image.
    ///
    /// # Errors
    /// [`Code::BadName`] if a text breaks the specification's grammar of references (robustness
    /// C8e).
    pub fn read(annotations: &BTreeMap<String, String>) -> Result<Self> {
        let names = Self::read_unchecked(annotations);
        names.check()?;
        Ok(names)
    }

    /// Reads the names like [`Names::read`], and ignores texts that [`Names::check`] refuses.
    pub(crate) fn read_unchecked(annotations: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| {
            annotations
                .get(key)
                .filter(|text| !text.is_empty())
                .cloned()
        };
        let mut names = Self {
            reference: text(REF_NAME),
            containerd: text(CONTAINERD_NAME),
            name: None,
        };
        if names.check().is_ok() {
            let full = names.containerd.as_deref();
            names.name = full
                .and_then(|text| Name::parse_reference(text).ok())
                .or_else(|| names.reference.as_deref().and_then(meaning));
        }
        names
    }

    /// Refuses texts that can't be a reference (robustness C8e).
    ///
    /// # Errors
    /// [`Code::BadName`].
    pub fn check(&self) -> Result<()> {
        for (key, text) in [
            (REF_NAME, &self.reference),
            (CONTAINERD_NAME, &self.containerd),
        ] {
            if let Some(text) = text {
                check(text).map_err(|error| error.at(format!("annotation {key}")))?;
            }
        }
        Ok(())
    }

    /// Returns the names that a publication gets.
    ///
    /// A reference from the user is written literally. containerd's name is the full reference: the
    /// text itself, or the image's repository with the text as the tag. Without any name, the texts
    /// of the root's own descriptor stay, although they are not names.
    ///
    /// # Errors
    /// [`Code::BadName`] if the reference could not be read back.
    pub fn write(publication: &Publication, policy: RefName, report: &mut Report) -> Result<Self> {
        let given = publication.reference.as_deref();
        if given.is_none() && publication.name.is_none() {
            return Self::read(&publication.root.annotations);
        }
        if let Some(text) = given {
            check(text)?;
        }
        let of_image = publication.name.as_ref();
        let name = match given.and_then(meaning) {
            Some(name) if name.repository.is_some() => Some(name),
            Some(tag) => Some(Name {
                repository: of_image.and_then(|name| name.repository.clone()),
                ..tag
            }),
            None => of_image.cloned(),
        };
        if let (Some(text), Some(digest)) = (given, name.as_ref().and_then(|name| name.digest))
            && digest != publication.root.digest
        {
            let what = format!("the digest in the name {}", quote(text));
            return Err(Error::mismatch(what, digest, publication.root.digest));
        }
        let full = name
            .as_ref()
            .and_then(|name| name.to_full_reference(report));
        let tag = name
            .as_ref()
            .filter(|name| name.repository.is_some() || name.tag.is_some())
            .map(|name| match name.digest {
                // The form is that of containerd, which has no tag for such a name either.
                Some(digest) if name.is_by_digest() => format!("@{digest}"),
                _ => name.to_tag(report),
            });
        let reference = match (given, policy) {
            (Some(text), _) => Some(text.to_owned()),
            (None, RefName::Full) => full.clone().or(tag),
            (None, RefName::Tag) => tag,
        };
        Ok(Self {
            reference,
            // A reader finds the written name, which can be another one than the image's (`1.0+a` is `1.0_a`).
            name: name.map(|name| name.as_referred()),
            containerd: full,
        })
    }

    /// Returns true if two descriptors have the same name: the same full reference if both have
    /// one, else the same text. Descriptors without a name are never the same.
    pub fn same(&self, other: &Self) -> bool {
        match (self.full(), other.full()) {
            (Some(one), Some(other)) => one == other,
            _ => self.reference.is_some() && self.reference == other.reference,
        }
    }

    /// Returns the names that are left when another image gets a name that is the same: none of a full name, and
    /// containerd's name where only the texts are the same.
    pub(crate) fn after(&self, new: &Self) -> Self {
        if self.full().is_some() && self.full() == new.full() {
            return Self::default();
        }
        let full = self.containerd.as_deref();
        Self {
            reference: None,
            name: full.and_then(|text| Name::parse_reference(text).ok()),
            containerd: self.containerd.clone(),
        }
    }

    /// Returns the texts that are not in `rest`.
    pub(crate) fn lost(&self, rest: &Self) -> Vec<String> {
        let (mut texts, rest) = (self.texts(), rest.texts());
        texts.retain(|text| !rest.contains(text));
        texts
    }

    /// Returns the full name, with the tag that docker assumes.
    pub(crate) fn full(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        name.repository.as_ref()?;
        Some(name.qualified().to_string())
    }

    /// Returns true if there is no text at all, neither a name nor another text.
    pub fn is_empty(&self) -> bool {
        self.reference.is_none() && self.containerd.is_none()
    }

    /// Returns true if both have the same texts.
    pub(crate) fn same_texts(&self, other: &Self) -> bool {
        (&self.reference, &self.containerd) == (&other.reference, &other.containerd)
    }

    /// Returns the texts that select the image, the most exact last.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.reference.iter().cloned().collect();
        texts.extend(self.containerd.iter().cloned());
        texts.dedup();
        texts
    }

    /// Returns the names for a message.
    pub fn show(&self) -> String {
        let texts: Vec<String> = self.texts().iter().map(quote).collect();
        texts.join(" = ")
    }
}

/// Reads a `ref.name`: a full reference only if the text has more than one word, else a tag.
fn meaning(text: &str) -> Option<Name> {
    if text.contains(['/', ':', '@'])
        && let Ok(name) = Name::parse_reference(text)
    {
        return Some(name);
    }
    Name::is_tag(text).then(|| Name {
        tag: Some(text.to_owned()),
        ..Name::default()
    })
}

/// Returns true if an image can't have this text as a name.
pub(crate) fn is_bad(text: &str) -> bool {
    check(text).is_err()
}

/// Refuses characters that the specification's grammar of references does not have, and texts that
/// could be read as a path out of a directory.
fn check(text: &str) -> Result<()> {
    let bad = |why: &str| {
        let message = format!("name {} {why}", quote(text));
        Err(Error::new(Code::BadName, message))
    };
    if text.is_empty() {
        return bad("is empty");
    }
    if text.len() > 1024 {
        return bad("is longer than 1024 bytes");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:@+/[]~".contains(&b);
    if !text.bytes().all(allowed) {
        return bad("holds a character that no reference can hold");
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return bad("has an empty part, `.` or `..`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reference: Option<&str>, containerd: Option<&str>) -> Result<Names> {
        let mut annotations = BTreeMap::new();
        for (key, text) in [(REF_NAME, reference), (CONTAINERD_NAME, containerd)] {
            if let Some(text) = text {
                annotations.insert(key.to_owned(), text.to_owned());
            }
        }
        Names::read(&annotations)
    }

    fn name(reference: Option<&str>, containerd: Option<&str>) -> String {
        let names = read(reference, containerd).unwrap();
        names
            .name
            .map_or("none".to_owned(), |name| name.to_string())
    }

    // The truth table of writers: users.md, section 4.
    #[test]
    fn every_writers_names_are_read() {
        // docker, buildkit, containerd
        assert_eq!(
            name(Some("1.35"), Some("docker.io/library/busybox:1.35")),
            "docker.io/library/busybox:1.35"
        );
        // containerd, no tag
        assert_eq!(
            name(Some("example.com/x"), Some("example.com/x")),
            "example.com/x"
        );
        // podman, crane
        assert_eq!(name(Some("localhost/x:y"), None), "localhost/x:y");
        assert_eq!(
            name(Some("busybox:1.35"), None),
            "docker.io/library/busybox:1.35"
        );
        // regctl, oras, umoci, skopeo: a word is a tag
        assert_eq!(name(Some("latest"), None), "latest");
        assert_eq!(name(Some("3.11"), None), "3.11");
        // any text of a user
        assert_eq!(name(Some("My/Thing+1"), None), "none");
        assert_eq!(
            read(Some("My/Thing+1"), None).unwrap().texts(),
            ["My/Thing+1"]
        );
        assert_eq!(name(None, None), "none");
        // containerd's name is not a reference.
        assert_eq!(name(Some("v1"), Some("X/Y:z")), "v1");
        assert_eq!(name(Some(""), Some("")), "none");
    }

    #[test]
    fn c8e_a_name_that_no_reference_can_hold_is_refused() {
        let long = "x".repeat(1 << 20);
        for text in [
            "../../x",
            "a\u{0}b",
            &long,
            "\u{1b}[2J",
            "a//b",
            "/etc/passwd",
            "a b",
            "\u{202e}x",
        ] {
            for (reference, containerd) in [(Some(text), None), (Some("v1"), Some(text))] {
                let error = read(reference, containerd).unwrap_err();
                assert_eq!(error.code(), Code::BadName, "{text:.80}");
                assert!(error.message().contains(&quote(text)), "{error}");
            }
        }
    }

    fn write(name: Option<&str>, reference: Option<&str>, policy: RefName) -> [String; 2] {
        let publication = Publication {
            root: imgconv_model::Child {
                kind: "application/x".into(),
                digest: imgconv_model::Digest::new(imgconv_model::Algorithm::Sha256, &[1; 32]),
                size: 1,
                platform: None,
                annotations: BTreeMap::new(),
                raw: String::new(),
            },
            name: name.map(|name| Name::parse_reference(name).unwrap()),
            reference: reference.map(str::to_owned),
            file_name: None,
        };
        let names = Names::write(&publication, policy, &mut Report::default()).unwrap();
        [names.reference, names.containerd].map(|text| text.unwrap_or("none".to_owned()))
    }

    #[test]
    fn both_conventions_are_written() {
        let full = "example.com/x:1.0";
        assert_eq!(write(Some(full), None, RefName::Full), [full, full]);
        assert_eq!(write(Some(full), None, RefName::Tag), ["1.0", full]);
        assert_eq!(
            write(Some("busybox"), None, RefName::Tag),
            ["latest", "docker.io/library/busybox:latest"]
        );
        // The text of the user is written literally, and containerd's name follows it.
        assert_eq!(
            write(Some(full), Some("v2"), RefName::Full),
            ["v2", "example.com/x:v2"]
        );
        assert_eq!(
            write(Some(full), Some("other/y:z"), RefName::Tag),
            ["other/y:z", "docker.io/other/y:z"]
        );
        assert_eq!(
            write(Some(full), Some("My+Thing"), RefName::Tag),
            ["My+Thing", full]
        );
        assert_eq!(write(None, Some("v2"), RefName::Full), ["v2", "none"]);
        assert_eq!(write(None, None, RefName::Full), ["none", "none"]);
    }

    #[test]
    fn one_name_is_known_in_all_its_spellings() {
        let names = |reference, containerd| read(reference, containerd).unwrap();
        let docker = names(Some("1.0"), Some("example.com/x:1.0"));
        assert!(docker.same(&names(Some("example.com/x:1.0"), None)));
        assert!(docker.same(&names(Some("1.0"), None)));
        assert!(!docker.same(&names(Some("1.0"), Some("example.com/y:1.0"))));
        assert!(!docker.same(&names(Some("2.0"), None)));
        assert!(!names(None, None).same(&names(None, None)));
    }
}
