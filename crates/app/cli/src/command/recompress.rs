//! The command `recompress`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Result};

use crate::{
    options::{Common, Destination, Writing},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv recompress oci:in oci:out --compression zstd
  imgconv recompress oci:in oci:out --compression gzip --level 9 --force
  imgconv recompress oci:in oci:out --compression zstd:chunked";

/// Compress layers again, without a change of their content
///
/// A layer that has the right compression already stays unchanged, except with `--force`. The
/// compression of a layer is detected from its first bytes, not from its media type; the media types in
/// the output are correct.
///
/// `zstd:chunked` and `estargz` add a table of contents, from which runtimes fetch single files. Only
/// `estargz`, which adds files to layers, and `--clamp-mtime`, which changes times, change diff IDs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Recompress {
    /// Locator of the source
    #[arg(value_name = "SRC")]
    source: String,
    /// Locator of the destination, as for `convert`
    #[arg(value_name = "DST")]
    destination: String,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    to: Destination,
}

impl Recompress {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let mut options = self.writing.options()?;
        options.change = true;
        let destination = self.to.locator(&self.destination)?;
        let sources = std::slice::from_ref(&self.source);
        outcome::write(sources, &destination, &options, &self.writing, common, env)
    }
}
