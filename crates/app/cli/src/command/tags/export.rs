//! The command `tags export`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Code, Env, Error, Exported, Locator, Result};

use crate::{
    documents::ExportedTags,
    options::{Access, Common, Source},
    screen::{clean, json, print_document, warn},
};

const EXAMPLES: &str = "\
Examples:
  imgconv tags export docker://registry.example.com/team/app > imagetags.json
  imgconv tags export oci:out --name example.com/app";

/// Print the image tags file of a repository
///
/// Every tag maps to the label `dockerimageid` of its image, the tag of an ACI to the label `version`. If an image has several tags, the tag with
/// the most numbers in it holds the label and the other tags are aliases of it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// Locator of a registry's repository, a layout, an archive, or a folder
    #[arg(value_name = "SRC")]
    source: String,
    /// Image name to export, if the source has several
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Export {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let source = self.from.locator(&self.source)?;
        let mut found = imgconv::export_tags(&source, &env)?;
        let names = found.iter().filter_map(|found| found.name.clone());
        let names = clean(&names.collect::<Vec<_>>().join(", "));
        if let Some(name) = &self.name {
            found.retain(|found| found.name.as_ref() == Some(name));
        }
        match common.json {
            true => json(&ExportedTags::of(&found))?,
            false => print_document(&only(&found, &names, &source)?.tags.to_bytes())?,
        }
        for exported in found.iter().filter(|_| !common.quiet) {
            for tag in &exported.left_out {
                let at = match &exported.name {
                    Some(name) => format!("{name}:{tag}"),
                    None => tag.clone(),
                };
                warn(
                    "tag-left-out",
                    &at,
                    "the tag leads to no image, and the file has tags of images only",
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The tags of the only image name, because a file is for one name. `names` are the names in the
/// source.
fn only<'a>(found: &'a [Exported], names: &str, source: &Locator) -> Result<&'a Exported> {
    match found {
        [only] => Ok(only),
        [] => Err(
            Error::new(Code::Missing, "no image with that name has a tag")
                .hint(format!("the source has: {names}")),
        ),
        several => {
            let message = format!(
                "the source has {} image names, but an image tags file is for one name",
                several.len()
            );
            Err(Error::new(Code::Ambiguous, message)
                .at(clean(&source.to_string()))
                .hint(format!("choose one with `--name`: {names}")))
        }
    }
}
