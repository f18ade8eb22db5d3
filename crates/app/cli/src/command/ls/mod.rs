//! The command `ls`.

mod table;
mod template;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Args;
use imgconv::{Code, Env, Error, Listed, Result};

use self::template::Template;

use crate::{
    documents::Listing,
    exit,
    options::{Access, Common, Source},
    screen::{clean, json, print_bytes, say, warn},
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
    /// Locators of the places
    #[arg(value_name = "LOCATOR", required = true)]
    sources: Vec<String>,
    /// Template of a line, such as `{{.Name}} {{.Digest}}`, or `table` [default: a table on a
    /// terminal]
    ///
    /// `table` is the table with a header and short digests that a terminal shows; otherwise an image
    /// is a line with name, platform, format, digest, and size in bytes, without a header. Fields of
    /// a template: `.Name`, `.Repository`, `.Tag`, `.Labels` (of an ACI), `.Platform`, `.Format`,
    /// `.Digest`, `.ID` (the image ID of docker), `.Size`, `.HumanSize`, `.File` (where a tree holds
    /// the image); `\t` is a tabulator.
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<String>,
    /// Show whole digests in the table
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Ls {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        let format = Shown::parse(self.format.as_deref())?;
        let mut images = Vec::new();
        for source in self.from.locators(&self.sources)? {
            images.extend(imgconv::list(&source, &env)?);
        }
        let warnings = env.notes.take().warnings;
        if !common.quiet {
            for warning in &warnings {
                warn(warning.code, &warning.at, &warning.message);
            }
        }
        let listing = Listing { images };
        let images = &listing.images;
        let errors = || images.iter().filter_map(|image| image.error.as_ref());
        if common.json {
            json(&listing)?;
        } else {
            let printed = print_bytes(format.text(images, self.no_trunc).as_bytes());
            for error in errors() {
                say(&format!("error: {}", clean(error)));
            }
            printed?;
        }
        Ok(exit::by_result(errors().next().is_none()))
    }
}

/// How the images are shown.
enum Shown {
    /// Lines for programs.
    Plain,
    /// The table for people.
    Table,
    /// A line by a template for each image.
    Template(Template),
}

impl Shown {
    /// Chooses by the option `--format`, or by whether standard output is a terminal.
    fn parse(format: Option<&str>) -> Result<Self> {
        Ok(match format {
            None if std::io::stdout().is_terminal() => Self::Table,
            None => Self::Plain,
            Some("table") => Self::Table,
            Some(text) if !text.contains("{{") => {
                let message = format!("`--format {text}` is neither `table` nor a template");
                let hint = "a template has a field, such as `{{.Name}}`; for JSON use `--json`";
                return Err(Error::new(Code::Usage, message).hint(hint));
            }
            Some(text) => Self::Template(Template::parse(text)?),
        })
    }

    fn text(&self, images: &[Listed], whole: bool) -> String {
        match self {
            Self::Plain => table::plain(images),
            Self::Table => table::with_header(images, whole),
            Self::Template(template) => images.iter().map(|image| template.line(image)).collect(),
        }
    }
}
