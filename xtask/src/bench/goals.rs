//! The jobs that have a goal, compared with other programs for the same job.

use serde_json::{Value, json};

use super::committed::Committed;
use super::measure::Sample;
use super::packages::{self, Made};
use super::setting::{Bench, JOBS};
use super::table::{Row, markdown};
use crate::process::{Result, installed};

/// A job: the script of imgconv and the scripts of other programs.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) script: &'static str,
    /// The file whose size counts, or a folder whose files do; the same for peers.
    pub(super) output: &'static str,
    /// Whether outputs are removed only after all rounds: removed files slow down the next run.
    pub(super) many_files: bool,
    /// The least work of the job, as arguments of `cargo xtask floor`; empty if nothing is comparable.
    pub(super) floor: &'static str,
    pub(super) peers: &'static [Peer],
}

/// Another way to do the job.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// The programs that the script needs.
    pub(super) needs: &'static [&'static str],
    pub(super) script: &'static str,
    pub(super) goal: Goal,
}

/// The upper bound of the ratio imgconv / other program; `None` without a goal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    wall: Option<f64>,
    cpu: Option<f64>,
    bytes: Option<f64>,
}

impl Goal {
    pub(super) const NONE: Self = Self {
        wall: None,
        cpu: None,
        bytes: None,
    };

    pub(super) const fn wall(most: f64) -> Self {
        Self {
            wall: Some(most),
            ..Self::NONE
        }
    }

    const fn bytes(self, most: f64) -> Self {
        Self {
            bytes: Some(most),
            ..self
        }
    }

    pub(super) const fn cpu(self, most: f64) -> Self {
        Self {
            cpu: Some(most),
            ..self
        }
    }
}

/// Scripts run in an empty folder. `$ARCHIVE` is a file of `docker save` with uncompressed layers,
/// `$LAYOUT` the same image as a layout with gzip layers, `$ACI` the same squashed and not compressed, `$SAVED` the same
/// as docker before 1.10 saved images.
const TASKS: &[Task] = &[
    // First: ext4 is slow to make files for minutes after other jobs have removed many files.
    Task {
        name: "unpack",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS unpack oci:$LAYOUT out"#,
        output: "out",
        many_files: true,
        floor: "sha256,inflate,sha256,write $BLOBS --out out",
        peers: &[Peer {
            name: "umoci",
            needs: &["umoci"],
            script: "umoci raw unpack --image $LAYOUT:1 out",
            goal: Goal::wall(0.25),
        }],
    },
    Task {
        name: "docker-archive to OCI, gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression gzip"#,
        output: "out",
        many_files: false,
        floor: "sha256,deflate,sha256,write $ARCHIVE --out out",
        peers: &[Peer {
            name: "skopeo",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q docker-archive:$ARCHIVE oci:out:1",
            goal: Goal::wall(0.62).cpu(0.70).bytes(1.0),
        }],
    },
    Task {
        name: "docker-archive to OCI, fast profile (zstd)",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression zstd --level fast"#,
        output: "out",
        many_files: false,
        floor: "sha256,zstd-fast,sha256,write $ARCHIVE --out out",
        peers: &[Peer {
            name: "skopeo, gzip",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q docker-archive:$ARCHIVE oci:out:1",
            goal: Goal::wall(0.33).bytes(1.0),
        }],
    },
    Task {
        name: "docker-archive to OCI, zstd",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE oci:out --compression zstd"#,
        output: "out",
        many_files: false,
        floor: "sha256,zstd,sha256,write $ARCHIVE --out out",
        peers: &[Peer {
            name: "skopeo",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q --dest-compress-format zstd docker-archive:$ARCHIVE oci:out:1",
            goal: Goal::wall(0.65).bytes(1.0),
        }],
    },
    Task {
        name: "OCI gzip to docker-archive",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert oci:$LAYOUT docker-archive:out.tar"#,
        output: "out.tar",
        many_files: false,
        floor: "sha256,inflate,sha256,write $BLOBS --out out.tar",
        peers: &[Peer {
            name: "skopeo",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q oci:$LAYOUT:1 docker-archive:out.tar:bench:1",
            goal: Goal::wall(0.26),
        }],
    },
    Task {
        name: "OCI gzip to OCI zstd",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert oci:$LAYOUT oci:out --compression zstd"#,
        output: "out",
        many_files: false,
        floor: "sha256,inflate,sha256,zstd,sha256,write $BLOBS --out out",
        peers: &[Peer {
            name: "skopeo",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q --dest-compress-format zstd oci:$LAYOUT:1 oci:out:1",
            goal: Goal::wall(0.60).bytes(1.01),
        }],
    },
    Task {
        name: "nothing changes, OCI to OCI, linked",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert oci:$LAYOUT oci:out"#,
        output: "out",
        many_files: false,
        floor: "sha256 $BLOBS",
        peers: &[Peer {
            name: "skopeo",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q oci:$LAYOUT:1 oci:out:1",
            goal: Goal::wall(0.2),
        }],
    },
    Task {
        name: "nothing changes, OCI to OCI, copied",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert oci:$LAYOUT oci:out --link copy"#,
        output: "out",
        many_files: false,
        floor: "sha256,write $BLOBS --out out",
        peers: &[
            Peer {
                name: "skopeo",
                needs: &["skopeo"],
                script: "exec skopeo --insecure-policy copy -q oci:$LAYOUT:1 oci:out:1",
                goal: Goal::wall(0.5),
            },
            Peer {
                name: "`cp -r` and `sync`",
                needs: &["cp", "sync"],
                script: "cp -r $LAYOUT out && find out -exec sync {} +",
                goal: Goal::wall(1.25),
            },
        ],
    },
    Task {
        name: "nothing changes, OCI to dir",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert oci:$LAYOUT dir:out"#,
        output: "out",
        many_files: false,
        floor: "sha256,write $BLOBS --out out",
        peers: &[Peer {
            name: "skopeo",
            needs: &["skopeo"],
            script: "exec skopeo --insecure-policy copy -q oci:$LAYOUT:1 dir:out",
            goal: Goal::wall(0.5),
        }],
    },
    Task {
        name: "docker-archive to one ACI, squashed",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE aci:out.aci"#,
        output: "out.aci",
        many_files: false,
        floor: "sha256,sha512,deflate,write $ARCHIVE --out out.aci",
        peers: &[
            Peer {
                name: "docker2aci",
                needs: &["docker2aci"],
                script: "docker2aci $ARCHIVE && mv ./*.aci out.aci",
                goal: Goal::wall(0.19).bytes(1.0),
            },
            Peer {
                name: "skopeo, umoci, tar, pigz",
                needs: &["skopeo", "umoci", "tar", "pigz"],
                script: r#"
                    skopeo --insecure-policy copy -q --dest-decompress docker-archive:$ARCHIVE oci:layout:1
                    umoci unpack --image layout:1 bundle
                    tar -C bundle --numeric-owner -cf - rootfs | tee >(sha512sum > image-id) | pigz -p $JOBS > out.aci"#,
                goal: Goal::NONE,
            },
        ],
    },
    Task {
        name: "docker-archive to one ACI, squashed, fast profile",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS convert docker-archive:$ARCHIVE aci:out.aci --level fast"#,
        output: "out.aci",
        many_files: false,
        floor: "sha256,sha512,deflate-fast,write $ARCHIVE --out out.aci",
        peers: &[Peer {
            name: "docker2aci",
            needs: &["docker2aci"],
            script: "docker2aci $ARCHIVE && mv ./*.aci out.aci",
            goal: Goal::wall(0.10),
        }],
    },
    // By hand: take the manifest and `rootfs/` off, compress, and reckon the layer's digest, its
    // diff ID and the image ID, as ours does.
    Task {
        name: "ACI to OCI, gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS aci-to-oci $ACI out"#,
        output: "out",
        many_files: false,
        floor: "sha512,sha256,deflate,sha256,write $ACI --out out",
        peers: &[
            Peer {
                name: "`tar` and `pigz`, through files",
                needs: &["tar", "pigz"],
                script: r#"
                    mkdir tree out
                    tar -xf $ACI -C tree
                    tar -C tree/rootfs --numeric-owner -cf - . | tee >(sha256sum > diff-id) | pigz -p $JOBS | tee out/layer.gz | sha256sum > digest
                    sha512sum $ACI > image-id"#,
                goal: Goal::wall(0.2),
            },
            Peer {
                name: "`bsdtar` and `pigz`, streaming",
                needs: &["bsdtar", "pigz"],
                script: r#"
                    mkdir out
                    bsdtar -cf - -s '|^rootfs/||' --exclude manifest @$ACI | tee >(sha256sum > diff-id) | pigz -p $JOBS | tee out/layer.gz | sha256sum > digest
                    sha512sum $ACI > image-id"#,
                goal: Goal::wall(0.2),
            },
        ],
    },
    Task {
        name: "ACI to OCI, gzip, with a record",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS aci-to-oci --reversible $ACI out"#,
        output: "out",
        many_files: false,
        floor: "sha512,sha256,deflate,sha256,write $ACI --out out",
        peers: &[Peer {
            name: "imgconv without the record",
            needs: &[],
            script: r#"exec "$IMGCONV" -q --jobs $JOBS aci-to-oci $ACI out"#,
            goal: Goal::wall(1.08).cpu(1.08).bytes(1.01),
        }],
    },
    Task {
        name: "docker-archive before 1.10 to OCI, gzip, with a record",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS docker-to-oci --reversible $SAVED out"#,
        output: "out",
        many_files: false,
        floor: "sha256,sha256,deflate,sha256,write $SAVED --out out",
        peers: &[Peer {
            name: "imgconv without the record",
            needs: &[],
            script: r#"exec "$IMGCONV" -q --jobs $JOBS docker-to-oci $SAVED out"#,
            goal: Goal::wall(1.08).cpu(1.08).bytes(1.01),
        }],
    },
];

/// Makes `$LAYOUT`, by skopeo if it is installed, `$ACI` and `$SAVED`.
const PREPARE: &str = r#"
    if command -v skopeo > /dev/null
    then skopeo --insecure-policy copy -q docker-archive:$ARCHIVE oci:$LAYOUT:1
    else "$IMGCONV" -q convert docker-archive:$ARCHIVE oci:$LAYOUT:1 --compression gzip
    fi
    "$IMGCONV" -q convert docker-archive:$ARCHIVE aci:$ACI --compression none
    mkdir layers saved
    tar -C saved -xf $ARCHIVE
    rm saved/*.json
    (cd saved && tar -cf $SAVED ./*)
    rm -r saved
    for blob in $LAYOUT/blobs/sha256/*; do gzip -t $blob 2> /dev/null && ln $blob layers/; done || true"#;

/// One job beside one peer, or alone.
pub(super) struct Compared {
    pub(super) task: &'static str,
    pub(super) ours: Row,
    /// CPU seconds beside those of the floor.
    floor: Option<f64>,
    peer: Option<(Row, Goal)>,
}

/// Runs the jobs whose names contain `only`.
pub(super) fn run(bench: &Bench, size: u64, only: &str) -> Result<(String, Value)> {
    let archive = bench.path("image.tar");
    eprintln!("making an image of {size} MB");
    let made = packages::make(bench, &archive, size)?;
    let inputs = [
        bench.input("ARCHIVE", &archive),
        bench.input("LAYOUT", &bench.path("layout")),
        bench.input("ACI", &bench.path("image.aci")),
        bench.input("SAVED", &bench.path("saved.tar")),
        ("BLOBS", format!("{}/*", bench.path("layers").display())),
    ];
    bench.prepare(PREPARE, &inputs)?;
    let mut all = Vec::new();
    for task in TASKS.iter().filter(|task| task.name.contains(only)) {
        all.extend(compare(bench, task, &inputs)?);
    }
    Ok((
        text(&made, bench.rounds, &all),
        as_json(&made, bench.rounds, &all),
    ))
}

/// Runs a task and its peers in turn, so many rounds.
pub(super) fn compare(
    bench: &Bench,
    task: &Task,
    inputs: &[(&str, String)],
) -> Result<Vec<Compared>> {
    let peers: Vec<&Peer> = task
        .peers
        .iter()
        .filter(|peer| peer.needs.iter().all(|need| installed(need)))
        .collect();
    let mut ours: Vec<Sample> = Vec::new();
    let mut theirs: Vec<Vec<Sample>> = vec![Vec::new(); peers.len()];
    let mut floor: Vec<Sample> = Vec::new();
    bench.keep_outputs.set(task.many_files);
    let least = format!("exec \"$XTASK\" floor {}", task.floor);
    for round in 0..bench.rounds {
        eprintln!("{}: round {}", task.name, round + 1);
        ours.push(bench.sample(task.script, inputs, JOBS, task.output)?);
        if !task.floor.is_empty() {
            floor.push(bench.sample(&least, inputs, 1, ".")?);
        }
        for (peer, samples) in peers.iter().zip(&mut theirs) {
            samples.push(bench.sample(peer.script, inputs, JOBS, task.output)?);
        }
    }
    bench.keep_outputs.set(false);
    bench.remove_outputs()?;
    let row = |peer| Compared {
        task: task.name,
        ours: Row::new("imgconv", &ours, &ours),
        floor: (!floor.is_empty()).then(|| Row::new("floor", &floor, &ours).cpu_ratio),
        peer,
    };
    if peers.is_empty() {
        return Ok(vec![row(None)]);
    }
    let rows = peers.iter().zip(&theirs);
    Ok(rows
        .map(|(peer, samples)| row(Some((Row::new(peer.name, samples, &ours), peer.goal))))
        .collect())
}

/// A ratio, with its goal if there is a goal.
pub(super) fn judged(ratio: f64, goal: Option<f64>) -> String {
    match goal {
        // No job of the row wrote anything.
        None if ratio.is_nan() => String::new(),
        None => format!("{ratio:.2}"),
        Some(goal) if meets(ratio, goal) => format!("{ratio:.2} (goal {goal:.2}: met)"),
        Some(goal) => format!("{ratio:.2} (goal {goal:.2}: missed)"),
    }
}

/// Says whether a ratio is within a goal, to the two digits that are shown.
fn meets(ratio: f64, goal: f64) -> bool {
    (ratio * 100.0).round() <= (goal * 100.0).round()
}

fn text(made: &Made, rounds: u64, all: &[Compared]) -> String {
    let head = format!(
        "{:.1} MB in four layers, {} entries, {JOBS} threads, medians of {rounds} rounds (memory: maximum)\n\n",
        made.bytes as f64 / 1e6,
        made.entries
    );
    head + &table(all)
}

/// A line for each comparison.
pub(super) fn table(all: &[Compared]) -> String {
    let committed = Committed::load();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            let ours = &one.ours.median;
            let mut cells = vec![
                one.task.to_owned(),
                format!("{:.2}", ours.wall),
                format!("{:.0}", ours.memory),
                format!("{:.1}", ours.output),
                one.floor
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            ];
            cells.extend(match &one.peer {
                None => vec!["none here".to_owned(); 6],
                Some((row, goal)) => vec![
                    row.name.clone(),
                    judged(row.wall_ratio, goal.wall),
                    committed.ratio(one.task, &row.name).to_owned(),
                    judged(row.cpu_ratio, goal.cpu),
                    judged(row.output_ratio, goal.bytes),
                    format!("{:.0}", row.median.memory),
                ],
            });
            cells
        })
        .collect();
    let names = [
        "job",
        "wall s",
        "peak MiB",
        "MB",
        "CPU, ours / floor",
        "beside",
        "wall, ours / theirs",
        "committed",
        "CPU, ours / theirs",
        "bytes, ours / theirs",
        "their peak MiB",
    ];
    markdown(&names, &rows)
}

fn as_json(made: &Made, rounds: u64, all: &[Compared]) -> Value {
    json!({
        "benchmark": "goals", "input_bytes": made.bytes, "entries": made.entries,
        "jobs": JOBS, "rounds": rounds, "rows": rows_json(all),
    })
}

/// The comparisons as JSON.
pub(super) fn rows_json(all: &[Compared]) -> Value {
    all.iter()
        .map(|one| {
            let peer = one.peer.as_ref().map(|(row, goal)| {
                let mut value = row.json();
                value["goal"] = json!({ "wall": goal.wall, "cpu": goal.cpu, "bytes": goal.bytes });
                value["met"] = json!([
                    goal.wall.map(|most| meets(row.wall_ratio, most)),
                    goal.cpu.map(|most| meets(row.cpu_ratio, most)),
                    goal.bytes.map(|most| meets(row.output_ratio, most)),
                ]);
                value
            });
            json!({ "job": one.task, "ours": one.ours.json(), "cpu_floor_ratio": one.floor, "peer": peer })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_to_two_digits() {
        assert_eq!(judged(0.654, Some(0.65)), "0.65 (goal 0.65: met)");
        assert_eq!(judged(0.656, Some(0.65)), "0.66 (goal 0.65: missed)");
        assert_eq!(judged(0.3, None), "0.30");
        assert_eq!(judged(f64::NAN, None), "");
    }
}
