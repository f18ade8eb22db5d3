//! The commands of `tags`.

mod export;
mod fetch;
mod list;
mod resolve;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;
use imgconv::{Env, Result};

use crate::options::Common;

const EXAMPLES: &str = "\
Examples:
  imgconv tags export docker://registry.example.com/team/app > imagetags.json
  imgconv tags resolve imagetags.json latest --label os=linux
  imgconv tags fetch example.com/app --keyring keys.gpg";

/// Work with appc image tags files, which map tags to labels
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Tags {
    Export(Box<export::Export>),
    Resolve(resolve::Resolve),
    List(list::List),
    Validate(validate::Validate),
    Fetch(Box<fetch::Fetch>),
}

impl Tags {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        match self {
            Self::Export(command) => command.run(common, env),
            Self::Resolve(command) => command.run(common, &env),
            Self::List(command) => command.run(common, &env),
            Self::Validate(command) => command.run(common, &env),
            Self::Fetch(command) => command.run(env),
        }
    }
}
