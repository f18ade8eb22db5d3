//! Entry points of a place, and what a place gives beside documents and blobs.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{Blob, Child, Code, Document, Error, Name, Result, quote};

/// A root of a bundle: a document that refers to others, or a stream that is the whole image.
#[derive(Clone, Debug)]
pub enum Root {
    /// A document.
    Document(Document),
    /// A stream, perhaps compressed; and a short name for messages.
    Stream(Blob),
}

/// One entry point of a bundle.
#[derive(Clone, Debug)]
pub struct RootEntry {
    /// Its position, from 0.
    pub position: usize,
    /// Its name in the neutral form, if it has one.
    pub name: Option<Name>,
    /// Every text by which it may be addressed exactly.
    pub texts: Vec<String>,
    /// Its descriptor, where the place is content-addressed.
    pub child: Option<Child>,
    /// The reason why the item of the list can't be used, if there is one. The entry is listed
    /// nevertheless, and nothing of it is read.
    pub error: Option<Arc<Error>>,
    /// The reason why the name does not choose one image, if there is one: another image of the place
    /// has the same name. A digest or a position chooses then.
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
        let digest = |at: usize| roots[at].child.as_ref().map(|child| child.digest);
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
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its other properties, as JSON text.
    pub properties: BTreeMap<String, String>,
}

/// Facts about a place that is one file fetched from a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The local copy, which exists as long as the bundle. Its bytes show which transport reads it.
    pub path: PathBuf,
    /// The ACI's name that was asked for, if one was. The image must have it.
    pub name: Option<String>,
    /// The labels that were asked for. The image must have them, with these values.
    pub labels: BTreeMap<String, String>,
    /// Labels that were assumed. If the image has them, it must be with these values.
    pub assumed: BTreeMap<String, String>,
    /// The tag that was asked for and led to the labels, if there was one: the name of an image that
    /// has no version of its own.
    pub tag: Option<String>,
}

/// A detached OpenPGP signature, and the keys that its place offers for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The ASCII-armoured signature.
    pub bytes: Vec<u8>,
    /// Public keys that were fetched from the place itself, which the user agreed to.
    pub keys: Vec<Vec<u8>>,
    /// Where public keys could be fetched, if the user agreed.
    pub offered: Vec<String>,
}
