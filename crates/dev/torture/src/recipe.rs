//! A chain as data: the place where it starts, and the seeds of its steps.

use imgconv_testkit::random::Random;

use crate::outcome::{Count, Fault, World};
use crate::subject::Subject;
use crate::{Failure, chain};

/// A subject and the seeds of its steps.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Where the chain starts.
    pub subject: Subject,
    /// The seeds of the steps.
    pub steps: Vec<u64>,
}

impl Recipe {
    /// Makes the chain of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let subject = Subject::random(&mut random, 4);
        let count = 2 + random.below(5);
        let steps = (0..count).map(|_| random.next()).collect();
        Self { subject, steps }
    }
}

/// Runs a chain in a folder of its own.
///
/// # Errors
/// If the program and the model differ.
pub fn once(recipe: &Recipe, world: &World, count: &mut Count) -> std::result::Result<(), Fault> {
    let wrong = |error: std::io::Error| Fault::from(Failure::new(error.to_string()));
    let folder = tempfile::Builder::new()
        .prefix("imgconv-torture-")
        .tempdir()
        .map_err(wrong)?;
    let result = chain::run(&recipe.subject, &recipe.steps, world, folder.path(), count);
    result.map_err(|mut fault| {
        fault.account = fault
            .account
            .replace(&*folder.path().to_string_lossy(), "T");
        fault
    })
}
