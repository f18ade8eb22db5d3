//! `cargo xtask torture`: random images through random chains of conversions of the built program,
//! compared with the model of `crates/dev/torture`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use imgconv_torture::case;
use imgconv_torture::outcome::World;
use imgconv_torture::run::{self, Options, Summary};

use crate::assurance;
use crate::process::{Profile, Result, installed, program, target, value};

/// Runs chains and prints what was done; fails if the program and the model differ.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let number = |name: &str| -> Result<Option<u64>> {
        let number = value(arguments, name)?;
        let wrong = |text: &str| format!("{name}: `{text}` is not a number");
        number
            .map(|text| text.parse().map_err(|_| wrong(text)))
            .transpose()
    };
    if let Some(folder) = value(arguments, "--case")? {
        let program = program(arguments, Profile::Dev)?;
        let world = World::new(&program, installed("umoci"));
        let result = case::run(Path::new(folder), &world);
        return result.map_err(|fault| format!("{}: {}", fault.class, fault.account));
    }
    let minutes = number("--minutes")?;
    let images = number("--images")?;
    let jobs = number("--jobs")?.and_then(|jobs| usize::try_from(jobs).ok());
    let save = match value(arguments, "--save")? {
        Some(folder) => PathBuf::from(folder),
        None => target()?.join("torture"),
    };
    let options = Options {
        program: program(arguments, Profile::Dev)?,
        seed: number("--seed")?.unwrap_or(1),
        time: match (minutes, images) {
            (None, None) => Some(Duration::from_secs(60)),
            (minutes, _) => minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        },
        images,
        jobs: jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        save,
        umoci: installed("umoci"),
        failures: 10,
    };
    let summary = run::run(&options).map_err(|failure| failure.to_string())?;
    for failure in &summary.failures {
        eprintln!("{failure}\n");
    }
    match arguments.contains(&"--json") {
        true => println!("{}", summary.json()),
        false => print(&summary),
    }
    if arguments.contains(&"--record") {
        assurance::record("torture", summary.json())?;
    }
    match summary.failures.len() {
        0 => Ok(()),
        count => Err(format!("torture: {count} chains failed")),
    }
}

fn print(summary: &Summary) {
    let count = &summary.count;
    for (loss, times) in &count.losses {
        println!("{times:>7}  {loss}");
    }
    let each = |done: u64| format!("{done} ({:.1}/s)", done as f64 / summary.seconds);
    println!("{} ACIs came back byte for byte", count.exact);
    println!(
        "torture: seeds from {}: {} chains, images {}, steps {}, trees {}, by umoci {}, repeated {}, {:.0} s",
        summary.seed,
        count.chains,
        each(count.images),
        each(count.steps),
        each(count.trees),
        count.umoci,
        count.repeated,
        summary.seconds
    );
}
