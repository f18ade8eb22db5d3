//! The command `aci-to-oci`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, FormatFamily, Options, Result};

use crate::{
    options::{Common, Conversion, Destination, Target},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv aci-to-oci app.aci out/
  imgconv aci-to-oci app-amd64.aci app-arm64.aci out/     one index for both platforms
  imgconv aci-to-oci app.aci out.tar --deps acis/         dependencies from a directory";

/// Convert ACIs to one OCI layout
///
/// ACIs of one name for several platforms become one index. The dependencies of an ACI become the layers
/// below its own layer. Dependencies are looked for among the given ACIs and in `--deps`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AciToOci {
    /// The ACIs
    #[arg(value_name = "ACI", required = true)]
    sources: Vec<String>,
    /// OCI layout, made if it is missing, added to if it exists; or a `.tar`, an archive of a layout
    #[arg(value_name = "OUT")]
    destination: String,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

impl AciToOci {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let destination = self.to.locator_of(&self.destination, &Target::OCI)?;
        let options = Options {
            pair: Some((FormatFamily::Aci, FormatFamily::Oci)),
            ..self.conversion.options()?
        };
        let writing = &self.conversion.writing;
        outcome::write(&self.sources, &destination, &options, writing, common, env)
    }
}
