//! The output of errors.

use std::process::ExitCode;

use imgconv::{Code, Document, Error, conceal};

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
pub(crate) fn usage(error: &clap::Error, as_json: bool) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    let passwords = passwords_in_arguments();
    let text = error.render().to_string();
    let text = conceal(&text, passwords.iter().map(String::as_str));
    if as_json {
        say_json(&Document::new(Failed::of(&usage_error(&text))));
    } else if passwords.is_empty() {
        error.exit();
    } else {
        say(text.trim_end());
    }
    Status::Usage.into()
}

/// Makes an error of the text of the parser: the first paragraph is the message, and the tips after
/// the message are the hint. The usage and the pointer to the help page are for people.
fn usage_error(text: &str) -> Error {
    let mut parts = text.split("\n\n").map(joined);
    let message = parts.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let hints = parts.filter_map(|part| part.strip_prefix("tip: ").map(str::to_owned));
    let hints: Vec<String> = hints.collect();
    let error = Error::new(Code::Usage, message);
    match hints.is_empty() {
        true => error,
        false => error.hint(hints.join("; ")),
    }
}

/// Returns a text as one line.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
