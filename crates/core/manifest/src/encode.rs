//! Encoding: from the model to the documents of a family. Encoding does no I/O: the digests and
//! sizes of sealed layers are enough.
//!
//! The documents that the image was decoded from are changed as little as possible; see decisions 3
//! to 10 and 14 to 18 in `design.rs`.

use std::collections::BTreeMap;

use imgconv_json::{Map, Value, canonical, folds_to, parse, split, within};
use imgconv_model::{
    Algorithm, Code, Compression, Document, Encoded, Env, Error, FormatId, Image, Layer, Limits,
    Original, Outcome, Report, Result, SealedLayer, Step, quote,
};
use imgconv_stream::digest;

use crate::{
    config::{Paths, encode_config, find, usable},
    family::Family,
    media_type,
    read::{
        self, ACI_MANIFEST, CONFIG_MODEL_FIELDS, FIELDS, LAYER_MODEL_FIELDS, MODEL_FIELDS, Manifest,
    },
};

/// The most bytes of the carried ACI manifest in the JSON of the manifest.
const ACI_MANIFEST_LIMIT: usize = 1 << 20;

/// Prefixes of annotations of a layer that describe its compressed bytes: the position of a table of
/// contents, or the digest and size of the blob.
const COMPRESSED: &[&str] = &[
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
    "containerd.io/snapshot/overlaybd/blob-digest",
    "containerd.io/snapshot/overlaybd/blob-size",
];

/// The annotation of a layer that repeats its diff ID.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Returns true if a layer's annotation describes its compressed bytes: it is dropped with these
/// bytes, and that is no loss (decision 5).
pub fn describes_compression(key: &str) -> bool {
    COMPRESSED.iter().any(|prefix| key.starts_with(prefix))
}

/// Returns true if a layer's annotation describes only the bytes of the layer, compressed or not: it
/// is dropped with the layer, and that is no loss (decision 5).
pub fn describes_bytes(key: &str) -> bool {
    key == UNCOMPRESSED || describes_compression(key)
}

/// Writes an image, see [`imgconv_model::DocumentFormat::encode`].
///
/// # Errors
/// If the family has no layer type for the compression of a layer, or a document exceeds its limit.
pub fn encode(
    family: &Family,
    image: &Image,
    sealed: &[SealedLayer],
    env: &Env,
    report: &mut Report,
) -> Result<Encoded> {
    let limits = &env.limits;
    let original = read_original(family, &image.originals, limits, report);
    let aci = carried_aci(family, &image.originals, original.as_ref(), report);
    let (config, extensions) = encode_config(family, image, sealed, aci.is_some(), env, report)?;
    let mut all = image.annotations.clone();
    if family.annotations && all.remove(ACI_MANIFEST).is_some() {
        let why = "the name is reserved for the manifest of the ACI that the image comes from";
        let field = format!("annotations.{ACI_MANIFEST}");
        report.lose(field, Outcome::Dropped, why);
    }
    if !family.annotations {
        let there = original.as_ref().map(|original| &original.read.annotations);
        all.retain(|key, value| {
            let stays = there.and_then(|there| there.get(key)) == Some(value);
            if !stays {
                lose_annotation(family, "", key, report);
            }
            stays
        });
    }
    if let Some(text) = aci {
        all.insert(ACI_MANIFEST.to_owned(), text.to_owned());
    }
    let parts = Parts {
        family,
        config: &config,
        layers: &image.layers,
        sealed,
        annotations: &all,
        extensions: &extensions,
        limits,
    };
    let root = write_manifest(&parts, original.as_ref(), report)?;
    within(
        root.bytes.len() as u64,
        ("manifest", limits.manifest),
        "the new manifest",
    )?;
    Ok(Encoded {
        documents: vec![config],
        root,
    })
}

/// Reports an annotation that a family without annotations can't hold.
pub(crate) fn lose_annotation(family: &Family, parent: &str, key: &str, report: &mut Report) {
    let field = format!("{parent}annotations.{key}");
    let why = format!("{} manifests have no annotations", family.name);
    report.lose(field, Outcome::Dropped, why);
}

/// The manifest that the image was decoded from.
struct OriginalManifest<'a> {
    document: &'a Document,
    map: Map<String, Value>,
    read: Manifest,
}

fn read_original<'a>(
    family: &Family,
    originals: &'a [Original],
    limits: &Limits,
    report: &mut Report,
) -> Option<OriginalManifest<'a>> {
    let document = find(originals, family.id, "manifest")?;
    let read = parse(&document.bytes, limits, "manifest").and_then(|value| {
        let read = read::read(family, &value, family.manifest, limits)?;
        let map = value.as_object().cloned().unwrap_or_default();
        Ok(OriginalManifest {
            document,
            map,
            read,
        })
    });
    usable(read, "manifest", report)
}

/// Returns the ACI manifest that is kept for the conversion back.
fn carried_aci<'a>(
    family: &Family,
    originals: &'a [Original],
    original: Option<&OriginalManifest<'_>>,
    report: &mut Report,
) -> Option<&'a str> {
    let document = find(originals, FormatId::ACI, "manifest")?;
    let Ok(text) = std::str::from_utf8(&document.bytes) else {
        if !family.annotations {
            return None;
        }
        report.lose("manifest", Outcome::Dropped, "it is not UTF-8");
        return None;
    };
    let there = original.and_then(|original| original.read.annotations.get(ACI_MANIFEST));
    if !family.annotations {
        // The family can't hold the ACI manifest: its own fields are reported one by one.
        return there.is_some_and(|there| there == text).then_some(text);
    }
    let fits = text.len() <= ACI_MANIFEST_LIMIT
        && canonical(&Value::from(text)).len() <= ACI_MANIFEST_LIMIT;
    if !fits && there.is_none_or(|there| there != text) {
        let why = format!(
            "too large to keep: {} bytes do not fit into an annotation of 1 MiB",
            text.len()
        );
        report.lose("manifest", Outcome::Dropped, why);
        return None;
    }
    Some(text)
}

/// The parts of a manifest.
struct Parts<'a> {
    family: &'a Family,
    config: &'a Document,
    layers: &'a [Layer],
    sealed: &'a [SealedLayer],
    annotations: &'a BTreeMap<String, String>,
    extensions: &'a Paths,
    limits: &'a Limits,
}

/// Writes the manifest, or returns the original if its fields are unchanged.
fn write_manifest(
    parts: &Parts<'_>,
    original: Option<&OriginalManifest<'_>>,
    report: &mut Report,
) -> Result<Document> {
    let before = original
        .map(|original| original.map.clone())
        .unwrap_or_default();
    let mut top = before.clone();
    put(&mut top, "config", config_descriptor(parts, &before));
    let layers = layer_descriptors(parts, &before, report)?;
    // An absent list equals an empty list, and stays absent as long as no other field changes.
    let unlisted = original.is_some()
        && before.get("layers").is_none_or(Value::is_null)
        && layers.as_array().is_some_and(Vec::is_empty);
    if !unlisted {
        put(&mut top, "layers", layers);
    }
    let same = original.is_some_and(|original| original.read.annotations == *parts.annotations);
    if !same {
        put_annotations(&mut top, parts.annotations);
    }
    let known = original.map(|original| &original.read.extensions);
    for (path, raw) in parts.extensions {
        if known.and_then(|known| known.get(path)) != Some(raw) {
            put_extension(&mut top, parts, path, raw, report);
        }
    }
    report_lost_extensions(&top, parts, report)?;
    if let Some(OriginalManifest { document, .. }) = original
        && top == before
    {
        return Ok(Document {
            kind: if document.kind.is_empty() {
                parts.family.manifest.to_owned()
            } else {
                document.kind.clone()
            },
            bytes: document.bytes.clone(),
        });
    }
    // A manifest that is written anew must be correct in every field and have all required fields.
    if unlisted {
        put(&mut top, "layers", Value::Array(Vec::new()));
    }
    correct_types(&mut top, parts)?;
    put(&mut top, "schemaVersion", Value::from(2));
    put(&mut top, "mediaType", Value::from(parts.family.manifest));
    Ok(Document {
        kind: parts.family.manifest.to_owned(),
        bytes: canonical(&Value::Object(top)).into(),
    })
}

/// Sets a field; a new field goes before the first one that the specification has later.
fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    if map.contains_key(key) {
        map.insert(key.to_owned(), value);
        return;
    }
    let rank = |key: &str| FIELDS.iter().position(|name| *name == key);
    let mine = rank(key);
    let place = map
        .keys()
        .position(|other| rank(other).is_some_and(|other| Some(other) > mine));
    map.shift_insert(place.unwrap_or(map.len()), key.to_owned(), value);
}

/// Sets annotations: those that stay keep their position, new ones follow; an empty map is no
/// field.
fn put_annotations(top: &mut Map<String, Value>, annotations: &BTreeMap<String, String>) {
    if annotations.is_empty() {
        top.shift_remove("annotations");
        return;
    }
    let mut map = match top.get("annotations") {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    };
    map.retain(|key, _| annotations.contains_key(key));
    for (key, value) in annotations {
        map.insert(key.clone(), Value::from(value.as_str()));
    }
    put(top, "annotations", Value::Object(map));
}

fn config_descriptor(parts: &Parts<'_>, before: &Map<String, Value>) -> Value {
    let bytes = &parts.config.bytes;
    let old = before.get("config").and_then(Value::as_object);
    let size = bytes.len() as u64;
    if let Some(old) = old
        && old.get("size").and_then(Value::as_u64) == Some(size)
    {
        let written = old.get("digest").and_then(Value::as_str);
        let same = [Algorithm::Sha256, Algorithm::Sha512]
            .iter()
            .any(|&algorithm| written == Some(&*digest(algorithm, bytes).to_string()));
        if same {
            return Value::Object(old.clone());
        }
    }
    let found = digest(Algorithm::Sha256, bytes);
    Value::Object(describe(old, parts.family.config, &found.to_string(), size))
}

/// Makes a descriptor, with the other properties of the descriptor that it replaces.
fn describe(
    old: Option<&Map<String, Value>>,
    kind: &str,
    digest: &str,
    size: u64,
) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("mediaType".into(), Value::from(kind));
    map.insert("digest".into(), Value::from(digest));
    map.insert("size".into(), Value::from(size));
    for (key, value) in old.into_iter().flatten() {
        // Embedded bytes belong to the old blob, and are dropped.
        if !map.contains_key(key) && key != "data" {
            map.insert(key.clone(), value.clone());
        }
    }
    map
}

/// Writes the descriptors of the layers. A blob that stays keeps its descriptor.
fn layer_descriptors(
    parts: &Parts<'_>,
    before: &Map<String, Value>,
    report: &mut Report,
) -> Result<Value> {
    let old = before
        .get("layers")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    // With the same number of layers each layer replaces the one at its position; otherwise only an
    // equal blob is the same layer.
    let aligned = old.len() == parts.sealed.len();
    let mut descriptors = Vec::new();
    for (i, (layer, sealed)) in parts.layers.iter().zip(parts.sealed).enumerate() {
        let found = sealed.digest.to_string();
        let equal = |value: &&Value| {
            value.get("digest").and_then(Value::as_str) == Some(&*found)
                && value.get("size").and_then(Value::as_u64) == Some(sealed.size)
        };
        // A merged layer replaces no single layer, even if there was only one to merge.
        let at_place = old
            .get(i)
            .filter(|_| aligned && sealed.step != Step::Squash);
        let same = at_place
            .filter(equal)
            .or_else(|| old.iter().find(equal))
            .and_then(Value::as_object);
        let kept = layer.blob.facts.digest == Some(sealed.digest) || same.is_some();
        let mut map = match same {
            Some(map) => map.clone(),
            None => {
                let replaced = at_place.and_then(Value::as_object);
                describe(replaced, layer_type(parts, i)?, &found, sealed.size)
            }
        };
        let kind = map.get("mediaType").and_then(Value::as_str);
        if sealed.step == Step::Recompress
            && !kind.is_some_and(|kind| is_true(parts.family, kind, layer, sealed))
        {
            // The layer was made anew because of its wrong type, and came out with the same bytes.
            map.insert("mediaType".into(), Value::from(layer_type(parts, i)?));
        }
        put_layer_fields(&mut map, parts, i, kept, report);
        descriptors.push(Value::Object(map));
    }
    Ok(Value::Array(descriptors))
}

/// Returns the type that a layer gets when it is written anew. A foreign layer of another family
/// stays foreign as long as its blob is the one that its URLs lead to.
fn layer_type(parts: &Parts<'_>, i: usize) -> Result<&'static str> {
    let (family, layer, sealed) = (parts.family, &parts.layers[i], &parts.sealed[i]);
    let of = |table: &[(Compression, &'static str)]| {
        let found = table.iter().find(|(one, _)| *one == sealed.compression);
        found.map(|(_, kind)| *kind)
    };
    let kept = layer.blob.facts.digest == Some(sealed.digest);
    let foreign = layer.kind.as_deref().is_some_and(|kind| {
        let own = family.foreign_layers.iter().any(|(_, own)| *own == kind);
        !own && media_type::layer(kind).is_some_and(|kind| kind.foreign)
    });
    let table = if foreign && kept && !layer.urls.is_empty() {
        family.foreign_layers
    } else {
        family.layers
    };
    of(table).ok_or_else(|| {
        let message = format!(
            "{} has no layers compressed with {}",
            family.name, sealed.compression
        );
        Error::new(Code::Unsupported, message).at(format!("layer {i}"))
    })
}

/// Gives every layer the type of its compression.
fn correct_types(top: &mut Map<String, Value>, parts: &Parts<'_>) -> Result<()> {
    let Some(Value::Array(descriptors)) = top.get_mut("layers") else {
        return Ok(());
    };
    let layers = parts.layers.iter().zip(parts.sealed);
    for (i, (descriptor, (layer, sealed))) in descriptors.iter_mut().zip(layers).enumerate() {
        let kind = descriptor.get("mediaType").and_then(Value::as_str);
        if !kind.is_some_and(|kind| is_true(parts.family, kind, layer, sealed)) {
            descriptor["mediaType"] = Value::from(layer_type(parts, i)?);
        }
    }
    Ok(())
}

/// Returns true if the type of a kept layer may stay in a manifest that is written anew.
fn is_true(family: &Family, kind: &str, layer: &Layer, sealed: &SealedLayer) -> bool {
    media_type::layer(kind).is_some_and(|read| {
        let wanted = if read.foreign {
            !layer.urls.is_empty()
        } else {
            family.layers.iter().any(|(_, own)| *own == kind)
        };
        wanted && read.compression == sealed.compression
    })
}

/// Sets the URLs and annotations of a layer's descriptor where they differ from the model's.
fn put_layer_fields(
    map: &mut Map<String, Value>,
    parts: &Parts<'_>,
    i: usize,
    kept: bool,
    report: &mut Report,
) {
    let Layer {
        blob: _,    // the sealed layer says what was written
        diff_id: _, // in the config
        kind: _,    // the true one is written
        urls,
        annotations,
    } = &parts.layers[i];
    let urls: &[String] = if kept { urls } else { &[] };
    if !kept && !parts.layers[i].urls.is_empty() {
        let why = "the URLs lead to the blob before it was compressed again";
        report.lose(format!("layers.{i}.urls"), Outcome::Dropped, why);
    }
    let written = map.get("urls").and_then(Value::as_array);
    let written = written.map_or(&[][..], Vec::as_slice);
    if !written
        .iter()
        .map(Value::as_str)
        .eq(urls.iter().map(|url| Some(url.as_str())))
    {
        map.shift_remove("urls");
        if !urls.is_empty() {
            map.insert("urls".into(), urls.iter().map(String::as_str).collect());
        }
    }
    let mut annotations = annotations.clone();
    if !kept {
        annotations.retain(|key, _| !describes_compression(key));
    }
    annotations.extend(parts.sealed[i].annotations.clone());
    let written: BTreeMap<String, String> = map
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned()))
        .collect();
    if !parts.family.annotations {
        let parent = format!("layers.{i}.");
        annotations.retain(|key, value| {
            let stays = written.get(key) == Some(value);
            if !stays {
                lose_annotation(parts.family, &parent, key, report);
            }
            stays
        });
    }
    // A new blob can have another tar, whose diff ID the old text does not give.
    if !kept && let Some(diff_id) = annotations.get_mut(UNCOMPRESSED) {
        *diff_id = parts.sealed[i].diff_id.to_string();
    }
    if written != annotations {
        put_annotations(map, &annotations);
    }
}

/// Writes an extension that the original does not have, if the manifest has a field for it.
fn put_extension(
    top: &mut Map<String, Value>,
    parts: &Parts<'_>,
    path: &str,
    raw: &str,
    report: &mut Report,
) {
    let written = split(path)
        .zip(parse(raw.as_bytes(), parts.limits, path).ok())
        .and_then(|(keys, value)| {
            let mut changed = top.clone();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            match keys[..] {
                ["manifest", key] if free(key, MODEL_FIELDS) => put(&mut changed, key, value),
                ["manifest", "config", key] if free(key, CONFIG_MODEL_FIELDS) => {
                    changed
                        .get_mut("config")?
                        .as_object_mut()?
                        .insert(key.to_owned(), value);
                }
                ["manifest", "layers", i, key] if free(key, LAYER_MODEL_FIELDS) => {
                    let i: usize = i.parse().ok()?;
                    // A property of the old blob does not hold for the new one.
                    let kept =
                        parts.layers.get(i)?.blob.facts.digest == Some(parts.sealed[i].digest);
                    let layer = changed.get_mut("layers")?.get_mut(i).filter(|_| kept)?;
                    layer.as_object_mut()?.insert(key.to_owned(), value);
                }
                _ => return None,
            }
            // The extension must not make a manifest that readers would refuse.
            read_again(&changed, parts).ok()?;
            Some(changed)
        });
    match written {
        Some(changed) => *top = changed,
        None => report.lose(path, Outcome::Dropped, "the manifest can't hold this field"),
    }
}

fn free(key: &str, model: &[&str]) -> bool {
    !model.iter().any(|name| folds_to(key, name))
}

/// Reports the properties of the original for blobs that were replaced.
///
/// # Errors
/// If readers would refuse the new manifest, such as one with too many layers.
fn report_lost_extensions(
    top: &Map<String, Value>,
    parts: &Parts<'_>,
    report: &mut Report,
) -> Result<()> {
    let there = read_again(top, parts)
        .map_err(|error| error.at("new manifest"))?
        .extensions;
    for (path, raw) in parts.extensions {
        let listed = report.losses.iter().any(|loss| loss.field == *path);
        if there.get(path) != Some(raw) && !listed {
            let message = match is_of_merged(path, parts.sealed) {
                true => "the field describes a layer that was merged".to_owned(),
                false => format!("the text {} is not read back as it was", quote(raw)),
            };
            report.lose(path, Outcome::Dropped, message);
        }
    }
    Ok(())
}

/// Says whether an extension is a property of a layer that was merged: the merged layer stands for
/// all layers from its position on.
fn is_of_merged(path: &str, sealed: &[SealedLayer]) -> bool {
    let merged = sealed.iter().position(|layer| layer.step == Step::Squash);
    let keys = split(path).unwrap_or_default();
    match (merged, &keys[..]) {
        (Some(from), [manifest, layers, i, ..]) if manifest == "manifest" && layers == "layers" => {
            i.parse::<usize>().is_ok_and(|i| i >= from)
        }
        _ => false,
    }
}

/// Reads a manifest that is being made; required fields may still be missing.
fn read_again(top: &Map<String, Value>, parts: &Parts<'_>) -> Result<Manifest> {
    let mut whole = top.clone();
    whole.insert("schemaVersion".into(), Value::from(2));
    let family = parts.family;
    read::read(family, &Value::Object(whole), family.manifest, parts.limits)
}
