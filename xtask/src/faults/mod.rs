//! `cargo xtask faults`: every fault at every call. Each job runs again and again; each time one of
//! its system calls fails, the disk is full from one call on, or the program is killed before one
//! call. Then the destination is as before or as after an undisturbed run, the message names the
//! file and the cause, and the same command ends as if nothing had happened (robustness W1, W2, W3).
//!
//! A fault is a call of one name and its number among the calls of that name, so the same fault hits
//! the same call in each run, as far as the threads of the program take turns.

mod calls;
mod durable;
mod jobs;
mod state;
mod trace;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imgconv_testkit::registry::{Registry, Stored};
use imgconv_testkit::server::Reply;
use imgconv_testkit::sha256_hex;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::assurance;
use crate::process::{Profile, Result, call, program, value};
use calls::Class;
use jobs::{Between, JOBS, Job, Server};
use state::{Seen, State, state};
use trace::{Act, Call, End};

pub(crate) use trace::{WORD, become_traced};

/// What is injected, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    /// The name of the call; of a kill, any call.
    name: &'static str,
    /// The number of the call among those of its name, from 1.
    number: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The call fails once.
    Error(Errno),
    /// The disk is full from this call on; a write puts half of its bytes there.
    Full,
    /// The program is killed before the call.
    Kill,
}

impl Fault {
    fn show(&self) -> String {
        let what = match self.what {
            What::Error(errno) => format!("{errno:?}"),
            What::Full => "disk full from then on".to_owned(),
            What::Kill => "killed before".to_owned(),
        };
        format!("{} #{}: {what}", self.name, self.number)
    }

    fn word(&self) -> String {
        match self.what {
            What::Error(errno) => format!("{errno:?}"),
            What::Full => "full".to_owned(),
            What::Kill => "kill".to_owned(),
        }
    }
}

/// What was done, and what was found.
#[derive(Debug, Default)]
struct Summary {
    /// The faults that hit a call, by name and error.
    injected: BTreeMap<(&'static str, String), usize>,
    /// Faults that the program went on after, to the right result: call, error, file.
    ignored: BTreeMap<(&'static str, String, String), usize>,
    kills: usize,
    /// Faults whose call was not made in that run.
    missed: usize,
    runs: usize,
    findings: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let share = match value(arguments, "--share")? {
        Some(text) => share(text).ok_or("--share is K/N, such as 1/8")?,
        None => (0, 1),
    };
    let kind = value(arguments, "--kind")?.unwrap_or_default();
    let only = value(arguments, "--only")?;
    let is_recorded = arguments.contains(&"--record");
    if is_recorded && (share.1 > 1 || only.is_some()) {
        return Err("--record is for all faults of a job, without --share and --only".to_owned());
    }
    let program = program(arguments, Profile::Dev)?;
    let chosen: Vec<&Job> = JOBS.iter().filter(|job| job.name.contains(kind)).collect();
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let bench = Bench {
        program,
        folder: folder.path().to_owned(),
    };
    let mut total = Summary::default();
    for job in &chosen {
        let summary = bench.job(job, share, only).unwrap_or_else(|error| Summary {
            findings: vec![format!("{}: {error}", job.name)],
            ..Summary::default()
        });
        let injected: usize = summary.injected.values().sum();
        eprintln!(
            "{}: {injected} faults, {} kills, {} not reached, {} findings",
            job.name,
            summary.kills,
            summary.missed,
            summary.findings.len()
        );
        for finding in &summary.findings {
            eprintln!("{finding}\n");
        }
        if is_recorded {
            assurance::record_part("faults", job.name, summary.figures())?;
        }
        total.add(summary);
    }
    if arguments.contains(&"--ignored") {
        for ((call, error, file), count) in &total.ignored {
            println!("{call} {error} {file}: {count}");
        }
    }
    total.show(chosen.len(), arguments.contains(&"--json"))
}

/// Reads `K/N`; the first share has the number 0.
fn share(text: &str) -> Option<(usize, usize)> {
    let (k, n) = text.split_once('/')?;
    let (k, n): (usize, usize) = (k.parse().ok()?, n.parse().ok()?);
    (1..=n).contains(&k).then(|| (k - 1, n))
}

impl Summary {
    fn add(&mut self, other: Self) {
        for (key, count) in other.injected {
            *self.injected.entry(key).or_default() += count;
        }
        for (key, count) in other.ignored {
            *self.ignored.entry(key).or_default() += count;
        }
        self.kills += other.kills;
        self.missed += other.missed;
        self.runs += other.runs;
        self.findings.extend(other.findings);
    }

    /// The figures of a job in the record. A later run of the job replaces them.
    fn figures(&self) -> Value {
        json!({
            "faults": self.faults(), "kills": self.kills,
            "not_reached": self.missed, "findings": self.findings.len(),
        })
    }

    fn json(&self, jobs: usize) -> Value {
        let mut calls: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for ((name, error), count) in &self.injected {
            calls.entry(name).or_default().insert(error, *count);
        }
        json!({
            "jobs": jobs, "runs": self.runs, "faults": self.faults(), "kills": self.kills,
            "not_reached": self.missed, "findings": self.findings.len(), "calls": calls,
        })
    }

    /// The number of faults, of which the kills are a part.
    fn faults(&self) -> usize {
        self.injected.values().sum()
    }

    fn show(&self, jobs: usize, as_json: bool) -> Result {
        if as_json {
            println!("{:#}", self.json(jobs));
        } else {
            println!(
                "faults: {jobs} jobs, {} faults injected, {} kills survived, {} findings",
                self.faults(),
                self.kills,
                self.findings.len()
            );
        }
        match self.findings.len() {
            0 => Ok(()),
            count => Err(format!("{count} findings")),
        }
    }
}

/// The program and a folder for runs.
#[derive(Debug)]
struct Bench {
    program: PathBuf,
    folder: PathBuf,
}

/// A job with its prepared folder, and what it is without a fault.
struct Prepared<'a> {
    job: &'a Job,
    template: PathBuf,
    stored: Stored,
    before: State,
    after: State,
    /// The calls in their order.
    calls: Vec<Call>,
    /// The number of the last call that puts something somewhere; what follows removes temporary files.
    last_change: usize,
}

/// A folder in which the job runs, with the server of that run.
struct Place {
    folder: PathBuf,
    registry: Option<Registry>,
    /// True if several images can be there without each other.
    parts: bool,
}

/// One run.
#[derive(Debug)]
struct Outcome {
    end: End,
    said: String,
    /// The call that was hit, and its number among all calls.
    hit: Option<(Call, usize)>,
}

impl Bench {
    /// Runs a job with each of its faults.
    fn job(&self, job: &Job, share: (usize, usize), only: Option<&str>) -> Result<Summary> {
        let prepared = &self.prepare(job)?;
        let faults = faults(&prepared.calls);
        let faults: Vec<&Fault> = faults
            .iter()
            .enumerate()
            .filter(|(number, fault)| match only {
                Some(only) => fault.show().contains(only),
                None => number % share.1 == share.0,
            })
            .map(|(_, fault)| fault)
            .collect();
        let next = AtomicUsize::new(0);
        let total = Mutex::new(Summary::default());
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let failed = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers)
                .map(|worker| {
                    let (next, total, faults) = (&next, &total, &faults);
                    scope.spawn(move || -> Result {
                        let folder = self.folder.join(format!("worker{worker}"));
                        loop {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            let Some(fault) = faults.get(at) else {
                                return Ok(());
                            };
                            let one = self.fault(prepared, fault, &folder)?;
                            total.lock().map_err(|e| e.to_string())?.add(one);
                        }
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or(Err("a worker panicked".into())))
                .find(Result::is_err)
        });
        match failed {
            Some(Err(error)) => Err(error),
            _ => total.into_inner().map_err(|e| e.to_string()),
        }
    }

    /// Makes the folder of a job, and runs the job once without a fault and once more.
    fn prepare<'a>(&self, job: &'a Job) -> Result<Prepared<'a>> {
        let place = Place {
            folder: self.folder.join("template"),
            registry: registry(job, &Stored::default()),
            parts: false,
        };
        let _ = fs::remove_dir_all(&place.folder);
        fs::create_dir(&place.folder).map_err(|e| e.to_string())?;
        jobs::inputs(&place.folder)?;
        for words in job.before {
            call(&mut self.command(&place, words))?;
        }
        let stored = place.registry.as_ref().map(|own| own.stored().clone());
        let mut prepared = Prepared {
            job,
            template: place.folder,
            stored: stored.unwrap_or_default(),
            before: State::new(),
            after: State::new(),
            calls: Vec::new(),
            last_change: 0,
        };
        let place = prepared.place(&self.folder.join("reference"))?;
        prepared.before = place.state()?;
        let mut calls = Vec::new();
        let outcome = self.traced(job, &place, |call| {
            calls.push(call.clone());
            Act::Nothing
        })?;
        if outcome.end != End::Code(job.code) {
            return Err(format!("{}: {:?}: {}", job.name, outcome.end, outcome.said));
        }
        prepared.after = place.state()?;
        let mut wrong = Vec::new();
        // The files of a cache are compared with their digests before they are used.
        if job.stdout.is_none() && job.server != Server::Own && job.words[0] != "unpack" {
            let added = |path: &str| {
                let path = path.trim_start_matches('/');
                prepared.after.contains_key(path) && !prepared.before.contains_key(path)
            };
            wrong.extend(durable::unflushed(&calls, added));
        }
        let last = calls.iter().rposition(|call| call.class.needs_room());
        prepared.last_change = last.map_or(0, |at| at + 1);
        prepared.calls = calls;
        self.verify(job, &place, false, &mut wrong);
        self.again(&prepared, &place, &mut wrong)?;
        match wrong.is_empty() {
            true => Ok(prepared),
            false => Err(format!("{}: {}", job.name, wrong.join("\n"))),
        }
    }

    fn command(&self, place: &Place, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        place.complete(&mut command, words);
        command
    }

    /// Runs the command of a job traced. `decide` sees the calls on files of the job and on sockets.
    fn traced(
        &self,
        job: &Job,
        place: &Place,
        mut decide: impl FnMut(&Call) -> Act,
    ) -> Result<Outcome> {
        let output = place.folder.with_extension("output");
        let wrong = |e: std::io::Error| format!("{}: {e}", output.display());
        let _ = fs::remove_file(&output);
        let file = File::options().append(true).create(true).open(&output);
        let file = file.map_err(wrong)?;
        let mut command = trace::traced(&self.program)?;
        place.complete(&mut command, job.words);
        let stdout = match job.stdout {
            Some(name) => File::create(place.folder.join(name)).map_err(|e| e.to_string())?,
            None => file.try_clone().map_err(wrong)?,
        };
        command.stdout(stdout).stderr(file);
        let below = place.folder.to_string_lossy().into_owned();
        let (mut hit, mut count) = (None, 0);
        let is_server = job.server == Server::Own;
        let started = |pid| {
            if is_server {
                end_when_listening(pid, output.clone());
            }
        };
        let end = trace::run(&mut command, started, |call| {
            let of_job = call.path.contains(&below) && !call.path.ends_with(".output");
            // The ioctls of sockets set their modes, which never fails.
            let socket = call.path.starts_with("socket:") && call.name != "ioctl";
            // The threads of the server are those of tokio, which panics without them.
            let thread = call.class == Class::Thread && job.server != Server::Own;
            let other = socket || thread;
            if !of_job && !other {
                return Act::Nothing;
            }
            let mut call = call.clone();
            call.path = call.path.replace(&below, "").replace("/./", "/");
            count += 1;
            let act = decide(&call);
            if act != Act::Nothing && hit.is_none() {
                hit = Some((call, count));
            }
            act
        })?;
        let said = fs::read(&output).map_err(wrong)?;
        Ok(Outcome {
            end,
            said: String::from_utf8_lossy(&said).into_owned(),
            hit,
        })
    }

    /// Runs a job with one fault, judges the result, and runs the job again.
    fn fault(&self, prepared: &Prepared<'_>, fault: &Fault, folder: &Path) -> Result<Summary> {
        let job = prepared.job;
        let place = prepared.place(folder)?;
        let mut seen = 0;
        let mut full = false;
        let outcome = self.traced(job, &place, |call| {
            if full {
                return match call.class.fails_when_full() {
                    true => Act::Fail(Errno::ENOSPC),
                    false => Act::Nothing,
                };
            }
            if fault.what != What::Kill && call.name != fault.name {
                return Act::Nothing;
            }
            seen += 1;
            match fault.what {
                _ if seen != fault.number => Act::Nothing,
                What::Error(errno) => Act::Fail(errno),
                What::Full => {
                    full = true;
                    Act::Half(Errno::ENOSPC)
                }
                What::Kill => Act::Kill,
            }
        })?;
        let mut summary = Summary {
            runs: 1,
            ..Summary::default()
        };
        let Some((hit, at)) = outcome.hit.clone() else {
            summary.missed = 1;
            return Ok(summary);
        };
        match fault.what {
            What::Kill => summary.kills = 1,
            What::Error(_) | What::Full => {
                *summary
                    .injected
                    .entry((hit.name, fault.word()))
                    .or_default() += 1;
            }
        }
        let mut wrong = Vec::new();
        let removing = at > prepared.last_change;
        self.judge(
            prepared,
            fault,
            &place,
            &outcome,
            (&hit, removing),
            &mut wrong,
        )?;
        // W4: the bytes are right here, but a crash of the machine could lose them.
        let lost = hit.class == Class::Sync && !matches!(fault.what, What::Error(Errno::EINTR));
        let lost = lost && job.server != Server::Own;
        if outcome.end == End::Code(0) && lost {
            wrong.push("a failed flush counts as success".into());
        }
        if outcome.end == End::Code(0) {
            let key = (hit.name, fault.word(), shape(&hit.path));
            summary.ignored.insert(key, 1);
        }
        if !wrong.is_empty() {
            summary.findings.push(format!(
                "{}: {} ({} {}): ended with {:?}\n  {}\n  said: {}",
                job.name,
                fault.show(),
                hit.name,
                hit.path,
                outcome.end,
                wrong.join("\n  "),
                outcome.said.trim().replace('\n', "\n        ")
            ));
        }
        Ok(summary)
    }

    /// Compares what a disturbed run left with what may be there, and goes on.
    fn judge(
        &self,
        prepared: &Prepared<'_>,
        fault: &Fault,
        place: &Place,
        outcome: &Outcome,
        (hit, removing): (&Call, bool),
        wrong: &mut Vec<String>,
    ) -> Result {
        let job = prepared.job;
        let killed = fault.what == What::Kill;
        let mut now = place.state()?;
        let (mut before, mut after) = (prepared.before.clone(), prepared.after.clone());
        // A server ends well, and says what it could not make.
        let complains = ["error", "warning["]
            .iter()
            .any(|word| outcome.said.contains(word));
        let told = job.server == Server::Own && complains;
        let success = outcome.end == End::Code(0) && !told;
        if !success {
            for state in [&mut now, &mut before, &mut after] {
                forget(job, state);
            }
        }
        let seen = Seen::of(&now, &before, &after);
        match outcome.end {
            End::Code(0) if job.code != 0 => wrong.push("success".into()),
            End::Code(0) if !seen.new && !told => wrong.push("success without the result".into()),
            End::Code(_) => {}
            End::Signal(_) if killed => {}
            end => wrong.push(format!("the program ended with {end:?}")),
        }
        if outcome.said.contains("panicked at") {
            wrong.push("a panic".into());
        }
        if let (End::Code(code), false) = (outcome.end, killed || job.code != 0)
            && (code != 0 || told)
        {
            wrong.extend(message(job, fault, hit, code, &outcome.said));
        }
        wrong.extend(seen.damaged.iter().map(|what| format!("damaged: {what}")));
        let between = match killed {
            true => job.after_kill,
            false => job.after_error,
        };
        let allowed = seen.old
            || seen.new
            || match between {
                Between::Nothing => false,
                Between::Unreferenced => seen.grown,
                Between::Some => true,
            };
        if !allowed && seen.damaged.is_empty() {
            let new: Vec<_> = now
                .iter()
                .filter(|(path, line)| before.get(*path) != Some(line))
                .map(|(path, _)| path.as_str())
                .collect();
            wrong.push(format!(
                "neither the old nor the new state: {}",
                new.join(", ")
            ));
        }
        // W6: a file whose removal failed stays for the next run.
        let kept = |one: &String| success && hit.path.trim_start_matches('/').starts_with(&**one);
        if !seen.left.is_empty() && !killed && !removing && !seen.left.iter().all(kept) {
            wrong.push(format!("left behind: {}", seen.left.join(", ")));
        }
        // A folder that is exactly as before, or as after the undisturbed run, was judged already.
        if (seen.old || seen.new) && seen.left.is_empty() && !now.contains_key("journal") {
            return Ok(());
        }
        self.verify(job, place, killed, wrong);
        match job.once && seen.new {
            true => Ok(()),
            false => self.again(prepared, place, wrong),
        }
    }

    /// Lets `verify` judge the destination as far as it is there.
    fn verify(&self, job: &Job, place: &Place, killed: bool, wrong: &mut Vec<String>) {
        let mut places: Vec<String> = Vec::new();
        for locator in job.verified {
            let path = locator.rsplit(':').next().unwrap_or(locator);
            // The temporary files of a killed run are archives too, and not complete.
            let partly = killed && locator.starts_with("tree:");
            if place.folder.join(path).exists() && !partly {
                places.push((*locator).to_owned());
            }
        }
        if let Some(registry) = &place.registry {
            let stored = registry.stored();
            let tags = stored
                .manifests
                .keys()
                .filter(|(_, name)| !name.contains(':'));
            let host = registry.server.authority();
            places.extend(
                tags.map(|(repository, tag)| format!("docker://{host}/{repository}:{tag}")),
            );
        }
        for locator in places {
            let verified = call(&mut self.command(place, &["verify", &locator]));
            if let Err(error) = verified
                && !(killed && error.contains("not an OCI layout"))
                // A layout of several gets its index when all of its images are there.
                && !(job.after_error == Between::Some && error.contains("no file `index.json`"))
            {
                wrong.push(format!("verify: {error}"));
            }
        }
    }

    /// Runs the job again, undisturbed.
    fn again(&self, prepared: &Prepared<'_>, place: &Place, wrong: &mut Vec<String>) -> Result {
        let job = prepared.job;
        if job.code != 0 || job.stdout.is_some() || job.once && place.state()? == prepared.after {
            return Ok(());
        }
        let again = match job.server {
            Server::Own => {
                let outcome = self.traced(job, place, |_| Act::Nothing)?;
                (outcome.end != End::Code(0)).then_some(outcome.said)
            }
            _ => call(&mut self.command(place, job.words)).err(),
        };
        if let Some(error) = again {
            wrong.push(format!("again: {error}"));
            return Ok(());
        }
        let (mut now, mut after) = (place.state()?, prepared.after.clone());
        forget(job, &mut now);
        forget(job, &mut after);
        let seen = Seen::of(&now, &prepared.before, &after);
        wrong.extend(
            seen.damaged
                .iter()
                .map(|what| format!("again: damaged: {what}")),
        );
        if !seen.new && seen.damaged.is_empty() {
            wrong.push("again: not the result of an undisturbed run".into());
        }
        if !seen.left.is_empty() {
            wrong.push(format!("again: left behind: {}", seen.left.join(", ")));
        }
        Ok(())
    }
}

impl Prepared<'_> {
    /// Makes a fresh copy of the prepared folder, and starts the server.
    fn place(&self, folder: &Path) -> Result<Place> {
        if folder.exists() && fs::remove_dir_all(folder).is_err() {
            // A killed run may leave directories that nobody may enter.
            call(Command::new("chmod").args(["-R", "u+rwX"]).arg(folder))?;
            fs::remove_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        state::copy(&self.template, folder)?;
        Ok(Place {
            folder: folder.to_owned(),
            registry: registry(self.job, &self.stored),
            parts: self.job.after_error == Between::Some,
        })
    }
}

impl Place {
    /// Sets arguments, folder and variables of a run.
    fn complete(&self, command: &mut Command, words: &[&str]) {
        let host = self.registry.as_ref().map(|own| own.server.authority());
        let host_is_known = host.is_some();
        let host = host.unwrap_or_default();
        command
            .args(words.iter().map(|word| word.replace("{host}", &host)))
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.join("home"))
            .env("TMPDIR", self.folder.join("tmp"))
            .env("CONTAINERS_REGISTRIES_CONF", "/dev/null");
        // One job at a time: the calls come in the same order in each run.
        let jobs = [
            "convert",
            "squash",
            "recompress",
            "migrate",
            "publish",
            "unpack",
        ];
        if jobs.contains(&words[0]) || words[0].contains("-to-") {
            command.args(["--jobs", "1"]);
        }
        // The registry of the tests does not answer a TLS handshake, by which a client tries again.
        if host_is_known && words[0] != "layout" {
            command.args(["--stall-timeout", "2s", "--connect-timeout", "2s"]);
            command.args(["--limit", "retries=2"]);
        }
    }

    /// Reads the state of the folder and of the registry. Uploads that were not ended do not count.
    fn state(&self) -> Result<State> {
        let mut found = state(&self.folder, self.parts)?;
        let Some(registry) = &self.registry else {
            return Ok(found);
        };
        let stored = registry.stored();
        for ((repository, name), bytes) in &stored.blobs {
            let hash = sha256_hex(bytes);
            found.insert(format!("registry/{repository}/blobs/{name}"), hash);
        }
        for ((repository, name), (kind, bytes)) in &stored.manifests {
            let line = format!("{kind} {}", sha256_hex(bytes));
            found.insert(format!("registry/{repository}/manifests/{name}"), line);
        }
        Ok(found)
    }
}

/// Asks a server to end as soon as it says that it listens.
fn end_when_listening(server: Pid, output: PathBuf) {
    std::thread::spawn(move || {
        loop {
            let said = fs::read(&output).unwrap_or_default();
            if String::from_utf8_lossy(&said).contains("listening on ") {
                let _ = kill(server, Signal::SIGTERM);
                return;
            }
            // The process has ended without that.
            if kill(server, None).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// Leaves out what tells of a run itself.
fn forget(job: &Job, state: &mut State) {
    let file = job.report.or(job.stdout);
    if let Some(file) = file {
        state.retain(|path, _| !path.starts_with(file));
    }
}

/// Starts the registry of a job.
fn registry(job: &Job, stored: &Stored) -> Option<Registry> {
    let registry = match job.server {
        Server::None | Server::Own => return None,
        Server::Registry => Registry::start(),
        // W8: like other registries, it refuses a manifest whose blobs it does not have.
        Server::Lying => Registry::start_with(None, |request, _| {
            if request.method != "PUT" {
                return None;
            }
            if request.path().contains("/manifests/") {
                let error = r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#;
                return Some(Reply::status(404).body(error));
            }
            let digest = request.query("digest")?;
            Some(Reply::status(201).header("docker-content-digest", digest))
        }),
    };
    let mut stored = stored.clone();
    stored.referrers = true;
    *registry.stored() = stored;
    Some(registry)
}

/// Lists the faults of a run with these calls.
fn faults(calls: &[Call]) -> Vec<Fault> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, call) in calls.iter().enumerate() {
        let count = counts.entry(call.name).or_default();
        *count += 1;
        let mut add = |name: &'static str, number: usize, what: What| {
            found.push(Fault { name, number, what });
        };
        for errno in call.class.errors() {
            add(call.name, *count, What::Error(*errno));
        }
        if call.class.fails_when_full() {
            add(call.name, *count, What::Full);
        }
        if call.class.changes() {
            add("call", at + 1, What::Kill);
        }
    }
    found
}

/// Says what is wrong with the message about a fault.
fn message(job: &Job, fault: &Fault, hit: &Call, code: i32, said: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if code == 2 {
        wrong.push("the exit code is that of wrong usage".to_owned());
    }
    let errno = match fault.what {
        What::Error(errno) => errno,
        What::Full => Errno::ENOSPC,
        What::Kill => return wrong,
    };
    let text = std::io::Error::from(errno).to_string();
    let cause = text.split(" (os error").next().unwrap_or(&text);
    // A missing file is told by a sentence about the place, not by the kernel's words.
    // After a fault of the first attempt, an error tells of the last one.
    let tried_again = matches!(job.server, Server::Registry | Server::Lying)
        && matches!(
            hit.class,
            Class::Thread | Class::Connect | Class::Send | Class::Receive
        );
    if errno != Errno::ENOENT && !tried_again && !said.contains(cause) {
        wrong.push(format!("the message does not say {cause:?}"));
    }
    let places = job.words.iter().map(|word| word.rsplit(':').next());
    let parts = hit.path.split(['/', ' ']).map(Some);
    let named = parts
        .chain(places)
        .flatten()
        .any(|part| part.len() > 2 && said.contains(part));
    let output = job.stdout.is_some() && said.contains("standard output");
    let folder = matches!(&*hit.path, "" | "/." | "/")
        && (said.contains("\".\"") || said.contains("/worker"));
    let host = hit.path.starts_with("socket:") && said.contains("127.0.0.1");
    let named = named || folder || host || output;
    // A temporary file has a name that tells nothing; its place, or the blob, is told instead.
    // On a full disk the message may be about a temporary directory that was made after the call that was hit.
    let temporary =
        hit.path.contains("imgconv-") || hit.path.contains(".partial-") || fault.what == What::Full;
    let named = named || temporary && (said.contains("temporary ") || said.contains("blob"));
    if !named && hit.class != Class::Thread {
        wrong.push("the message names no file".to_owned());
    }
    wrong
}

/// A path with random parts and digests left out, so that equal faults count together.
fn shape(path: &str) -> String {
    let part = |part: &str| match part {
        _ if part.starts_with(".imgconv-") && part.len() == 15 => ".imgconv-*".to_owned(),
        _ if part.len() == 64 || part.len() == 128 => "DIGEST".to_owned(),
        _ => match part.split_once(".partial-") {
            Some((name, _)) => format!("{name}.partial-*"),
            None => part.to_owned(),
        },
    };
    let side = |side: &str| side.split('/').map(part).collect::<Vec<_>>().join("/");
    path.split(" -> ")
        .map(side)
        .collect::<Vec<_>>()
        .join(" -> ")
}
