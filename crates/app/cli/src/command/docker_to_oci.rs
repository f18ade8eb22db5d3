//! The command `docker-to-oci`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, FormatFamily, Options, Result};

use crate::{
    options::{Common, Conversion, Destination, Target},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv docker-to-oci saved.tar out/                     every image and every name
  imgconv docker-to-oci docker-archive:saved.tar:app:1.0 out/
  docker save app:1.0 | imgconv docker-to-oci - out/";

/// Convert Docker images to one OCI layout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DockerToOci {
    /// File of `docker save` from any Docker version, or `dir:PATH`
    #[arg(value_name = "SRC")]
    source: String,
    /// OCI layout, made if it is missing, added to if it exists; or a `.tar`, an archive of a layout
    #[arg(value_name = "OUT")]
    destination: String,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

impl DockerToOci {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let destination = self.to.locator_of(&self.destination, &Target::OCI)?;
        let options = Options {
            pair: Some((FormatFamily::Docker, FormatFamily::Oci)),
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
