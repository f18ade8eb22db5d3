//! What a start costs, and the size of the program.

use std::fs;

use serde_json::{Value, json};

use super::archive;
use super::generated::Generated;
use super::setting::{Bench, JOBS};
use super::table::{markdown, median};
use crate::process::Result;

/// Runs of one sample: one run is too short to measure.
const RUNS: u32 = 100;
/// The most CPU milliseconds of one run, and bytes of the program (in MB).
const CPU: f64 = 5.0;
const SIZE: f64 = 12.0;

const COMMANDS: [(&str, &str); 2] = [
    ("`--version`", r#""$IMGCONV" --version"#),
    ("`ls` of a small layout", r#""$IMGCONV" ls oci:$LAYOUT"#),
];

/// Measures both commands.
pub(super) fn run(bench: &Bench) -> Result<(String, Value)> {
    let archive = bench.path("small.tar");
    archive::write(&archive, vec![Generated::layer(10, 200, 1)])?;
    let inputs = [
        bench.input("ARCHIVE", &archive),
        bench.input("LAYOUT", &bench.path("small")),
    ];
    bench.prepare(
        r#""$IMGCONV" -q convert docker-archive:$ARCHIVE oci:$LAYOUT"#,
        &inputs,
    )?;
    let loop_of = |command: &str| format!("for _ in $(seq {RUNS}); do {command}; done > said");
    let cpu = |command: &str| {
        let mut samples = Vec::new();
        for _ in 0..bench.rounds {
            samples.push(bench.sample(&loop_of(command), &inputs, JOBS, ".")?.cpu);
        }
        Ok::<_, String>(median(samples) * 1000.0 / f64::from(RUNS))
    };
    // The shell makes a process for each run too.
    let shell = cpu("/bin/true")?;
    let judged = |found: f64, goal: f64| match found <= goal {
        true => "met",
        false => "missed",
    };
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for (name, command) in COMMANDS {
        let found = cpu(command)? - shell;
        rows.push(vec![
            format!("{name}, CPU ms beyond that of `true`"),
            format!("{found:.1} (goal {CPU}: {})", judged(found, CPU)),
        ]);
        values.push(json!({ "command": name, "cpu_ms": found, "goal": CPU }));
    }
    let size = fs::metadata(&bench.program)
        .map_err(|e| e.to_string())?
        .len() as f64
        / 1e6;
    rows.push(vec![
        "size of the program, MB".to_owned(),
        format!("{size:.1} (goal {SIZE}: {})", judged(size, SIZE)),
    ]);
    Ok((
        markdown(&["start", "found"], &rows),
        json!({ "benchmark": "start", "rows": values, "program_mb": size, "goal_mb": SIZE }),
    ))
}
