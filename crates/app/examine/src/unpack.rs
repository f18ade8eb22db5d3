//! The root file system of an image, in a directory.

use std::path::Path;

use imgconv_model::{Code, Env, Error, Phase, PlatformSpec, Report, Result};
use imgconv_pipeline::flatten;
pub use imgconv_unpack::{LeftOut, Options, Outcome};

use crate::pick::pick;
use imgconv_convert::{read::node::semantics, refuse_same_place};
use imgconv_locate::locator::Locator;

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
    if target == Path::new("-") {
        let message = "`unpack` makes a directory, and `-` is standard output";
        return Err(Error::new(Code::Usage, message).hint(
            "`./-` is a directory of that name; `squash SRC docker-archive:-` writes a tar that has \
             the files as one layer",
        ));
    }
    refuse_same_place(std::slice::from_ref(locator), target)?;
    env.phase(Phase::Reading);
    let picked = pick(locator, platforms, deps, env)?;
    let env = &env.with_notes(&picked.node.notes);
    let merged = flatten(&picked.node.image.layers, semantics(&picked.node), env)
        .map_err(|error| error.at(&*picked.text))?;
    if let Some(conflict) = merged.tree.windows_conflict(0) {
        let message = format!("{conflict}; the directory has what Linux makes of them");
        env.notes.warn("windows-layers", &*picked.text, message);
    }
    env.phase(Phase::Writing);
    let outcome = imgconv_unpack::unpack(&merged.tree, &merged.contents, target, options, env)
        .map_err(|error| error.at(&*picked.text))?;
    let mut report = picked.node.report.clone();
    report.merge(env.notes.snapshot());
    Ok((outcome, report))
}
