//! The command `formats`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{
    Result,
    catalog::{FORMATS, TRANSPORTS},
};

use crate::{documents::Catalog, options::Common, screen::show};

const EXAMPLES: &str = "\
Examples:
  imgconv formats
  imgconv formats --json";

/// List the formats and the kinds of places
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Formats {}

impl Formats {
    pub(crate) fn run(self, common: &Common) -> Result<ExitCode> {
        show(common.json, &Catalog::new(), &text())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text() -> String {
    let mut text = String::from("formats:\n");
    for format in FORMATS {
        text.push_str(&format!("  {:24} {}\n", format.id(), format.facts().about));
    }
    text.push_str("transports:\n");
    for transport in TRANSPORTS {
        let (syntax, about) = (transport.place().syntax, transport.place().about);
        text.push_str(&format!("  {syntax:24} {about}\n"));
    }
    text
}
