//! The output of errors.

use std::process::ExitCode;

use imgconv::{Document, Error, conceal};

use crate::{
    documents::Failed,
    environment::passwords_in_arguments,
    exit::{self, Status},
    screen::{Label, clean, say, say_as, say_json},
};

/// Prints an error to standard error, as text or as JSON, and returns the exit code.
pub(crate) fn report(error: &Error, as_json: bool) -> ExitCode {
    if as_json {
        say_json(&Document::new(Failed::of(error)));
    } else {
        let word = format!("error[{}]", error.code());
        say_as(Label::Error, &word, &clean(&error.to_string()));
        if let Some(advice) = error.advice() {
            say_as(Label::Hint, "  hint", &clean(advice));
        }
    }
    exit::of_error(error.code())
}

/// Prints the error of the arguments, or the help page that the arguments ask for. The error repeats
/// arguments, and an argument may contain a password.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let passwords = passwords_in_arguments();
    if passwords.is_empty() || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    say(conceal(&text, passwords.iter().map(String::as_str)).trim_end());
    Status::Usage.into()
}
