//! The documents and blobs of a repository that is written, and whether its registry takes chunks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_json::{Value, parse};
use imgconv_model::{Digest, Limits};

/// What was written and is not a blob of the registry, or is one by now.
#[derive(Debug, Default)]
pub(crate) struct Held {
    documents: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
    blobs: Mutex<BTreeSet<(Digest, u64)>>,
    /// Whether the registry takes blobs in chunks, once that is known.
    chunks: Mutex<Option<bool>>,
}

impl Held {
    /// Says whether bytes look like a manifest, which is stored by another way than a blob. What
    /// only looks like one is uploaded at the end.
    pub(crate) fn wants(&self, bytes: &[u8], limits: &Limits) -> bool {
        bytes.len() as u64 <= limits.manifest
            && bytes.trim_ascii_start().starts_with(b"{")
            && parse(bytes, limits, "document")
                .is_ok_and(|value| value.get("schemaVersion").is_some_and(Value::is_number))
    }

    pub(crate) fn put(&self, digest: Digest, bytes: Arc<[u8]>) {
        let mut documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        documents.insert(digest, bytes);
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        let documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        documents.get(digest).cloned()
    }

    /// Notes that a blob is in the repository.
    pub(crate) fn note(&self, digest: Digest, size: u64) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert((digest, size));
    }

    /// Says whether a blob is in the repository, or a document is held back.
    pub(crate) fn knows(&self, digest: &Digest, size: u64) -> bool {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let document = self.get(digest);
        blobs.contains(&(*digest, size)) || document.is_some_and(|bytes| bytes.len() as u64 == size)
    }

    /// Says whether the registry takes blobs in chunks; `None` before an upload has shown it.
    pub(crate) fn takes_chunks(&self) -> Option<bool> {
        *self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether the registry takes blobs in chunks. A refusal counts more than a success: an upload
    /// that relies on chunks can't go back.
    pub(crate) fn note_chunks(&self, taken: bool) {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        *chunks = Some(taken && *chunks != Some(false));
    }
}
