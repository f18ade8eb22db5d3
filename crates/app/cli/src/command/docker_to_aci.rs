//! The command `docker-to-aci`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, FormatFamily, Options, Result};

use crate::{
    options::{Common, Conversion, Destination},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv docker-to-aci saved.tar acis/
  imgconv docker-to-aci docker://registry.example.com/app:1.0 app.aci";

/// Convert Docker images to ACIs
///
/// The layers of each image are merged into one ACI. With `--no-squash` each layer becomes an ACI, and
/// the ACIs are linked by dependencies.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DockerToAci {
    /// File of `docker save` from any Docker version, or `dir:PATH`
    #[arg(value_name = "SRC")]
    source: String,
    /// Directory for files `NAME-VERSION-OS-ARCH.aci`, or one `.aci` file
    #[arg(value_name = "OUT")]
    destination: String,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

impl DockerToAci {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let destination = self.to.aci_locator(&self.destination)?;
        let options = Options {
            pair: Some((FormatFamily::Docker, FormatFamily::Aci)),
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
