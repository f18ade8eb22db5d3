//! Losses and warnings of a conversion.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The outcome of a field. An unchanged field has no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The target has no field for the value.
    Dropped,
    /// The target has a field with a similar meaning.
    Approximated,
    /// The target needs a value that the source does not have.
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

/// One field whose value the conversion changed or dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// The field, by its name in the source format, such as `app.isolators`.
    pub field: String,
    /// The outcome of the field.
    pub outcome: Outcome,
    /// One sentence: the reason, and the value that replaces the field.
    pub why: String,
}

/// One irregularity that did not stop the conversion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// A stable code, such as `trailing-data`.
    pub code: &'static str,
    /// The place of the irregularity, from outside in.
    pub at: String,
    /// The irregularity, and how the input was read.
    pub message: String,
}

/// The losses and warnings of one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The losses: changed and dropped fields.
    pub losses: Vec<Loss>,
    /// Irregularities of the input.
    pub warnings: Vec<Warning>,
    /// A set of the losses that finds a loss without a search of the list, once the list is long.
    known: Known,
}

/// A set of losses that comparisons of reports ignore.
#[derive(Clone, Debug, Default)]
struct Known(BTreeSet<Loss>);

impl PartialEq for Known {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Known {}

/// The number of losses up to which the list is searched one by one.
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
        // The list is public, so a caller may have added or removed losses since the set was
        // filled.
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

    /// Sorts all entries, so that their order does not depend on the order of discovery.
    pub fn sort(&mut self) {
        self.losses.sort();
        self.warnings.sort();
    }

    /// Returns true if the report has no loss and no warning.
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

    /// Adds the warnings of a report.
    pub fn take_warnings(&self, report: &Report) {
        for warning in &report.warnings {
            self.warn(warning.code, &*warning.at, &*warning.message);
        }
    }

    /// Adds a loss, see [`Report::lose`].
    pub fn lose(&self, field: impl Into<String>, outcome: Outcome, why: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lose(field, outcome, why);
    }

    /// Returns the collected report and leaves an empty one.
    pub fn take(&self) -> Report {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns a copy of the report so far.
    pub fn snapshot(&self) -> Report {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
