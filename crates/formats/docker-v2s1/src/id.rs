//! The ids of v1 images as docker computes them when it writes schema 1: each is computed from the
//! blob of its step and the id below it, the top id also from the config, and from nothing else.

use imgconv_model::{Algorithm, Digest};
use imgconv_stream::digest;

/// Returns the id of a step below the top one. `parent` is empty for the base.
pub(crate) fn of_step(blob: &Digest, parent: &str) -> String {
    hash(&format!("{} {parent}", blob.hex()))
}

/// Returns the id of the top step. `config` is the image's whole configuration as in schema 2.
pub(crate) fn of_top(blob: &Digest, parent: &str, config: &str) -> String {
    hash(&format!("{} {parent} {config}", blob.hex()))
}

fn hash(text: &str) -> String {
    digest(Algorithm::Sha256, text.as_bytes()).hex()
}
