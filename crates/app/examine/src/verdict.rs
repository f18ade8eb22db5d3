//! The findings of `verify`.

use std::{collections::BTreeSet, path::Path};

use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Error, Report};
use serde::Serialize;

/// The findings.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Verdict {
    /// The number of images and artifacts that were read to their last byte.
    pub checked: u64,
    /// The signers of each image: only good signatures of trusted keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignedBy>,
    /// The problems.
    pub problems: Vec<Finding>,
    /// The irregularities that are no problems.
    pub warnings: Vec<Finding>,
    /// The problems that mean only that something could not be read: nothing is damaged.
    #[serde(skip)]
    pub(crate) unread: BTreeSet<Finding>,
}

impl Verdict {
    /// Says whether any stored bytes are damaged.
    pub fn is_damaged(&self) -> bool {
        let damage = |problem: &Finding| !self.unread.contains(problem);
        self.problems.iter().any(damage)
    }

    /// Adds an error that is damage.
    pub(crate) fn fault(&mut self, error: &Error) {
        self.problems.push(Finding::of(error));
    }

    /// Adds an irregularity.
    pub(crate) fn warn(&mut self, code: &str, at: String, message: impl Into<String>) {
        self.warnings.push(Finding::new(code, at, message));
    }

    /// Adds the irregularities of a document; `text` is its place.
    pub(crate) fn warn_all(&mut self, text: &str, report: Report) {
        for warning in report.warnings {
            let at = format!("{text} › {}", warning.at);
            self.warn(warning.code, at, warning.message);
        }
    }

    /// Adds an error of an entry of a place, or of a part of one.
    pub(crate) fn problem(&mut self, error: &Error, locator: &Locator, part: Part) {
        let finding = Finding::of(error);
        let remote = !locator.transport.place().is_local();
        let unread = match error.code() {
            Code::Net => true,
            // A server denies the reading; a signature was read, and its key is not trusted.
            Code::Denied => remote && !error.places().iter().any(|place| place == "signature"),
            Code::Missing => {
                let named = locator.reference.is_some() && part == Part::Place;
                named || remote && part != Part::Below || part == Part::Place && absent(locator)
            }
            Code::Ambiguous => locator.reference.is_some() && part == Part::Place,
            Code::Io | Code::Usage | Code::Unsupported => part == Part::Place,
            _ => false,
        };
        if unread {
            self.unread.insert(finding.clone());
        }
        self.problems.push(finding);
    }
}

/// The part of a place in which a problem was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The place itself, or its list of entries.
    Place,
    /// The root document of an entry.
    Root,
    /// The documents and blobs below the root.
    Below,
}

/// Says whether the locator's file or directory is missing.
fn absent(locator: &Locator) -> bool {
    let is_there = || imgconv_fs::is_there(Path::new(&locator.location));
    locator.location != "-" && matches!(is_there(), Ok(false))
}

/// A good signature of a trusted key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignedBy {
    /// The image.
    pub at: String,
    /// The fingerprint of the key, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The key's user IDs, such as `Name <name@example.com>`.
    pub user_ids: Vec<String>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// The stable code.
    pub code: String,
    /// The place, from outside in.
    pub at: String,
    /// The message.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(code: &str, at: String, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            at,
            message: message.into(),
        }
    }

    pub(crate) fn of(error: &Error) -> Self {
        Self::new(
            error.code().as_str(),
            error.places().join(" › "),
            error.message(),
        )
    }
}
