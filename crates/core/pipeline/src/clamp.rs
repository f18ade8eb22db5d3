//! Layers whose entries have no time after a bound: tars that are rewritten while they are read.

use std::{io, sync::Arc};

use imgconv_layer::Rewrite;
use imgconv_model::{Blob, Count, Counted, Env, Facts, Layer, Open, Reader, Result};
use imgconv_stream::Verified;

use crate::{
    budget::{Budget, Tar},
    look::{look, place},
    watch::counted_layer,
};

/// Returns layers in which no entry has a time after `epoch`, seconds since 1970: neither its mtime
/// nor the access, change and creation times of PAX records.
///
/// The tars are generated while they are read and have new diff IDs; the claims of the source are
/// verified during the same read. A foreign layer that is not stored here stays unchanged.
///
/// # Errors
/// If a layer can't be opened.
pub fn clamp(layers: &[Layer], epoch: i64, env: &Env) -> Result<Vec<Layer>> {
    let clamped = layers.iter().enumerate().map(|(i, layer)| {
        let what = place(layers, i);
        if look(layer).map_err(|error| error.at(&what))?.is_none() {
            return Ok(layer.clone());
        }
        let bytes = Arc::new(Clamped {
            layer: layer.clone(),
            what,
            epoch,
            env: env.clone(),
        });
        Ok(Layer {
            blob: Blob {
                facts: Facts::default(),
                bytes,
            },
            diff_id: None,
            kind: None,
            urls: Vec::new(),
            annotations: layer.annotations.clone(),
        })
    });
    clamped.collect()
}

/// The rewritten tar of a layer.
#[derive(Debug)]
struct Clamped {
    layer: Layer,
    what: String,
    epoch: i64,
    env: Env,
}

impl Open for Clamped {
    fn open(&self) -> Result<Reader> {
        self.rewrite(&self.layer)
    }

    fn open_counted(&self, count: &Count) -> Result<Reader> {
        self.rewrite(&counted_layer(&self.layer, count))
    }

    fn counted(&self) -> (Counted, Option<u64>) {
        let blob = &self.layer.blob;
        (blob.bytes.counted().0, blob.size_to_count())
    }

    /// The source layer, its claimed diff ID and the bound determine every byte, and all checks.
    fn identity(&self) -> Option<String> {
        let Layer { blob, diff_id, .. } = &self.layer;
        let source = match blob.facts.digest {
            Some(digest) => digest.to_string(),
            None => blob.bytes.identity()?,
        };
        let claimed = diff_id.map_or_else(|| "-".to_owned(), |claimed| claimed.to_string());
        let epoch = self.epoch;
        Some(format!("{source} {claimed} clamped to {epoch}"))
    }
}

impl Clamped {
    /// Rewrites the tar of the layer.
    fn rewrite(&self, layer: &Layer) -> Result<Reader> {
        let (what, env, epoch) = (&self.what, &self.env, self.epoch);
        let tar = Tar::open(layer, &Budget::default(), env, what)?;
        let claimed = Facts {
            digest: self.layer.diff_id,
            size: None,
        };
        let tar = Verified::new(tar, &claimed, format!("the tar of {what}"));
        let tar = io::BufReader::with_capacity(1 << 16, tar);
        let map = move |entry| Ok(Some(imgconv_layer::clamp(entry, epoch)));
        let rewritten = Rewrite::new(tar, &env.limits, &env.notes, what, map);
        Ok(Box::new(rewritten))
    }
}

#[cfg(test)]
mod tests {
    use imgconv_model::{Algorithm, Platform};
    use imgconv_stream::digest;

    use super::*;

    #[test]
    fn a_clamped_layer_is_recognised_by_its_source_and_the_bound() {
        let env = Env::new("/nonexistent", Platform::default());
        let layer = |bytes: &[u8], claimed: bool| Layer {
            blob: Blob {
                facts: Facts {
                    digest: Some(digest(Algorithm::Sha256, bytes)),
                    size: None,
                },
                bytes: Arc::new(Arc::<[u8]>::from(bytes)),
            },
            diff_id: claimed.then(|| digest(Algorithm::Sha256, b"claim")),
            kind: None,
            urls: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        };
        let identity = |layer: Layer, epoch| {
            let clamped = clamp(&[layer], epoch, &env).unwrap();
            clamped[0].blob.bytes.identity().unwrap()
        };
        let one = identity(layer(b"a", false), 5);
        assert_eq!(one, identity(layer(b"a", false), 5));
        assert_ne!(one, identity(layer(b"a", false), 6));
        assert_ne!(one, identity(layer(b"b", false), 5));
        assert_ne!(one, identity(layer(b"a", true), 5));
    }
}
