//! The option that selects platforms.

use clap::Args;
use imgconv::{PlatformSpec, Result};

/// The platforms to read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct Platforms {
    /// Select a platform, `OS/ARCH[/VARIANT]` (repeatable)
    ///
    /// Windows images that differ only in the version of the system are selected with
    /// `OS(VERSION)/ARCH`, such as `windows(10.0.20348)/amd64`, or with `OS/ARCH:VERSION`. A version
    /// selects the versions that begin with it, unless the source holds exactly this version.
    ///
    /// If exactly one platform is given, ACIs that name no platform are read as images for it.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
}

impl Platforms {
    /// Parses the platforms.
    ///
    /// # Errors
    /// [`Code::BadName`](imgconv::Code::BadName) if a platform is malformed.
    pub(crate) fn specs(&self) -> Result<Vec<PlatformSpec>> {
        let texts = self.platform.iter();
        texts.map(|text| PlatformSpec::parse(text)).collect()
    }
}
