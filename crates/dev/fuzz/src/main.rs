//! `imgconv-fuzz`: the targets without libFuzzer.
//!
//! ```text
//! imgconv-fuzz list                    the names of the targets
//! imgconv-fuzz seeds TARGET DIR        write the seeds of a target as files
//! imgconv-fuzz run TARGET FILE…        call a target with files
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers"
)]

use std::path::Path;
use std::process::ExitCode;

use imgconv_fuzz::{TARGETS, run, target, write_seeds};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match called(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn called(words: &[&str]) -> Result<(), String> {
    let named = |name: &str| target(name).ok_or_else(|| format!("there is no target {name}"));
    match words {
        ["list"] => TARGETS
            .iter()
            .for_each(|target| println!("{}", target.name)),
        ["seeds", name, folder] => {
            let written = write_seeds(named(name)?, Path::new(folder));
            written.map_err(|error| format!("{folder}: {error}"))?;
        }
        ["run", name, files @ ..] => {
            for file in files {
                let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                run(named(name)?, &bytes, true);
            }
        }
        _ => return Err("imgconv-fuzz list | seeds TARGET DIR | run TARGET FILE…".to_owned()),
    }
    Ok(())
}
