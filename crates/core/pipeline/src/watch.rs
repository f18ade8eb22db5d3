//! The progress of the work on a layer: counted in stored bytes, whose total is known, and not in
//! uncompressed bytes.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_model::{
    Blob, Count, Counted, Env, Event, Layer, Open, ReadAt, Reader, Result, Silent, Work,
};

/// Sends progress events of the work on a layer. `work` gets the layer to read; its own events
/// count only if the size of the layer is unknown.
pub fn watch<T>(
    layer: &Layer,
    what: &str,
    env: &Env,
    work: impl FnOnce(&Layer, &Env, u64) -> Result<T>,
) -> Result<T> {
    let blob = &layer.blob;
    let digest = blob.facts.digest.or(layer.diff_id);
    let what = digest.map_or_else(|| what.to_owned(), |digest| digest.to_string());
    let bytes = blob.size_to_count();
    let told = Work::begin(&what, blob.bytes.counted().0, bytes, env);
    let id = told.id();
    let Some(size) = bytes else {
        return work(layer, env, id);
    };
    let left = AtomicU64::new(size);
    let progress = Arc::clone(&env.progress);
    // Only the first pass is counted.
    let count = move |read: u64| {
        let take = |left: u64| Some(left.saturating_sub(read));
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let bytes = left.fetch_update(set, get, take).unwrap_or(0).min(read);
        if bytes > 0 {
            progress.event(Event::Advance { id, bytes });
        }
    };
    let count: Count = Arc::new(count);
    let watched = counted_layer(layer, &count);
    let silent = Env {
        progress: Arc::new(Silent),
        ..env.clone()
    };
    work(&watched, &silent, id)
}

/// Returns a layer whose reads are counted.
pub(crate) fn counted_layer(layer: &Layer, count: &Count) -> Layer {
    Layer {
        blob: Blob {
            facts: layer.blob.facts.clone(),
            bytes: Arc::new(Watched {
                inner: Arc::clone(&layer.blob.bytes),
                count: Arc::clone(count),
            }),
        },
        ..layer.clone()
    }
}

/// Bytes whose reads are counted.
struct Watched {
    inner: Arc<dyn Open>,
    count: Count,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.inner).finish()
    }
}

impl Open for Watched {
    fn open(&self) -> Result<Reader> {
        self.inner.open_counted(&self.count)
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        self.inner.positioned()
    }

    fn counted(&self) -> (Counted, Option<u64>) {
        self.inner.counted()
    }

    fn stored_size(&self) -> Option<u64> {
        self.inner.stored_size()
    }

    fn file(&self) -> Result<Option<File>> {
        self.inner.file()
    }
}
