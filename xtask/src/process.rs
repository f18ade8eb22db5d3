//! Running other programs, and the places of this repository.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The result of a task; the error is the text that is printed before the exit with failure.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("xtask stands in the repository")
        .to_path_buf()
}

/// Runs cargo in the repository, its output shown, and demands success.
pub(crate) fn cargo(arguments: &[&str]) -> Result {
    eprintln!("$ cargo {}", arguments.join(" "));
    let status = cargo_command().args(arguments).current_dir(root()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo {}: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `cargo metadata` and returns its JSON.
pub(crate) fn metadata() -> Result<serde_json::Value> {
    let arguments = ["metadata", "--format-version", "1", "--locked"];
    let mut command = cargo_command();
    command
        .args(arguments)
        .current_dir(root())
        .stderr(Stdio::inherit());
    let output = command.output().map_err(|e| format!("cargo: {e}"))?;
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

/// Builds the program and returns its path.
pub(crate) fn build_program(profile: Profile) -> Result<PathBuf> {
    let (flags, folder): (&[&str], _) = match profile {
        Profile::Dev => (&[], "debug"),
        Profile::Release => (&["--release"], "release"),
    };
    cargo(
        &[
            &["build", "--quiet", "--locked", "-p", "imgconv-cli"],
            flags,
        ]
        .concat(),
    )?;
    Ok(target()?.join(folder).join("imgconv"))
}

/// The target directory of cargo.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str();
    Ok(target.ok_or("cargo metadata names no target")?.into())
}

/// The program under test: the one that `--program PATH` names, else a fresh build.
pub(crate) fn program(arguments: &[&str], profile: Profile) -> Result<PathBuf> {
    match value(arguments, "--program")? {
        Some(path) => std::path::absolute(path).map_err(|e| e.to_string()),
        None => build_program(profile),
    }
}

/// The word after an option.
pub(crate) fn value<'a>(arguments: &[&'a str], name: &str) -> Result<Option<&'a str>> {
    match arguments.iter().position(|word| *word == name) {
        None => Ok(None),
        Some(at) => arguments
            .get(at + 1)
            .copied()
            .map(Some)
            .ok_or(format!("{name} needs a value")),
    }
}

/// The options of a task.
struct Options {
    task: &'static str,
    with_value: &'static [&'static str],
    without: &'static [&'static str],
    /// The most words that are neither options nor values.
    operands: usize,
}

const fn options(
    task: &'static str,
    with_value: &'static [&'static str],
    without: &'static [&'static str],
    operands: usize,
) -> Options {
    Options {
        task,
        with_value,
        without,
        operands,
    }
}

/// The options of all tasks.
const OPTIONS: &[Options] = &[
    options("ci", &[], &[], 0),
    options("tidy", &[], &["--measure"], 0),
    options("corpus", &["--program"], &["--yes"], 3),
    options("selves", &["--program"], &[], 0),
    options("docs", &["--program"], &["--check"], 0),
    options(
        "dist",
        &["--out", "--profile", "--program"],
        &["--check", "--require-all"],
        0,
    ),
    options(
        "oracle",
        &["--program", "--rounds"],
        &["--keep", "--record", "--require-all"],
        1,
    ),
    options(
        "torture",
        &[
            "--case",
            "--images",
            "--jobs",
            "--minutes",
            "--program",
            "--save",
            "--seed",
        ],
        &["--json", "--record"],
        0,
    ),
    options(
        "fuzz",
        &[
            "--hours",
            "--jobs",
            "--minutes",
            "--program",
            "--record",
            "--target",
        ],
        &["--json"],
        0,
    ),
    options(
        "faults",
        &["--kind", "--only", "--program", "--share"],
        &["--ignored", "--json", "--record"],
        0,
    ),
    options("newer", &[], &["--again"], 0),
    options(
        "bench",
        &["--folder", "--only", "--program", "--rounds", "--size"],
        &["--json", "--model", "--save"],
        1,
    ),
    options("floor", &["--out"], &[], usize::MAX),
];

/// Says whether a task is one with options, and the words after it ask for the usage.
pub(crate) fn asks_for_usage(task: &str, arguments: &[&str]) -> bool {
    let is_known = OPTIONS.iter().any(|known| known.task == task);
    is_known
        && arguments
            .iter()
            .any(|word| matches!(*word, "--help" | "-h"))
}

/// Returns the words after a task that are neither options nor their values. Words of a task without
/// options are not looked at.
///
/// # Errors
/// For an option that the task does not have, for an option without its value, and for too many words.
pub(crate) fn operands<'a>(task: &str, arguments: &[&'a str]) -> Result<Vec<&'a str>> {
    let Some(known) = OPTIONS.iter().find(|known| known.task == task) else {
        return Ok(arguments.to_vec());
    };
    let mut out = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if known.with_value.contains(word) {
            words.next().ok_or(format!("{word} needs a value"))?;
        } else if word.starts_with('-') && !known.without.contains(word) {
            let all = [known.with_value, known.without].concat();
            let all = match all.is_empty() {
                true => "it has none".to_owned(),
                false => format!("it has {}", all.join(", ")),
            };
            return Err(format!("{task} has no option {word}: {all}"));
        } else if !word.starts_with('-') {
            out.push(*word);
        }
    }
    match out.get(known.operands) {
        Some(word) => Err(format!("{task} does not take the word {word}")),
        None => Ok(out),
    }
}

/// Which build of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// The build profile of the released program.
    Release,
}

/// Says whether a program is installed.
pub(crate) fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a command and captures its output. If the command fails, the error shows all output.
pub(crate) fn call(command: &mut Command) -> Result<String> {
    let output = raw(command)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(shown(command, &output))
}

/// Runs a command with its output caught.
pub(crate) fn raw(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))
}

/// Returns a free port of the loopback device. No other process of the checks takes ports, so the
/// port stays free.
pub(crate) fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| e.to_string())
}

/// Asks a child process to end, and kills the child if it still runs after `patience`.
pub(crate) fn end(child: &mut Child, patience: Duration) {
    let id = i32::try_from(child.id()).map(Pid::from_raw);
    if id.is_ok_and(|id| kill(id, Signal::SIGTERM).is_ok()) {
        let asked = Instant::now();
        while asked.elapsed() < patience {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
    }
    // Nothing more can be done if these fail: the process is gone, or not ours.
    let _ = child.kill();
    let _ = child.wait();
}

/// A command, its exit status, and its output.
pub(crate) fn shown(command: &Command, output: &Output) -> String {
    let mut text = format!("$ {}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        text += &format!(" {}", argument.to_string_lossy());
    }
    text += &format!("\n{}", output.status);
    for bytes in [&output.stdout, &output.stderr] {
        let part = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = part.trim().lines().collect();
        for line in lines.iter().take(40) {
            text += &format!("\n{line}");
        }
        if lines.len() > 40 {
            text += &format!("\n… and {} lines more", lines.len() - 40);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_shows_itself_and_its_output() {
        let error = call(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let error = error.unwrap_err();
        for part in ["$ sh -c", "exit status: 3", "out", "err"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn options_and_operands_are_told_apart() {
        let words = ["--size", "5", "x", "--json", "--program", "p"];
        assert_eq!(operands("bench", &words).unwrap(), ["x"]);
        assert_eq!(value(&words, "--program").unwrap(), Some("p"));
        assert_eq!(value(&words, "--rounds").unwrap(), None);
        assert!(value(&["--size"], "--size").is_err());
    }

    #[test]
    fn unknown_options_and_words_are_refused_and_the_usage_is_asked_for() {
        for known in OPTIONS {
            let error = operands(known.task, &["--foo"]).unwrap_err();
            assert!(error.contains("has no option --foo"), "{error}");
            assert!(operands(known.task, &["-x"]).is_err());
            for option in known.without {
                assert_eq!(operands(known.task, &[option]).unwrap(), [""; 0]);
            }
            for option in known.with_value {
                assert_eq!(operands(known.task, &[option, "--v"]).unwrap(), [""; 0]);
                let error = operands(known.task, &[option]).unwrap_err();
                assert!(error.contains("needs a value"), "{error}");
            }
            assert!(asks_for_usage(known.task, &["--json", "--help"]));
            assert!(!asks_for_usage(known.task, &["--json"]));
            let words = vec!["word"; known.operands.min(9) + 1];
            assert_eq!(operands(known.task, &words).is_err(), known.operands < 9);
        }
        // A script of `measure` is no list of options.
        assert_eq!(operands("measure", &["--foo"]).unwrap(), ["--foo"]);
        assert!(!asks_for_usage("measure", &["--help"]));
    }

    #[test]
    fn programs_are_looked_for_in_the_path() {
        assert!(installed("sh"));
        assert!(!installed("a-program-that-nobody-has"));
    }
}
