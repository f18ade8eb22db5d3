//! Many chains, one seed each, on several threads, for a time or for a number of images.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use imgconv_testkit::write_file;
use serde_json::{Value, json};

use crate::outcome::{Count, Fault, World};
use crate::recipe::{Recipe, once};
use crate::{Failure, Result, case, shrink};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program under test.
    pub program: PathBuf,
    /// The first seed.
    pub seed: u64,
    /// The longest time; `None` for no end by time.
    pub time: Option<Duration>,
    /// The number of images; `None` for no end by number.
    pub images: Option<u64>,
    /// The number of threads.
    pub jobs: usize,
    /// Where failures are saved.
    pub save: PathBuf,
    /// True if umoci is installed.
    pub umoci: bool,
    /// The number of failures after which the run ends.
    pub failures: usize,
}

/// What became of a run.
#[derive(Debug)]
pub struct Summary {
    /// What was done.
    pub count: Count,
    /// The first chain's seed.
    pub seed: u64,
    /// Seconds by the clock.
    pub seconds: f64,
    /// The failures as text, shrunk.
    pub failures: Vec<String>,
}

impl Summary {
    /// The figures as one JSON document.
    pub fn json(&self) -> Value {
        let count = &self.count;
        json!({
            "images": count.images,
            "steps": count.steps,
            "trees": count.trees,
            "umoci": count.umoci,
            "exact": count.exact,
            "repeated": count.repeated,
            "chains": count.chains,
            "seeds": [self.seed, self.seed + count.chains.saturating_sub(1)],
            "seconds": self.seconds.round(),
            "losses": count.losses,
            "failures": self.failures.len(),
        })
    }
}

/// Runs chains until the time or the number of images is reached, or too many have failed.
///
/// # Errors
/// If a failure can't be saved.
pub fn run(options: &Options) -> Result<Summary> {
    let start = Instant::now();
    let (next, ends) = (AtomicU64::new(options.seed), AtomicBool::new(false));
    let total = Mutex::new((Count::default(), Vec::<String>::new()));
    let mut broken = Ok(());
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let world = World::new(&options.program, options.umoci);
            while !ends.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let (recipe, mut count) = (Recipe::of(seed), Count::default());
                let failure = match once(&recipe, &world, &mut count) {
                    Ok(()) => None,
                    Err(fault) => Some(failure(seed, recipe, &fault, &world, options)?),
                };
                let mut total = total
                    .lock()
                    .map_err(|error| Failure::new(error.to_string()))?;
                total.0.add(&count);
                total.1.extend(failure);
                let is_late = options.time.is_some_and(|time| start.elapsed() >= time);
                let is_many = options
                    .images
                    .is_some_and(|images| total.0.images >= images);
                if is_late || is_many || total.1.len() >= options.failures {
                    ends.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => broken = Err(failure),
                Err(_) => broken = Err(Failure::new("a thread panicked")),
            }
        }
    });
    broken?;
    let (count, failures) = total
        .into_inner()
        .map_err(|error| Failure::new(error.to_string()))?;
    Ok(Summary {
        count,
        seed: options.seed,
        seconds: start.elapsed().as_secs_f64(),
        failures,
    })
}

/// Shrinks and saves a failed chain; returns the account of it.
fn failure(
    seed: u64,
    recipe: Recipe,
    fault: &Fault,
    world: &World,
    options: &Options,
) -> Result<String> {
    let whole = recipe.clone();
    let small = shrink::shrink(recipe, fault, world);
    let folder = options.save.join(format!("seed-{seed}"));
    case::save(&small.recipe, seed, &small.fault, &folder)?;
    whole.subject.write(&folder.join("before-start"))?;
    write_file(
        &folder.join("before"),
        format!("{}\n\n{}", fault.account, whole.subject.text()).as_bytes(),
    )?;
    Ok(format!(
        "seed {seed}: {}\n{}\nbefore it was made smaller:\n{}\n{}saved in {}",
        small.fault.class,
        small.fault.account,
        fault.account,
        small.recipe.subject.text(),
        folder.display()
    ))
}
