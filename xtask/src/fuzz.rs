//! `cargo xtask fuzz`: every target of `crates/dev/fuzz` in turn, under libFuzzer.
//!
//! The build is that of the tests, with overflow checks and debug assertions, where only the crates of this workspace
//! are instrumented. Inputs that reach new code stay in `target/fuzz/corpus`, so that the next run continues there.

mod differ;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{Result, call, root, target, value};

/// The time of all targets together without an option, and in CI.
pub(crate) const CI_MINUTES: f64 = 2.0;
/// The seed of the random numbers without an option, and in CI: a change of the code and not chance decides about a
/// finding.
const CI_SEED: &str = "-seed=1";
/// The longest time of one target in a row: a long run goes around several times.
const LONGEST: f64 = 300.0;
/// The most bytes of an input.
const INPUT: &str = "-max_len=65536";
/// Seconds of an input after which libFuzzer counts it as hanging. The targets have narrower bounds of CPU time.
const HANGS: &str = "-timeout=120";
/// The most findings of one target in a row.
const FINDINGS: usize = 5;
/// Seconds for making a finding smaller.
const SMALLER: &str = "-max_total_time=30";

/// The numbers of one target.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    executions: u64,
    cpu_seconds: f64,
    findings: u64,
    /// The places in the code that the corpus reaches.
    edges: u64,
}

impl Numbers {
    fn add(&mut self, other: Self) {
        self.executions += other.executions;
        self.cpu_seconds += other.cpu_seconds;
        self.findings += other.findings;
        self.edges = self.edges.max(other.edges);
    }

    fn json(self, target: &str) -> Value {
        json!({
            "target": target,
            "executions": self.executions,
            "cpu_seconds": (self.cpu_seconds * 10.0).round() / 10.0,
            "findings": self.findings,
            "edges": self.edges,
        })
    }
}

/// Runs the targets.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let number = |name: &str| -> Result<Option<f64>> {
        let text = value(arguments, name)?;
        text.map(|text| text.parse().map_err(|_| format!("{name} needs a number")))
            .transpose()
    };
    let (minutes, seed) = match (number("--minutes")?, number("--hours")?) {
        (Some(minutes), None) => (minutes, None),
        (None, Some(hours)) => (hours * 60.0, None),
        (None, None) => (CI_MINUTES, Some(CI_SEED)),
        (Some(_), Some(_)) => return Err("either --minutes or --hours".to_owned()),
    };
    let jobs = number("--jobs")?.map_or(1, |jobs| jobs as usize).max(1);
    let program = match value(arguments, "--program")? {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    let known = call(&mut Command::new(&program))?;
    let known: Vec<&str> = known.lines().collect();
    let chosen = chosen(arguments, &known)?;
    let folder = target()?.join("fuzz");
    let started = Instant::now();
    let whole = minutes * 60.0;
    let share = whole * jobs as f64 / chosen.len() as f64;
    let slice = share.min(LONGEST);
    let all: Mutex<BTreeMap<&str, Numbers>> = Mutex::default();
    let record = value(arguments, "--record")?.map(Path::new);
    let next = Mutex::new(0);
    let worker = || -> Result {
        loop {
            let place = {
                let mut next = next.lock().map_err(|e| e.to_string())?;
                *next += 1;
                *next - 1
            };
            let is_first_round = place < chosen.len();
            let left = whole - started.elapsed().as_secs_f64();
            if !is_first_round && left < slice / 2.0 {
                return Ok(());
            }
            let name = chosen[place % chosen.len()];
            let numbers = one(&program, name, (slice.max(1.0), seed), &folder)?;
            eprintln!("{name}: {}", shown(numbers));
            let mut all = all.lock().map_err(|e| e.to_string())?;
            all.entry(name).or_default().add(numbers);
            if let Some(record) = record {
                add_to(record, name, numbers)?;
            }
        }
    };
    scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|one| one.join().map_err(|_| "a panic".to_owned())?)
    })?;
    let all = all.into_inner().map_err(|e| e.to_string())?;
    let findings: u64 = all.values().map(|numbers| numbers.findings).sum();
    for (name, numbers) in all {
        match arguments.contains(&"--json") {
            true => println!("{}", numbers.json(name)),
            false => println!("{name:20} {}", shown(numbers)),
        }
    }
    if chosen.contains(&"tar") {
        let tars = ["seeds", "corpus"].map(|kind| folder.join(kind).join("tar"));
        // In CI no chance decides: the corpus of a short run is another one on each machine.
        let tars: Vec<&Path> = match seed {
            Some(_) => vec![&tars[0]],
            None => vec![&tars[0], &tars[1]],
        };
        let different = differ::run(&program, &tars, &folder.join("differ"))?;
        if different > 0 {
            return Err(format!(
                "{different} tars are read in another way by others"
            ));
        }
    }
    match findings {
        0 => Ok(()),
        some => Err(format!(
            "{some} inputs break a target: see {}; a mended one goes to testdata/fuzz/TARGET",
            folder.join("findings").display()
        )),
    }
}

fn shown(numbers: Numbers) -> String {
    format!(
        "{:>10} executions  {:>8.1} s CPU  {:>6} edges  {} findings",
        numbers.executions, numbers.cpu_seconds, numbers.edges, numbers.findings
    )
}

/// The targets that the options name, else all of them.
fn chosen<'a>(arguments: &[&str], known: &[&'a str]) -> Result<Vec<&'a str>> {
    let pairs = arguments.windows(2).filter(|pair| pair[0] == "--target");
    let named: Vec<&str> = pairs.map(|pair| pair[1]).collect();
    if let Some(unknown) = named.iter().find(|name| !known.contains(*name)) {
        return Err(format!(
            "there is no target {unknown}: {}",
            known.join(", ")
        ));
    }
    let is_meant = |name: &&&str| named.is_empty() || named.contains(*name);
    Ok(known.iter().filter(is_meant).copied().collect())
}

/// Builds the targets with libFuzzer.
fn build() -> Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "--locked", "--package=imgconv-fuzz"])
        .args(["--features=libfuzzer", "--bin=imgconv-fuzz-guided"])
        .env(
            "RUSTC_WORKSPACE_WRAPPER",
            root().join("crates/dev/fuzz/rustc-guided"),
        )
        .current_dir(root());
    eprintln!("$ cargo build --package=imgconv-fuzz --features=libfuzzer");
    match command.status() {
        Ok(status) if status.success() => Ok(target()?.join("debug/imgconv-fuzz-guided")),
        Ok(status) => Err(format!(
            "cargo build: {status}; libFuzzer needs a C++ compiler"
        )),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// Runs one target for some seconds, again after each finding.
fn one(
    program: &Path,
    name: &str,
    (seconds, seed): (f64, Option<&str>),
    folder: &Path,
) -> Result<Numbers> {
    let started = Instant::now();
    let mut numbers = Numbers::default();
    let place = |kind: &str| folder.join(kind).join(name);
    for kind in ["corpus", "seeds", "findings", "logs"] {
        fs::create_dir_all(place(kind)).map_err(|e| e.to_string())?;
    }
    loop {
        let left = seconds - started.elapsed().as_secs_f64();
        if left < 1.0 || numbers.findings as usize >= FINDINGS {
            return Ok(numbers);
        }
        let log = place("logs").join("last.txt");
        let before = listed(&place("findings"))?;
        let mut command = fuzzer(program, name, &log)?;
        command
            .env("IMGCONV_FUZZ_SEEDS", place("seeds"))
            .arg(place("corpus"))
            .arg(place("seeds"))
            .arg(format!("-max_total_time={}", left.ceil() as u64))
            .arg(format!("-artifact_prefix={}/", place("findings").display()))
            .args([INPUT, HANGS, "-rss_limit_mb=3000", "-print_final_stats=1"])
            .args(seed);
        let (good, cpu) = wait(command.spawn().map_err(|e| e.to_string())?)?;
        let text = fs::read(&log).map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&text);
        numbers.executions += stat(&text, "stat::number_of_executed_units:");
        numbers.edges = numbers.edges.max(edges(&text));
        numbers.cpu_seconds += cpu;
        if good {
            return Ok(numbers);
        }
        let after = listed(&place("findings"))?;
        let new: Vec<&PathBuf> = after.iter().filter(|path| !before.contains(path)).collect();
        if new.is_empty() && !text.contains("Test unit written") {
            let last: Vec<&str> = text.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            return Err(format!(
                "{name} failed without an input:\n{}",
                last.join("\n")
            ));
        }
        numbers.findings += 1;
        for path in new {
            eprintln!("{name}: a finding, {}\n{}", path.display(), told(&text));
            smaller(program, name, path)?;
        }
    }
}

/// The command of libFuzzer, its output in a file.
fn fuzzer(program: &Path, name: &str, log: &Path) -> Result<Command> {
    let out = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let err = out.try_clone().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command
        .env("IMGCONV_FUZZ_TARGET", name)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    Ok(command)
}

/// Makes a finding smaller, as a file beside it.
fn smaller(program: &Path, name: &str, path: &Path) -> Result {
    let mut log = path.as_os_str().to_owned();
    log.push(".log");
    let mut small = path.as_os_str().to_owned();
    small.push(".small");
    let mut command = fuzzer(program, name, Path::new(&log))?;
    command
        .args(["-minimize_crash=1", SMALLER, HANGS])
        .arg(format!(
            "-exact_artifact_path={}",
            Path::new(&small).display()
        ))
        .arg(path);
    wait(command.spawn().map_err(|e| e.to_string())?)?;
    Ok(())
}

/// Waits for a child. Returns whether it succeeded, and its CPU time in seconds, as it was at most a moment before
/// the end.
fn wait(mut child: Child) -> Result<(bool, f64)> {
    let stat = format!("/proc/{}/stat", child.id());
    let mut ticks = 0;
    loop {
        if let Some(now) = fs::read_to_string(&stat).ok().and_then(|text| cpu(&text)) {
            ticks = now;
        }
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok((status.success(), ticks as f64 / 100.0));
        }
        sleep(Duration::from_millis(200));
    }
}

/// The ticks of user and system time in a text of `/proc/PID/stat`.
fn cpu(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The number behind a word in the output of libFuzzer.
fn stat(text: &str, name: &str) -> u64 {
    let line = text.lines().rev().find_map(|line| line.strip_prefix(name));
    line.and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// The last number behind `cov:`.
fn edges(text: &str) -> u64 {
    let last = text.rmatch_indices(" cov: ").next();
    let number = last.and_then(|(at, word)| text[at + word.len()..].split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The lines of the output that say what is wrong.
fn told(text: &str) -> String {
    let is_told = |line: &&str| {
        ["panicked at", "memory allocation", "SUMMARY:"]
            .iter()
            .any(|part| line.contains(part))
    };
    let at = text.lines().position(|line| is_told(&line)).unwrap_or(0);
    let lines: Vec<&str> = text.lines().skip(at).take(4).collect();
    let mut told = lines.join("\n");
    told.truncate(told.floor_char_boundary(1000));
    told
}

/// Adds numbers to a file of lines, one for each target.
fn add_to(file: &Path, name: &str, numbers: Numbers) -> Result {
    let old = fs::read_to_string(file).unwrap_or_else(|_| "[]".to_owned());
    let shown = |e: serde_json::Error| format!("{}: {e}", file.display());
    let mut lines: Vec<Value> = serde_json::from_str(&old).map_err(shown)?;
    let same = lines.iter_mut().find(|line| line["target"] == name);
    let mut sum = numbers;
    if let Some(line) = &same {
        let count = |key: &str| line[key].as_u64().unwrap_or(0);
        sum.add(Numbers {
            executions: count("executions"),
            cpu_seconds: line["cpu_seconds"].as_f64().unwrap_or(0.0),
            findings: count("findings"),
            edges: count("edges"),
        });
    }
    match same {
        Some(line) => *line = sum.json(name),
        None => lines.push(sum.json(name)),
    }
    lines.sort_by_key(|line| line["target"].as_str().unwrap_or_default().to_owned());
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_output() {
        let text = "#2\tINITED cov: 12 ft: 3\n#9\tDONE   cov: 345 ft: 1\nstat::number_of_executed_units: 67\n";
        assert_eq!(stat(text, "stat::number_of_executed_units:"), 67);
        assert_eq!(edges(text), 345);
        assert_eq!(cpu("1 (a) b) S 1 1 1 1 1 1 1 1 1 1 30 12 0"), Some(42));
    }

    #[test]
    fn a_record_adds_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("record.json");
        let numbers = Numbers {
            executions: 10,
            cpu_seconds: 1.25,
            findings: 1,
            edges: 7,
        };
        for name in ["tar", "json", "tar"] {
            add_to(&file, name, numbers).unwrap();
        }
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines[2].contains(r#""executions":20"#), "{text}");
        assert!(lines[2].contains(r#""cpu_seconds":2.6"#), "{text}");
    }

    #[test]
    fn only_known_targets_are_chosen() {
        let known = ["tar", "json"];
        assert_eq!(chosen(&[], &known).unwrap(), known);
        assert_eq!(chosen(&["--target", "json"], &known).unwrap(), ["json"]);
        assert!(chosen(&["--target", "x"], &known).is_err());
    }
}
