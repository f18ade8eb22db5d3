//! What a place holds, read by the bytes: layouts, archives, `dir:`, registries, ACIs, flat tars.
//!
//! The forms are those of image-spec 1.1 (image-layout.md, manifest.md, image-index.md), of the
//! `docker save` files that engines write since 1.10 (moby, "Image Tarball"), of appc 0.8.11
//! (aci.md), and of skopeo's `dir:`. Every digest and every size that a document states is compared
//! with the bytes; a difference is a failure.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use imgconv_testkit::registry::Stored;
use imgconv_testkit::{sha256_hex, sha512_hex};
use serde_json::{Map, Value};

use crate::tar::{self, Kind, Member};
use crate::tree::{Tree, plain};
use crate::{Failure, Result};

/// The kind of the documents of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// OCI manifests.
    Oci,
    /// Docker manifests of schema 2, and the images of archives.
    Docker,
    /// An ACI.
    Aci,
    /// A flat tar or a directory.
    Rootfs,
}

/// A layer as it is stored.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The digest of the stored bytes.
    pub digest: String,
    /// The digest of the tar.
    pub diff_id: String,
    /// The compression, told by the first bytes: `none`, `gzip` or `zstd`.
    pub compression: &'static str,
    /// The annotations of the descriptor.
    pub annotations: Map<String, Value>,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kind of its documents.
    pub family: Family,
    /// The digest of the manifest; of an archive's image, that of the config; of an ACI the image ID.
    pub digest: String,
    /// The config; for an ACI the manifest; null for a flat tar.
    pub config: Value,
    /// The annotations of the manifest.
    pub annotations: Map<String, Value>,
    /// The layers, base first; none for an ACI and a flat tar.
    pub layers: Vec<Layer>,
    /// The merged tree.
    pub tree: Tree,
    /// True if all names and targets in the layers are UTF-8, and no file is written with holes.
    pub is_text: bool,
}

/// An image with its name, or an index with its name and the images that the index lists.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name; empty if there is none.
    pub name: String,
    /// The digest of the root document.
    pub digest: String,
    /// The images, as the index lists them.
    pub images: Vec<Image>,
    /// The digests of listed documents that are no images.
    pub others: Vec<String>,
    /// True if the root is an index.
    pub is_index: bool,
    /// The digest of the document that the root is about.
    pub subject: Option<String>,
}

type Files = BTreeMap<String, Vec<u8>>;

/// Documents and blobs by their digests.
struct Blobs<'a>(Box<Get<'a>>);

/// Finds bytes by their digest.
type Get<'a> = dyn Fn(&str) -> Option<Vec<u8>> + 'a;

impl Blobs<'_> {
    /// The bytes of a descriptor, compared with its digest and size.
    fn get(&self, descriptor: &Value) -> Result<Vec<u8>> {
        let digest = text(&descriptor["digest"]);
        let bytes = (self.0)(&digest).ok_or_else(|| wrong(&format!("{digest} is missing")))?;
        let hex = format!("sha256:{}", sha256_hex(&bytes));
        if hex != digest {
            return Err(wrong(&format!("{digest} holds the bytes of {hex}")));
        }
        match descriptor["size"].as_u64() {
            Some(size) if size == bytes.len() as u64 => Ok(bytes),
            size => Err(wrong(&format!(
                "{digest} has {} bytes, stated {size:?}",
                bytes.len()
            ))),
        }
    }
}

/// Reads an OCI layout that is a directory.
///
/// # Errors
/// If the layout is damaged.
pub fn layout(folder: &Path) -> Result<Vec<Entry>> {
    let index = imgconv_testkit::read_text(&folder.join("index.json"))?;
    imgconv_testkit::read_text(&folder.join("oci-layout"))?;
    let get = |digest: &str| fs::read(folder.join("blobs").join(digest.replacen(':', "/", 1))).ok();
    entries(&json(index.as_bytes())?, &Blobs(Box::new(get)))
}

/// Reads a tar of an OCI layout.
///
/// # Errors
/// If the layout is damaged.
pub fn layout_archive(file: &Path) -> Result<Vec<Entry>> {
    let files = archive_files(file)?;
    let index = files
        .get("index.json")
        .ok_or_else(|| wrong("there is no index.json"))?;
    let get = |digest: &str| {
        files
            .get(&format!("blobs/{}", digest.replacen(':', "/", 1)))
            .cloned()
    };
    entries(&json(index)?, &Blobs(Box::new(get)))
}

/// Reads a `docker save` file.
///
/// # Errors
/// If the file is damaged.
pub fn docker_archive(file: &Path) -> Result<Vec<Entry>> {
    let files = archive_files(file)?;
    let get = |name: &Value| {
        let name = text(name);
        files
            .get(&name)
            .cloned()
            .ok_or_else(|| wrong(&format!("{name} is missing")))
    };
    let list = files
        .get("manifest.json")
        .ok_or_else(|| wrong("there is no manifest.json"))?;
    let mut out = Vec::new();
    for item in list_of(&json(list)?) {
        let bytes = get(&item["Config"])?;
        let digest = format!("sha256:{}", sha256_hex(&bytes));
        let config = json(&bytes)?;
        let stored: Result<Vec<_>> = list_of(&item["Layers"]).iter().map(get).collect();
        let stored = stored?.into_iter().map(|bytes| (bytes, Map::new()));
        let image = image(Family::Docker, &digest, config, Map::new(), stored)?;
        let names = list_of(&item["RepoTags"]);
        let names: Vec<String> = match names.is_empty() {
            true => vec![String::new()],
            false => names.iter().map(text).collect(),
        };
        for name in names {
            let (digest, images) = (digest.clone(), vec![image.clone()]);
            out.push(Entry {
                name,
                digest,
                images,
                others: Vec::new(),
                is_index: false,
                subject: None,
            });
        }
    }
    Ok(out)
}

/// Reads a directory of skopeo's kind.
///
/// # Errors
/// If the image is damaged.
pub fn dir(folder: &Path) -> Result<Vec<Entry>> {
    let path = folder.join("manifest.json");
    let bytes = fs::read(&path).map_err(|error| Failure::io(&path, &error))?;
    let get = |digest: &str| {
        let hex = digest.strip_prefix("sha256:")?;
        let named = fs::read(folder.join(hex))
            .or_else(|_| fs::read(folder.join(format!("{hex}.manifest.json"))));
        named.ok()
    };
    let mut entry = empty("", &bytes);
    document(&bytes, &Blobs(Box::new(get)), &mut entry)?;
    Ok(vec![entry])
}

/// Reads the tags of a repository of a registry, each named `REPOSITORY:TAG`, and the documents about them.
///
/// # Errors
/// If an image is damaged.
pub fn registry(stored: &Stored, of: &str) -> Result<Vec<Entry>> {
    let mut out = Vec::new();
    for ((repository, tag), (_, bytes)) in &stored.manifests {
        if repository != of || tag.starts_with("sha256-") {
            continue;
        }
        let get = |digest: &str| {
            let key = (repository.clone(), digest.to_owned());
            let manifest = stored.manifests.get(&key).map(|(_, bytes)| bytes);
            manifest.or_else(|| stored.blobs.get(&key)).cloned()
        };
        let name = match tag.contains(':') {
            true => String::new(),
            false => format!("{repository}:{tag}"),
        };
        let mut entry = empty(&name, bytes);
        document(bytes, &Blobs(Box::new(get)), &mut entry)?;
        // An entry without a tag is kept only if it is a referrer.
        if !name.is_empty() || entry.subject.is_some() {
            out.push(entry);
        }
    }
    Ok(out)
}

/// Reads an ACI (aci.md, "Image Archives").
///
/// # Errors
/// If the file is no ACI.
pub fn aci(file: &Path) -> Result<Entry> {
    let stored = fs::read(file).map_err(|error| Failure::io(file, &error))?;
    let (_, tar) = expand(&stored)?;
    let (mut manifest, mut below) = (Value::Null, Vec::new());
    for mut member in tar::members(&tar)? {
        let path = plain(&member.path);
        if path == b"manifest" {
            manifest = json(&member.body)?;
        } else if path == b"rootfs" {
            member.path = Vec::new();
            below.push(member);
        } else {
            let inside = |path: &[u8]| plain(path).strip_prefix(b"rootfs/").map(<[u8]>::to_vec);
            member.path = inside(&path).ok_or_else(|| wrong("an ACI has a third member"))?;
            if member.kind == Kind::HardLink {
                member.link = inside(&member.link).ok_or_else(|| wrong("a link leaves rootfs"))?;
            }
            below.push(member);
        }
    }
    let mut tree = Tree::default();
    tree.add_all(&below)?;
    let digest = format!("sha512-{}", sha512_hex(&tar));
    let image = Image {
        family: Family::Aci,
        digest: digest.clone(),
        config: manifest,
        annotations: Map::new(),
        layers: Vec::new(),
        is_text: is_text(&below),
        tree,
    };
    let mut name = text(&image.config["name"]);
    for label in list_of(&image.config["labels"]) {
        if label["name"] == "version" {
            name = format!("{name}:{}", text(&label["value"]));
        }
    }
    Ok(Entry {
        name,
        digest,
        images: vec![image],
        others: Vec::new(),
        is_index: false,
        subject: None,
    })
}

/// Reads a flat tar, whose entries are no markers (`rootfs:`).
///
/// # Errors
/// If the file is no tar.
pub fn flat(file: &Path) -> Result<Tree> {
    let stored = fs::read(file).map_err(|error| Failure::io(file, &error))?;
    let mut tree = Tree::default();
    tree.add_all(&tar::members(&expand(&stored)?.1)?)?;
    Ok(tree)
}

fn entries(index: &Value, blobs: &Blobs<'_>) -> Result<Vec<Entry>> {
    let mut out = Vec::new();
    for descriptor in list_of(&index["manifests"]) {
        let annotations = &descriptor["annotations"];
        let name = match &annotations["io.containerd.image.name"] {
            Value::String(name) => name.clone(),
            _ => text(&annotations["org.opencontainers.image.ref.name"]),
        };
        let bytes = blobs.get(&descriptor)?;
        let mut entry = empty(&name, &bytes);
        document(&bytes, blobs, &mut entry)?;
        out.push(entry);
    }
    Ok(out)
}

fn empty(name: &str, bytes: &[u8]) -> Entry {
    Entry {
        name: name.to_owned(),
        digest: format!("sha256:{}", sha256_hex(bytes)),
        images: Vec::new(),
        others: Vec::new(),
        is_index: false,
        subject: None,
    }
}

/// Reads a manifest, or an index with all that it lists.
fn document(bytes: &[u8], blobs: &Blobs<'_>, entry: &mut Entry) -> Result<()> {
    let value = json(bytes)?;
    let digest = format!("sha256:{}", sha256_hex(bytes));
    if value["manifests"].is_array() {
        entry.is_index = true;
        for descriptor in list_of(&value["manifests"]) {
            document(&blobs.get(&descriptor)?, blobs, entry)?;
        }
        return Ok(());
    }
    let kind = text(&value["config"]["mediaType"]);
    let family = match kind.contains("docker") {
        true => Family::Docker,
        false => Family::Oci,
    };
    let layers = list_of(&value["layers"]);
    let stored: Result<Vec<_>> = layers
        .iter()
        .map(|layer| Ok((blobs.get(layer)?, object(&layer["annotations"]))))
        .collect();
    let (config, stored) = (blobs.get(&value["config"])?, stored?);
    let is_image =
        kind.ends_with("image.config.v1+json") || kind.ends_with("container.image.v1+json");
    let is_attestation = layers
        .iter()
        .any(|layer| text(&layer["mediaType"]).contains("in-toto"));
    entry.subject = value["subject"]["digest"].as_str().map(str::to_owned);
    if !is_image || is_attestation || !value["artifactType"].is_null() {
        entry.others.push(digest);
        return Ok(());
    }
    let annotations = object(&value["annotations"]);
    entry
        .images
        .push(image(family, &digest, json(&config)?, annotations, stored)?);
    Ok(())
}

fn image(
    family: Family,
    digest: &str,
    config: Value,
    annotations: Map<String, Value>,
    stored: impl IntoIterator<Item = (Vec<u8>, Map<String, Value>)>,
) -> Result<Image> {
    let (mut layers, mut tars) = (Vec::<Layer>::new(), Vec::<Vec<Member>>::new());
    for (bytes, annotations) in stored {
        let (compression, tar) = expand(&bytes)?;
        layers.push(Layer {
            digest: format!("sha256:{}", sha256_hex(&bytes)),
            diff_id: format!("sha256:{}", sha256_hex(&tar)),
            compression,
            annotations,
        });
        tars.push(tar::members(&tar)?);
    }
    let ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let stated: Vec<String> = list_of(&config["rootfs"]["diff_ids"])
        .iter()
        .map(text)
        .collect();
    if ids != stated {
        return Err(wrong(&format!(
            "{digest}: the diff IDs are {ids:?}, the config has {stated:?}"
        )));
    }
    let steps = list_of(&config["history"]);
    let full = steps
        .iter()
        .filter(|step| step["empty_layer"] != true)
        .count();
    if !steps.is_empty() && full != ids.len() {
        let many = format!(
            "{digest}: the history has {full} layers, the image {}",
            ids.len()
        );
        return Err(wrong(&many));
    }
    let tree = Tree::of_layers(tars.iter().map(|members| &members[..]))?;
    Ok(Image {
        is_text: tars.iter().all(|members| is_text(members)),
        family,
        digest: digest.to_owned(),
        config,
        annotations,
        layers,
        tree,
    })
}

fn is_text(members: &[Member]) -> bool {
    let is_utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let is_text =
        |member: &Member| is_utf8(&member.path) && is_utf8(&member.link) && !member.is_sparse;
    members.iter().all(is_text)
}

/// Unpacks gzip and zstd, told by their first bytes (RFC 1952, RFC 8878).
fn expand(stored: &[u8]) -> Result<(&'static str, Vec<u8>)> {
    let mut tar = Vec::new();
    let (name, result) = if stored.starts_with(&[0x1f, 0x8b]) {
        let mut decoder = flate2::read::MultiGzDecoder::new(stored);
        ("gzip", decoder.read_to_end(&mut tar))
    } else if stored.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::new(stored);
        (
            "zstd",
            decoder.and_then(|mut decoder| decoder.read_to_end(&mut tar)),
        )
    } else {
        tar = stored.to_vec();
        ("none", Ok(0))
    };
    result.map_err(|error| wrong(&format!("{name}: {error}")))?;
    Ok((name, tar))
}

fn archive_files(file: &Path) -> Result<Files> {
    let stored = fs::read(file).map_err(|error| Failure::io(file, &error))?;
    let mut files = Files::new();
    let mut links = Vec::new();
    for member in tar::members(&expand(&stored)?.1)? {
        let path = String::from_utf8_lossy(&plain(&member.path)).into_owned();
        match member.kind {
            Kind::File => drop(files.insert(path, member.body)),
            Kind::Symlink | Kind::HardLink => links.push((path, member.link)),
            _ => {}
        }
    }
    for (path, link) in links {
        let target = String::from_utf8_lossy(&plain(&link)).into_owned();
        if let Some(bytes) = files.get(&target).cloned() {
            files.insert(path, bytes);
        }
    }
    Ok(files)
}

/// The items of a list; none if the value is no list.
pub fn list_of(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The members of an object; none if the value is no object.
pub fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The text of a string; empty if the value is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| wrong(&format!("no JSON: {error}")))
}

fn wrong(what: &str) -> Failure {
    Failure::new(what.to_owned())
}
