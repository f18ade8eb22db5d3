//! The root file system of an image, in a directory.

use std::path::Path;

use imgconv_model::{Env, PlatformSpec, Report, Result};
use imgconv_pipeline::squash;
pub use imgconv_unpack::{Options, Outcome};

use crate::{convert::refuse_same_place, locator::Locator, pick::pick, stream::semantics};

/// Writes the root file system of one image to a directory that is new or empty.
///
/// # Errors
/// If the image can't be read or the directory can't be written; nothing is left there then.
pub fn unpack(
    locator: &Locator,
    target: &Path,
    platforms: &[PlatformSpec],
    deps: &[String],
    options: &Options,
    env: &Env,
) -> Result<(Outcome, Report)> {
    refuse_same_place(std::slice::from_ref(locator), target)?;
    let picked = pick(locator, platforms, deps, env)?;
    let env = &Env {
        notes: picked.node.notes.clone(),
        ..env.clone()
    };
    let merged = squash(&picked.node.image.layers, semantics(&picked.node), env)
        .map_err(|error| error.at(&*picked.text))?;
    let outcome = imgconv_unpack::unpack(&merged.tree, &merged.contents, target, options, env)
        .map_err(|error| error.at(&*picked.text))?;
    let mut report = picked.node.report.clone();
    report.merge(env.notes.snapshot());
    Ok((outcome, report))
}
