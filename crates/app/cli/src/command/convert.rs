//! The command `convert`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use imgconv::{Env, Result};

use crate::{
    options::{Common, Conversion, Destination},
    outcome,
};

const EXAMPLES: &str = "\
Examples:
  imgconv convert app.aci oci:out
  imgconv convert oci:a:app:1.0 oci-archive:app.tar --compression zstd
  imgconv convert docker://registry.example.com/team/app:1.0 oci:out
  imgconv convert oci:out:1.0 docker-v2s2+docker://registry.example.com/app:1.0
  imgconv convert rkt:/var/lib/rkt oci:all
  imgconv convert rootfs:tree/ oci:out --config config.json --name example.com/app:1.0";

/// Convert images from any place to any other place
///
/// Without a REF in SRC every image of the source is converted, under its own name. A format that is
/// not named in DST is the format of the source, if DST can hold it. An image comes with the documents whose
/// `subject` it is, such as SBOMs and signatures.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Convert {
    /// Locator of the source
    #[arg(value_name = "SRC")]
    source: String,
    /// Locator of the destination; a bare path is an ACI if it ends in `.aci`, else a layout; a tar needs a scheme
    #[arg(value_name = "DST")]
    destination: String,
    /// File that describes a `rootfs:` source: an OCI image config or an ACI manifest
    ///
    /// Without this option the image has the platform of this machine and no command.
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    config: Option<PathBuf>,
    #[command(flatten)]
    conversion: Conversion,
    #[command(flatten)]
    to: Destination,
}

impl Convert {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let destination = self.to.locator(&self.destination)?;
        let mut options = self.conversion.options()?;
        options.config.clone_from(&self.config);
        let sources = std::slice::from_ref(&self.source);
        let writing = &self.conversion.writing;
        outcome::write(sources, &destination, &options, writing, common, env)
    }
}
