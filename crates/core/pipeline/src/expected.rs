//! The sealed layers that a plan is expected to give, where their digests are known in advance.

use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use imgconv_model::{Algorithm, Compression, Env, Layer, ReadAt, Result, SealedLayer, Step};
use imgconv_stream::expected_size;

use crate::{
    look::look,
    plan::{LayerStep, Plan},
};

/// Returns the layers that a plan is going to give, each with its expected size; `None` if the
/// digest of a layer is not known yet. No layer is decompressed. The digests are claims, and the
/// sizes hints: writing verifies both.
pub fn expected(
    layers: &[Layer],
    plan: &Plan,
    env: &Env,
) -> Option<Vec<(SealedLayer, Option<u64>)>> {
    let steps = plan.steps.iter();
    steps
        .map(|step| expected_layer(layers, *step, env))
        .collect()
}

fn expected_layer(
    layers: &[Layer],
    step: LayerStep,
    env: &Env,
) -> Option<(SealedLayer, Option<u64>)> {
    let (layer, compression, step) = match step {
        LayerStep::Keep(i) => (&layers[i], None, Step::Keep),
        LayerStep::Recompress(i, to) if to.compression == Compression::None => {
            (&layers[i], Some(Compression::None), Step::Recompress)
        }
        LayerStep::Recompress(..) | LayerStep::Squash(..) => return None,
    };
    let diff_id = layer.diff_id?;
    let found = look(layer).ok()?;
    let (digest, size) = match step {
        Step::Keep => (layer.blob.facts.digest?, layer.blob.facts.size),
        _ => (diff_id, content_size(layer, found?)),
    };
    let most = env.limits.layer_bytes;
    let size = size.filter(|size| *size <= most);
    let sealed = SealedLayer {
        digest,
        size: size.unwrap_or(0),
        compression: compression.or(found)?,
        diff_id,
        step,
        annotations: BTreeMap::new(),
    };
    (digest.algorithm() == Algorithm::Sha256).then_some((sealed, size))
}

/// Returns the stated size of the tar of a layer that can be read by position.
fn content_size(layer: &Layer, compression: Compression) -> Option<u64> {
    let stored = layer.blob.facts.size;
    if compression == Compression::None && stored.is_some() {
        return stored;
    }
    let bytes = positioned(layer).ok()??;
    expected_size(&*bytes, stored?, compression)
}

fn positioned(layer: &Layer) -> Result<Option<Arc<dyn ReadAt>>> {
    if let Some(bytes) = layer.blob.bytes.positioned()? {
        return Ok(Some(bytes));
    }
    let file = layer.blob.bytes.file()?;
    Ok(file.map(|file| Arc::new(Whole(file)) as Arc<dyn ReadAt>))
}

/// A file that holds the bytes of one blob.
#[derive(Debug)]
struct Whole(File);

impl ReadAt for Whole {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}
