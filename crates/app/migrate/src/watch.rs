//! The blobs that a migration has stored in the repositories of a registry: another repository takes
//! such a blob over, so that the blob need not be sent again.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Error, Publication, Result, SinkExtras, TopLevel,
};

/// Where the blobs of finished images are: the first repository that got each.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(Mutex<BTreeMap<Digest, String>>);

impl Whereabouts {
    /// Records a blob of an image that is complete at a place.
    pub(super) fn note(&self, digest: Digest, place: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(digest).or_insert_with(|| place.to_owned());
    }

    fn of(&self, digest: &Digest) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).cloned()
    }
}

/// A repository that takes over the blobs of other repositories.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    pub(super) inner: &'a dyn BundleSink,
    pub(super) elsewhere: &'a Whereabouts,
}

impl BundleSink for Repository<'_> {
    fn locator(&self) -> String {
        self.inner.locator()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        // A blob that this run stored elsewhere is taken over by one request, whether it is here or not.
        let is_taken_over = match self.elsewhere.of(digest) {
            Some(place) => self.inner.take_over(digest, &format!("docker://{place}"))?,
            None => false,
        };
        Ok(is_taken_over || self.inner.has(digest, size)?)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        self.inner.writer()
    }

    fn extras(&self) -> SinkExtras<'_> {
        self.inner.extras()
    }

    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, _: &mut [Publication]) -> Result<Vec<String>> {
        let message = "the owner of the inner sink commits it";
        Err(Error::new(Code::Unsupported, message))
    }
}
