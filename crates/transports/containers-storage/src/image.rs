//! The images of a store, and the manifest for reading each of them.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_fs::Directory;
use imgconv_json::{Map, Object, Value, canonical, parse};
use imgconv_manifest::{
    describes_compression, is_index, kind_of,
    media_type::{
        DOCKER_LAYER, DOCKER_MANIFEST, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, OCI_LAYER,
        OCI_MANIFEST,
    },
    payload,
};
use imgconv_model::{Child, Code, Digest, Document, Error, Limits, Result, quote};
use imgconv_stream::digest;

use crate::layers::{self, Layers, Stored, is_id};

/// The name of the document that is the manifest of an image.
pub(crate) const MANIFEST: &str = "manifest";

/// The start of the name of a manifest; its digest follows. An image that was stored with several
/// manifests has each of them by such a name, and the last one as [`MANIFEST`] too.
const MANIFEST_OF: &str = "manifest-";

/// The annotation of an image in an index that says that the image has layers of type zstd.
const HAS_ZSTD: &str = "io.github.containers.compression.zstd";

/// An image, or a list of images, as `images.json` lists it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The root of the store that has the image.
    pub(crate) root: Arc<Directory>,
    pub(crate) driver: &'static str,
    pub(crate) id: String,
    pub(crate) names: Vec<String>,
    /// The id of the topmost layer; empty for an image without layers.
    pub(crate) top: String,
    /// The digest of the stored manifest, if the list has it.
    pub(crate) digest: Option<Digest>,
    /// The names of all stored manifests of the image by their digests.
    pub(crate) manifests: BTreeMap<Digest, String>,
    /// The number of signatures that the store has for the image.
    pub(crate) signatures: usize,
}

/// A manifest or an index, as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    kind: String,
    value: Value,
    bytes: Vec<u8>,
}

/// Says whether a driver has a list of images.
pub(crate) fn is_there(root: &Directory, driver: &str) -> Result<bool> {
    root.is_file(&list_path(driver))
}

fn list_path(driver: &str) -> String {
    format!("{driver}-images/images.json")
}

/// Reads `images.json` of a driver, in its order; no images if there is none.
pub(crate) fn read(
    root: &Arc<Directory>,
    driver: &'static str,
    limits: &Limits,
) -> Result<Vec<Image>> {
    let path = list_path(driver);
    let Some(bytes) = root.read(&path, ("root_index", limits.root_index))? else {
        return Ok(Vec::new());
    };
    let place = format!("file {path}");
    let value = parse(&bytes, limits, &place)?;
    let Value::Array(items) = &value else {
        return Err(Error::new(Code::BadManifest, "expected a list of images").at(place));
    };
    let image = |(i, item): (usize, &Value)| {
        let object = Object::new(item, format!("[{i}]"))?;
        let id = object.string("id")?;
        if !is_id(id) {
            return Err(object.bad("id", format!("{} is no id of an image", quote(id))));
        }
        let digest = manifest_digest(&object)?;
        Ok(Image {
            root: Arc::clone(root),
            driver,
            id: id.to_owned(),
            names: object.string_list("names")?,
            top: object.opt_string("layer")?.unwrap_or_default().to_owned(),
            digest,
            manifests: manifests(&object.string_list("big-data-names")?, digest),
            signatures: signatures(&object, limits),
        })
    };
    let images: Result<Vec<Image>> = items.iter().enumerate().map(image).collect();
    images.map_err(|error| error.at(place))
}

/// Returns the digest of the document `manifest` of an image, from the list.
fn manifest_digest(image: &Object<'_>) -> Result<Option<Digest>> {
    let Some(digests) = image.opt_object("big-data-digests")? else {
        return Ok(None);
    };
    digests.opt_string(MANIFEST)?.map(Digest::parse).transpose()
}

/// Returns the names of all stored manifests of an image by their digests. `own` is the digest of
/// the document `manifest`.
fn manifests(names: &[String], own: Option<Digest>) -> BTreeMap<Digest, String> {
    let by_digest = names.iter().filter_map(|name| {
        let digest = Digest::parse(name.strip_prefix(MANIFEST_OF)?).ok()?;
        Some((digest, name.clone()))
    });
    let own = own.map(|digest| (digest, MANIFEST.to_owned()));
    by_digest.chain(own).collect()
}

/// Counts the signatures of an image. The document `signature-HEX` has those of the manifest with
/// that digest, one after the other, and the metadata has their sizes. The document `signatures` has
/// those of the manifest that was stored last; only old versions wrote it alone. A document of 0
/// bytes belongs to an image without signatures. A document whose sizes the metadata does not have
/// counts as one signature.
fn signatures(image: &Object<'_>, limits: &Limits) -> usize {
    let metadata = image.opt_string("metadata").ok().flatten();
    let metadata = metadata.and_then(|text| parse(text.as_bytes(), limits, "metadata").ok());
    let field = |key: &str| metadata.as_ref().and_then(|metadata| metadata.get(key));
    let count = |sizes: &Value| {
        let sizes = sizes.as_array().map_or(&[][..], |sizes| sizes);
        sizes.iter().filter(|size| size.as_u64() != Some(0)).count()
    };
    let mut of_last = field("signature-sizes").map_or(0, count);
    let mut of_each: BTreeMap<&str, usize> = BTreeMap::new();
    let each = field("signatures-sizes").and_then(Value::as_object);
    for (digest, sizes) in each.into_iter().flatten() {
        let hex = digest.split_once(':').map_or(&**digest, |(_, hex)| hex);
        of_each.insert(hex, count(sizes));
    }
    let documents = image.get("big-data-sizes").and_then(Value::as_object);
    let has_content = |(_, size): &(_, &Value)| size.as_u64() != Some(0);
    for (name, _) in documents.into_iter().flatten().filter(has_content) {
        if name == "signatures" {
            of_last = of_last.max(1);
        } else if let Some(hex) = name.strip_prefix("signature-") {
            let known = of_each.entry(hex).or_default();
            *known = (*known).max(1);
        }
    }
    of_each.values().sum::<usize>().max(of_last)
}

impl Image {
    /// Returns the path of a document of the image.
    pub(crate) fn document_path(&self, name: &str) -> String {
        let file = match name {
            MANIFEST => name.to_owned(),
            name => format!("={}", STANDARD.encode(name)),
        };
        format!("{}-images/{}/{file}", self.driver, self.id)
    }

    /// Returns the digest that the store has for one of the manifests of the image.
    pub(crate) fn digest_of(&self, name: &str) -> Option<Digest> {
        match name.strip_prefix(MANIFEST_OF) {
            Some(digest) => Digest::parse(digest).ok(),
            None => self.digest,
        }
    }

    /// Reads one of the stored manifests by its name.
    pub(crate) fn stored_manifest(&self, name: &str, limits: &Limits) -> Result<Manifest> {
        let path = self.document_path(name);
        let Some(bytes) = self.root.read(&path, ("manifest", limits.manifest))? else {
            return Err(
                Error::new(Code::Missing, "the image has no manifest").at(format!("file {path}"))
            );
        };
        let place = format!("file {path}");
        if let Some(expected) = self.digest_of(name) {
            let mut found = digest(expected.algorithm(), &bytes);
            if found != expected {
                // The digest of a signed manifest of schema 1 does not cover the signatures.
                found = digest(expected.algorithm(), &payload(&bytes, limits)?);
            }
            if found != expected {
                return Err(
                    Error::mismatch("the digest of the manifest", expected, found).at(place),
                );
            }
        }
        let kind = kind_of(&bytes, limits, &place)?;
        let value = parse(&bytes, limits, &place)?;
        Ok(Manifest { kind, value, bytes })
    }

    /// Returns the manifest for reading the image: the stored one if the store has each layer in
    /// it, and otherwise a manifest with the plain tars of the same layers.
    pub(crate) fn plain(
        &self,
        name: &str,
        manifest: Manifest,
        layers: &Layers,
        limits: &Limits,
    ) -> Result<Document> {
        let place = || format!("file {}", self.document_path(name));
        let Manifest { kind, value, bytes } = manifest;
        let layer_kind = match &*kind {
            OCI_MANIFEST => OCI_LAYER,
            DOCKER_MANIFEST => DOCKER_LAYER,
            DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED => {
                let chain = layers::chain(layers, &self.top, limits)?;
                let plain = plain_schema1(&value, &chain, limits).map_err(|e| e.at(place()))?;
                return Ok(plain.unwrap_or_else(|| Document {
                    kind,
                    bytes: bytes.into(),
                }));
            }
            _ => {
                let message = format!(
                    "a manifest of type {} has no layers in a store",
                    quote(&kind)
                );
                return Err(Error::new(Code::Unsupported, message).at(place()));
            }
        };
        let chain = layers::chain(layers, &self.top, limits)?;
        let descriptors = Object::new(&value, "").and_then(|top| top.objects("layers"));
        let descriptors = descriptors.map_err(|error| error.at(place()))?;
        if descriptors.len() != chain.len() {
            let message = format!(
                "the manifest has {} layers, but the store has {}",
                descriptors.len(),
                chain.len()
            );
            return Err(Error::new(Code::BadManifest, message).at(place()));
        }
        let named = |(descriptor, layer): (&Object<'_>, &&Stored)| {
            let digest = descriptor.opt_string("digest").ok().flatten();
            digest.is_some() && digest == layer.diff_id.map(|id| id.to_string()).as_deref()
        };
        if descriptors.iter().zip(&chain).all(named) {
            let bytes = bytes.into();
            return Ok(Document { kind, bytes });
        }
        let mut plain = Vec::with_capacity(chain.len());
        for (descriptor, layer) in descriptors.iter().zip(&chain) {
            plain.push(Value::Object(plain_descriptor(
                descriptor.map(),
                layer,
                layer_kind,
            )?));
        }
        let mut manifest = match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        manifest.insert("layers".into(), Value::Array(plain));
        Ok(Document {
            kind,
            bytes: canonical(&Value::Object(manifest)).into(),
        })
    }
}

impl Manifest {
    /// Says whether the document is a list of images.
    pub(crate) fn is_index(&self) -> bool {
        is_index(&self.kind)
    }

    /// Returns the digests of the manifests that an index lists; none for the manifest of an image.
    pub(crate) fn listed(&self) -> Vec<Digest> {
        let entries = self.value.get("manifests").filter(|_| self.is_index());
        let entries = entries.and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(listed).collect()
    }

    /// Returns the index for reading the images that an index lists. `replaced` has the descriptors of
    /// the manifests that are read instead of stored ones. An entry whose image the store does not
    /// have stays as it is.
    pub(crate) fn index_of(mut self, replaced: &BTreeMap<Digest, Child>) -> Document {
        let mut is_same = true;
        let entries = self.value.get_mut("manifests");
        for entry in entries.and_then(Value::as_array_mut).into_iter().flatten() {
            let child = listed(entry).and_then(|digest| replaced.get(&digest));
            if let (Some(child), Value::Object(entry)) = (child, entry) {
                is_same = false;
                replace(entry, child);
            }
        }
        let bytes = match is_same {
            true => self.bytes,
            false => canonical(&self.value),
        };
        Document {
            kind: self.kind,
            bytes: bytes.into(),
        }
    }
}

/// Returns the digest in an entry of an index.
fn listed(entry: &Value) -> Option<Digest> {
    Digest::parse(entry.get("digest")?.as_str()?).ok()
}

/// Makes an entry of an index that of another manifest of the same image, whose layers are plain tars.
fn replace(entry: &mut Map<String, Value>, child: &Child) {
    for key in ["urls", "data"] {
        entry.shift_remove(key);
    }
    entry.insert("mediaType".into(), Value::from(&*child.kind));
    entry.insert("digest".into(), Value::from(child.digest.to_string()));
    entry.insert("size".into(), Value::from(child.size));
    retain_annotations(entry, |key| key != HAS_ZSTD);
}

/// Removes the other annotations of a descriptor, and the whole member if none is left.
fn retain_annotations(descriptor: &mut Map<String, Value>, is_kept: impl Fn(&str) -> bool) {
    if let Some(Value::Object(annotations)) = descriptor.get_mut("annotations") {
        annotations.retain(|key, _| is_kept(key));
        if annotations.is_empty() {
            descriptor.shift_remove("annotations");
        }
    }
}

/// Returns a manifest of schema 1 with the plain tars of an image's layers; `None` if the manifest has
/// them. The engine writes such a manifest itself, but keeps the digests of compressed layers that the
/// store already had from another image. A step without a layer (`throwaway`) names the empty layer,
/// which the store does not have and the format does not read.
fn plain_schema1(value: &Value, chain: &[&Stored], limits: &Limits) -> Result<Option<Document>> {
    let top = Object::new(value, "")?;
    let (names, steps) = (top.objects("fsLayers")?, top.objects("history")?);
    if names.len() != steps.len() {
        let message = "`fsLayers` and `history` have different lengths";
        return Err(Error::new(Code::BadManifest, message));
    }
    let (mut plain, mut is_same) = (Vec::with_capacity(names.len()), true);
    // The lists begin with the newest layer, the chain with the base.
    let mut layers = chain.iter().rev();
    for (i, (name, step)) in names.iter().zip(&steps).enumerate() {
        let place = format!("history[{i}].v1Compatibility");
        let step = parse(step.string("v1Compatibility")?.as_bytes(), limits, &place)?;
        let mut entry = name.map().clone();
        if step.get("throwaway").and_then(Value::as_bool) != Some(true) {
            let Some(diff_id) = layers.next().and_then(|layer| layer.diff_id) else {
                return Err(other_count(&names, chain));
            };
            let own = Value::from(diff_id.to_string());
            is_same &= entry.get("blobSum") == Some(&own);
            entry.insert("blobSum".into(), own);
        }
        plain.push(Value::Object(entry));
    }
    if layers.next().is_some() {
        return Err(other_count(&names, chain));
    }
    if is_same {
        return Ok(None);
    }
    let mut manifest = top.map().clone();
    manifest.insert("fsLayers".into(), Value::Array(plain));
    // The signatures are those of the stored manifest.
    manifest.shift_remove("signatures");
    Ok(Some(Document {
        kind: DOCKER_SCHEMA1.to_owned(),
        bytes: canonical(&Value::Object(manifest)).into(),
    }))
}

fn other_count(names: &[Object<'_>], chain: &[&Stored]) -> Error {
    let message = format!(
        "the steps of the manifest need other layers than the {} that the store has; the manifest \
         names {} layers, those of steps without a layer included",
        chain.len(),
        names.len()
    );
    Error::new(Code::BadManifest, message)
}

/// Returns the digest of the config in a manifest, as text.
pub(crate) fn config(manifest: &[u8], limits: &Limits) -> Option<String> {
    let value = parse(manifest, limits, "manifest").ok()?;
    let digest = value.get("config")?.get("digest")?.as_str()?;
    Some(digest.to_owned())
}

/// Returns the descriptor of the plain tar of a layer. Annotations that describe the compressed bytes
/// do not hold for it.
fn plain_descriptor(
    descriptor: &Map<String, Value>,
    layer: &Stored,
    kind: &str,
) -> Result<Map<String, Value>> {
    let (Some(diff_id), Some(size)) = (layer.diff_id, layer.size) else {
        let message = format!(
            "`layers.json` does not have the `diff-digest` and the `diff-size` of the layer {}",
            layer.id
        );
        return Err(Error::new(Code::BadManifest, message));
    };
    let mut plain = descriptor.clone();
    for key in ["urls", "data"] {
        plain.shift_remove(key);
    }
    plain.insert("mediaType".into(), Value::from(kind));
    plain.insert("digest".into(), Value::from(diff_id.to_string()));
    plain.insert("size".into(), Value::from(size));
    retain_annotations(&mut plain, |key| !describes_compression(key));
    Ok(plain)
}
