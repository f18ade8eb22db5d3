//! The command `publish`.

use std::{path::Path, process::ExitCode};

use clap::Args;
use imgconv::{Env, PublishOptions, Result};

use crate::{
    options::{Common, Conversion, Site, refuse_stream},
    outcome::reported,
};

const EXAMPLES: &str = "\
Examples:
  imgconv publish acis/app.aci site/ --pubkeys keys.gpg
  imgconv publish oci:out site/ --host example.com --pgp-key secret.asc
  imgconv publish docker://registry.example.com/team/app site/ --image-tags --host example.com";

/// Publish images as a static appc site: ACIs, image tags files, discovery pages
///
/// The directory is the document root of one host, for any web server. ACIs are published byte for
/// byte, with their `.asc` files, unless an option asks for other ACIs; images of other formats are converted. The existing content of the
/// site stays.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Publish {
    /// Locators of the sources
    #[arg(value_name = "SRC", required = true)]
    sources: Vec<String>,
    /// Directory of the site, made if it is missing, added to if it exists
    #[arg(value_name = "DIR")]
    directory: String,
    #[command(flatten)]
    site: Site,
    #[command(flatten)]
    conversion: Conversion,
}

impl Publish {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let writing = &self.conversion.writing;
        let env = writing.env(env)?;
        let directory = imgconv::directory(&self.directory)?;
        refuse_stream("publish", Path::new(directory))?;
        let mut conversion = self.conversion.options()?;
        conversion.host.clone_from(&self.site.host);
        let site = self.site.options(&env);
        let options = PublishOptions { conversion, site };
        let sources = writing.source.locators(&self.sources)?;
        let work = || imgconv::publish(&sources, Path::new(directory), &options, &env);
        reported(writing, common, false, &env, work)
    }
}
