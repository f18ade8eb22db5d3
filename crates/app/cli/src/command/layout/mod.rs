//! The commands of `layout`.

mod gc;
mod names;
mod rm;
mod tag;

use std::process::ExitCode;

use clap::Subcommand;
use imgconv::{Env, Result};

use crate::options::Common;

const EXAMPLES: &str = "\
Examples:
  imgconv layout tag out example.com/app:1.0 stable     add a name
  imgconv layout rm out example.com/app:0.9             remove a name
  imgconv layout gc out --dry-run                       print the blobs that nothing refers to";

/// Change the names in an OCI layout directory, and free its space
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Layout {
    Rm(rm::Rm),
    Tag(tag::Tag),
    Gc(gc::Gc),
}

impl Layout {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        match self {
            Self::Rm(command) => command.run(common, env),
            Self::Tag(command) => command.run(common, env),
            Self::Gc(command) => command.run(common, env),
        }
    }
}
