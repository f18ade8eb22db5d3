//! The command `imgconv`: parses, calls the library, prints, exits. Nothing else.

mod args;
mod commands;
mod env;
mod failure;
mod habits;
mod layout;
mod links;
mod man;
mod migrate;
mod network;
mod progress;
mod render;
mod tags;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return failure::usage(&habits::advise(error)),
    };
    let shared = args.shared.clone();
    match commands::run(args) {
        Ok(status) => status,
        Err(error) => failure::report(&error, &shared),
    }
}
