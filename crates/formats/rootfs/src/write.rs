//! The one layer of an image as a flat tar.

use std::io::Cursor;

use imgconv_layer::{Rewrite, clean};
use imgconv_model::{Code, Error, Facts, Layer, Limits, Notes, Open, Reader, Result, quote};
use imgconv_stream::{Decoder, Verified};
use imgconv_tar::{END, Entry};

/// The bytes of a flat tar that is written.
#[derive(Debug)]
pub(crate) struct Flat {
    /// The layer: everything of the image, merged.
    pub(crate) layer: Option<Layer>,
    pub(crate) limits: Limits,
    pub(crate) notes: Notes,
}

impl Open for Flat {
    fn open(&self) -> Result<Reader> {
        let Some(layer) = &self.layer else {
            return Ok(Box::new(Cursor::new(END)));
        };
        let decoder = Decoder::new(layer.blob.open()?, &self.limits, &self.notes, "layer")?;
        let facts = Facts {
            digest: layer.diff_id,
            size: None,
        };
        let tar = Verified::new(decoder, &facts, "layer, uncompressed");
        let limits = self.limits;
        let flat = move |entry: Entry| {
            refuse_whiteout(&entry, &limits)
                .map_err(|error| error.at(format!("entry {}", quote(&entry.path))))?;
            Ok(Some(entry))
        };
        let rewrite = Rewrite::new(tar, &self.limits, &self.notes, "layer", flat);
        Ok(Box::new(rewrite))
    }
}

/// A whiteout would be a file with an odd name for whoever extracts the tar.
fn refuse_whiteout(entry: &Entry, limits: &Limits) -> Result<()> {
    let path = clean(&entry.path, limits)?;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if !name.starts_with(b".wh.") {
        return Ok(());
    }
    let message = "a whiteout means nothing in a flat tar; the layers must be squashed first";
    Err(Error::new(Code::Unsupported, message))
}
