//! Peak memory for large images: a layer of ten gigabytes, and a layer of a million entries.

use std::fs;

use serde_json::{Value, json};

use super::archive;
use super::generated::Generated;
use super::setting::{Bench, JOBS};
use super::table::markdown;
use crate::process::Result;

/// An image of one layer.
struct Input {
    name: &'static str,
    entries: u64,
    /// Bytes of each file.
    size: u64,
}

const INPUTS: [Input; 2] = [
    Input {
        name: "ten gigabytes in one layer",
        entries: 41,
        size: 256_000_000,
    },
    Input {
        name: "a million entries in one layer",
        entries: 1_000_000,
        size: 200,
    },
];

/// A job; `$ARCHIVE` has the image, uncompressed.
struct Job {
    name: &'static str,
    script: &'static str,
    output: &'static str,
    /// The bound without entries, in MiB.
    bound: f64,
    /// Bytes an entry on top, where paths have to be remembered.
    per_entry: f64,
}

const JOBS_OF_INPUT: [Job; 5] = [
    Job {
        name: "to OCI, gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression gzip"#,
        output: "out",
        bound: 64.0,
        per_entry: 0.0,
    },
    Job {
        name: "to OCI, zstd",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression zstd"#,
        output: "out",
        bound: 128.0,
        per_entry: 0.0,
    },
    Job {
        name: "to OCI, squashed, gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --squash --compression gzip"#,
        output: "out",
        bound: 64.0,
        per_entry: 300.0,
    },
    Job {
        name: "to an ACI, gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE aci:out.aci"#,
        output: "out.aci",
        bound: 64.0,
        per_entry: 300.0,
    },
    Job {
        name: "ACI to OCI, gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS aci-to-oci $ACI out"#,
        output: "out",
        bound: 64.0,
        per_entry: 300.0,
    },
];

/// Runs every job on every input whose name contains `only`, once.
pub(super) fn run(bench: &Bench, only: &str) -> Result<(String, Value)> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let inputs = INPUTS.iter().enumerate();
    for (seed, input) in inputs.filter(|(_, input)| input.name.contains(only)) {
        eprintln!("making {}", input.name);
        let (archive, aci) = (bench.path("image.tar"), bench.path("image.aci"));
        let layer = Generated::layer(input.entries, input.size, seed as u64);
        let bytes = layer.size;
        archive::write(&archive, vec![layer])?;
        let inputs = [bench.input("ARCHIVE", &archive), bench.input("ACI", &aci)];
        for job in &JOBS_OF_INPUT {
            if job.script.contains("$ACI") {
                let make = r#""$IMGCONV" -q convert docker-archive:$ARCHIVE aci:$ACI"#;
                bench.prepare(make, &inputs)?;
            }
            let sample = bench.sample(job.script, &inputs, JOBS, job.output)?;
            let most = job.bound + job.per_entry * input.entries as f64 / 1024.0 / 1024.0;
            let met = sample.memory <= most;
            eprintln!("{}: {:.0} MiB of {most:.0}", job.name, sample.memory);
            rows.push(vec![
                format!("{}, {}", input.name, job.name),
                format!("{:.1}", bytes as f64 / 1e9),
                format!("{:.0}", sample.memory),
                format!("{most:.0}"),
                if met { "met" } else { "missed" }.to_owned(),
                format!("{:.1}", sample.wall),
            ]);
            values.push(json!({
                "input": input.name, "job": job.name, "input_bytes": bytes,
                "entries": input.entries, "peak_mib": sample.memory, "bound_mib": most, "met": met,
                "wall_s": sample.wall, "cpu_s": sample.cpu,
            }));
        }
        fs::remove_file(&archive).map_err(|e| e.to_string())?;
        fs::remove_file(&aci).map_err(|e| e.to_string())?;
    }
    let head = ["job", "GB", "peak MiB", "bound MiB", "", "wall s"];
    let text = format!("{JOBS} threads\n\n{}", markdown(&head, &rows));
    Ok((
        text,
        json!({ "benchmark": "memory", "jobs": JOBS, "rows": values }),
    ))
}
