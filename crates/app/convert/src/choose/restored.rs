//! The check that a restored ACI is the one that the image was made of.

use std::sync::Arc;

use imgconv_format_aci::{ExpectedImage, decode_stream};
use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Facts, FormatId, Image, Notes, Result,
};
use imgconv_pipeline::{Budget, Tar};
use imgconv_stream::HashingReader;

use super::dependencies::own_layer;
use crate::{outcome::BAD_RECORD, plan::data::PlannedExact, read::reversal::Reversal};

/// The words for an ACI that is made because no record gives back the original.
pub(crate) const ANEW: &str = "the ACI is made anew";
/// The words for an older ACI, which is restored because the newest record is damaged.
pub(crate) const OLDER: &str = "an ACI is restored that was converted earlier";

/// Restores an ACI, reads it like any other, and compares it with the image: the manifest byte for byte, and the own
/// layer by its diff ID. The digest of an image says nothing about its referrers, and a record states the digest of
/// what it makes: so neither proves that both belong together.
///
/// # Errors
/// [`Code::Mismatch`] if the record makes another ACI, and the errors of the record and of the layers.
pub fn check_restored(
    reversal: &Reversal,
    bundle: &dyn Bundle,
    image: &Image,
    env: &Env,
) -> Result<()> {
    let what = format!("record {}", reversal.record.digest);
    // The warnings about the ACI were given when the image was made of it.
    let env = &env.with_notes(&Notes::default());
    let blob = Blob {
        facts: Facts::default(),
        bytes: Arc::new(reversal.rebuilt(bundle, &image.layers, env)?),
    };
    let restored = decode_stream(&blob, &what, &ExpectedImage::default(), env)?;
    let (expected, found) = (manifest(image), manifest(&restored.image));
    if expected.map(|document| &document.bytes) != found.map(|document| &document.bytes) {
        let message = "the record makes an ACI with another manifest than the image was made of";
        return Err(Error::new(Code::Mismatch, message).at(what));
    }
    let (top, below) = match image.layers.split_last() {
        Some((top, below)) => (top.diff_id, below),
        None => (None, &[][..]),
    };
    let claimed = top.ok_or_else(|| {
        Error::new(Code::Missing, "the layer of the image has no diff ID").at(&*what)
    })?;
    let layer = own_layer(&restored, below, env)?;
    let tar = Tar::open(&layer, &Budget::default(), env, &what)?;
    let reader = HashingReader::new(tar, &[claimed.algorithm()]);
    let (digests, _): (Vec<Digest>, u64) = reader.finish().map_err(Error::from_io)?;
    match digests.first() {
        Some(found) if *found == claimed => Ok(()),
        found => {
            let found = found.map(ToString::to_string).unwrap_or_default();
            Err(Error::mismatch("the diff ID of the restored ACI", claimed, found).at(what))
        }
    }
}

/// Says whether an error is of the run or a place as a whole, and not the fault of a record.
pub(crate) fn stops(error: &Error) -> bool {
    matches!(error.code(), Code::Cancelled | Code::Io | Code::Net)
}

/// Decides about a record that does not give back its ACI: a warning to `notes`, unless the run has to end. `instead`
/// says what is written.
///
/// # Errors
/// The same error if the input or the run is at its end, and not the record at fault; [`Code::Mismatch`] if the user
/// wants `only` exact ACIs.
pub(crate) fn not_exact(
    exact: &PlannedExact<'_>,
    error: Error,
    only: bool,
    (instead, notes): (&str, &Notes),
) -> Result<()> {
    if stops(&error) {
        return Err(error);
    }
    let record = format!("artifact {}", exact.reversal.digest);
    if only {
        // A limit is the user's own; everything else is damage, whatever shows the damage.
        if error.code() == Code::Limit {
            return Err(error.at(record));
        }
        let message = format!("the record does not give back the ACI: {error}");
        return Err(Error::new(Code::Mismatch, message).at(record));
    }
    let message = format!("{instead}, because the record does not give back its ACI: {error}");
    notes.warn(BAD_RECORD, record, message);
    Ok(())
}

/// The manifest of the ACI that an image is, or was.
fn manifest(image: &Image) -> Option<&Document> {
    let of_aci = image
        .originals
        .iter()
        .find(|original| original.format == FormatId::ACI && original.role == "manifest");
    of_aci.map(|original| &original.document)
}
