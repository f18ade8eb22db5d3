//! The command `man`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use imgconv::Result;

use crate::{help, options::refuse_stream};

const EXAMPLES: &str = "\
Examples:
  imgconv man /usr/local/share/man/man1";

/// Write the man pages to a directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Man {
    /// Directory to write; made if it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(&self, program: &clap::Command) -> Result<ExitCode> {
        refuse_stream("man", &self.directory)?;
        help::write_man_pages(program, &self.directory)?;
        Ok(ExitCode::SUCCESS)
    }
}
