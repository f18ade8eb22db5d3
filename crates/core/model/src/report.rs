//! What a conversion could not carry over, and what it noticed on the way.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// What became of a field. A field that is kept has no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The target has no place for it.
    Dropped,
    /// The target holds something near to it.
    Approximated,
    /// The source did not say it and the target needs it.
    Synthesised,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "dropped",
            Self::Approximated => "approximated",
            Self::Synthesised => "synthesised",
        })
    }
}

/// One field that did not arrive as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// The field, in the source format's own words, such as `app.isolators`.
    pub field: String,
    /// What became of it.
    pub outcome: Outcome,
    /// One sentence: why, and what stands there instead.
    pub why: String,
}

/// One irregularity that did not stop the conversion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// A stable code, such as `trailing-data`.
    pub code: &'static str,
    /// Where it is, from outside in.
    pub at: String,
    /// What was found, and how it was read.
    pub message: String,
}

/// The losses and warnings of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Fields that did not arrive as they were.
    pub losses: Vec<Loss>,
    /// Irregularities of the input.
    pub warnings: Vec<Warning>,
    /// The losses, once there are many, so that each is found without looking at all.
    known: Known,
}

/// A set that says nothing of the report that it is of.
#[derive(Clone, Debug, Default)]
struct Known(BTreeSet<Loss>);

impl PartialEq for Known {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Known {}

/// How many losses are looked through one by one.
const FEW: usize = 32;

impl Report {
    /// Adds a loss, once.
    pub fn lose(&mut self, field: impl Into<String>, outcome: Outcome, why: impl Into<String>) {
        let loss = Loss {
            field: field.into(),
            outcome,
            why: why.into(),
        };
        self.add(loss);
    }

    fn add(&mut self, loss: Loss) {
        if self.losses.len() < FEW {
            if !self.losses.contains(&loss) {
                self.losses.push(loss);
            }
            return;
        }
        // The list is public: what was put there or taken away since counts.
        if self.known.0.len() != self.losses.len() {
            self.known.0 = self.losses.iter().cloned().collect();
        }
        if self.known.0.insert(loss.clone()) {
            self.losses.push(loss);
        }
    }

    /// Adds a warning, once; of one code and place only the first hundred are kept.
    pub fn warn(&mut self, code: &'static str, at: impl Into<String>, message: impl Into<String>) {
        let warning = Warning {
            code,
            at: at.into(),
            message: message.into(),
        };
        let same = self
            .warnings
            .iter()
            .filter(|other| other.code == code)
            .count();
        if same < 100 && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Takes over the entries of another report.
    pub fn merge(&mut self, other: Self) {
        for loss in other.losses {
            self.add(loss);
        }
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Puts all entries in their one order, whatever order they were found in.
    pub fn sort(&mut self) {
        self.losses.sort();
        self.warnings.sort();
    }

    /// Says whether nothing was lost and nothing was irregular.
    pub fn is_clean(&self) -> bool {
        self.losses.is_empty() && self.warnings.is_empty()
    }
}

/// A shared collector of warnings, for readers that find irregularities while bytes stream by.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Report>>);

impl Notes {
    /// Adds a warning, see [`Report::warn`].
    pub fn warn(&self, code: &'static str, at: impl Into<String>, message: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .warn(code, at, message);
    }

    /// Adds a loss, see [`Report::lose`].
    pub fn lose(&self, field: impl Into<String>, outcome: Outcome, why: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lose(field, outcome, why);
    }

    /// Takes everything that was collected.
    pub fn take(&self) -> Report {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what was collected up to now.
    pub fn snapshot(&self) -> Report {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
