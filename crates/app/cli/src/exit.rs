//! The exit codes.

use std::process::ExitCode;

use imgconv::Code;

use crate::signals;

/// The exit codes other than 0, as `imgconv help exit-codes` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The command failed; for `diff`: the images differ.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// `--strict` refused the result.
    Refused = 3,
    /// The input does not match its digest, size or signature.
    Integrity = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl From<Code> for Status {
    fn from(code: Code) -> Self {
        match code {
            Code::Usage => Self::Usage,
            Code::Strict => Self::Refused,
            Code::Mismatch | Code::BadSignature => Self::Integrity,
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
            | Code::Cancelled => Self::Failed,
        }
    }
}

/// The exit code of a command that printed its result and did not succeed: that of the signal, if a
/// signal ended the work.
pub(crate) fn unsuccessful(status: Status) -> ExitCode {
    signals::received().map_or(status.into(), ExitCode::from)
}

/// The exit code of a command that printed its result: 0 if the result is `good`, else 1.
pub(crate) fn by_result(good: bool) -> ExitCode {
    match good {
        true => ExitCode::SUCCESS,
        false => unsuccessful(Status::Failed),
    }
}

/// The exit code of an error. A run that was cancelled has the exit code of the signal.
pub(crate) fn of_error(code: Code) -> ExitCode {
    match code {
        Code::Cancelled => unsuccessful(Status::Failed),
        code => Status::from(code).into(),
    }
}
