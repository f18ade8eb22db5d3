//! `cargo xtask bench scaling --model`: the speed-up that each job would have on more cores than this machine has.
//!
//! The rate of each step is measured on one thread. Blocks of a layer are compressed by all cores. Other steps
//! of a layer follow each other: those of one lane never run at the same time for one layer, but the lanes of a
//! layer, and the layers of an image, run beside each other. So the time on `n` cores is the largest of
//! the CPU seconds of all steps divided by `n`, and the seconds of the longest lane of one layer.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use super::packages;
use super::setting::Bench;
use super::table::{markdown, median};
use crate::process::Result;

/// The numbers of cores that are predicted, and of equal layers of an image.
const CORES: [u32; 4] = [2, 4, 16, 64];
const LAYERS: [u32; 3] = [1, 4, 16];

/// A step, and which bytes it works on.
#[derive(Clone, Copy)]
enum Work {
    Raw(&'static str),
    /// Bytes as gzip has them.
    Packed(&'static str),
}

/// A job: the lanes of one layer, and the steps that all cores share.
struct Job {
    name: &'static str,
    lanes: &'static [&'static [Work]],
    shared: &'static [Work],
}

use Work::{Packed, Raw};

const JOBS: &[Job] = &[
    Job {
        name: "docker-archive to OCI, gzip",
        lanes: &[&[Raw("sha256"), Packed("sha256"), Packed("write")]],
        shared: &[Raw("deflate")],
    },
    Job {
        name: "docker-archive to OCI, zstd",
        lanes: &[&[Raw("sha256"), Packed("sha256"), Packed("write")]],
        shared: &[Raw("zstd")],
    },
    Job {
        name: "OCI gzip to OCI zstd",
        lanes: &[
            &[Packed("sha256"), Raw("inflate")],
            &[Raw("sha256"), Packed("sha256"), Packed("write")],
        ],
        shared: &[Raw("zstd")],
    },
    Job {
        name: "OCI gzip to docker-archive",
        lanes: &[
            &[Packed("sha256"), Raw("inflate")],
            &[Raw("sha256"), Raw("write")],
        ],
        shared: &[],
    },
    Job {
        name: "OCI to OCI, copied",
        lanes: &[&[Packed("sha256"), Packed("write")]],
        shared: &[],
    },
    Job {
        name: "ACI to OCI, gzip",
        lanes: &[
            &[Raw("sha512")],
            &[Raw("sha256"), Packed("sha256"), Packed("write")],
        ],
        shared: &[Raw("deflate")],
    },
];

/// Measures the rates on packages of `size` MB, and predicts.
pub(super) fn run(bench: &Bench, size: u64) -> Result<(String, Value)> {
    let archive = bench.path("image.tar");
    packages::make(bench, &archive, size)?;
    let inputs = [
        bench.input("RAW", &archive),
        bench.input("GZ", &bench.path("image.gz")),
    ];
    bench.prepare(r#""$XTASK" floor deflate,write $RAW --out $GZ"#, &inputs)?;
    let length = |name: &str| fs::metadata(bench.path(name)).map(|data| data.len() as f64 / 1e6);
    let raw = length("image.tar").map_err(|e| e.to_string())?;
    let packed = length("image.gz").map_err(|e| e.to_string())?;
    let mut rates = BTreeMap::new();
    for step in ["sha256", "sha512", "deflate", "zstd", "inflate", "write"] {
        let (file, out) = match step {
            "inflate" => ("$GZ", "/dev/null"),
            "write" => ("$RAW", "out"),
            _ => ("$RAW", "/dev/null"),
        };
        let script = format!("exec \"$XTASK\" floor {step} {file} --out {out}");
        let mut samples = Vec::new();
        for _ in 0..bench.rounds {
            samples.push(bench.sample(&script, &inputs, 1, ".")?.cpu);
        }
        rates.insert(step, raw / median(samples));
    }
    let seconds = |work: &Work| match work {
        Raw(step) => raw / rates[step],
        Packed(step) => packed / rates[step],
    };
    let predicted: Vec<Predicted> = JOBS.iter().flat_map(|job| predict(job, &seconds)).collect();
    let mut text =
        format!("{raw:.0} MB, {packed:.0} MB as gzip; MB of content a second on one thread:");
    for (step, rate) in &rates {
        text += &format!(" {step} {rate:.0}");
    }
    text += "\n\n";
    let cores = CORES.map(|count| format!("speed-up, {count} cores"));
    let mut head = vec!["job", "equal layers"];
    head.extend(cores.iter().map(String::as_str));
    head.push("longest lane of a layer");
    let rows: Vec<Vec<String>> = predicted.iter().map(Predicted::cells).collect();
    text += &markdown(&head, &rows);
    let values: Vec<Value> = predicted.iter().map(Predicted::json).collect();
    Ok((
        text,
        json!({ "benchmark": "model", "input_mb": raw, "gzip_mb": packed, "mb_per_s": rates, "rows": values }),
    ))
}

/// The prediction for a job and a number of layers.
struct Predicted {
    job: &'static str,
    layers: u32,
    speed_up: [f64; CORES.len()],
    /// The steps of the longest lane.
    lane: String,
}

impl Predicted {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.job.to_owned(), self.layers.to_string()];
        cells.extend(
            self.speed_up
                .iter()
                .map(|speed_up| format!("{speed_up:.1}")),
        );
        cells.push(self.lane.clone());
        cells
    }

    fn json(&self) -> Value {
        json!({
            "job": self.job, "layers": self.layers, "cores": CORES, "speed_up": self.speed_up, "lane": self.lane,
        })
    }
}

fn predict(job: &Job, seconds: &dyn Fn(&Work) -> f64) -> Vec<Predicted> {
    let sum = |steps: &[Work]| steps.iter().map(seconds).sum::<f64>();
    let longest = job
        .lanes
        .iter()
        .max_by(|a, b| sum(a).total_cmp(&sum(b)))
        .expect("each job has a lane");
    let all = job.lanes.iter().map(|lane| sum(lane)).sum::<f64>() + sum(job.shared);
    let names = longest.iter().map(|work| match work {
        Raw(step) => format!("{step} of the content"),
        Packed(step) => format!("{step} of the compressed bytes"),
    });
    let lane = names.collect::<Vec<_>>().join(", ");
    LAYERS
        .iter()
        .map(|layers| Predicted {
            job: job.name,
            layers: *layers,
            speed_up: CORES.map(|cores| {
                let serial = sum(longest) / f64::from(*layers);
                all / serial.max(all / f64::from(cores))
            }),
            lane: lane.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lane_of_a_layer_bounds_the_speed_up() {
        let job = Job {
            name: "x",
            lanes: &[&[Packed("sha256")], &[Raw("sha256"), Packed("write")]],
            shared: &[Raw("deflate")],
        };
        let seconds = |work: &Work| match work {
            Raw("deflate") => 5.0,
            _ => 1.0,
        };
        let predicted = predict(&job, &seconds);
        assert_eq!(predicted[0].layers, 1);
        assert_eq!(predicted[0].speed_up, [2.0, 4.0, 4.0, 4.0]);
        assert_eq!(predicted[1].speed_up, [2.0, 4.0, 16.0, 16.0]);
        assert_eq!(
            predicted[0].lane,
            "sha256 of the content, write of the compressed bytes"
        );
    }
}
