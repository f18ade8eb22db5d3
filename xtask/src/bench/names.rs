//! The growth of time with the number of names of one image, at n, 2n and 4n: no task may grow
//! faster than linearly.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::archive;
use super::generated::Generated;
use super::setting::{Bench, JOBS};
use super::table::{markdown, median};
use crate::process::Result;

/// How many names an image has.
const NAMES: [usize; 3] = [10_000, 20_000, 40_000];

const TASKS: [(&str, &str); 8] = [
    (
        "convert to a layout",
        r#"exec "$IMGCONV" -q convert oci:$LAYOUT oci:out"#,
    ),
    (
        "dry run",
        r#"mkdir out && exec "$IMGCONV" -q convert oci:$LAYOUT oci:no --dry-run > out/said"#,
    ),
    (
        "convert to a docker archive",
        r#"exec "$IMGCONV" -q convert oci:$LAYOUT docker-archive:out"#,
    ),
    (
        "convert to ACIs with image tags",
        r#"exec "$IMGCONV" -q convert oci:$LAYOUT aci:out/ --image-tags"#,
    ),
    (
        "migrate",
        r#"exec "$IMGCONV" -q migrate oci:$LAYOUT oci:out"#,
    ),
    (
        "verify",
        r#"mkdir out && exec "$IMGCONV" verify oci:$LAYOUT > out/said"#,
    ),
    (
        "ls",
        r#"mkdir out && exec "$IMGCONV" ls oci:$LAYOUT > out/said"#,
    ),
    (
        "layout tag",
        r#"cp -r "$LAYOUT" out && exec "$IMGCONV" layout tag out example.com/a:7 example.com/b:1"#,
    ),
];

/// Runs every task on layouts of one image; returns rows of the growth from n to 4n, which is 4 in
/// proportion.
pub(super) fn run(bench: &Bench) -> Result<(String, Value)> {
    let source = bench.path("one.tar");
    archive::write(&source, vec![Generated::layer(10, 200, 1)])?;
    let inputs = [bench.input("ARCHIVE", &source)];
    bench.prepare(
        r#""$IMGCONV" -q convert docker-archive:$ARCHIVE oci:one"#,
        &inputs,
    )?;
    let layout = bench.path("one");
    let mut times = vec![Vec::new(); TASKS.len()];
    for count in NAMES {
        eprintln!("{count} names");
        name(&layout, count)?;
        let inputs = [bench.input("LAYOUT", &layout)];
        for ((_, script), times) in TASKS.iter().zip(&mut times) {
            let mut samples = Vec::new();
            for _ in 0..bench.rounds {
                samples.push(bench.sample(script, &inputs, JOBS, "out")?.cpu);
            }
            times.push(median(samples));
        }
    }
    let growth = |times: &[f64]| times[NAMES.len() - 1] / times[0];
    let row = |((task, _), times): (&(&str, &str), &Vec<f64>)| {
        let mut row = vec![(*task).to_owned()];
        row.extend(times.iter().map(|time| format!("{time:.2}")));
        row.push(format!("{:.1}", growth(times)));
        row
    };
    let rows: Vec<Vec<String>> = TASKS.iter().zip(&times).map(row).collect();
    let values = TASKS.iter().zip(&times).map(|((task, _), times)| {
        json!({ "task": task, "names": NAMES, "cpu_s": times, "growth": growth(times) })
    });
    let values: Vec<Value> = values.collect();
    let counts = NAMES.map(|count| format!("CPU s, {count} names"));
    let mut head = vec!["task"];
    head.extend(counts.iter().map(String::as_str));
    head.push("growth (4 is in proportion)");
    Ok((markdown(&head, &rows), Value::from(values)))
}

/// Gives the single image of a layout the given number of names.
fn name(layout: &Path, count: usize) -> Result {
    let path = layout.join("index.json");
    let bytes = fs::read(&path).map_err(|e| e.to_string())?;
    let mut index: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    let one = index["manifests"][0].clone();
    let named = |i: usize| {
        let mut one = one.clone();
        let name = format!("example.com/a:{i}");
        one["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        one
    };
    index["manifests"] = (0..count).map(named).collect();
    fs::write(&path, index.to_string()).map_err(|e| e.to_string())
}
