//! The growth of time and memory with layers, entries and threads, on generated layers, and of time
//! with the names of one image.

use std::fs;

use serde_json::{Value, json};

use super::archive;
use super::generated::Generated;
use super::goals::judged;
use super::measure::Sample;
use super::names;
use super::setting::Bench;
use super::table::{markdown, median};
use crate::process::Result;

/// An image of equal layers.
#[derive(Debug)]
struct Shape {
    layers: u64,
    /// Entries of each layer, and bytes of each file.
    entries: u64,
    size: u64,
}

/// First more layers, the rest the same; then more entries.
const SHAPES: [Shape; 8] = [
    Shape {
        layers: 1,
        entries: 2_000,
        size: 16_000,
    },
    Shape {
        layers: 2,
        entries: 2_000,
        size: 16_000,
    },
    Shape {
        layers: 4,
        entries: 2_000,
        size: 16_000,
    },
    Shape {
        layers: 8,
        entries: 2_000,
        size: 16_000,
    },
    Shape {
        layers: 1,
        entries: 1_000,
        size: 200,
    },
    Shape {
        layers: 1,
        entries: 10_000,
        size: 200,
    },
    Shape {
        layers: 1,
        entries: 100_000,
        size: 200,
    },
    Shape {
        layers: 1,
        entries: 1_000_000,
        size: 200,
    },
];

/// The most that squashing a million entries may take of compressing them, and its least speed-up.
const SQUASH: f64 = 1.5;
const SPEED_UP: f64 = 1.7;

const JOBS: [(&str, &str); 2] = [
    (
        "compress",
        r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression gzip"#,
    ),
    (
        "squash",
        r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression gzip --squash"#,
    ),
];

/// Runs both jobs on every shape, with one thread and with two.
pub(super) fn run(bench: &Bench) -> Result<(String, Value)> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let mut last = Vec::new();
    for shape in &SHAPES {
        let Shape {
            layers,
            entries,
            size,
        } = *shape;
        eprintln!("{layers} layers of {entries} entries");
        let archive = bench.path("image.tar");
        let made = (0..layers).map(|seed| Generated::layer(entries, size, seed));
        archive::write(&archive, made.collect())?;
        let bytes = fs::metadata(&archive).map_err(|e| e.to_string())?.len();
        let inputs = [bench.input("ARCHIVE", &archive)];
        for (name, script) in JOBS {
            let (mut one, mut two) = (Vec::new(), Vec::new());
            for _ in 0..bench.rounds {
                one.push(bench.sample(script, &inputs, 1, "out")?);
                two.push(bench.sample(script, &inputs, 2, "out")?);
            }
            let wall = |samples: &[Sample]| median(samples.iter().map(|s| s.wall).collect());
            let peak = two.iter().map(|s| s.memory).fold(0.0, f64::max);
            let (one, two) = (wall(&one), wall(&two));
            let all = layers * entries;
            if all == 1_000_000 {
                last.push((one, two));
            }
            rows.push(vec![
                name.to_owned(),
                layers.to_string(),
                all.to_string(),
                format!("{:.1}", bytes as f64 / 1e6),
                format!("{one:.2}"),
                format!("{two:.2}"),
                format!("{:.2}", one / two),
                format!("{:.0}", bytes as f64 / 1e6 / two),
                format!("{:.1}", two / all as f64 * 1e6),
                format!("{peak:.0}"),
            ]);
            values.push(json!({
                "job": name, "layers": layers, "entries": all, "input_bytes": bytes,
                "wall_1_s": one, "wall_2_s": two, "peak_mib": peak,
            }));
        }
    }
    fs::remove_file(bench.path("image.tar")).map_err(|e| e.to_string())?;
    let head = [
        "job",
        "layers",
        "entries",
        "MB",
        "wall s, 1 thread",
        "2 threads",
        "speed-up",
        "MB/s",
        "us an entry",
        "peak MiB",
    ];
    let (table, by_names) = names::run(bench)?;
    let mut text = markdown(&head, &rows);
    if let [(_, compress), (one, two)] = *last {
        let speed_up = one / two;
        text += &format!(
            "\nSquashing a million entries takes {} times compressing them, with a speed-up of {speed_up:.2} (goal {SPEED_UP}: {})\n",
            judged(two / compress, Some(SQUASH)),
            if speed_up >= SPEED_UP {
                "met"
            } else {
                "missed"
            },
        );
    }
    Ok((
        format!("{text}\n{table}"),
        json!({
            "benchmark": "scaling", "rounds": bench.rounds, "rows": values, "names": by_names,
        }),
    ))
}
