//! The command `aci-to-docker`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, FormatFamily, Options, Result};

use crate::{
    options::{Common, Conversion, Destination, Target},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv aci-to-docker app.aci saved.tar
  imgconv aci-to-docker app.aci base.aci saved.tar";

/// Convert ACIs to one archive for `docker load`
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AciToDocker {
    /// The ACIs
    #[arg(value_name = "ACI", required = true)]
    sources: Vec<String>,
    /// Archive for `docker load`, or `dir:PATH`
    #[arg(value_name = "OUT")]
    destination: String,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

impl AciToDocker {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let destination = self.to.locator_of(&self.destination, &Target::DOCKER)?;
        let options = Options {
            pair: Some((FormatFamily::Aci, FormatFamily::Docker)),
            ..self.conversion.options()?
        };
        let writing = &self.conversion.writing;
        outcome::write(&self.sources, &destination, &options, writing, common, env)
    }
}
