//! The command `unpack`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use imgconv::{Env, Result, UnpackOptions, UnpackOutcome};

use crate::{
    documents::{Irregularity, Unpacked},
    options::{Access, Common, Dependencies, Platforms, Source},
    screen::{json, warn},
};

const EXAMPLES: &str = "\
Examples:
  imgconv unpack app.aci rootfs/
  imgconv unpack oci:out:app:1.0 rootfs/ --platform linux/arm64
  imgconv unpack app.aci rootfs/ --deps acis/";

/// Write the root file system of an image to a new directory, safely
///
/// Without root privileges, owners are set as far as the system allows.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Unpack {
    /// Locator of the image
    #[arg(value_name = "SRC")]
    source: String,
    /// Directory to write; missing or empty
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Keep set-user-ID bits, set-group-ID bits and capabilities
    #[arg(long)]
    preserve_privileges: bool,
    /// Make device nodes (root only)
    #[arg(long)]
    allow_devices: bool,
    #[command(flatten)]
    platforms: Platforms,
    #[command(flatten)]
    dependencies: Dependencies,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Unpack {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let options = UnpackOptions {
            preserve_privileges: self.preserve_privileges,
            allow_devices: self.allow_devices,
        };
        let directory = match self.directory.to_str() {
            Some(text) => imgconv::directory(text)?.into(),
            None => self.directory.clone(),
        };
        let locator = self.from.locator(&self.source)?;
        let platforms = self.platforms.specs()?;
        let deps = &self.dependencies.deps;
        let (outcome, report) =
            imgconv::unpack(&locator, &directory, &platforms, deps, &options, &env)?;
        if !common.quiet {
            for warning in &report.warnings {
                warn(warning.code, &warning.at, &warning.message);
            }
        }
        if common.json {
            let UnpackOutcome { entries, bytes, .. } = outcome;
            json(&Unpacked {
                directory: directory.display().to_string(),
                entries,
                bytes,
                warnings: report.warnings.iter().map(Irregularity::of).collect(),
            })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
