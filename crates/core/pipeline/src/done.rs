//! The results of layers, so that a source layer of many images is handled once: in a run and, with
//! a memory that is stored, in all runs.
//!
//! Every use of a result asks the destination whether it has the blob: so several destinations that
//! can share blobs may share a list.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_model::{BundleSink, Compression, Digest, Layer, Result, SealedLayer};
use imgconv_stream::ENCODER_REVISION;

/// The results of layers.
#[derive(Debug, Default)]
pub struct Done {
    slots: Mutex<BTreeMap<Key, Slot>>,
    memory: Option<Arc<dyn Memory>>,
}

/// A memory of the results of source layers, beyond one run.
pub trait Memory: fmt::Debug + Send + Sync {
    /// Returns the result of a layer, whether or not a destination has it.
    fn recall(&self, key: &str) -> Option<SealedLayer>;

    /// Stores the result of a layer. The blob is complete at the destination.
    ///
    /// # Errors
    /// If the result can't be stored.
    fn note(&self, key: &str, layer: &SealedLayer) -> Result<()>;
}

/// A stored layer (its digest, or where it is stored), its claimed diff ID, and the requested
/// result. The claim belongs here: two images may claim different diff IDs for one blob, and each
/// claim is checked.
type Key = (String, Option<Digest>, Option<(Compression, String)>);

/// The result. The thread that does the work holds the lock, so that others wait for it.
type Slot = Arc<Mutex<Option<SealedLayer>>>;

impl Done {
    /// Makes an empty list with a memory.
    pub fn remembering(memory: Arc<dyn Memory>) -> Self {
        Self {
            slots: Mutex::default(),
            memory: Some(memory),
        }
    }

    /// Does a step unless the same step was done before; waits if another thread is doing it. `to`
    /// is the new compression and its settings; `None` if the stored bytes are kept.
    pub(crate) fn once(
        &self,
        layer: &Layer,
        to: Option<(Compression, String)>,
        sink: &dyn BundleSink,
        work: impl FnOnce() -> Result<SealedLayer>,
    ) -> Result<SealedLayer> {
        let digest = layer.blob.facts.digest.map(|digest| digest.to_string());
        let Some(source) = digest.clone().or_else(|| layer.blob.bytes.identity()) else {
            return work();
        };
        // The memory has no kept layers: copying is as cheap as checking the result. If the digest
        // of the stored bytes is unknown, the diff ID identifies the result.
        let claim = layer.diff_id.map(|id| id.to_string());
        let known = digest.or_else(|| Some(format!("tar {}", claim.as_ref()?)));
        let text = known.zip(to.as_ref()).map(|(known, (compression, how))| {
            let claim = claim.as_deref().unwrap_or("-");
            format!("{known} {claim} {compression} {how} {ENCODER_REVISION}")
        });
        let to_what = to.as_ref().map(|(compression, _)| *compression);
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((source, layer.diff_id, to)).or_default())
        };
        let mut sealed = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = &*sealed
            && sink.has(&sealed.digest, sealed.size)?
        {
            return Ok(sealed.clone());
        }
        let memory = self.memory.as_deref().zip(text.as_deref());
        let known = memory.and_then(|(memory, key)| memory.recall(key));
        let new = match known {
            Some(known)
                if fits(&known, layer, to_what) && sink.has(&known.digest, known.size)? =>
            {
                known
            }
            _ => {
                let new = work()?;
                if let Some((memory, key)) = memory {
                    memory.note(key, &new)?;
                }
                new
            }
        };
        *sealed = Some(new.clone());
        Ok(new)
    }
}

/// Returns true if a remembered result is still valid for a layer.
fn fits(known: &SealedLayer, layer: &Layer, to: Option<Compression>) -> bool {
    layer.diff_id.is_none_or(|claimed| claimed == known.diff_id)
        && to.is_none_or(|compression| compression == known.compression)
}
