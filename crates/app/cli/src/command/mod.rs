//! The commands: one file each, with the arguments, the examples of the help page, and the call of the
//! library. The six pair commands share a file.

mod completions;
mod convert;
mod diff;
mod formats;
mod help;
mod inspect;
mod layout;
mod ls;
mod man;
mod migrate;
mod pair;
mod publish;
mod recompress;
mod report;
mod serve;
mod squash;
mod tags;
mod unpack;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use imgconv::{Env, Result};

use crate::options::Common;

/// The commands, in the order of the help page.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "copy")]
    Convert(Box<convert::Convert>),
    #[command(flatten)]
    Pair(pair::PairCommand),
    Squash(Box<squash::Squash>),
    Recompress(Box<recompress::Recompress>),
    Inspect(Box<inspect::Inspect>),
    #[command(visible_alias = "list")]
    Ls(Box<ls::Ls>),
    Verify(Box<verify::Verify>),
    Diff(Box<diff::Diff>),
    Unpack(Box<unpack::Unpack>),
    #[command(subcommand)]
    Tags(tags::Tags),
    #[command(subcommand)]
    Layout(layout::Layout),
    Publish(Box<publish::Publish>),
    Migrate(Box<migrate::Migrate>),
    Report(report::Report),
    Serve(Box<serve::Serve>),
    Formats(formats::Formats),
    Completions(completions::Completions),
    Man(man::Man),
    Help(help::Help),
}

impl Command {
    /// Runs the command. `program` makes the definition of the whole command line.
    ///
    /// # Errors
    /// The errors of the command.
    pub(crate) fn run(
        &self,
        common: &Common,
        env: Env,
        program: fn() -> clap::Command,
    ) -> Result<ExitCode> {
        match self {
            Self::Convert(command) => command.run(common, env),
            Self::Pair(command) => command.run(common, env),
            Self::Squash(command) => command.run(common, env),
            Self::Recompress(command) => command.run(common, env),
            Self::Inspect(command) => command.run(common, env),
            Self::Ls(command) => command.run(common, env),
            Self::Verify(command) => command.run(common, env),
            Self::Diff(command) => command.run(common, env),
            Self::Unpack(command) => command.run(common, env),
            Self::Tags(command) => command.run(common, env),
            Self::Layout(command) => command.run(common, env),
            Self::Publish(command) => command.run(common, env),
            Self::Migrate(command) => command.run(common, env),
            Self::Report(command) => command.run(&env),
            Self::Serve(command) => command.run(common, env),
            Self::Formats(command) => command.run(common),
            Self::Completions(command) => command.run(&mut program()),
            Self::Man(command) => command.run(&program()),
            Self::Help(command) => command.run(&program()),
        }
    }
}
