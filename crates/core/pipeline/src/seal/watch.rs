//! The progress of the work on a layer: counted in stored bytes, whose total is known, and not in
//! uncompressed bytes.

use std::{
    fs::File,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_model::{Blob, Env, Event, Layer, Open, ReadAt, Reader, Result, Silent};

/// Sends progress events of the work on a layer. `work` gets the layer to read; its own events
/// count only if the size of the layer is unknown.
pub(super) fn watch<T>(
    layer: &Layer,
    what: &str,
    env: &Env,
    work: impl FnOnce(&Layer, &Env, u64) -> Result<T>,
) -> Result<T> {
    let id = env.next_id.fetch_add(1, Ordering::Relaxed);
    let bytes = layer.blob.facts.size;
    env.progress.event(Event::Begin { id, what, bytes });
    let done = match bytes {
        None => work(layer, env, id),
        Some(size) => {
            let counted = Layer {
                blob: Blob {
                    facts: layer.blob.facts.clone(),
                    bytes: Arc::new(Counted {
                        inner: Arc::clone(&layer.blob.bytes),
                        left: Arc::new(AtomicU64::new(size)),
                        env: env.clone(),
                        id,
                    }),
                },
                ..layer.clone()
            };
            let silent = Env {
                progress: Arc::new(Silent),
                ..env.clone()
            };
            work(&counted, &silent, id)
        }
    };
    env.progress.event(Event::End { id });
    done
}

/// Bytes whose first read is counted; further reads of the same bytes are not.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Open>,
    left: Arc<AtomicU64>,
    env: Env,
    id: u64,
}

impl Open for Counted {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(CountedReader {
            inner: self.inner.open()?,
            left: Arc::clone(&self.left),
            env: self.env.clone(),
            id: self.id,
        }))
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        self.inner.positioned()
    }

    fn file(&self) -> Result<Option<File>> {
        self.inner.file()
    }
}

struct CountedReader {
    inner: Reader,
    left: Arc<AtomicU64>,
    env: Env,
    id: u64,
}

impl Read for CountedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = count as u64;
        let take = |left: u64| Some(left.saturating_sub(read));
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let left = self.left.fetch_update(set, get, take).unwrap_or(0);
        let bytes = left.min(read);
        if bytes > 0 {
            let id = self.id;
            self.env.progress.event(Event::Advance { id, bytes });
        }
        Ok(count)
    }
}
