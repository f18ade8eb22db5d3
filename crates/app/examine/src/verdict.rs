//! What `verify` finds.

use std::collections::BTreeSet;

use imgconv_locate::locator::Locator;
use imgconv_model::{Code, Error};
use serde::Serialize;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// How many images and artifacts were read to their last byte.
    pub checked: u64,
    /// Who signed, by image: only signatures of trusted keys that are good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignedBy>,
    /// What is wrong.
    pub problems: Vec<Finding>,
    /// What is irregular and not wrong.
    pub warnings: Vec<Finding>,
    /// Those of the problems that say only that something could not be read: nothing is damaged.
    #[serde(skip)]
    pub(crate) unread: BTreeSet<Finding>,
}

impl Verdict {
    /// Says whether something that was read is not what it should be.
    pub fn is_damaged(&self) -> bool {
        let damage = |problem: &Finding| !self.unread.contains(problem);
        self.problems.iter().any(damage)
    }

    /// Adds what is wrong with an entry of a place, or with a part of one.
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

/// What a problem is met in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The place itself, or the list of what is there.
    Place,
    /// The document that an entry begins with.
    Root,
    /// What that leads to.
    Below,
}

/// Says whether there is no file or directory where the locator says.
fn absent(locator: &Locator) -> bool {
    locator.location != "-" && std::fs::symlink_metadata(&locator.location).is_err()
}

/// A good signature of a trusted key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SignedBy {
    /// The image.
    pub at: String,
    /// The fingerprint of the key, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The key's user IDs, such as `Name <name@example.com>`.
    pub user_ids: Vec<String>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: String,
    /// Where, from outside in.
    pub at: String,
    /// What.
    pub message: String,
}

impl Finding {
    pub(crate) fn of(error: &Error) -> Self {
        Self {
            code: error.code().to_string(),
            at: error.places().join(" › "),
            message: error.message().to_owned(),
        }
    }
}
