//! The command `tags validate`.

use std::process::ExitCode;

use clap::Args;
use imgconv::{Code, Env, Error, Result};

use crate::{
    documents::Problems,
    exit,
    options::Common,
    screen::{clean, show},
};

const EXAMPLES: &str = "\
Examples:
  imgconv tags validate imagetags.json";

/// Name every problem of an image tags file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Validate {
    /// Image tags file, or `-` for standard input
    file: String,
}

impl Validate {
    pub(crate) fn run(&self, common: &Common, env: &Env) -> Result<ExitCode> {
        let problems = match imgconv::read_tags(&self.file, env) {
            Ok(tags) => tags.problems(),
            Err(error) if error.code() == Code::Io => return Err(error),
            // A file that can't be parsed has this one problem.
            Err(error) => vec![error],
        };
        let lines: String = problems.iter().map(line).collect();
        show(common.json, &Problems::of(&problems), &lines)?;
        Ok(exit::by_result(problems.is_empty()))
    }
}

fn line(error: &Error) -> String {
    format!("{}: {}\n", error.code(), clean(&error.to_string()))
}
