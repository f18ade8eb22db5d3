//! How an error is shown, and which exit code it has.

use std::process::ExitCode;

use imgconv_model::{Code, Error, conceal};

use crate::{
    args::Shared,
    env::passwords_in_arguments,
    render::{clean, concealed, say, say_json},
};

/// The exit codes, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Failed; for `diff`: the images differ.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Refused by `--strict`.
    Refused = 3,
    /// What was read does not match its digest, size or signature.
    Integrity = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// The exit code of an error.
pub(crate) fn status(code: Code) -> Status {
    match code {
        Code::Usage => Status::Usage,
        Code::Strict => Status::Refused,
        Code::Mismatch | Code::BadSignature => Status::Integrity,
        Code::BadName
        | Code::BadDigest
        | Code::BadJson
        | Code::BadManifest
        | Code::BadTar
        | Code::BadCompression
        | Code::Ambiguous
        | Code::Limit
        | Code::Missing
        | Code::Cycle
        | Code::Escape
        | Code::Unsupported
        | Code::Denied
        | Code::Net
        | Code::Io
        | Code::Cancelled => Status::Failed,
    }
}

/// Prints an error to standard error, as text or JSON.
pub(crate) fn report(error: &Error, shared: &Shared) -> ExitCode {
    if shared.json {
        let places: Vec<String> = error
            .places()
            .iter()
            .map(|place| concealed(place))
            .collect();
        let document = serde_json::json!({ "error": {
            "code": error.code().as_str(),
            "at": places,
            "message": concealed(error.message()),
            "hint": error.advice().map(concealed),
        }});
        say_json(&document);
    } else {
        say(&format!(
            "error[{}]: {}",
            error.code(),
            clean(&error.to_string())
        ));
        if let Some(advice) = error.advice() {
            say(&format!("  hint: {}", clean(advice)));
        }
    }
    match crate::env::signalled() {
        Some(code) if error.code() == Code::Cancelled => code.into(),
        _ => status(error.code()).into(),
    }
}

/// Prints what is wrong with the arguments, or the help that they ask for. Arguments are repeated in
/// it, and a password may be one of them.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let passwords = passwords_in_arguments();
    if passwords.is_empty() || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    say(conceal(&text, passwords.iter().map(String::as_str)).trim_end());
    Status::Usage.into()
}
