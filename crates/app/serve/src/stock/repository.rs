//! Repositories and the images in them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use imgconv_model::{Digest, RootEntry};

use super::{
    contents::{Complete, Contents, Manifest},
    forms::{Slot, Want},
};

/// A repository.
#[derive(Debug)]
pub struct Repository {
    /// The position in the list.
    pub(super) number: usize,
    pub(super) host: String,
    pub(super) path: String,
    /// The name in lists.
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, usize>,
    pub(super) items: Vec<usize>,
    pub(super) contents: RwLock<Contents>,
}

/// An image with all names that it has in one repository, or a document without a name.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) source: usize,
    pub(super) entries: Vec<RootEntry>,
    pub(super) tag: Option<String>,
    /// The name and the platform of each ACI, as its manifest has them.
    pub(super) acis: Vec<(Option<String>, String)>,
    /// The image for messages.
    pub(super) text: String,
    /// The digest of the root, if it is served as it is stored.
    pub(super) stored: Option<Digest>,
    pub(super) forms: Mutex<BTreeMap<Want, Arc<Slot>>>,
}

impl Item {
    /// Returns the place of the result of a form.
    pub(super) fn slot(&self, want: Want) -> Arc<Slot> {
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(forms.entry(want).or_default())
    }
}

impl Repository {
    /// Returns the name in lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lists the tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(|tag| &**tag)
    }

    /// Finds a tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains_key(tag)
    }

    /// Returns a document that is there.
    pub fn manifest(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        self.contents().manifests.get(digest).map(Arc::clone)
    }

    /// Lists the documents about a document.
    pub fn referrers(&self, subject: &Digest) -> Vec<Arc<Manifest>> {
        self.contents().referrers(subject)
    }

    /// Returns the bytes of a document and of everything below it, as far as it is there; `None` if a
    /// size is not known. Each blob counts once.
    pub fn size(&self, root: &Manifest) -> Option<u64> {
        self.contents().size(root)
    }

    /// Returns the size of a blob, if it is known.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.contents().blobs.get(digest)?.size
    }

    /// Says whether a blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        let contents = self.contents();
        contents.blobs.contains_key(digest) || contents.manifests.contains_key(digest)
    }

    pub(super) fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, complete: Complete) {
        let mut contents = self
            .contents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        contents.add(complete);
    }
}
