//! The first bytes of a layer, its compression, and its name in messages.

use std::io::Read as _;

use imgconv_model::{Code, Compression, Env, Error, Layer, Result};
use imgconv_stream::sniff;

/// Reads the first bytes of a layer. `None` for one that has URLs and no blob here, and of which
/// everything is known that a list of layers says.
///
/// # Errors
/// If the layer can't be read.
pub(crate) fn look(layer: &Layer) -> Result<Option<Compression>> {
    let known = layer.diff_id.is_some() && layer.blob.facts.size.is_some();
    match peek(layer) {
        Err(error) if error.code() == Code::Missing && known && !layer.urls.is_empty() => Ok(None),
        other => other.map(Some),
    }
}

/// Reads the first bytes of a layer that is there.
fn peek(layer: &Layer) -> Result<Compression> {
    let mut source = layer.blob.open()?;
    let mut prefix = [0; 6];
    let mut filled = 0;
    while filled < prefix.len() {
        match source.read(&mut prefix[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::from_io(error)),
        }
    }
    Ok(sniff(&prefix[..filled]))
}

/// Returns the compression that the media type of a layer states. This is for layers without a blob
/// only: the bytes of every other layer decide.
pub fn labelled(layer: &Layer) -> Compression {
    match layer.kind.as_deref() {
        Some(kind) if kind.ends_with("gzip") => Compression::Gzip,
        Some(kind) if kind.ends_with("zstd") => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Says whether the media type of a layer does not contradict a compression.
pub(crate) fn is_labelled(layer: &Layer, found: Compression) -> bool {
    layer.kind.is_none() || labelled(layer) == found
}

/// Warns if a layer is compressed with something else than its media type says: the bytes count
/// (robustness C14a).
pub(crate) fn note_label(layer: &Layer, found: Option<Compression>, place: &str, env: &Env) {
    if let (Some(kind), Some(found)) = (&layer.kind, found)
        && !is_labelled(layer, found)
    {
        let kind = imgconv_model::quote(kind);
        let message = format!("its media type is {kind}; its bytes are read as they are: {found}");
        env.notes.warn("mislabelled-layer", place, message);
    }
}

/// Names a layer for messages: its position, from 0, and its digest where it has one.
pub(crate) fn place(layers: &[Layer], i: usize) -> String {
    match layers[i].blob.facts.digest {
        Some(digest) => format!("layer {i} ({digest})"),
        None => format!("layer {i}"),
    }
}
