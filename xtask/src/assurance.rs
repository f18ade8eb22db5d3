//! `docs/assurance.md`: what has been tested, by whom, for how long, in figures. Figures of the source are counted when
//! `cargo xtask docs` writes the document; figures of long runs are in [`RECORD`], where a task with `--record`
//! puts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::process::{Result, root};
use crate::tidy;

/// The results of the runs that were recorded: one member for each task.
const RECORD: &str = "testdata/assurance.json";
/// The results of fuzzing, which each run adds to.
const FUZZ: &str = "testdata/fuzz/record.json";
const SHORTCOMINGS: &str = "SHORTCOMINGS.md";

/// Puts the results of a run into the record, in place of those of an earlier run of the task.
pub(crate) fn record(task: &str, results: Value) -> Result {
    let path = root().join(RECORD);
    let mut all = read(&path)?;
    all.insert(task.to_owned(), results);
    let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
    imgconv_testkit::write_file(&path, format!("{text}\n").as_bytes()).map_err(|e| e.to_string())
}

/// Puts the results of a part of a task into the record, in place of those of an earlier run of the part.
pub(crate) fn record_part(task: &str, part: &str, results: Value) -> Result {
    let all = read(&root().join(RECORD))?;
    let mut parts = match all.get(task) {
        Some(Value::Object(parts)) => parts.clone(),
        _ => Map::new(),
    };
    parts.insert(part.to_owned(), results);
    record(task, Value::Object(parts))
}

/// Reads a record; a file that is not there is an empty record.
fn read(path: &Path) -> Result<Map<String, Value>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// A row: a figure, its value, and the command that gives it.
type Row = (String, String, &'static str);

/// Makes the tables of the document.
pub(crate) fn tables() -> Result<String> {
    let root = root();
    let record = read(&root.join(RECORD))?;
    let mut rows = counted(&root)?;
    rows.extend(torture(record.get("torture")));
    rows.extend(faults(record.get("faults")));
    rows.extend(fuzz(&root)?);
    let mut out = String::from("| figure | value | command |\n| --- | --- | --- |\n");
    for (figure, value, command) in rows {
        out += &format!("| {figure} | {value} | `{command}` |\n");
    }
    if let Some(oracle) = record.get("oracle") {
        out += &judges(oracle);
    }
    Ok(out)
}

/// Figures of the source.
fn counted(root: &Path) -> Result<Vec<Row>> {
    let cases = folders(&root.join("testdata/corpus"))?;
    let kinds: Vec<String> = cases
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let total: usize = cases.values().sum();
    let (rules, untested) = tidy::rules()?;
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"))
    };
    let lines = |text: &str, with: &str| text.lines().filter(|line| line.starts_with(with)).count();
    Ok(vec![
        (
            "cases of the corpus".into(),
            format!("{total}: {}", kinds.join(", ")),
            "cargo xtask corpus run",
        ),
        (
            "rules about bad input, each with a test that cites the rule".into(),
            format!(
                "{}, and {untested} that state why they have none",
                rules - untested
            ),
            "cargo xtask tidy",
        ),
        (
            "outputs whose every byte is pinned".into(),
            lines(&read("testdata/digests.toml")?, "\"").to_string(),
            "cargo xtask corpus run",
        ),
        (
            "known gaps".into(),
            format!(
                "{} in [{SHORTCOMINGS}](../{SHORTCOMINGS})",
                lines(&read(SHORTCOMINGS)?, "- ")
            ),
            "grep -c '^- ' SHORTCOMINGS.md",
        ),
    ])
}

/// The folders of a folder, and how many folders each has.
fn folders(path: &Path) -> Result<BTreeMap<String, usize>> {
    let list = |path: &Path| -> Result<Vec<fs::DirEntry>> {
        let entries = fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let is_folder = |entry: &fs::DirEntry| entry.path().is_dir();
        Ok(entries
            .filter_map(std::result::Result::ok)
            .filter(is_folder)
            .collect())
    };
    let count = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, list(&entry.path())?.len()))
    };
    list(path)?.into_iter().map(count).collect()
}

/// A number of a record; 0 if the record has none.
fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or_default()
}

fn torture(found: Option<&Value>) -> Vec<Row> {
    let Some(found) = found else {
        return Vec::new();
    };
    let get = |key| number(found, key);
    vec![(
        "random images converted in random chains".into(),
        format!(
            "{} images, {} steps, {} trees compared with the model and {} with umoci, {} ACIs back exactly, \
             {} digests compared between numbers of threads; {} wrong",
            get("images"),
            get("steps"),
            get("trees"),
            get("umoci"),
            get("exact"),
            get("repeated"),
            get("failures")
        ),
        "cargo xtask torture --images 10000 --record",
    )]
}

fn faults(found: Option<&Value>) -> Vec<Row> {
    let Some(found) = found else {
        return Vec::new();
    };
    let jobs = found.as_object().into_iter().flatten();
    let jobs: Vec<&Value> = jobs.map(|(_, job)| job).collect();
    let get = |key| jobs.iter().map(|job| number(job, key)).sum::<u64>();
    vec![
        (
            "faults injected into file system calls".into(),
            format!(
                "{} in {} kinds of jobs; {} wrong",
                get("faults") - get("kills"),
                jobs.len(),
                get("findings")
            ),
            "cargo xtask faults --record",
        ),
        (
            "kills at a file system call that were survived".into(),
            get("kills").to_string(),
            "cargo xtask faults --record",
        ),
    ]
}

fn fuzz(root: &Path) -> Result<Vec<Row>> {
    let path = root.join(FUZZ);
    let Ok(bytes) = fs::read(&path) else {
        return Ok(Vec::new());
    };
    let targets: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    let sum = |key| {
        targets
            .iter()
            .map(|target| number(target, key))
            .sum::<u64>()
    };
    let seconds = targets
        .iter()
        .filter_map(|target| target["cpu_seconds"].as_f64());
    let hours = seconds.sum::<f64>() / 3600.0;
    Ok(vec![(
        "fuzzing, by targets".into(),
        format!(
            "{} targets, {} executions, {hours:.1} hours of CPU time; {} findings",
            targets.len(),
            sum("executions"),
            sum("findings")
        ),
        "cargo xtask fuzz --hours 8 --record testdata/fuzz/record.json",
    )])
}

/// The programs of others that judge the output, and the result.
fn judges(found: &Value) -> String {
    let list = |index: usize| {
        let lines = found["judges"][index].as_array();
        let lines = lines.into_iter().flatten().filter_map(Value::as_str);
        lines.map(str::to_owned).collect::<Vec<_>>().join(", ")
    };
    format!(
        "\n`cargo xtask oracle --require-all --record`, the judgement of programs of others: {} checks passed, {} \
         failed, {} skipped.\n\n- Debian's stable suite: {}.\n- Debian's suite sid: {}.\n",
        number(found, "passed"),
        number(found, "failed"),
        number(found, "skipped"),
        list(0),
        list(1)
    )
}
