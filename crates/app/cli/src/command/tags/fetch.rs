//! The command `tags fetch`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Result};

use crate::{options::Server, screen::print_document};

const EXAMPLES: &str = "\
Examples:
  imgconv tags fetch example.com/app --keyring keys.gpg
  imgconv tags fetch https://example.com/aci/example.com/app/imagetags.json --insecure-image";

/// Print the image tags file of an image name, found by appc discovery, or of a URL or a path
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Fetch {
    /// Image name, such as `example.com/app` or `appc:example.com/app`; or a URL; or a path
    #[arg(value_name = "NAME|FILE|URL")]
    from: String,
    #[command(flatten)]
    server: Server,
}

impl Fetch {
    pub(crate) fn run(&self, env: Env) -> Result<ExitCode> {
        let env = self.server.apply(env)?;
        print_document(&imgconv::fetch_tags(&self.from, &env)?.to_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
