//! The command `oci-to-docker`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, FormatFamily, Options, Result};

use crate::{
    options::{Common, Conversion, Destination, Target},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv oci-to-docker out/ saved.tar
  imgconv oci-to-docker out/ - | docker load";

/// Convert OCI images to one archive for `docker load`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct OciToDocker {
    /// OCI layout, or an archive of a layout
    #[arg(value_name = "SRC")]
    source: String,
    /// Archive for `docker load`, or `dir:PATH`
    #[arg(value_name = "OUT")]
    destination: String,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

impl OciToDocker {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let destination = self.to.locator_of(&self.destination, &Target::DOCKER)?;
        let options = Options {
            pair: Some((FormatFamily::Oci, FormatFamily::Docker)),
            ..self.conversion.options()?
        };
        let writing = &self.conversion.writing;
        outcome::write(
            std::slice::from_ref(&self.source),
            &destination,
            &options,
            writing,
            common,
            env,
        )
    }
}
