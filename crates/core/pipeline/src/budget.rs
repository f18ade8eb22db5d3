//! The budget of uncompressed bytes, which stops decompression bombs whatever their declared sizes.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_model::{Compression, Env, Layer, Limits, Result};
use imgconv_stream::Decoder;

use crate::look::{look, note_label};

/// Counts the uncompressed bytes of one image over all its layers.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<AtomicU64>);

impl Budget {
    /// Goes on after layers of so many uncompressed bytes.
    pub(crate) fn after(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Returns the number of bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A layer's tar: decompressed, and within the limits `layer_bytes` and `image_bytes`; the read
/// fails when the run is cancelled.
#[derive(Debug)]
pub struct Tar {
    inner: Decoder,
    layer: u64,
    budget: Budget,
    env: Env,
}

impl Tar {
    /// Opens a layer; `what` names it in messages.
    ///
    /// # Errors
    /// If the layer can't be opened, or its compression is not supported.
    pub fn open(layer: &Layer, budget: &Budget, env: &Env, what: &str) -> Result<Self> {
        if layer.kind.is_some() {
            note_label(layer, look(layer)?, what, env);
        }
        let inner = Decoder::new(layer.blob.open()?, &env.limits, &env.notes, what)?;
        Ok(Self {
            inner,
            layer: 0,
            budget: budget.clone(),
            env: env.clone(),
        })
    }
}

impl Tar {
    /// Returns the compression by the magic bytes.
    pub fn compression(&self) -> Compression {
        self.inner.compression()
    }
}

impl Read for Tar {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.env.check_cancelled()?;
        let n = self.inner.read(buf)?;
        let limits = &self.env.limits;
        self.layer += n as u64;
        let image = self.budget.0.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        if self.layer > limits.layer_bytes {
            let limit = limits.layer_bytes;
            return Err(Limits::exceeded("layer_bytes", limit, "the uncompressed layer").into());
        }
        if image > limits.image_bytes {
            let limit = limits.image_bytes;
            return Err(Limits::exceeded("image_bytes", limit, "the uncompressed image").into());
        }
        Ok(n)
    }
}
