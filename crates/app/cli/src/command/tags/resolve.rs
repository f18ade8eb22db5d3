//! The command `tags resolve`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Code, Env, Error, Labels, Result};

use crate::{
    options::Common,
    screen::{clean, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv tags resolve imagetags.json latest
  imgconv tags resolve imagetags.json latest --label os=linux --label arch=amd64";

/// Print the labels to which a tag resolves
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Resolve {
    /// Image tags file, or `-` for standard input
    file: String,
    /// The tag
    tag: String,
    /// Label to add; it replaces the label of the tag (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
}

impl Resolve {
    pub(crate) fn run(&self, common: &Common, env: &Env) -> Result<ExitCode> {
        let tags = imgconv::read_tags(&self.file, env)?;
        let resolution = imgconv::resolve_tag(&tags, &self.tag, &labels(&self.label)?)?;
        let pairs = resolution.labels.iter();
        let lines = pairs.map(|(name, value)| format!("{name}={}\n", clean(value)));
        show(common.json, &resolution, &lines.collect::<String>())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Parses labels of the form `NAME=VALUE`.
fn labels(texts: &[String]) -> Result<Labels> {
    let mut labels = Labels::new();
    for text in texts {
        let pair = text.split_once('=');
        let (name, value) = pair.ok_or_else(|| {
            Error::new(Code::Usage, format!("`--label {text}` is not `NAME=VALUE`"))
        })?;
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            let message = format!("the label `{name}` is given twice");
            return Err(Error::new(Code::Usage, message));
        }
    }
    Ok(labels)
}
