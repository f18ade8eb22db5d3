//! The writer of layers to one destination.

use std::sync::Arc;

use imgconv_model::BundleSink;
use imgconv_stream::Pool;

use crate::done::Done;

/// Writes layers to one destination. A source layer that several images share is handled once.
pub struct Sealer<'a> {
    pub(super) sink: &'a dyn BundleSink,
    pub(super) pool: &'a Pool,
    pub(super) done: Arc<Done>,
}

impl std::fmt::Debug for Sealer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl<'a> Sealer<'a> {
    /// Makes a sealer for a destination.
    pub fn new(sink: &'a dyn BundleSink, pool: &'a Pool) -> Self {
        Self {
            sink,
            pool,
            done: Arc::default(),
        }
    }

    /// Makes a sealer that knows what others did, for this destination or for others.
    #[must_use]
    pub fn sharing(self, done: &Arc<Done>) -> Self {
        Self {
            done: Arc::clone(done),
            ..self
        }
    }
}
