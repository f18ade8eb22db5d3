//! Entry points of a place, and the facts of a place beside documents and blobs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{Blob, Child, Code, Digest, Document, Error, Name, Result, quote};

/// A root of a bundle: a document that refers to others, or a stream that is the whole image.
#[derive(Clone, Debug)]
pub enum Root {
    /// A document.
    Document(Document),
    /// A stream, perhaps compressed.
    Stream(Blob),
}

/// One entry point of a bundle.
#[derive(Clone, Debug)]
pub struct RootEntry {
    /// The position of the entry in the list, from 0.
    pub position: usize,
    /// The name of the entry in the neutral form, if it has one.
    pub name: Option<Name>,
    /// Every text that selects the entry exactly.
    pub texts: Vec<String>,
    /// The descriptor of the entry, if the place is content-addressed.
    pub child: Option<Child>,
    /// The reason why the item of the list can't be used, if there is one. The entry is listed
    /// nevertheless, and nothing of it is read.
    pub error: Option<Arc<Error>>,
    /// The reason why the name does not select one image, if there is one: another image of the
    /// place has the same name. Only a digest or a position selects the image then.
    pub ambiguous: Option<Arc<Error>>,
}

impl RootEntry {
    /// Makes the one entry of a place that holds one image without a name.
    pub fn only(child: Option<Child>) -> Self {
        Self {
            position: 0,
            name: None,
            texts: Vec::new(),
            child,
            error: None,
            ambiguous: None,
        }
    }

    /// Returns the start of a message about a list that has the same image again, under the same name or without one.
    pub fn listed_twice(&self) -> &'static str {
        match self.texts.is_empty() {
            true => "the index lists the image twice without a name",
            false => "the index lists the image twice under this name",
        }
    }

    /// The digest of the root, if the place is content-addressed.
    pub fn digest(&self) -> Option<Digest> {
        self.child.as_ref().map(|child| child.digest)
    }

    /// The tag in the name of the entry.
    pub fn tag(&self) -> Option<&str> {
        self.name.as_ref()?.tag.as_deref()
    }

    /// Fails if the item of the list can't be used.
    ///
    /// # Errors
    /// The error of the entry.
    pub fn check(&self) -> Result<()> {
        self.error
            .as_ref()
            .map_or(Ok(()), |error| Err(error.again()))
    }
}

/// Marks the entries of different images that have one name as ambiguous. `list` names the list of
/// entries in messages.
pub fn mark_ambiguous(roots: &mut [RootEntry], list: &str) {
    let mut by_name: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
    for (at, entry) in roots.iter().enumerate() {
        if let Some(name) = &entry.name {
            by_name.entry(name.qualified()).or_default().push(at);
        }
    }
    for (name, group) in by_name {
        let digest = |at: usize| roots[at].digest();
        let first = group[0];
        let Some(other) = group
            .iter()
            .copied()
            .find(|at| digest(*at) != digest(first))
        else {
            continue;
        };
        let show = |at: usize| {
            let digest = digest(at).map_or_else(String::new, |digest| format!(" {digest}"));
            format!("#{}{digest}", roots[at].position)
        };
        let name = quote(name.to_string());
        let message = format!(
            "two images have the name {name}: {} and {}",
            show(first),
            show(other)
        );
        let error = Arc::new(Error::new(Code::Ambiguous, message).at(list));
        for at in group {
            roots[at].ambiguous = Some(Arc::clone(&error));
        }
    }
}

/// Annotations and properties of the list of entry points itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopLevel {
    /// The annotations of the list.
    pub annotations: BTreeMap<String, String>,
    /// The other properties of the list, as JSON text.
    pub properties: BTreeMap<String, String>,
}

/// Facts about a place that is one file fetched from a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The local copy, which exists as long as the bundle. The bytes of the copy decide which
    /// transport reads it.
    pub path: PathBuf,
    /// The requested name of the ACI, if the request had one. The image must have that name.
    pub name: Option<String>,
    /// The requested labels. The image must have them, with these values.
    pub labels: BTreeMap<String, String>,
    /// Labels that discovery assumed. An image that has one of them must have this value.
    pub assumed: BTreeMap<String, String>,
    /// The requested tag that became these labels, if there was one: the name of an image that has
    /// no version of its own.
    pub tag: Option<String>,
}

/// A detached OpenPGP signature, and the keys that its place offers for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The ASCII-armoured signature.
    pub bytes: Vec<u8>,
    /// Public keys that were fetched from the place itself, with the consent of the user.
    pub keys: Vec<Vec<u8>>,
    /// URLs of public keys that could be fetched with the consent of the user.
    pub offered: Vec<String>,
}
