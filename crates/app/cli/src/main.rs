//! The command `imgconv`: reads the arguments, runs one command, and turns an error into a message
//! and an exit code.
//!
//! Where to look:
//!
//! - `command/`: one file a command, with its arguments, its examples and its call of the library.
//! - `options/`: the option groups that several commands share.
//! - `help/`: help pages, help topics, man pages and the reference in `docs/cli.md`. All of them are
//!   made from the same definitions.
//! - `screen.rs` and `outcome.rs`: how results are printed. `progress.rs`: how progress is shown.
//! - `documents.rs` and `progress/events.rs`: the JSON that is printed; `schemas.rs` makes `docs/schema` of them.
//! - `environment.rs` and `signals.rs`: inputs other than the arguments.

mod arguments;
mod command;
mod documents;
mod environment;
mod exit;
mod failure;
mod habits;
mod help;
mod options;
mod outcome;
mod progress;
#[cfg(test)]
mod schemas;
mod screen;
mod signals;

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use imgconv::Result;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let cancel = signals::cancel_on_signals();
    environment::allow_open_files();
    let words: Vec<OsString> = std::env::args_os().collect();
    let as_json = words.iter().any(|word| word == "--json");
    let arguments = match arguments::parse(words) {
        Ok(arguments) => arguments,
        Err(error) => return failure::usage(&habits::advise(error), as_json),
    };
    run(&arguments, cancel).unwrap_or_else(|error| failure::report(&error, arguments.common.json))
}

fn run(arguments: &Arguments, cancel: Arc<AtomicBool>) -> Result<ExitCode> {
    let Arguments { common, command } = arguments;
    let env = common.env(cancel)?;
    command.run(common, env, arguments::program)
}
