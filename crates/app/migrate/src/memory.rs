//! The memory of layers: what the journal says of layers that were made, as far as that can be true.

use std::sync::Arc;

use imgconv_model::{Env, Error, Result, SealedLayer};
use imgconv_pipeline::Memory;
use imgconv_stream::{Cancellable, Decoder, HashingReader};

use super::{destination::Destination, journal::Journal};

/// What a journal remembers of layers, as far as it can be true: a blob at the destination is read
/// again, and has to hold the tar that the journal says it holds.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) journal: Arc<Journal>,
    pub(super) destination: Destination,
    pub(super) env: Env,
}

impl Remembered {
    fn holds(&self, layer: &SealedLayer) -> Result<bool> {
        let Some(file) = self.destination.blob(&layer.digest)? else {
            // A registry, or a file of its own: it is asked whether it has the blob.
            return Ok(!self.destination.is_shared());
        };
        let notes = imgconv_model::Notes::default();
        let decoder = Decoder::new(Box::new(file), &self.env.limits, &notes, "blob")?;
        let source = Cancellable::new(decoder, &self.env);
        let reader = HashingReader::new(source, &[layer.diff_id.algorithm()]);
        let (found, _) = reader.finish().map_err(Error::from_io)?;
        Ok(found.first() == Some(&layer.diff_id))
    }
}

impl Memory for Remembered {
    fn recall(&self, key: &str) -> Option<SealedLayer> {
        let layer = self.journal.recall(key)?;
        self.holds(&layer).unwrap_or(false).then_some(layer)
    }

    fn note(&self, key: &str, layer: &SealedLayer) -> Result<()> {
        self.journal.note(key, layer)
    }
}
