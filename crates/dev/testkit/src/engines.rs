//! The stores of engines, made from tars of layers: docker's data root, podman's store,
//! containerd's root.
//!
//! Written by hand after the files of real engines, without the crates under test, like
//! [`crate::build`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::SystemTime;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_model::{Limits, Notes};
use imgconv_tar::{EntryKind, Reader};
use serde_json::{Value, json};

use crate::bolt;
use crate::{Failure, Result, sha256_hex, write_file};

/// An image of plain layers.
#[derive(Clone, Debug, Default)]
pub struct EngineImage {
    /// The references to the image, in the engine's spelling.
    pub names: Vec<String>,
    /// The tars, base first.
    pub layers: Vec<Vec<u8>>,
    /// The command, so that images with the same layers can differ.
    pub command: String,
}

impl EngineImage {
    /// Makes an image of names and layers, each layer as the text of a recipe.
    ///
    /// # Panics
    /// If a layer is no recipe.
    pub fn of(names: &[&str], layers: &[&str], command: &str) -> Self {
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            layers: layers
                .iter()
                .map(|text| crate::build::layer(text))
                .collect(),
            command: command.to_owned(),
        }
    }

    /// Makes two images with different names that share their base layer.
    pub fn samples() -> [Self; 2] {
        let base = "dir etc\nfile etc/a \"aaa\"\nfile etc/other \"other\"";
        ["1", "2"].map(|tag| {
            let top = format!("dir etc\nfile etc/version \"{tag}\"");
            Self::of(&[&format!("example.com/app:{tag}")], &[base, &top], tag)
        })
    }

    /// Returns the diff IDs.
    pub fn diff_ids(&self) -> Vec<String> {
        let id = |tar: &Vec<u8>| format!("sha256:{}", sha256_hex(tar));
        self.layers.iter().map(id).collect()
    }

    /// Returns the config, byte for byte.
    pub fn config(&self) -> Vec<u8> {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": [self.command]},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids()},
            "history": vec![json!({"created_by": "test"}); self.layers.len()],
        });
        config.to_string().into_bytes()
    }

    /// Returns the image ID, in hex digits.
    pub fn id(&self) -> String {
        sha256_hex(&self.config())
    }

    /// Returns the chain IDs, in hex digits.
    pub fn chain_ids(&self) -> Vec<String> {
        let mut chain: Vec<String> = Vec::new();
        for diff_id in self.diff_ids() {
            chain.push(match chain.last() {
                None => diff_id[7..].to_owned(),
                Some(parent) => sha256_hex(format!("sha256:{parent} {diff_id}").as_bytes()),
            });
        }
        chain
    }
}

/// The parts of a tar: its tar-split record (compressed), and the contents of its files by their
/// paths.
pub type Split = (Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>);

/// Takes a tar apart as tar-split does. `None` if two files of one path differ, a file is replaced
/// by a directory, or a whiteout has content: no engine could assemble such a tar again.
///
/// # Errors
/// If the bytes are no tar.
pub fn split(tar: &[u8]) -> Result<Option<Split>> {
    let mut reader = Reader::new(tar, &Limits::default(), &Notes::default(), "tar");
    let fail = |error: imgconv_model::Error| Failure::new(error.to_string());
    let (mut lines, mut files, mut done) = (String::new(), BTreeMap::new(), 0);
    let mut position = 0;
    let mut line = |value: Value| {
        let mut value = value;
        value["position"] = json!(position);
        position += 1;
        lines += &format!("{value}\n");
    };
    let mut empty = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(fail)? {
        if entry.kind == EntryKind::Regular && entry.size == 0 && !is_mark(&entry.path) {
            empty.push(clean(&entry.path));
        }
        if entry.kind != EntryKind::Regular || entry.size == 0 {
            continue;
        }
        // A sparse file stays in the segments: its body is not its content.
        let Some(start) = reader.body_offset().and_then(|at| usize::try_from(at).ok()) else {
            continue;
        };
        let end = start + usize::try_from(entry.size).unwrap_or_default();
        let content = tar[start..end].to_vec();
        line(json!({"type": 2, "payload": STANDARD.encode(&tar[done..start])}));
        let crc = STANDARD.encode(crc64(&content).to_be_bytes());
        let mut file = json!({"type": 1, "size": content.len(), "payload": crc});
        match std::str::from_utf8(&entry.path) {
            Ok(name) => file["name"] = json!(name),
            Err(_) => file["name_raw"] = json!(STANDARD.encode(&entry.path)),
        }
        line(file);
        done = end;
        let key = clean(&entry.path);
        // No engine keeps the content of a whiteout.
        if is_mark(&key) {
            return Ok(None);
        }
        if files
            .insert(key, content.clone())
            .is_some_and(|old| old != content)
        {
            return Ok(None);
        }
    }
    // A file that a directory replaces is not stored any more.
    let below = |path: &[u8]| {
        path.iter()
            .enumerate()
            .any(|(i, byte)| *byte == b'/' && files.contains_key(&path[..i]))
    };
    if files.keys().any(|path| below(path)) {
        return Ok(None);
    }
    // The record does not depend on files without content.
    for path in empty {
        let is_parent = |other: &Vec<u8>| other.starts_with(&[&*path, b"/"].concat());
        let has_file = |at: usize| path[at] == b'/' && files.contains_key(&path[..at]);
        if !files.keys().any(is_parent) && !(0..path.len()).any(has_file) {
            files.entry(path).or_default();
        }
    }
    line(json!({"type": 2, "payload": STANDARD.encode(&tar[done..])}));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let packed = gzip
        .write_all(lines.as_bytes())
        .and_then(|()| gzip.finish());
    let packed = packed.map_err(|error| Failure::new(error.to_string()))?;
    Ok(Some((packed, files)))
}

/// Says whether a path is that of a whiteout.
fn is_mark(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next();
    name.is_some_and(|name| name.starts_with(b".wh."))
}

/// Lists the paths of the whiteouts of a tar.
fn marks(tar: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut reader = Reader::new(tar, &Limits::default(), &Notes::default(), "tar");
    let fail = |error: imgconv_model::Error| Failure::new(error.to_string());
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(fail)? {
        if is_mark(&entry.path) {
            found.push(clean(&entry.path));
        }
    }
    Ok(found)
}

/// Deletes what the whiteouts of a tar delete from a tree.
fn delete(tree: &mut BTreeMap<Vec<u8>, Vec<u8>>, tar: &[u8]) -> Result<()> {
    for mark in marks(tar)? {
        let end = mark.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = mark.split_at(end.map_or(0, |end| end + 1));
        let gone = match name {
            b".wh..wh..opq" => parent.to_vec(),
            name => [parent, &name[4..]].concat(),
        };
        let inside = [&*gone, b"/"].concat();
        tree.retain(|path, _| match name {
            b".wh..wh..opq" => !path.starts_with(&gone),
            _ => *path != gone && !path.starts_with(&inside),
        });
    }
    Ok(())
}

/// Writes the files of a layer as a graph driver does. `tree` holds the files of the layers below, and
/// gets those of this one.
fn drive(
    driver: &str,
    id: &str,
    tar: &[u8],
    tree: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    root: &Path,
) -> Result<Vec<u8>> {
    let (record, mut files) = apart(tar)?;
    delete(tree, tar)?;
    // A file and a directory replace each other.
    let is_below = |path: &[u8], above: &[u8]| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.starts_with(b"/"))
    };
    tree.retain(|known, _| {
        let mut paths = files.keys();
        !paths.any(|path| is_below(path, known) || is_below(known, path))
    });
    tree.extend(files.clone());
    if driver == "aufs" {
        files.extend(marks(tar)?.into_iter().map(|mark| (mark, Vec::new())));
    }
    let whole = matches!(driver, "vfs" | "overlay" | "btrfs");
    let folder = match driver {
        "aufs" => format!("aufs/diff/{id}"),
        "vfs" => format!("vfs/dir/{id}"),
        "btrfs" => format!("btrfs/subvolumes/{id}"),
        "overlay" => format!("overlay/{id}/root"),
        driver => format!("{driver}/{id}/diff"),
    };
    extract(if whole { tree } else { &files }, &root.join(folder))?;
    Ok(record)
}

fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    parts.join(&b'/')
}

/// Writes the contents of files to a folder, which is made if it is missing.
fn extract(files: &BTreeMap<Vec<u8>, Vec<u8>>, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Failure::io(folder, &error))?;
    for (path, content) in files {
        let path = folder.join(OsStr::from_bytes(path));
        write_file(&path, content)?;
        // Drivers that copy trees keep the times.
        let file = fs::File::options().write(true).open(&path);
        file.and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .map_err(|error| Failure::io(&path, &error))?;
    }
    Ok(())
}

fn apart(tar: &[u8]) -> Result<Split> {
    split(tar)?.ok_or_else(|| Failure::new("two files of one path differ"))
}

/// Writes the data root of a docker engine with images of one graph driver: `overlay2`, `overlay`,
/// `aufs`, `vfs` or `btrfs`. More images can be added by another call.
///
/// # Errors
/// If a layer is no tar, or a file can't be written.
pub fn docker_root(images: &[EngineImage], driver: &str, root: &Path) -> Result<()> {
    let base = root.join("image").join(driver);
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in images {
        let id = image.id();
        write_file(
            &base.join("imagedb/content/sha256").join(&id),
            &image.config(),
        )?;
        for name in &image.names {
            let end = name
                .find('@')
                .or_else(|| name.rfind(':'))
                .unwrap_or(name.len());
            let known = repositories.entry(name[..end].to_owned()).or_default();
            known.insert(name.clone(), format!("sha256:{id}"));
        }
        let chain = image.chain_ids();
        let mut tree = BTreeMap::new();
        for (i, (tar, chain_id)) in image.layers.iter().zip(&chain).enumerate() {
            let cache_id = sha256_hex(format!("{driver} {chain_id}").as_bytes());
            let record = drive(driver, &cache_id, tar, &mut tree, root)?;
            let facts = base.join("layerdb/sha256").join(chain_id);
            write_file(&facts.join("diff"), image.diff_ids()[i].as_bytes())?;
            write_file(&facts.join("cache-id"), cache_id.as_bytes())?;
            write_file(&facts.join("size"), tar.len().to_string().as_bytes())?;
            write_file(&facts.join("tar-split.json.gz"), &record)?;
            if i > 0 {
                let parent = format!("sha256:{}", chain[i - 1]);
                write_file(&facts.join("parent"), parent.as_bytes())?;
            }
        }
    }
    let text = json!({ "Repositories": repositories }).to_string();
    write_file(&base.join("repositories.json"), text.as_bytes())
}

/// Writes the data root of a docker engine from before 1.10, with images of one graph driver; see
/// [`docker_root`]. Only Docker 1.8 and 1.9 kept `records` of the tars. Returns the ids, which are not
/// the image IDs of newer engines.
///
/// # Errors
/// If a layer is no tar, or a file can't be written.
pub fn docker_graph(
    images: &[EngineImage],
    driver: &str,
    records: bool,
    root: &Path,
) -> Result<Vec<String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut ids = Vec::new();
    for image in images {
        let mut parent: Option<String> = None;
        let mut tree = BTreeMap::new();
        let top = image.layers.len() - 1;
        for (i, (tar, chain_id)) in image.layers.iter().zip(image.chain_ids()).enumerate() {
            let command = if i == top { &*image.command } else { "below" };
            let id = sha256_hex(format!("graph {chain_id} {command}").as_bytes());
            let mut json = json!({
                "id": id, "created": "2014-06-01T00:00:00Z", "architecture": "amd64", "os": "linux",
                "config": {"Cmd": [command]}, "Size": tar.len(),
            });
            if let Some(parent) = parent {
                json["parent"] = json!(parent);
            }
            let folder = root.join("graph").join(&id);
            write_file(&folder.join("json"), json.to_string().as_bytes())?;
            let size = tar.len().to_string();
            write_file(&folder.join("layersize"), size.as_bytes())?;
            let record = drive(driver, &id, tar, &mut tree, root)?;
            if records {
                write_file(&folder.join("tar-data.json.gz"), &record)?;
            }
            parent = Some(id);
        }
        let id = parent.unwrap_or_default();
        for name in &image.names {
            let (name, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
            let known = repositories.entry(name.to_owned()).or_default();
            known.insert(tag.to_owned(), id.clone());
        }
        ids.push(id);
    }
    let text = json!({ "Repositories": repositories }).to_string();
    let file = root.join(format!("repositories-{driver}"));
    write_file(&file, text.as_bytes())?;
    Ok(ids)
}

/// Writes a store of podman with images of one graph driver, `overlay` or `vfs`. If `compressed`,
/// the manifests name compressed layers, which such a store never keeps.
///
/// # Errors
/// If a layer is no tar, or a file can't be written.
pub fn containers_storage(
    images: &[EngineImage],
    driver: &str,
    compressed: bool,
    root: &Path,
) -> Result<()> {
    let (mut listed, mut layers) = (Vec::new(), BTreeMap::new());
    for image in images {
        let (id, chain) = (image.id(), image.chain_ids());
        let mut descriptors = Vec::new();
        for (i, (tar, chain_id)) in image.layers.iter().zip(&chain).enumerate() {
            let diff_id = &image.diff_ids()[i];
            let named = match compressed {
                true => format!(
                    "sha256:{}",
                    sha256_hex(format!("gzip {diff_id}").as_bytes())
                ),
                false => diff_id.clone(),
            };
            let kind = match compressed {
                true => "application/vnd.oci.image.layer.v1.tar+gzip",
                false => "application/vnd.oci.image.layer.v1.tar",
            };
            descriptors.push(json!({"mediaType": kind, "digest": named, "size": tar.len()}));
            let (record, files) = apart(tar)?;
            write_file(
                &root.join(format!("{driver}-layers/{chain_id}.tar-split.gz")),
                &record,
            )?;
            let folder = match driver {
                "vfs" => format!("vfs/dir/{chain_id}"),
                driver => format!("{driver}/{chain_id}/diff"),
            };
            extract(&files, &root.join(folder))?;
            let mut layer = json!({
                "id": chain_id, "diff-digest": diff_id, "diff-size": tar.len(),
                "compressed-diff-digest": named, "compressed-size": tar.len(),
            });
            if i > 0 {
                layer["parent"] = json!(chain[i - 1]);
            }
            layers.insert(chain_id.clone(), layer);
        }
        let config = image.config();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{id}"), "size": config.len(),
            },
            "layers": descriptors,
            "annotations": {"org.example.note": "kept"},
        });
        let folder = root.join(format!("{driver}-images/{id}"));
        write_file(&folder.join("manifest"), manifest.to_string().as_bytes())?;
        let name = STANDARD.encode(format!("sha256:{id}").as_bytes());
        write_file(&folder.join(format!("={name}")), &config)?;
        let digest = format!("sha256:{}", sha256_hex(manifest.to_string().as_bytes()));
        listed.push(json!({
            "id": id, "names": image.names, "layer": chain.last(),
            "digest": digest, "big-data-digests": { "manifest": digest },
        }));
    }
    let layers: Vec<Value> = layers.into_values().collect();
    let file = root.join(format!("{driver}-layers/layers.json"));
    write_file(&file, json!(layers).to_string().as_bytes())?;
    let file = root.join(format!("{driver}-images/images.json"));
    write_file(&file, json!(listed).to_string().as_bytes())
}

/// Writes a root directory of containerd. Each image is in each of the namespaces given with it.
///
/// # Errors
/// If a file can't be written.
pub fn containerd(images: &[(EngineImage, Vec<String>)], root: &Path) -> Result<()> {
    let blobs = root.join("io.containerd.content.v1.content/blobs/sha256");
    let mut names = Vec::new();
    for (image, namespaces) in images {
        let config = image.config();
        write_file(&blobs.join(image.id()), &config)?;
        let mut layers = Vec::new();
        for tar in &image.layers {
            let hex = sha256_hex(tar);
            write_file(&blobs.join(&hex), tar)?;
            layers.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": format!("sha256:{hex}"), "size": tar.len(),
            }));
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{}", image.id()), "size": config.len(),
            },
            "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let hex = sha256_hex(&manifest);
        write_file(&blobs.join(&hex), &manifest)?;
        for namespace in namespaces {
            for name in &image.names {
                names.push(ContainerdName {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    kind: kind.to_owned(),
                    digest: format!("sha256:{hex}"),
                    size: manifest.len() as u64,
                });
            }
        }
    }
    containerd_database(&names, root)
}

/// A name in the database of containerd, with the descriptor that it stands for.
#[derive(Clone, Debug)]
pub struct ContainerdName {
    /// The namespace.
    pub namespace: String,
    /// The name of the image.
    pub name: String,
    /// The media type.
    pub kind: String,
    /// The digest, with its algorithm.
    pub digest: String,
    /// The number of bytes.
    pub size: u64,
}

/// Writes the database of a root directory of containerd.
///
/// # Errors
/// If the file can't be written.
pub fn containerd_database(names: &[ContainerdName], root: &Path) -> Result<()> {
    let mut database = bolt::Bucket::new();
    for name in names {
        let mut put = |key: &[&str], value: &[u8]| {
            let path = [&["v1", &*name.namespace, "images", &*name.name], key].concat();
            bolt::put(&mut database, &path, value);
        };
        put(&["createdat"], b"\x01");
        put(&["target", "digest"], name.digest.as_bytes());
        put(&["target", "mediatype"], name.kind.as_bytes());
        put(&["target", "size"], &varint(name.size));
    }
    let file = root.join("io.containerd.metadata.v1.bolt/meta.db");
    write_file(&file, &bolt::file(&database))
}

/// Adds snapshots of the layers of images to a root directory of containerd, as the snapshotter
/// `overlayfs` keeps them, in the namespace `default`. The layers have no whiteouts.
///
/// # Errors
/// If a layer is no tar, or a file can't be written.
pub fn containerd_snapshots(images: &[EngineImage], root: &Path) -> Result<()> {
    let folder = root.join("io.containerd.snapshotter.v1.overlayfs");
    let mut database = bolt::Bucket::new();
    let mut number = 0u8;
    for image in images {
        for (tar, chain_id) in image.layers.iter().zip(image.chain_ids()) {
            number += 1;
            let (_, files) = apart(tar)?;
            extract(&files, &folder.join(format!("snapshots/{number}/fs")))?;
            let key = format!("default/{}/sha256:{chain_id}", 40 + number);
            let mut put = |name: &str, value: &[u8]| {
                bolt::put(&mut database, &["v1", "snapshots", &key, name], value);
            };
            put("id", &[number]);
            put("kind", &[3]);
        }
        // The files of a container, which are no layer.
        let key = format!("default/{}/a-container", 140 + number);
        bolt::put(&mut database, &["v1", "snapshots", &key, "id"], &[99]);
        bolt::put(&mut database, &["v1", "snapshots", &key, "kind"], &[2]);
    }
    write_file(&folder.join("metadata.db"), &bolt::file(&database))
}

/// A signed varint, Go's form of a size.
fn varint(value: u64) -> Vec<u8> {
    let mut rest = value << 1;
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// CRC-64 with the ISO polynomial, bit by bit.
fn crc64(bytes: &[u8]) -> u64 {
    let mut crc = u64::MAX;
    for byte in bytes {
        crc ^= u64::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (low * 0xD800_0000_0000_0000);
        }
    }
    !crc
}
