//! `cargo xtask bench`: time, memory and bytes of the main job beside the same work by hand.
//!
//! The image is made of the files of this system's packages. Ours and the peers run in turn, round
//! by round, so that a busy machine hurts all of them; ratios are taken inside a round and their
//! median is shown. Figures of two machines cannot be compared; ratios can, roughly.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::process::{Profile, Result, call, installed, operands, program, value};

/// One way to do the job.
#[derive(Debug)]
struct Runner {
    name: &'static str,
    /// Programs it needs.
    needs: &'static [&'static str],
    /// A bash script; `$ACI` is the input, the current folder is empty.
    script: &'static str,
    /// The file whose size counts, or a folder whose files do.
    output: &'static str,
}

/// By hand: take the manifest and `rootfs/` off, compress, and reckon the layer's digest, its diff
/// ID and the image ID, as ours does.
const RUNNERS: [Runner; 3] = [
    Runner {
        name: "imgconv",
        needs: &[],
        script: r#"exec "$IMGCONV" aci-to-oci "$ACI" out"#,
        output: "out/blobs",
    },
    Runner {
        name: "tar + pigz",
        needs: &["tar", "pigz"],
        script: r#"
            mkdir tree
            tar -xf "$ACI" -C tree
            tar -C tree/rootfs --numeric-owner -cf - . | tee >(sha256sum > diff-id) | pigz | tee layer.gz | sha256sum > digest
            sha512sum "$ACI" > image-id"#,
        output: "layer.gz",
    },
    Runner {
        name: "bsdtar + pigz",
        needs: &["bsdtar", "pigz"],
        script: r#"
            bsdtar -cf - -s '|^rootfs/||' --exclude manifest "@$ACI" | tee >(sha256sum > diff-id) | pigz | tee layer.gz | sha256sum > digest
            sha512sum "$ACI" > image-id"#,
        output: "layer.gz",
    },
];

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    wall: f64,
    cpu: f64,
    /// The largest resident set of any one process, in MiB.
    memory: f64,
    /// Bytes written that count, in MB.
    output: f64,
}

/// Runs the benchmark.
pub(crate) fn run(arguments: &[&str]) -> Result {
    let number = |name: &str, default: u64| match value(arguments, name)? {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{name} needs a number, not `{text}`")),
    };
    let (size, rounds) = (number("--size", 500)?, number("--rounds", 5)?.max(1));
    match operands(arguments, &["--size", "--rounds", "--program"]).as_slice() {
        [] | ["aci-to-oci"] => {}
        other => {
            return Err(format!(
                "there is no benchmark {other:?}; there is: aci-to-oci"
            ));
        }
    }
    let program = program(arguments, Profile::Release)?;
    let work = tempfile::Builder::new().prefix("imgconv-bench-").tempdir();
    let work = work.map_err(|e| e.to_string())?;
    let image = make_image(work.path(), size)?;
    let runners: Vec<&Runner> = RUNNERS
        .iter()
        .filter(|runner| runner.needs.iter().all(|need| installed(need)))
        .collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); runners.len()];
    for round in 0..rounds {
        for (runner, samples) in runners.iter().zip(&mut samples) {
            eprintln!("round {}: {}", round + 1, runner.name);
            samples.push(one(runner, &program, &image.path, work.path())?);
        }
    }
    let rows: Vec<Row> = runners
        .iter()
        .zip(&samples)
        .map(|(runner, of_runner)| Row::new(runner.name, of_runner, &samples[0]))
        .collect();
    if arguments.contains(&"--json") {
        println!("{}", as_json(&image, rounds, &rows));
    } else {
        print_table(&image, rounds, &rows);
    }
    Ok(())
}

/// The input.
#[derive(Debug)]
struct Image {
    path: PathBuf,
    entries: usize,
    bytes: u64,
}

/// Makes a plain ACI of the files of installed packages, in the order of their paths.
fn make_image(work: &Path, size: u64) -> Result<Image> {
    let names = call(Command::new("dpkg-query").args(["-W", "-f", "${binary:Package}\n"]))?;
    let listed = call(Command::new("dpkg").arg("-L").args(names.lines()))?;
    let paths: BTreeSet<PathBuf> = listed.lines().filter_map(real_path).collect();
    let list = work.join("list");
    let mut file = File::create(&list).map_err(|e| e.to_string())?;
    let (mut bytes, mut entries, mut seen) = (0, 0, BTreeSet::new());
    for path in paths {
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        if bytes >= size * 1_000_000 {
            break;
        }
        // The names of one file hold its bytes once.
        let counts = data.is_file() && seen.insert((data.dev(), data.ino()));
        bytes += if counts { data.len() } else { 0 };
        entries += 1;
        let line = [&path.as_os_str().as_bytes()[1..], b"\n"].concat();
        file.write_all(&line).map_err(|e| e.to_string())?;
    }
    drop(file);
    if bytes < size * 1_000_000 {
        let found = bytes / 1_000_000;
        return Err(format!(
            "the packages of this system have {found} MB, --size asks for {size}"
        ));
    }
    let meta = work.join("meta");
    fs::create_dir_all(meta.join("rootfs")).map_err(|e| e.to_string())?;
    let manifest = json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/bench",
        "labels": [ { "name": "version", "value": "1.0" }, { "name": "os", "value": "linux" },
                    { "name": "arch", "value": "amd64" } ],
        "app": { "exec": ["/bin/true"], "user": "0", "group": "0" },
    });
    fs::write(meta.join("manifest"), manifest.to_string()).map_err(|e| e.to_string())?;
    let path = work.join("app.aci");
    let tar = |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command
            .args(["--format=posix", "--numeric-owner"])
            .args(arguments);
        call(&mut command).map(drop)
    };
    let (archive, meta, list) = (
        path.to_string_lossy(),
        meta.to_string_lossy(),
        list.to_string_lossy(),
    );
    tar(&["-cf", &archive, "-C", &meta, "manifest", "rootfs"])?;
    let prefix = "--transform=flags=rh;s,^,rootfs/,";
    tar(&[
        "-rf",
        &archive,
        "--no-recursion",
        prefix,
        "-C",
        "/",
        "-T",
        &list,
    ])?;
    let bytes = fs::metadata(&path).map_err(|e| e.to_string())?.len();
    Ok(Image {
        path,
        entries,
        bytes,
    })
}

/// A listed path with no symbolic link above its last part (`/bin` may be one); none for the root.
fn real_path(listed: &str) -> Option<PathBuf> {
    let path = Path::new(listed);
    let folder = fs::canonicalize(path.parent()?).ok()?;
    Some(folder.join(path.file_name()?))
}

/// Runs one way once, in an empty folder, in a process of its own that counts.
fn one(runner: &Runner, program: &Path, aci: &Path, work: &Path) -> Result<Sample> {
    let folder = work.join("run");
    fs::create_dir(&folder).map_err(|e| e.to_string())?;
    // A round must not pay for what the one before left to the disk.
    call(&mut Command::new("sync"))?;
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(this);
    command
        .args(["measure", runner.script])
        .env("IMGCONV", program)
        .env("ACI", aci)
        .current_dir(&folder);
    let text = call(&mut command)?;
    let line = text.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
    let number = |key: &str| value[key].as_f64().unwrap_or_default();
    let sample = Sample {
        wall: number("wall"),
        cpu: number("cpu"),
        memory: number("memory"),
        output: total(&folder.join(runner.output))? / 1e6,
    };
    fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    Ok(sample)
}

fn total(path: &Path) -> Result<f64> {
    let (mut open, mut sum) = (vec![path.to_owned()], 0.0);
    while let Some(path) = open.pop() {
        let data = fs::symlink_metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if data.is_dir() {
            for entry in fs::read_dir(&path).map_err(|e| e.to_string())? {
                open.push(entry.map_err(|e| e.to_string())?.path());
            }
        } else {
            sum += data.len() as f64;
        }
    }
    Ok(sum)
}

/// `cargo xtask measure SCRIPT`: runs one bash script and prints what it used as JSON. A process of
/// its own, because the system counts all children of a process together.
pub(crate) fn measure(arguments: &[&str]) -> Result {
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

/// One line of the table: medians, and the medians of ours / this, round by round.
#[derive(Debug)]
struct Row {
    name: &'static str,
    median: Sample,
    wall_ratio: f64,
    cpu_ratio: f64,
}

impl Row {
    fn new(name: &'static str, samples: &[Sample], ours: &[Sample]) -> Self {
        let of = |pick: fn(&Sample) -> f64| median(samples.iter().map(pick).collect());
        let ratio = |pick: fn(&Sample) -> f64| {
            median(
                ours.iter()
                    .zip(samples)
                    .map(|(a, b)| pick(a) / pick(b))
                    .collect(),
            )
        };
        Self {
            name,
            median: Sample {
                wall: of(|s| s.wall),
                cpu: of(|s| s.cpu),
                memory: samples.iter().map(|s| s.memory).fold(0.0, f64::max),
                output: of(|s| s.output),
            },
            wall_ratio: ratio(|s| s.wall),
            cpu_ratio: ratio(|s| s.cpu),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn print_table(image: &Image, rounds: u64, rows: &[Row]) {
    println!(
        "aci-to-oci: {:.1} MB, {} entries, {rounds} rounds (medians; memory: maximum)",
        image.bytes as f64 / 1e6,
        image.entries
    );
    println!("| | wall s | CPU s | peak MiB | output MB | wall, ours / this | CPU, ours / this |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let Sample {
            wall,
            cpu,
            memory,
            output,
        } = row.median;
        println!(
            "| {} | {wall:.2} | {cpu:.2} | {memory:.0} | {output:.1} | {:.2} | {:.2} |",
            row.name, row.wall_ratio, row.cpu_ratio
        );
    }
}

fn as_json(image: &Image, rounds: u64, rows: &[Row]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name, "wall_s": row.median.wall, "cpu_s": row.median.cpu,
                "peak_mib": row.median.memory, "output_mb": row.median.output,
                "wall_ratio": row.wall_ratio, "cpu_ratio": row.cpu_ratio,
            })
        })
        .collect();
    json!({
        "benchmark": "aci-to-oci", "input_bytes": image.bytes, "entries": image.entries,
        "rounds": rounds, "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_paired() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        let sample = |wall| Sample {
            wall,
            cpu: wall,
            memory: wall,
            output: 1.0,
        };
        let ours = [sample(1.0), sample(10.0), sample(2.0)];
        let peer = [sample(2.0), sample(20.0), sample(1.0)];
        let row = Row::new("peer", &peer, &ours);
        assert_eq!(
            (row.wall_ratio, row.median.wall, row.median.memory),
            (0.5, 2.0, 20.0)
        );
    }
}
