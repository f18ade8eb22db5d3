//! Files made from recipes: a tar, an ACI, an OCI layout.
//!
//! The JSON and the gzip are written here by hand, without the crates under test. Nothing is
//! validated: a recipe may be wrong on purpose.

use std::collections::BTreeMap;
use std::path::Path;

use imgconv_tar::EntryKind;
use serde_json::{Value, json};

use crate::image::{Compression, ImageRecipe};
use crate::recipe::{self, Item};
use crate::{Failure, Result, sha256_hex, write_file};

/// Writes the items as a canonical tar.
pub fn tar_bytes(items: &[Item]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for item in items {
        out.extend_from_slice(&imgconv_tar::head(&item.entry)?);
        out.extend_from_slice(&item.body);
        out.resize(out.len() + imgconv_tar::padding(item.body.len() as u64), 0);
    }
    out.extend_from_slice(&imgconv_tar::END);
    Ok(out)
}

/// Makes the tar of a layer from the text of its recipe.
///
/// # Panics
/// If the text is no recipe.
#[allow(clippy::unwrap_used, reason = "a panic is how a fixture reports")]
pub fn layer(text: &str) -> Vec<u8> {
    tar_bytes(&recipe::parse(text, "test").unwrap()).unwrap()
}

/// Makes an ACI: the manifest, then the only layer under `rootfs/` (appc spec, aci.md).
pub fn aci_bytes(image: &ImageRecipe) -> Result<Vec<u8>> {
    if image.layers.len() > 1 {
        return Err(Failure::new(format!(
            "{}: an ACI has one tree, the recipe has {} layers",
            image.head.name,
            image.layers.len()
        )));
    }
    let manifest = manifest_text(image);
    let mut items = recipe::parse("file manifest\ndir rootfs", "aci")?;
    items[0].entry.size = manifest.len() as u64;
    items[0].body = manifest.into_bytes();
    for item in image.layers.iter().flatten() {
        let mut item = item.clone();
        item.entry.path = under_rootfs(&item.entry.path);
        if item.entry.kind == EntryKind::HardLink {
            item.entry.link = under_rootfs(&item.entry.link);
        }
        if item.entry.path == b"rootfs/" {
            items.remove(1);
            items.insert(1, item);
        } else {
            items.push(item);
        }
    }
    Ok(compress(tar_bytes(&items)?, image.head.compression))
}

/// The manifest of an ACI: the recipe's, or a generated one.
pub(crate) fn manifest_text(image: &ImageRecipe) -> String {
    match &image.manifest {
        Some(text) => text.clone(),
        None => aci_manifest(image).to_string(),
    }
}

fn under_rootfs(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    [b"rootfs/", path].concat()
}

/// A manifest for recipes without one.
fn aci_manifest(image: &ImageRecipe) -> Value {
    let head = &image.head;
    let arch = match (head.arch.as_str(), head.variant.as_str()) {
        ("386", _) => "i386",
        ("arm64", _) => "aarch64",
        ("arm", "v6") => "armv6l",
        ("arm", _) => "armv7l",
        (other, _) => other,
    };
    let mut labels = Vec::new();
    for (name, value) in [
        ("version", head.version.as_str()),
        ("os", &head.os),
        ("arch", arch),
    ] {
        if !value.is_empty() {
            labels.push(json!({ "name": name, "value": value }));
        }
    }
    let mut manifest = json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11", "name": head.name, "labels": labels,
    });
    let exec: Vec<&String> = head
        .config
        .entrypoint
        .iter()
        .chain(&head.config.cmd)
        .collect();
    if !exec.is_empty() {
        manifest["app"] = json!({ "exec": exec, "user": "0", "group": "0" });
    }
    manifest
}

/// Writes an OCI layout of one or more images into `folder`, which must not be a layout yet.
///
/// Each image is named `NAME:VERSION`; images of the same name and version become one index.
pub fn layout(images: &[ImageRecipe], folder: &Path) -> Result<()> {
    let mut tars = Vec::new();
    for image in images {
        let of_image: Result<_> = image.layers.iter().map(|items| tar_bytes(items)).collect();
        tars.push((image.clone(), of_image?));
    }
    layout_of_tars(&tars, folder)
}

/// Writes an OCI layout as [`layout`] does, of images whose layers are tars already; the layers of
/// the recipes are not used.
pub fn layout_of_tars(images: &[(ImageRecipe, Vec<Vec<u8>>)], folder: &Path) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (image, tars) in images {
        let head = &image.head;
        let name = match head.version.as_str() {
            "" => head.name.clone(),
            version => format!("{}:{version}", head.name),
        };
        if !groups.contains_key(&name) {
            names.push(name.clone());
        }
        groups
            .entry(name)
            .or_default()
            .push(manifest(image, tars, folder)?);
    }
    let mut entries = Vec::new();
    for name in names {
        let mut group = groups.remove(&name).unwrap_or_default();
        let mut entry = match group.len() {
            1 => group.remove(0),
            _ => {
                let index = json!({
                    "schemaVersion": 2, "mediaType": INDEX, "manifests": group,
                });
                put(folder, INDEX, index.to_string().as_bytes())?
            }
        };
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        entries.push(entry);
    }
    write_index(folder, &entries)
}

/// Writes the files that make a folder of blobs an OCI layout.
fn write_index(folder: &Path, entries: &[Value]) -> Result<()> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    write_file(&folder.join("index.json"), index.to_string().as_bytes())?;
    write_file(
        &folder.join("oci-layout"),
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )
}

/// Writes an OCI layout of an artifact whose layer is an index of a manifest that nothing else refers to; all that
/// they refer to is stored, except the subject of the manifest. Returns the digest of the manifest's layer.
///
/// The artifact is named `name`, as containerd and other tools write names.
///
/// # Errors
/// If a file can't be written.
pub fn layout_of_nested_documents(folder: &Path, name: &str) -> Result<String> {
    let content = put(folder, "text/plain", b"content")?;
    let digest = content["digest"].as_str().unwrap_or_default().to_owned();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": put(folder, "application/x.config", b"config")?, "layers": [content],
        "subject": { "mediaType": MANIFEST, "digest": format!("sha256:{}", "5".repeat(64)), "size": 5 },
    });
    let manifest = put(folder, MANIFEST, manifest.to_string().as_bytes())?;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    let index = put(folder, INDEX, index.to_string().as_bytes())?;
    let artifact = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x.thing",
        "config": put(folder, "application/vnd.oci.empty.v1+json", b"{}")?, "layers": [index],
    });
    let mut entry = put(folder, MANIFEST, artifact.to_string().as_bytes())?;
    entry["annotations"] =
        json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
    write_index(folder, &[entry])?;
    Ok(digest)
}

/// Makes the tar of the files below a folder, in order, as archives of layouts are.
///
/// # Errors
/// If a file can't be read.
pub fn packed(folder: &Path) -> Result<Vec<u8>> {
    let (mut items, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).map_err(|e| Failure::io(&next, &e))? {
            let path = entry.map_err(|e| Failure::io(&next, &e))?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let mut item = recipe::parse("file x", "packed")?.remove(0);
            item.body = std::fs::read(&path).map_err(|e| Failure::io(&path, &e))?;
            item.entry.size = item.body.len() as u64;
            let name = path.strip_prefix(folder).unwrap_or(&path).as_os_str();
            item.entry.path = name.as_encoded_bytes().to_vec();
            items.insert(item.entry.path.clone(), item);
        }
    }
    tar_bytes(&items.into_values().collect::<Vec<_>>())
}

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes one image's blobs and returns the descriptor of its manifest.
fn manifest(image: &ImageRecipe, tars: &[Vec<u8>], folder: &Path) -> Result<Value> {
    let head = &image.head;
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for tar in tars {
        diff_ids.push(format!("sha256:{}", sha256_hex(tar)));
        let kind = match head.compression {
            Compression::None => LAYER.to_owned(),
            Compression::Gzip => format!("{LAYER}+gzip"),
        };
        layers.push(put(
            folder,
            &kind,
            &compress(tar.clone(), head.compression),
        )?);
    }
    let config = config(image, &diff_ids);
    let config = put(folder, CONFIG, config.to_string().as_bytes())?;
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
    });
    set(&mut manifest, "annotations", json!(head.annotations));
    let mut entry = put(folder, MANIFEST, manifest.to_string().as_bytes())?;
    let mut platform = json!({ "architecture": head.arch, "os": head.os });
    set(&mut platform, "variant", json!(head.variant));
    entry["platform"] = platform;
    Ok(entry)
}

/// The config document of an image, which OCI and Docker have in common.
pub(crate) fn config(image: &ImageRecipe, diff_ids: &[String]) -> Value {
    let head = &image.head;
    let mut config = json!({ "architecture": head.arch, "os": head.os });
    set(&mut config, "variant", json!(head.variant));
    set(&mut config, "created", json!(head.created));
    set(&mut config, "author", json!(head.author));
    set(&mut config, "config", run_config(image));
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    config
}

/// The configuration for running an image, in the spelling of OCI and Docker.
pub(crate) fn run_config(image: &ImageRecipe) -> Value {
    let run = &image.head.config;
    let keys = |list: &[String]| {
        let pairs = list.iter().map(|key| (key.clone(), json!({})));
        Value::Object(pairs.collect())
    };
    let mut out = json!({});
    set(&mut out, "User", json!(run.user));
    set(&mut out, "ExposedPorts", keys(&run.ports));
    set(&mut out, "Env", json!(run.env));
    set(&mut out, "Entrypoint", json!(run.entrypoint));
    set(&mut out, "Cmd", json!(run.cmd));
    set(&mut out, "Volumes", keys(&run.volumes));
    set(&mut out, "WorkingDir", json!(run.working_dir));
    set(&mut out, "Labels", json!(run.labels));
    set(&mut out, "StopSignal", json!(run.stop_signal));
    out
}

/// Sets a key unless the value is empty.
pub(crate) fn set(object: &mut Value, key: &str, value: Value) {
    let empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !empty {
        object[key] = value;
    }
}

fn put(folder: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let hex = sha256_hex(bytes);
    write_file(&folder.join("blobs/sha256").join(&hex), bytes)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
}

pub(crate) fn compress(bytes: Vec<u8>, compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes,
        Compression::Gzip => gzip_stored(&bytes),
    }
}

/// A gzip member of stored deflate blocks (RFC 1951, 3.2.4; RFC 1952).
fn gzip_stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = bytes.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("chunks are at most 65535 long");
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    out.extend(checksum.sum().to_le_bytes());
    out.extend(checksum.amount().to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn stored_gzip_is_gzip() {
        for size in [0usize, 1, 65535, 65536, 200_000] {
            let bytes = vec![7; size];
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&gzip_stored(&bytes)[..])
                .read_to_end(&mut back)
                .unwrap();
            assert_eq!(back, bytes, "{size}");
        }
    }

    const LAYER: &str = r#"dir etc 0755 0:0 @0
file etc/a 0644 1:2 @1000.5 "hi\n" xattr user.a="x\xff"
link etc/b -> etc/a 0644 1:2 @1000.5
symlink etc/c\xff -> ../a 0777 0:0 @-1
char null 0666 0:0 @0 1:3
fifo pipe 0600 0:0 @0"#;

    fn image() -> ImageRecipe {
        let mut image = ImageRecipe::default();
        image.head.name = "example.com/a".into();
        image.head.version = "1".into();
        image.layers = vec![recipe::parse(LAYER, "test").unwrap()];
        image
    }

    #[test]
    fn a_tar_is_dumped_as_the_lines_it_was_made_of() {
        let tar = tar_bytes(&image().layers[0]).unwrap();
        let lines = crate::dump::tar_lines(&mut &tar[..], "test").unwrap();
        assert_eq!(lines.join("\n"), LAYER);
    }

    #[test]
    fn an_aci_has_a_manifest_and_a_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.aci");
        let mut image = image();
        for compression in [Compression::None, Compression::Gzip] {
            image.head.compression = compression;
            std::fs::write(&path, aci_bytes(&image).unwrap()).unwrap();
            let text = crate::dump::output(&path).unwrap();
            for part in [
                "\ndir rootfs 0755 0:0 @0\ndir rootfs/etc 0755 0:0 @0\n",
                "\nlink rootfs/etc/b -> rootfs/etc/a 0644",
                "\n  \"name\": \"example.com/a\",\n",
            ] {
                assert!(text.contains(part), "{part} is missing in {text}");
            }
        }
    }

    #[test]
    fn a_layout_has_everything_that_its_index_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut other = image();
        other.head.arch = "arm64".into();
        layout(&[image(), other], folder.path()).unwrap();
        let text = crate::dump::output(folder.path()).unwrap();
        assert!(
            !text.contains("missing") && !text.contains("nothing refers"),
            "{text}"
        );
        assert!(text.contains("\"org.opencontainers.image.ref.name\": \"example.com/a:1\""));
        assert_eq!(
            text.matches("fifo pipe 0600").count(),
            1,
            "the layer is shared: {text}"
        );
        std::fs::write(folder.path().join("blobs/sha256/stray"), "{}").unwrap();
        let text = crate::dump::output(folder.path()).unwrap();
        assert!(
            text.contains("== sha256:stray, nothing refers to it"),
            "{text}"
        );
    }

    #[test]
    fn a_recipe_of_two_layers_is_no_aci() {
        let image = ImageRecipe {
            layers: vec![Vec::new(), Vec::new()],
            ..ImageRecipe::default()
        };
        let error = aci_bytes(&image).unwrap_err().to_string();
        assert!(error.contains("the recipe has 2 layers"), "{error}");
    }
}
