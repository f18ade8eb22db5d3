//! Stores of engines and registries made from recipes, as files on a disk.
//!
//! Written by hand, without the crates under test, like [`crate::build`].

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::build::{aci_bytes, compress, manifest_text};
use crate::docker::{name, v1_steps};
use crate::image::{Compression, ImageRecipe};
use crate::{Failure, Result, read_text, sha256_hex, sha512_hex, write_file};

/// Writes ACIs in the form of rkt's store, below `folder/cas`; returns their keys. The database
/// file is there, but is no valid database.
///
/// # Errors
/// If an image can't be made, or a file can't be written.
pub fn rkt(images: &[ImageRecipe], folder: &Path) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for image in images {
        let mut image = image.clone();
        image.head.compression = Compression::None;
        let aci = aci_bytes(&image)?;
        let manifest: Value = serde_json::from_str(&manifest_text(&image))
            .map_err(|error| Failure::new(error.to_string()))?;
        let hex = &sha512_hex(&aci)[..64];
        let key = format!("sha512-{hex}");
        let path = |store: &str| folder.join(format!("cas/{store}/sha512/{}/{key}", &hex[..2]));
        write_file(&path("blob"), &aci)?;
        write_file(&path("imageManifest"), manifest.to_string().as_bytes())?;
        keys.push(key);
    }
    write_file(&folder.join("cas/db/ql.db"), b"locked")?;
    Ok(keys)
}

/// The longest chain of documents about documents in a store.
const MOST_SUBJECTS: usize = 8;

/// Writes the images of a layout as a registry of version 2 stores them, below `folder`. The name of
/// each entry is `REPOSITORY:TAG`; an entry without one is a revision of the repository of its subject, else of the
/// repository `untagged`.
///
/// # Errors
/// If the layout can't be read, or a file can't be written.
pub fn registry_v2(layout: &Path, folder: &Path) -> Result<()> {
    let base = folder.join("docker/registry/v2");
    let blobs = layout.join("blobs/sha256");
    for file in fs::read_dir(&blobs).map_err(|e| Failure::io(&blobs, &e))? {
        let name = file.map_err(|e| Failure::io(&blobs, &e))?.file_name();
        let hex = name.to_string_lossy();
        let bytes = fs::read(blobs.join(&name)).map_err(|e| Failure::io(&blobs, &e))?;
        let path = format!("blobs/sha256/{}/{hex}/data", &hex[..2]);
        write_file(&base.join(path), &bytes)?;
    }
    let index = json_file(&layout.join("index.json"))?;
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let text = &entry["annotations"]["org.opencontainers.image.ref.name"];
        let (repository, tag) = match text.as_str().and_then(|text| text.rsplit_once(':')) {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (repository_of(entry, &index, &blobs)?, None),
        };
        let manifests = base.join(format!("repositories/{repository}/_manifests"));
        let mut digests = vec![entry["digest"].clone()];
        let document = blobs.join(hex_of(&entry["digest"])?);
        let children = json_file(&document)?["manifests"].as_array().cloned();
        for child in children.into_iter().flatten() {
            digests.push(child["digest"].clone());
        }
        for digest in &digests {
            let path = format!("revisions/sha256/{}/link", hex_of(digest)?);
            write_file(&manifests.join(path), text_of(digest)?.as_bytes())?;
        }
        if let Some(tag) = tag {
            let digest = text_of(&digests[0])?.as_bytes();
            let hex = hex_of(&digests[0])?;
            write_file(&manifests.join(format!("tags/{tag}/current/link")), digest)?;
            let old = format!("tags/{tag}/index/sha256/{hex}/link");
            write_file(&manifests.join(old), digest)?;
        }
    }
    Ok(())
}

/// The repository of an entry without a name: that of the document that the entry is about, through others if need be.
fn repository_of<'i>(entry: &Value, index: &'i Value, blobs: &Path) -> Result<&'i str> {
    const UNTAGGED: &str = "untagged";
    let mut document = json_file(&blobs.join(hex_of(&entry["digest"])?))?;
    for _ in 0..MOST_SUBJECTS {
        let subject = document["subject"]["digest"].clone();
        if subject.is_null() {
            break;
        }
        for other in index["manifests"].as_array().into_iter().flatten() {
            let text = &other["annotations"]["org.opencontainers.image.ref.name"];
            let Some((repository, _)) = text.as_str().and_then(|text| text.rsplit_once(':')) else {
                continue;
            };
            let listed = json_file(&blobs.join(hex_of(&other["digest"])?))?;
            let mut below = listed["manifests"].as_array().into_iter().flatten();
            if other["digest"] == subject || below.any(|child| child["digest"] == subject) {
                return Ok(repository);
            }
        }
        let path = blobs.join(hex_of(&subject)?);
        if !path.exists() {
            break;
        }
        document = json_file(&path)?;
    }
    Ok(UNTAGGED)
}

/// Writes images as a registry of version 1 stores them, below `folder`, their layers compressed;
/// an image without a name has no tag. Returns the ids of the top layers.
///
/// # Errors
/// If an image can't be made, or a file can't be written.
pub fn registry_v1(images: &[ImageRecipe], folder: &Path) -> Result<Vec<String>> {
    let mut tops = Vec::new();
    for image in images {
        let mut ancestry: Vec<String> = Vec::new();
        for step in v1_steps(image)? {
            let at = |name: &str| folder.join(format!("images/{}/{name}", step.id));
            ancestry.insert(0, step.id.clone());
            let layer = compress(step.tar, Compression::Gzip);
            let sum = sha256_hex(&[step.json.as_bytes(), b"\n", &layer].concat());
            let sums = json!(["tarsum+sha256:0", format!("sha256:{sum}")]);
            write_file(&at("json"), step.json.as_bytes())?;
            write_file(&at("layer"), &layer)?;
            write_file(&at("_checksum"), sums.to_string().as_bytes())?;
            write_file(&at("ancestry"), json!(ancestry).to_string().as_bytes())?;
        }
        let top = ancestry.first().cloned().unwrap_or_default();
        if let Some((repository, tag)) = name(image) {
            let place = match repository.contains('/') {
                true => repository,
                false => format!("library/{repository}"),
            };
            let place = folder.join("repositories").join(place);
            write_file(&place.join(format!("tag_{tag}")), top.as_bytes())?;
            let list: Vec<Value> = ancestry.iter().map(|id| json!({ "id": id })).collect();
            write_file(
                &place.join("_index_images"),
                json!(list).to_string().as_bytes(),
            )?;
        }
        tops.push(top);
    }
    Ok(tops)
}

fn json_file(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    // The bytes may be a config or a layer; only manifests are needed here.
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn text_of(digest: &Value) -> Result<&str> {
    digest
        .as_str()
        .ok_or_else(|| Failure::new("a descriptor without a digest"))
}

fn hex_of(digest: &Value) -> Result<&str> {
    let text = text_of(digest)?;
    Ok(text.strip_prefix("sha256:").unwrap_or(text))
}
