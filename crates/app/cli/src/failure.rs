//! How an error is shown, and which exit code it has.

use std::process::ExitCode;

use imgconv_model::{Code, Error};

use crate::{
    args::Shared,
    render::{clean, say},
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
        let document = serde_json::json!({ "error": {
            "code": error.code().as_str(),
            "at": error.places(),
            "message": error.message(),
            "hint": error.advice(),
        }});
        say(&document.to_string());
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
