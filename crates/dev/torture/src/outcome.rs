//! What a run needs, what it counts, and how it fails.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use imgconv_testkit::registry::Registry;

use crate::Failure;

/// What a run needs besides the subject.
#[derive(Debug)]
pub struct World {
    /// The program under test.
    pub program: PathBuf,
    /// True if umoci judges some trees too.
    pub umoci: bool,
    /// True if owners and devices can be made, so that unpacked directories are compared.
    pub root: bool,
    /// A registry of this thread alone.
    pub registry: Registry,
}

impl World {
    /// Makes the surroundings of one thread.
    pub fn new(program: &Path, umoci: bool) -> Self {
        let root = rustix::process::geteuid().is_root();
        Self {
            program: program.to_path_buf(),
            umoci: umoci && root,
            root,
            registry: Registry::start(),
        }
    }
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Chains.
    pub chains: u64,
    /// Images of all subjects.
    pub images: u64,
    /// Conversions and other changes.
    pub steps: u64,
    /// Trees that were compared with the model's.
    pub trees: u64,
    /// Trees of umoci that were compared with the model's.
    pub umoci: u64,
    /// Losses, each `OUTCOME FIELD` in general form, and how often each was reported.
    pub losses: BTreeMap<String, u64>,
    /// ACIs that came back byte for byte.
    pub exact: u64,
    /// Steps that were done twice, to compare digests.
    pub repeated: u64,
}

impl Count {
    /// Adds what another thread did.
    pub fn add(&mut self, other: &Self) {
        self.chains += other.chains;
        self.images += other.images;
        self.steps += other.steps;
        self.trees += other.trees;
        self.umoci += other.umoci;
        self.exact += other.exact;
        self.repeated += other.repeated;
        for (loss, count) in &other.losses {
            *self.losses.entry(loss.clone()).or_default() += count;
        }
    }
}

/// A difference between the program and the model.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of the difference: shrinking keeps it.
    pub class: String,
    /// The whole account.
    pub account: String,
}

impl Fault {
    /// Makes a fault of a kind.
    pub fn new(class: &str, account: impl Into<String>) -> Self {
        Self {
            class: class.to_owned(),
            account: account.into(),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::new("reading", failure.to_string())
    }
}

/// The result of a check.
pub type Checked<T = ()> = std::result::Result<T, Fault>;
