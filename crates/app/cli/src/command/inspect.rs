//! The command `inspect`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Inspection, Result};
use serde_json::Value;

use crate::{
    documents::Inspections,
    exit,
    options::{Access, Common, Platforms, Source},
    screen::{clean, print_bytes, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv inspect app.aci
  imgconv inspect oci:out:app:1.0 --json
  imgconv inspect docker://registry.example.com/app:1.0 --platform linux/arm64
  imgconv inspect oci:out --raw                       the stored manifest or index";

/// Print the format, platform, config, layers and names of images
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// Locator of the source
    #[arg(value_name = "SRC")]
    source: String,
    /// Print the stored document, byte for byte
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    platforms: Platforms,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Inspect {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let locator = self.from.locator(&self.source)?;
        if self.raw {
            print_bytes(&imgconv::raw(&locator, &env)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let found = imgconv::inspect(&locator, &self.platforms.specs()?, &env)?;
        let document = Inspections { images: found };
        show(common.json, &document, &text(&document.images))?;
        let mut images = document.images.iter();
        Ok(exit::by_result(images.all(|image| image.error.is_none())))
    }
}

/// The fields of every image, a line each, with an empty line between images.
fn text(inspections: &[Inspection]) -> String {
    let text = |inspection| {
        let value = serde_json::to_value(inspection).expect("an inspection is plain data");
        let mut text = String::new();
        fields("", &value, &mut text);
        text
    };
    let texts: Vec<String> = inspections.iter().map(text).collect();
    texts.join("\n")
}

/// Writes every field that has a value as `path: value`. The recursion is as deep as our own structs.
fn fields(path: &str, value: &Value, text: &mut String) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                fields(&format!("{path}{dot}{key}"), value, text);
            }
        }
        Value::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                fields(&format!("{path}[{i}]"), value, text);
            }
        }
        Value::String(value) => text.push_str(&format!("{}: {}\n", clean(path), clean(value))),
        other => text.push_str(&format!("{}: {other}\n", clean(path))),
    }
}
