//! The command `squash`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Result};

use crate::{
    options::{Common, Destination, Merge, Writing},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv squash oci:in oci:out                       one layer
  imgconv squash oci:in oci:out --keep-base 1         the base layer stays shared
  imgconv squash saved.tar docker-archive:new.tar --last 3
  imgconv squash oci:in oci:out --max-layers 20       at most 20 layers";

/// Merge layers: all layers, or the last ones
///
/// The merged layer, together with the layers below it, has the same files with the same attributes as
/// the original layers. The merged layer contains a whiteout only for a path of a layer below. If a hard
/// link leads to a file of a layer below, the merged layer contains that file too. The layers below
/// are read and stay unchanged, unless `--compression`, `--force` or `--clamp-mtime` asks for other bytes. An ACI
/// always has one layer.
///
/// Signatures and attestations of an image that gets another digest are left out and reported.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Squash {
    /// Locator of the source
    #[arg(value_name = "SRC")]
    source: String,
    /// Locator of the destination, as for `convert`
    #[arg(value_name = "DST")]
    destination: String,
    /// Merge all layers into one; the default
    #[arg(long, conflicts_with = "Merge", help_heading = "Layers")]
    all: bool,
    #[command(flatten)]
    merge: Merge,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    to: Destination,
}

impl Squash {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let mut options = self.writing.options()?;
        options.change = true;
        // `--all` is the default; clap refuses it beside the options of `Merge`.
        options.layers.squash = Some(self.merge.squash().unwrap_or(imgconv::Squash::All));
        let destination = self.to.locator(&self.destination)?;
        let sources = std::slice::from_ref(&self.source);
        outcome::write(sources, &destination, &options, &self.writing, common, env)
    }
}
