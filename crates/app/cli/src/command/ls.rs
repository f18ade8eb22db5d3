//! The command `ls`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Listed, Result};

use crate::{
    exit::{self, Status},
    options::{Access, Common, Source},
    screen::{clean, json, print, say, warn},
};

const EXAMPLES: &str = "\
Examples:
  imgconv ls out/
  imgconv ls /var/lib/docker
  imgconv ls docker://registry.example.com/team/app       every tag of a repository
  imgconv ls docker://registry.example.com                every repository of a registry
  imgconv ls containerd:/var/lib/containerd --namespace k8s.io";

/// List every image of a place: name, platform, format, digest, size
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// Locator of the place
    #[arg(value_name = "LOCATOR")]
    source: String,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Ls {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let images = imgconv::list(&self.from.locator(&self.source)?, &env)?;
        let warnings = env.notes.take().warnings;
        if !common.quiet {
            for warning in &warnings {
                warn(warning.code, &warning.at, &warning.message);
            }
        }
        if common.json {
            json(&serde_json::json!({ "images": images }))?;
        } else {
            let printed = print(&table(&images));
            for error in images.iter().filter_map(|image| image.error.as_ref()) {
                say(&format!("error: {}", clean(error)));
            }
            printed?;
        }
        Ok(match images.iter().any(|image| image.error.is_some()) {
            true => exit::unsuccessful(Status::Failed),
            false => ExitCode::SUCCESS,
        })
    }
}

/// A line for each image, in columns.
fn table(images: &[Listed]) -> String {
    let row = |image: &Listed| {
        [
            clean(image.name.as_deref().unwrap_or("-")),
            clean(image.platform.as_deref().unwrap_or("-")),
            clean(&image.format),
            image.digest.clone().unwrap_or_else(|| "-".to_owned()),
            image.size.to_string(),
        ]
    };
    let rows: Vec<[String; 5]> = images.iter().map(row).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
