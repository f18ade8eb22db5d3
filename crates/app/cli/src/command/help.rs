//! The command `help`.

use std::process::ExitCode;

use clap::Args;
use imgconv::Result;

use crate::{help, screen::print};

const EXAMPLES: &str = "\
Examples:
  imgconv help convert          every option of a command
  imgconv help locators         how places are written
  imgconv help network          options of connections";

/// Print the help of a command or a topic
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Help {
    /// Name of a command, or of a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    names: Vec<String>,
}

impl Help {
    pub(crate) fn run(&self, program: &clap::Command) -> Result<ExitCode> {
        print(&help::page(&self.names, program)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
