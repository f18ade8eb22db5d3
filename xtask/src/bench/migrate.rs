//! The migration of a store of images that share layers, compared with one run of skopeo for each
//! image and with `skopeo sync`; the cost of a second run over the finished migration; and memory,
//! which does not depend on the number of images.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use imgconv_testkit::{sha256_hex, sha256_of};
use serde_json::{Value, json};

use super::archive::{self, Image, Layer, config};
use super::generated::Generated;
use super::goals::{Compared, Goal, Peer, Task, compare, rows_json, table};
use super::setting::{Bench, JOBS};
use super::table::median;
use crate::process::{Result, call};

/// Images, and images of a smaller store of the same layers.
pub(super) const IMAGES: usize = 200;
const FEWER: usize = 50;
/// Different layers; the first of them are bases.
const LAYERS: usize = 40;
const BASES: usize = 8;
/// The most that a second run may take: a part of the first run, or that many seconds if they are more.
const AGAIN: f64 = 0.02;
const AGAIN_SECONDS: f64 = 0.05;

/// Scripts run in an empty folder. `$LAYOUT` has the images with gzip layers, `$ARCHIVE` is one file of `docker save` with
/// all of them, `$DIRS` has a folder for each as skopeo writes it. `$NAMES` lists their names. Layouts are written by
/// one skopeo after another: two at once would lose images. Bytes are those of blobs, without the journal.
const TASKS: &[Task] = &[
    Task {
        name: "200 images, OCI gzip to OCI, nothing changes",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS migrate oci:$LAYOUT oci:out"#,
        output: "out/blobs",
        many_files: false,
        floor: "",
        peers: &[Peer {
            name: "skopeo, one after the other",
            needs: &["skopeo"],
            script: "while read -r name; do skopeo --insecure-policy copy -q oci:$LAYOUT:$name oci:out:$name; done < $NAMES",
            goal: Goal::wall(0.10),
        }],
    },
    Task {
        name: "200 images, OCI gzip to OCI zstd",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS migrate oci:$LAYOUT oci:out --compression zstd"#,
        output: "out/blobs",
        many_files: false,
        floor: "",
        peers: &[Peer {
            name: "skopeo, one after the other",
            needs: &["skopeo"],
            script: "while read -r name; do skopeo --insecure-policy copy -q --dest-compress-format zstd oci:$LAYOUT:$name oci:out:$name; done < $NAMES",
            goal: Goal::wall(0.03),
        }],
    },
    Task {
        name: "200 images, docker-archive to OCI gzip",
        script: r#"exec "$IMGCONV" -q --jobs $JOBS migrate docker-archive:$ARCHIVE oci:out --compression gzip"#,
        output: "out/blobs",
        many_files: false,
        floor: "",
        peers: &[Peer {
            name: "skopeo, one after the other",
            needs: &["skopeo"],
            script: "while read -r name; do skopeo --insecure-policy copy -q docker-archive:$ARCHIVE:$name oci:out:$name; done < $NAMES",
            goal: Goal::wall(0.08),
        }],
    },
];

/// A migration to a registry that is started for the run; the time includes the start.
const REGISTRY: Task = Task {
    name: "200 images, OCI gzip to a registry",
    script: r#"
        eval "$START"
        "$IMGCONV" -q --jobs $JOBS migrate oci:$LAYOUT docker://127.0.0.1:$PORT/bench"#,
    output: "data",
    many_files: false,
    floor: "",
    peers: &[
        Peer {
            name: "skopeo, one after the other",
            needs: &["skopeo", "docker-registry"],
            script: r#"
                eval "$START"
                while read -r name; do skopeo --insecure-policy copy -q --dest-tls-verify=false oci:$LAYOUT:$name docker://127.0.0.1:$PORT/bench/${name#*/}; done < $NAMES"#,
            goal: Goal::wall(0.15),
        },
        Peer {
            name: "skopeo sync, from folders",
            needs: &["skopeo", "docker-registry"],
            script: r#"
                eval "$START"
                skopeo --insecure-policy sync --dest-tls-verify=false --src dir --dest docker $DIRS 127.0.0.1:$PORT/bench"#,
            goal: Goal::NONE,
        },
    ],
};

/// Starts a registry, which ends with the script.
const START: &str = r#"
    printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: 127.0.0.1:%s}\n' \
        "$PWD/data" "$PORT" > config.yml
    docker-registry serve config.yml > log 2>&1 &
    trap "kill $!; wait $! || true" EXIT
    for _ in $(seq 100); do (: < /dev/tcp/127.0.0.1/$PORT) 2> /dev/null && break; sleep 0.05; done"#;

/// Runs the jobs whose names contain `only`, on layers of `size` MB together.
pub(super) fn run(bench: &Bench, size: u64, only: &str) -> Result<(String, Value)> {
    eprintln!("making {IMAGES} images of {LAYERS} layers, {size} MB");
    let inputs = make(bench, size)?;
    let tasks = TASKS.iter().chain(std::iter::once(&REGISTRY));
    let tasks: Vec<&Task> = tasks.filter(|task| task.name.contains(only)).collect();
    let (mut all, mut again) = (Vec::new(), Vec::new());
    for task in &tasks {
        let compared = compare(bench, task, &inputs)?;
        if task.output == "out/blobs" {
            again.push(second(bench, task, &compared[0], &inputs)?);
        }
        all.extend(compared);
    }
    let head = format!(
        "{IMAGES} images of five of {LAYERS} layers each, {size} MB, {JOBS} threads, medians of {} rounds (memory: maximum)\n\n",
        bench.rounds
    );
    let lines: Vec<String> = again.iter().map(Again::text).collect();
    let rows: Vec<Value> = again.iter().map(Again::json).collect();
    Ok((
        format!("{head}{}\n{}", table(&all), lines.concat()),
        json!({
            "benchmark": "migrate", "images": IMAGES, "layers": LAYERS, "size_mb": size, "jobs": JOBS,
            "rounds": bench.rounds, "rows": rows_json(&all), "again": rows,
        }),
    ))
}

/// The costs of a second run, and of a store of fewer images.
struct Again {
    task: &'static str,
    /// Seconds, and as a part of those of the first run.
    wall: f64,
    ratio: f64,
    /// Seconds of a first run with fewer images.
    fewer: f64,
    /// MiB of the first run with all images and with fewer, and of the second run.
    memory: [f64; 3],
}

impl Again {
    fn judged(&self) -> String {
        let met = self.ratio <= AGAIN || self.wall <= AGAIN_SECONDS;
        let word = if met { "met" } else { "missed" };
        format!(
            "{:.3} (goal {AGAIN} or {AGAIN_SECONDS} s: {word})",
            self.ratio
        )
    }

    fn text(&self) -> String {
        let [all, fewer, second] = self.memory;
        format!(
            "{}: the second run takes {:.3} s, {} of the first; with {FEWER} images the first takes {:.2} s; \
             peak MiB {all:.0}, with {FEWER} images {fewer:.0}, second run {second:.0}\n",
            self.task,
            self.wall,
            self.judged(),
            self.fewer,
        )
    }

    fn json(&self) -> Value {
        json!({
            "job": self.task, "second_wall_s": self.wall, "second_ratio": self.ratio, "goal": AGAIN,
            "fewer_wall_s": self.fewer,
            "peak_mib": self.memory[0], "peak_mib_fewer": self.memory[1], "peak_mib_second": self.memory[2],
        })
    }
}

/// Runs a task over a finished migration, and a task over fewer images.
fn second(
    bench: &Bench,
    task: &Task,
    first: &Compared,
    inputs: &[(&str, String)],
) -> Result<Again> {
    let done = bench.path("done");
    let script = task.script.replace("oci:out", "oci:$DONE");
    let inputs = [inputs, &[bench.input("DONE", &done)]].concat();
    bench.prepare(&script, &inputs)?;
    let mut walls = Vec::new();
    let mut memory: f64 = 0.0;
    for _ in 0..bench.rounds {
        let sample = bench.sample(&script, &inputs, JOBS, ".")?;
        walls.push(sample.wall);
        memory = memory.max(sample.memory);
    }
    fs::remove_dir_all(&done).map_err(|e| e.to_string())?;
    let script = task
        .script
        .replace("$LAYOUT", "$FEWER")
        .replace("$ARCHIVE", "$FEWER_ARCHIVE");
    let fewer = bench.sample(&script, &inputs, JOBS, task.output)?;
    let wall = median(walls);
    Ok(Again {
        task: task.name,
        wall,
        ratio: wall / first.ours.median.wall,
        fewer: fewer.wall,
        memory: [first.ours.median.memory, fewer.memory, memory],
    })
}

/// Writes all inputs, and returns their variables.
pub(super) fn make(bench: &Bench, size: u64) -> Result<Vec<(&'static str, String)>> {
    let images: Vec<Image> = (0..IMAGES).map(image).collect();
    let paths = [
        ("LAYOUT", bench.path("layout")),
        ("FEWER", bench.path("fewer")),
        ("DIRS", bench.path("dirs")),
        ("ARCHIVE", bench.path("images.tar")),
        ("FEWER_ARCHIVE", bench.path("fewer.tar")),
        ("NAMES", bench.path("names")),
    ];
    let [layout, fewer, dirs, archive, fewer_archive, names] =
        paths.each_ref().map(|(_, path)| path);
    let layers = || {
        (0..LAYERS)
            .map(|seed| generated(size, seed as u64))
            .collect()
    };
    archive::write_all(archive, layers(), &images)?;
    archive::write_all(fewer_archive, layers(), &images[..FEWER])?;
    let blobs = blobs(bench, layers())?;
    write_layout(layout, &blobs, &images, Some(dirs))?;
    write_layout(fewer, &blobs, &images[..FEWER], None)?;
    let lines: String = images
        .iter()
        .map(|image| format!("{}\n", image.name))
        .collect();
    fs::write(names, lines).map_err(|e| e.to_string())?;
    let mut inputs: Vec<_> = paths
        .iter()
        .map(|(name, path)| bench.input(name, path))
        .collect();
    inputs.push(("START", START.to_owned()));
    inputs.push(("PORT", crate::process::free_port()?.to_string()));
    Ok(inputs)
}

/// A layer of as many files of 20 kB as make its part of `size` MB.
fn generated(size: u64, seed: u64) -> Layer {
    let files = (size * 1_000_000 / LAYERS as u64 / 20_000).max(1);
    Generated::layer(files + 1, 20_000, seed)
}

/// An image of a base and four other layers.
fn image(i: usize) -> Image {
    let mut layers = vec![i % BASES];
    let mut next = i * 7;
    while layers.len() < 5 {
        let layer = BASES + next % (LAYERS - BASES);
        if !layers.contains(&layer) {
            layers.push(layer);
        }
        // Odd, so that every layer comes before the first comes again.
        next += 1 + 2 * (i / 8);
    }
    Image {
        name: format!("example.com/image-{i}:1"),
        layers,
    }
}

/// A compressed layer: its file, and the fields of its descriptor.
struct Blob {
    hex: String,
    size: u64,
    diff_id: String,
}

/// Compresses layers by gzip; their files are `blobs/HEX` in the work folder.
fn blobs(bench: &Bench, layers: Vec<Layer>) -> Result<Vec<Blob>> {
    let folder = bench.path("blobs");
    fs::create_dir(&folder).map_err(|e| e.to_string())?;
    let mut blobs = Vec::new();
    for mut layer in layers {
        let path = folder.join("layer");
        let mut file = File::create(&path).map_err(|e| e.to_string())?;
        std::io::copy(&mut layer.bytes, &mut file).map_err(|e| e.to_string())?;
        let (_, diff_id) = digest(&path)?;
        call(Command::new("gzip").arg("-n").arg(&path))?;
        let path = folder.join("layer.gz");
        let (size, hex) = digest(&path)?;
        fs::rename(&path, folder.join(&hex)).map_err(|e| e.to_string())?;
        blobs.push(Blob {
            hex,
            size,
            diff_id: format!("sha256:{diff_id}"),
        });
    }
    Ok(blobs)
}

fn digest(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).map_err(|e| e.to_string())?;
    sha256_of(&mut file).map_err(|e| e.to_string())
}

/// Writes a layout of images, and a folder for each in `dirs`; layers are links to their files.
fn write_layout(layout: &Path, layers: &[Blob], images: &[Image], dirs: Option<&Path>) -> Result {
    let failed = |e: std::io::Error| format!("{}: {e}", layout.display());
    let stored = layout.join("blobs/sha256");
    fs::create_dir_all(&stored).map_err(failed)?;
    let of_layers = layout.with_file_name("blobs");
    let all: BTreeSet<usize> = images
        .iter()
        .flat_map(|image| image.layers.clone())
        .collect();
    for layer in all {
        let hex = &layers[layer].hex;
        fs::hard_link(of_layers.join(hex), stored.join(hex)).map_err(failed)?;
    }
    let put = |text: &str| {
        let hex = sha256_hex(text.as_bytes());
        fs::write(stored.join(&hex), text).map_err(failed)?;
        Ok::<_, String>(hex)
    };
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let entry = |name: &str, hex: &str, size: u64| json!({ "mediaType": kind(name), "digest": format!("sha256:{hex}"), "size": size });
    let mut entries = Vec::new();
    for (i, image) in images.iter().enumerate() {
        let own: Vec<&Blob> = image.layers.iter().map(|layer| &layers[*layer]).collect();
        let diff_ids: Vec<String> = own.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = config(&image.name, &diff_ids);
        let config_hex = put(&config)?;
        let listed = own
            .iter()
            .map(|layer| entry("layer.v1.tar+gzip", &layer.hex, layer.size));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
            "config": entry("config.v1+json", &config_hex, config.len() as u64),
            "layers": listed.collect::<Vec<_>>(),
        })
        .to_string();
        let hex = put(&manifest)?;
        let mut root = entry("manifest.v1+json", &hex, manifest.len() as u64);
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": image.name });
        entries.push(root);
        if let Some(dirs) = dirs {
            let folder = dirs.join(format!("image-{i}"));
            fs::create_dir_all(&folder).map_err(failed)?;
            fs::write(folder.join("version"), "Directory Transport Version: 1.1\n")
                .map_err(failed)?;
            fs::write(folder.join("manifest.json"), manifest).map_err(failed)?;
            for hex in own.iter().map(|layer| &layer.hex).chain([&config_hex]) {
                fs::hard_link(stored.join(hex), folder.join(hex)).map_err(failed)?;
            }
        }
    }
    let index =
        json!({ "schemaVersion": 2, "mediaType": kind("index.v1+json"), "manifests": entries });
    fs::write(layout.join("index.json"), index.to_string()).map_err(failed)?;
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_different_and_use_every_layer() {
        let lists = |count| (0..count).map(|i| image(i).layers);
        assert_eq!(image(9).layers, [1, 39, 10, 13, 16]);
        assert!(lists(IMAGES).all(|layers| layers.len() == 5));
        for count in [FEWER, IMAGES] {
            let used: BTreeSet<usize> = lists(count).flatten().collect();
            assert_eq!(used.len(), 40);
        }
    }
}
