//! The command `formats`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{
    Result,
    catalog::{FORMATS, TRANSPORTS},
};

use crate::{options::Common, screen::show};

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
        show(common.json, &document(), &text())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn document() -> serde_json::Value {
    let formats = FORMATS
        .iter()
        .map(|format| serde_json::json!({ "id": format.id().0, "about": format.facts().about }));
    let transports = TRANSPORTS.iter().map(|transport| {
        let place = transport.place();
        let writes: Vec<&str> = place.formats().iter().map(|id| id.0).collect();
        serde_json::json!({
            "scheme": place.scheme,
            "syntax": place.syntax,
            "about": place.about,
            "writes": writes,
        })
    });
    serde_json::json!({
        "formats": formats.collect::<Vec<_>>(),
        "transports": transports.collect::<Vec<_>>(),
    })
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
