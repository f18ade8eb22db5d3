//! The form of an image for a client.

use std::sync::Arc;

use imgconv_manifest::media_type;
use imgconv_model::{Code, Digest, Error, FormatId, Result};

use super::{contents::Manifest, forms::Want, opening::Stock, repository::Repository};

/// The types that a client accepts: documents of other types are not for it.
pub trait Accepts {
    /// Says whether the client takes documents of that type.
    fn accepts(&self, kind: &str) -> bool;
}

/// The answer to a request for a tag.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The document.
    Found(Arc<Manifest>),
    /// The document has to be made first.
    NotReady,
    /// No type that the client accepts can hold the image.
    Unacceptable,
}

impl Stock {
    /// Makes every image in its usual form, for clients that accept everything. An image that can't be
    /// made is a message.
    ///
    /// # Errors
    /// If the work was cancelled.
    pub fn warm(&self) -> Result<()> {
        for repository in &self.repositories {
            for item in &repository.items {
                let made = self.form(repository, *item, Want::USUAL, true);
                self.env.check_cancelled()?;
                if let Err(error) = made {
                    self.watcher.left_out(&error);
                }
            }
        }
        Ok(())
    }

    /// Finds the document of a tag in a form that the client accepts. Without `make` only a document that
    /// is there already is found.
    ///
    /// # Errors
    /// If the image can't be read or made.
    pub fn tagged(
        &self,
        repository: &Repository,
        tag: &str,
        client: &dyn Accepts,
        make: bool,
    ) -> Result<Answer> {
        let Some(item) = repository.tags.get(tag) else {
            return Err(Error::new(Code::Missing, "the repository has no such tag"));
        };
        let form = |want: Want| self.form(repository, *item, want, make);
        let Some(usual) = form(Want::USUAL)? else {
            return Ok(Answer::NotReady);
        };
        if client.accepts(usual.kind) {
            return Ok(Answer::Found(usual));
        }
        let accepts = |kinds: &[(&str, FormatId)]| {
            let found = kinds.iter().find(|(kind, _)| client.accepts(kind));
            found.map(|(_, format)| *format)
        };
        let index = accepts(INDEXES).filter(|_| usual.is_index());
        let want = match index {
            Some(format) => Want {
                format: Some(format),
                one: false,
            },
            None => {
                let one = usual.is_index();
                if one {
                    // The stored image of one platform may do.
                    let want = Want { format: None, one };
                    match form(want)? {
                        None => return Ok(Answer::NotReady),
                        Some(found) if client.accepts(found.kind) => {
                            return Ok(Answer::Found(found));
                        }
                        Some(_) => {}
                    }
                }
                let Some(format) = accepts(MANIFESTS) else {
                    return Ok(Answer::Unacceptable);
                };
                Want {
                    format: Some(format),
                    one,
                }
            }
        };
        Ok(match form(want)? {
            None => Answer::NotReady,
            Some(found) if client.accepts(found.kind) => Answer::Found(found),
            Some(_) => Answer::Unacceptable,
        })
    }

    /// Returns the document of a tag in its usual form, if it is there.
    pub fn usual(&self, repository: &Repository, tag: &str) -> Option<Arc<Manifest>> {
        let item = repository.tags.get(tag)?;
        self.form(repository, *item, Want::USUAL, false).ok()?
    }

    /// Finds a document by its digest; makes the images of the repository for that, if `make` is set and
    /// some are not made yet.
    pub fn by_digest(&self, repository: &Repository, digest: &Digest) -> Option<Arc<Manifest>> {
        for item in &repository.items {
            if let Some(found) = repository.manifest(digest) {
                return Some(found);
            }
            if let Err(error) = self.form(repository, *item, Want::USUAL, true) {
                self.watcher.failed(&self.items[*item].text, &error);
            }
        }
        repository.manifest(digest)
    }

    /// Says whether an image of the repository was not made yet.
    pub fn is_unmade(&self, repository: &Repository) -> bool {
        repository
            .items
            .iter()
            .any(|item| self.items[*item].stored.is_none())
    }
}

/// The types of indexes, in the order in which they are tried, with the formats that have them.
const INDEXES: &[(&str, FormatId)] = &[
    (media_type::OCI_INDEX, FormatId::OCI),
    (media_type::DOCKER_LIST, FormatId::DOCKER_V2S2),
];

/// The types of manifests, in the order in which they are tried, with the formats that have them.
const MANIFESTS: &[(&str, FormatId)] = &[
    (media_type::OCI_MANIFEST, FormatId::OCI),
    (media_type::DOCKER_MANIFEST, FormatId::DOCKER_V2S2),
    (media_type::DOCKER_SCHEMA1_SIGNED, FormatId::DOCKER_V2S1),
    (media_type::DOCKER_SCHEMA1, FormatId::DOCKER_V2S1),
];
