//! The command `completions`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;
use imgconv::Result;

use crate::screen::print_bytes;

const EXAMPLES: &str = "\
Examples:
  imgconv completions bash > ~/.local/share/bash-completion/completions/imgconv
  imgconv completions zsh > ~/.zfunc/_imgconv";

/// Print the completion script for a shell
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, program: &mut clap::Command) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, program, "imgconv", &mut script);
        print_bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
