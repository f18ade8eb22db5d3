//! The command `tags list`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Env, Result, TagLine};

use crate::{
    documents::TagList,
    exit,
    options::Common,
    screen::{clean, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv tags list imagetags.json";

/// List every tag with its alias and the labels to which it resolves
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    /// Image tags file, or `-` for standard input
    file: String,
}

impl List {
    pub(crate) fn run(&self, common: &Common, env: &Env) -> Result<ExitCode> {
        let tags = imgconv::list_tags(&imgconv::read_tags(&self.file, env)?);
        let document = TagList { tags };
        let lines: String = document.tags.iter().map(line).collect();
        show(common.json, &document, &lines)?;
        let mut tags = document.tags.iter();
        Ok(exit::by_result(tags.all(|tag| tag.error.is_none())))
    }
}

/// Returns `TAG [-> ALIAS] LABELS`.
fn line(tag: &TagLine) -> String {
    let mut words = vec![tag.tag.clone()];
    if let Some(alias) = &tag.alias {
        words.push(format!("-> {alias}"));
    }
    match (&tag.labels, &tag.error) {
        (_, Some(error)) => words.push(format!("error: {error}")),
        (labels, None) => {
            let labels = labels.iter().flatten();
            words.extend(labels.map(|(name, value)| format!("{name}={value}")));
        }
    }
    format!("{}\n", clean(&words.join("  ")))
}
