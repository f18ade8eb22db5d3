//! The state of one step, and how the step changes layers.

use std::path::Path;

use imgconv_testkit::random::Random;

use crate::outcome::{Count, World};

/// One step.
pub(crate) struct Walk<'a> {
    pub(crate) world: &'a World,
    pub(crate) folder: &'a Path,
    pub(crate) number: usize,
    pub(crate) random: &'a mut Random,
    pub(crate) count: &'a mut Count,
    pub(crate) done: &'a mut Vec<String>,
}

/// How a step changes layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) arguments: Vec<String>,
    pub(crate) squash: Option<Squash>,
    pub(crate) compression: Option<&'static str>,
    pub(crate) clamp: Option<i64>,
    pub(crate) reversible: bool,
    /// True if the image gets another name than the one that it has where it is.
    pub(crate) renamed: bool,
}

impl Change {
    /// Says whether an ACI comes back from a record: neither its name nor its files are to be others.
    pub(crate) fn restores(&self) -> bool {
        self.clamp.is_none() && !self.renamed
    }
}

/// Which layers are merged; always the topmost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Squash {
    All,
    Last(usize),
    KeepBase(usize),
    AtMost(usize),
}

impl Squash {
    /// The lowest of the merged layers; `None` if no layer is merged.
    pub(crate) fn from(self, count: usize) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::Last(last) => Some(count.saturating_sub(last)),
            Self::KeepBase(base) => Some(base).filter(|base| *base < count),
            Self::AtMost(most) => Some(most - 1).filter(|_| most < count),
        }
    }
}
