//! Reading the stores of engines, compared with reading all files of the store and hashing them.
//!
//! Both stores have the same images; each layer belongs to one image. Docker's data root (overlay2) has
//! the files of the layers extracted, small ones and large ones, and the records of their tars.
//! containerd's root has each layer as one blob that is not compressed, as after `docker load`.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use crc::{CRC_64_GO_ISO, Crc, Table};
use flate2::Compression;
use flate2::write::GzEncoder;
use imgconv_testkit::engines::{ContainerdName, containerd_database};
use imgconv_testkit::{sha256_hex, sha256_of};
use serde_json::{Value, json};

use super::archive::{Layer, config, padding};
use super::generated::Generated;
use super::goals::{Goal, Peer, Task, compare, rows_json, table};
use super::measure::total;
use super::setting::{Bench, JOBS};
use crate::process::Result;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_GO_ISO);

const IMAGES: usize = 4;
/// The sizes of the files of an image's layers, in bytes: each layer has files of one size, and as many
/// bytes as the others.
const FILES: [u64; 4] = [4_000, 20_000, 100_000, 2_000_000];
/// The most that reading a store may take beside [`HASH`].
const GOAL: Goal = Goal::wall(1.3).cpu(1.3);

/// Hashes every file of `$STORE`, one after the other. The computed digests are not compared.
const HASH: &str = "find $STORE -type f -print0 | xargs -0 -n 4000 \"$XTASK\" floor sha256";

const TASKS: &[Task] = &[
    Task {
        name: "verify of a data root of docker, overlay2",
        script: r#"STORE=$DOCKER; exec "$IMGCONV" -q --jobs $JOBS verify docker-root:$STORE"#,
        output: ".",
        many_files: false,
        floor: "",
        peers: &[Peer {
            name: "reading its files and hashing them, one thread",
            needs: &["find", "xargs"],
            script: HASH,
            goal: GOAL,
        }],
    },
    Task {
        name: "verify of a root of containerd, plain layers",
        script: r#"STORE=$CONTAINERD; exec "$IMGCONV" -q --jobs $JOBS verify containerd:$STORE"#,
        output: ".",
        many_files: false,
        floor: "",
        peers: &[Peer {
            name: "reading its files and hashing them, one thread",
            needs: &["find", "xargs"],
            script: HASH,
            goal: GOAL,
        }],
    },
];

/// Runs the jobs whose names contain `only`, on stores of `size` MB.
pub(super) fn run(bench: &Bench, size: u64, only: &str) -> Result<(String, Value)> {
    let stores = [
        ("DOCKER", bench.path("docker")),
        ("CONTAINERD", bench.path("containerd")),
    ];
    let mut all = Vec::new();
    let mut lines = String::new();
    for ((variable, path), task) in stores.iter().zip(TASKS) {
        if !task.name.contains(only) {
            continue;
        }
        eprintln!("making a store of {size} MB: {}", task.name);
        let images = images(size);
        let files = match *variable {
            "DOCKER" => docker(path, images)?,
            _ => containerd(path, images)?,
        };
        let bytes = total(path)? as f64 / 1e6;
        lines += &format!(
            "{}: {bytes:.0} MB in {files} files, {IMAGES} images of {} layers, {JOBS} threads, medians of {} rounds (memory: maximum)\n",
            task.name,
            FILES.len(),
            bench.rounds
        );
        let inputs = [bench.input(variable, path), bench.input("STORE", path)];
        all.extend(compare(bench, task, &inputs)?);
        fs::remove_dir_all(path).map_err(|e| e.to_string())?;
    }
    Ok((
        format!("{lines}\n{}", table(&all)),
        json!({
            "benchmark": "store", "size_mb": size, "images": IMAGES, "jobs": JOBS,
            "rounds": bench.rounds, "rows": rows_json(&all),
        }),
    ))
}

/// The names of the images, with their layers.
fn images(size: u64) -> Vec<(String, Vec<Layer>)> {
    let bytes = size * 1_000_000 / (IMAGES * FILES.len()) as u64;
    let layer = |image: usize, (i, file): (usize, &u64)| {
        let files = (bytes / file).max(1);
        // A directory stands before each thousand of entries.
        Generated::layer(
            files + files / 999 + 1,
            *file,
            (image * FILES.len() + i) as u64,
        )
    };
    let layers = |image| {
        FILES
            .iter()
            .enumerate()
            .map(move |at| layer(image, at))
            .collect()
    };
    (0..IMAGES)
        .map(|image| (format!("example.com/store-{image}:1"), layers(image)))
        .collect()
}

fn put(path: &Path, bytes: &[u8]) -> Result {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, bytes))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a data root of docker; returns the number of files of its layers.
fn docker(root: &Path, images: Vec<(String, Vec<Layer>)>) -> Result<u64> {
    let base = root.join("image/overlay2");
    let (mut files, mut repositories) = (0, json!({}));
    for (name, layers) in images {
        let (mut diff_ids, mut chain): (Vec<String>, Option<String>) = (Vec::new(), None);
        for layer in layers {
            let cache_id = sha256_hex(format!("{name} {}", diff_ids.len()).as_bytes());
            let record = root.join("record");
            let extracted = extract(layer, &root.join("overlay2").join(&cache_id), &record)?;
            files += extracted.files;
            let diff_id = format!("sha256:{}", extracted.diff_id);
            let hex = match &chain {
                None => extracted.diff_id,
                Some(parent) => sha256_hex(format!("sha256:{parent} {diff_id}").as_bytes()),
            };
            let facts = base.join("layerdb/sha256").join(&hex);
            put(&facts.join("diff"), diff_id.as_bytes())?;
            put(&facts.join("cache-id"), cache_id.as_bytes())?;
            put(&facts.join("size"), extracted.bytes.to_string().as_bytes())?;
            if let Some(parent) = &chain {
                put(&facts.join("parent"), format!("sha256:{parent}").as_bytes())?;
            }
            let kept = facts.join("tar-split.json.gz");
            fs::rename(record, kept).map_err(|e| e.to_string())?;
            diff_ids.push(diff_id);
            chain = Some(hex);
        }
        let config = config(&name, &diff_ids);
        let id = sha256_hex(config.as_bytes());
        put(
            &base.join("imagedb/content/sha256").join(&id),
            config.as_bytes(),
        )?;
        let repository = name.trim_end_matches(":1");
        repositories[repository] = json!({ &name: format!("sha256:{id}") });
    }
    let list = json!({ "Repositories": repositories }).to_string();
    put(&base.join("repositories.json"), list.as_bytes())?;
    Ok(files)
}

/// An extracted layer.
struct Extracted {
    /// Without the algorithm.
    diff_id: String,
    files: u64,
    bytes: u64,
}

/// Extracts a layer to `folder/diff` and writes the tar-split record of its tar.
fn extract(layer: Layer, folder: &Path, record: &Path) -> Result<Extracted> {
    let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
    put(record, b"")?;
    let gzip = GzEncoder::new(File::create(record).map_err(failed)?, Compression::fast());
    let mut record = Record {
        out: BufWriter::new(gzip),
        position: 0,
    };
    let mut members = Members {
        tar: Hashed::new(layer.bytes),
        segment: Vec::new(),
    };
    let (mut files, mut bytes) = (0, 0);
    let mut body = Vec::new();
    while let Some((name, size)) = members.next().map_err(failed)? {
        let path = folder.join("diff").join(&name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).map_err(failed)?;
            continue;
        }
        body.resize(size, 0);
        record.segment(&members.segment).map_err(failed)?;
        members.segment.clear();
        members.tar.read_exact(&mut body).map_err(failed)?;
        record.file(&name, &body).map_err(failed)?;
        fs::write(&path, &body).map_err(failed)?;
        members.take(padding(size as u64)).map_err(failed)?;
        files += 1;
        bytes += size as u64;
    }
    record.segment(&members.segment).map_err(failed)?;
    record.out.flush().map_err(failed)?;
    Ok(Extracted {
        diff_id: members.tar.finish(),
        files,
        bytes,
    })
}

/// A record of tar-split that is written.
struct Record {
    out: BufWriter<GzEncoder<File>>,
    position: u64,
}

impl Record {
    fn line(&mut self, mut value: Value) -> std::io::Result<()> {
        value["position"] = json!(self.position);
        self.position += 1;
        writeln!(self.out, "{value}")
    }

    fn segment(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.line(json!({ "type": 2, "payload": base64(bytes) }))
    }

    fn file(&mut self, name: &str, body: &[u8]) -> std::io::Result<()> {
        let crc = base64(&CRC.checksum(body).to_be_bytes());
        self.line(json!({ "type": 1, "name": name, "size": body.len(), "payload": crc }))
    }
}

/// The members of a generated tar.
struct Members {
    tar: Hashed,
    /// The bytes since the content of the last file.
    segment: Vec<u8>,
}

impl Members {
    /// Reads the next header: the name and the size; `None` at the end.
    fn next(&mut self) -> std::io::Result<Option<(String, usize)>> {
        let start = self.segment.len();
        self.take(512)?;
        let header = &self.segment[start..];
        if header[0] == 0 {
            self.tar.read_to_end(&mut self.segment)?;
            return Ok(None);
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            let end = field.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).map_err(std::io::Error::other)?;
        Ok(Some((text(0..100), size)))
    }

    fn take(&mut self, count: usize) -> std::io::Result<()> {
        let start = self.segment.len();
        self.segment.resize(start + count, 0);
        self.tar.read_exact(&mut self.segment[start..])
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| usize::from(three.get(i).copied().unwrap_or(0));
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            match i <= three.len() {
                true => out.push(char::from(DIGITS[all >> (18 - 6 * i) & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

/// Bytes that are hashed while they are read.
struct Hashed {
    inner: Box<dyn Read>,
    hash: sha2::Sha256,
}

impl Hashed {
    fn new(inner: Box<dyn Read>) -> Self {
        Self {
            inner,
            hash: sha2::Digest::new(),
        }
    }

    fn finish(self) -> String {
        let digest = sha2::Digest::finalize(self.hash);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buf)?;
        sha2::Digest::update(&mut self.hash, &buf[..count]);
        Ok(count)
    }
}

/// Writes a root directory of containerd; returns the number of blobs.
fn containerd(root: &Path, images: Vec<(String, Vec<Layer>)>) -> Result<u64> {
    let blobs = root.join("io.containerd.content.v1.content/blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|e| e.to_string())?;
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let document = |text: &str| {
        let hex = sha256_hex(text.as_bytes());
        put(&blobs.join(&hex), text.as_bytes())?;
        Ok::<_, String>(format!("sha256:{hex}"))
    };
    let mut names = Vec::new();
    for (name, layers) in images {
        let (mut listed, mut diff_ids) = (Vec::new(), Vec::new());
        for mut layer in layers {
            let path = blobs.join("new");
            let failed = |e: std::io::Error| format!("{}: {e}", path.display());
            let mut file = File::create(&path).map_err(failed)?;
            std::io::copy(&mut layer.bytes, &mut file).map_err(failed)?;
            let (size, hex) = sha256_of(&mut File::open(&path).map_err(failed)?).map_err(failed)?;
            fs::rename(&path, blobs.join(&hex)).map_err(failed)?;
            let digest = format!("sha256:{hex}");
            listed
                .push(json!({ "mediaType": kind("layer.v1.tar"), "digest": digest, "size": size }));
            diff_ids.push(digest);
        }
        let config = config(&name, &diff_ids);
        let digest = document(&config)?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind("manifest.v1+json"), "layers": listed,
            "config": { "mediaType": kind("config.v1+json"), "digest": digest, "size": config.len() },
        })
        .to_string();
        names.push(ContainerdName {
            namespace: "moby".to_owned(),
            name,
            kind: kind("manifest.v1+json"),
            digest: document(&manifest)?,
            size: manifest.len() as u64,
        });
    }
    containerd_database(&names, root).map_err(|e| e.to_string())?;
    Ok((IMAGES * (FILES.len() + 2)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_and_its_files_are_the_tar_again() {
        let work = tempfile::tempdir().unwrap();
        let (folder, record) = (work.path().join("layer"), work.path().join("record"));
        let mut tar = Vec::new();
        let made = || Generated::layer(1003, 700, 3);
        made().bytes.read_to_end(&mut tar).unwrap();
        let extracted = extract(made(), &folder, &record).unwrap();
        assert_eq!(extracted.diff_id, sha256_hex(&tar));
        assert_eq!((extracted.files, extracted.bytes), (1001, 1001 * 700));
        let mut lines = String::new();
        flate2::read::GzDecoder::new(File::open(record).unwrap())
            .read_to_string(&mut lines)
            .unwrap();
        // A segment before each file and at the end.
        assert_eq!(lines.lines().count(), 2 * 1001 + 1);
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        let header = first["payload"].as_str().unwrap();
        assert_eq!(header, base64(&tar[..1024]));
    }

    #[test]
    fn base64_has_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
