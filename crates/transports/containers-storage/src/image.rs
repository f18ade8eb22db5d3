//! The images of a store, and the manifest for reading each of them.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use imgconv_fs::Directory;
use imgconv_json::{Map, Object, Value, canonical, parse};
use imgconv_manifest::{
    describes_compression, kind_of,
    media_type::{
        DOCKER_LAYER, DOCKER_MANIFEST, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, OCI_LAYER,
        OCI_MANIFEST,
    },
    payload,
};
use imgconv_model::{Code, Digest, Document, Error, Limits, Result, quote};
use imgconv_stream::digest;

use crate::layers::{self, Layers, Stored, is_id};

/// An image as `images.json` lists it.
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
        Ok(Image {
            root: Arc::clone(root),
            driver,
            id: id.to_owned(),
            names: object.string_list("names")?,
            top: object.opt_string("layer")?.unwrap_or_default().to_owned(),
            digest: manifest_digest(&object)?,
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
    digests
        .opt_string("manifest")?
        .map(Digest::parse)
        .transpose()
}

impl Image {
    /// Returns the path of a document of the image.
    pub(crate) fn document_path(&self, name: &str) -> String {
        let file = match name {
            "manifest" => name.to_owned(),
            name => format!("={}", STANDARD.encode(name)),
        };
        format!("{}-images/{}/{file}", self.driver, self.id)
    }

    /// Reads the stored manifest.
    fn stored_manifest(&self, limits: &Limits) -> Result<(String, Value, Vec<u8>)> {
        let path = self.document_path("manifest");
        let Some(bytes) = self.root.read(&path, ("manifest", limits.manifest))? else {
            return Err(
                Error::new(Code::Missing, "the image has no manifest").at(format!("file {path}"))
            );
        };
        let place = format!("file {path}");
        if let Some(expected) = self.digest {
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
        Ok((kind, value, bytes))
    }

    /// Returns the manifest for reading the image: the stored one if the store has each layer in
    /// it, and otherwise a manifest with the plain tars of the same layers.
    pub(crate) fn manifest(&self, layers: &Layers, limits: &Limits) -> Result<Document> {
        let place = || format!("file {}", self.document_path("manifest"));
        let (kind, value, bytes) = self.stored_manifest(limits)?;
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
    if let Some(Value::Object(annotations)) = plain.get_mut("annotations") {
        annotations.retain(|key, _| !describes_compression(key));
        if annotations.is_empty() {
            plain.shift_remove("annotations");
        }
    }
    Ok(plain)
}
