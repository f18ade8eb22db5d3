//! Running one script in an empty folder, and measuring its time, memory and output.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use super::setting::{Bench, JOBS};
use crate::process::{Result, call};

/// The folder that has a folder for each run.
const RUNS: &str = "runs";

/// The time and memory of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Seconds from start to end.
    pub(super) wall: f64,
    /// Seconds of all processors, user and system.
    pub(super) cpu: f64,
    /// The largest resident set of any single process, in MiB.
    pub(super) memory: f64,
    /// Bytes written that count, in MB.
    pub(super) output: f64,
}

impl Bench {
    /// Runs a bash script in an empty folder, in a process of its own that counts. `$IMGCONV` is
    /// the program, `$JOBS` how many threads it gets, `inputs` are what else it may name; `output`
    /// is the file whose size counts, or the folder whose files do.
    pub(super) fn sample(
        &self,
        script: &str,
        inputs: &[(&str, String)],
        jobs: usize,
        output: &str,
    ) -> Result<Sample> {
        let folder = self.path(RUNS).join(self.runs.get().to_string());
        self.runs.set(self.runs.get() + 1);
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        // A round must not wait for disk writes of the previous round.
        call(&mut Command::new("sync"))?;
        let this = std::env::current_exe().map_err(|e| e.to_string())?;
        let text = call(
            Command::new(&this)
                .args(["measure", script])
                .env("XTASK", &this)
                .env("IMGCONV", &self.program)
                .env("JOBS", jobs.to_string())
                .env("GOMAXPROCS", jobs.to_string())
                .env("TMPDIR", self.work.path())
                .env("PATH", self.search_path())
                .envs(inputs.iter().map(|(name, value)| (name, value)))
                .current_dir(&folder),
        )?;
        let line = text.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
        let number = |key: &str| value[key].as_f64().unwrap_or_default();
        let sample = Sample {
            wall: number("wall"),
            cpu: number("cpu"),
            memory: number("memory"),
            output: total(&folder.join(output))? as f64 / 1e6,
        };
        if !self.keep_outputs.get() {
            self.remove_outputs()?;
        }
        Ok(sample)
    }

    /// Removes what the runs so far have written.
    pub(super) fn remove_outputs(&self) -> Result {
        let folder = self.path(RUNS);
        match folder.exists() {
            true => fs::remove_dir_all(&folder).map_err(|e| e.to_string()),
            false => Ok(()),
        }
    }

    /// Runs a script that makes an input.
    pub(super) fn prepare(&self, script: &str, inputs: &[(&str, String)]) -> Result {
        let this = std::env::current_exe().map_err(|e| e.to_string())?;
        call(
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", script])
                .env("XTASK", &this)
                .env("PATH", self.search_path())
                .env("IMGCONV", &self.program)
                .env("JOBS", JOBS.to_string())
                .envs(inputs.iter().map(|(name, value)| (name, value)))
                .current_dir(self.work.path()),
        )
        .map(drop)
    }
}

/// Returns the bytes of a file, or of all files below a folder.
pub(super) fn total(path: &Path) -> Result<u64> {
    let (mut open, mut sum) = (vec![path.to_owned()], 0);
    while let Some(path) = open.pop() {
        let data = fs::symlink_metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if data.is_dir() {
            for entry in fs::read_dir(&path).map_err(|e| e.to_string())? {
                open.push(entry.map_err(|e| e.to_string())?.path());
            }
        } else {
            sum += data.len();
        }
    }
    Ok(sum)
}

/// `cargo xtask measure SCRIPT`: runs one bash script and prints its time and memory as JSON. A
/// process of its own, because the system counts all children of a process together.
pub(crate) fn run_script(arguments: &[&str]) -> Result {
    let script = arguments.first().ok_or("measure needs a script")?;
    let start = Instant::now();
    call(Command::new("bash").args(["-euo", "pipefail", "-c", script]))?;
    let wall = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    let memory = usage.max_rss() as f64 / 1024.0;
    println!("{}", json!({ "wall": wall, "cpu": cpu, "memory": memory }));
    Ok(())
}
