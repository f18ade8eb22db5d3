//! The entry points of a storage.

use std::sync::Arc;

use imgconv_model::{Child, Digest, Error, Name};

/// The document or file behind an entry point.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A manifest of version 2.
    Manifest(Digest),
    /// An image of version 1.
    Image(String),
    /// A file that should name a manifest or an image, and does not, or a directory that can't be
    /// listed. The error is that of the listing: a second attempt may fail otherwise, or not at all,
    /// and then the entry would have no descriptor.
    Broken(Arc<Error>),
}

/// An entry point that was found.
#[derive(Debug)]
pub(crate) struct Head {
    /// The name, if there is one.
    pub(crate) name: Option<Name>,
    /// Every text by which it may be addressed.
    pub(crate) texts: Vec<String>,
    /// Its descriptor, as far as it can be known.
    pub(crate) child: Option<Child>,
    /// The document or file behind the entry point.
    pub(crate) source: Source,
    /// The repositories that have it, in version 2.
    pub(crate) repositories: Vec<String>,
}

/// Returns the name of an image; one that no reference can be stays as it is.
pub(crate) fn name(host: Option<&str>, repository: &str, tag: &str) -> Name {
    let repository = match host {
        Some(host) => format!("{host}/{repository}"),
        None => repository.to_owned(),
    };
    Name::parse_reference(&format!("{repository}:{tag}")).unwrap_or(Name {
        repository: Some(repository),
        tag: Some(tag.to_owned()),
        digest: None,
    })
}
