//! From the model to OCI documents. Does no I/O: layers are known by their sealed facts.
//!
//! It changes as little as possible of the documents the image was decoded from; see decisions 3
//! to 10 in the design notes.

use std::collections::BTreeMap;

use imgconv_model::{
    Algorithm, Code, Document, Encoded, Env, Error, Extensions, FormatId, Image, Layer, Limits,
    Original, Outcome, Report, Result, RunConfig, SealedLayer, quote,
};
use imgconv_stream::digest;
use imgconv_wire::{Map, Value, canonical, docker_config, folds_to, parse, rfc3339, split, within};

use crate::{
    ID,
    manifest::{
        self, ACI_MANIFEST, CONFIG_MODEL_FIELDS, FIELDS, LAYER_MODEL_FIELDS, MODEL_FIELDS, Manifest,
    },
    media_type,
};

/// Bytes that the carried ACI manifest may take in the JSON of the manifest.
const ACI_MANIFEST_LIMIT: usize = 1 << 20;

/// Annotations of a layer that describe its compressed bytes, by prefix.
const TABLE_OF_CONTENTS: &[&str] = &[
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/stargz/",
    "io.containers.estargz.",
];

/// Writes an image, see [`imgconv_model::Format::encode`].
pub(crate) fn encode(
    image: &Image,
    sealed: &[SealedLayer],
    env: &Env,
    report: &mut Report,
) -> Result<Encoded> {
    let Image {
        name: _, // the transport's
        platform,
        created,
        author,
        config,
        layers,
        history,
        annotations,
        extensions,
        originals,
    } = image;
    let RunConfig {
        exec,
        user,
        env: variables,
        working_dir,
        ports,
        volumes,
        labels,
        stop_signal,
    } = config;
    if layers.len() != sealed.len() {
        let message = format!(
            "the image has {} layers and {} were written",
            layers.len(),
            sealed.len()
        );
        return Err(Error::new(Code::Usage, message));
    }
    let limits = &env.limits;
    let original = read_original(originals, limits, report);
    let aci = carried_aci(originals, original.as_ref(), report);
    let (config_extensions, manifest_extensions) = divide(extensions, aci.is_some(), report);
    let wanted = docker_config::ImageConfig {
        platform: platform.clone(),
        created: created.clone(),
        author: author.clone(),
        config: RunConfig {
            exec: exec.clone(),
            user: user.clone(),
            env: variables.clone(),
            working_dir: working_dir.clone(),
            ports: ports.clone(),
            volumes: volumes.clone(),
            labels: labels.clone(),
            stop_signal: stop_signal.clone(),
        },
        diff_ids: sealed.iter().map(|layer| layer.diff_id).collect(),
        history: history.clone(),
        extensions: config_extensions,
    };
    let config = write_config(&wanted, originals, env, report)?;
    within(
        config.bytes.len() as u64,
        ("config", limits.config),
        "the new config",
    )?;
    let mut all = annotations.clone();
    if all.remove(ACI_MANIFEST).is_some() {
        let why = "the name is reserved for the manifest of the ACI that the image comes from";
        let field = format!("annotations.{ACI_MANIFEST}");
        report.lose(field, Outcome::Dropped, why);
    }
    if let Some(text) = aci {
        all.insert(ACI_MANIFEST.to_owned(), text.to_owned());
    }
    let parts = Parts {
        config: &config,
        layers,
        sealed,
        annotations: &all,
        extensions: &manifest_extensions,
        limits,
    };
    let root = write_manifest(&parts, original.as_ref(), report)?;
    within(
        root.bytes.len() as u64,
        ("manifest", limits.manifest),
        "the new manifest",
    )?;
    Ok(Encoded::Documents {
        documents: vec![config],
        root,
    })
}

fn find<'a>(originals: &'a [Original], format: FormatId, role: &str) -> Option<&'a Document> {
    originals
        .iter()
        .find(|original| original.format == format && original.role == role)
        .map(|original| &original.document)
}

/// The manifest that the image was decoded from.
struct OriginalManifest<'a> {
    document: &'a Document,
    map: Map<String, Value>,
    read: Manifest,
}

fn read_original<'a>(
    originals: &'a [Original],
    limits: &Limits,
    report: &mut Report,
) -> Option<OriginalManifest<'a>> {
    let document = find(originals, ID, "manifest")?;
    let read = parse(&document.bytes, limits, "manifest").and_then(|value| {
        let read = manifest::read(&value, media_type::MANIFEST, limits)?;
        let map = value.as_object().cloned().unwrap_or_default();
        Ok(OriginalManifest {
            document,
            map,
            read,
        })
    });
    usable(read, "manifest", report)
}

/// Returns the ACI manifest that is kept for the way back.
fn carried_aci<'a>(
    originals: &'a [Original],
    original: Option<&OriginalManifest<'_>>,
    report: &mut Report,
) -> Option<&'a str> {
    let document = find(originals, FormatId("aci"), "manifest")?;
    let Ok(text) = std::str::from_utf8(&document.bytes) else {
        report.lose("manifest", Outcome::Dropped, "it is not UTF-8");
        return None;
    };
    let there = original.and_then(|original| original.read.annotations.get(ACI_MANIFEST));
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

type Paths = BTreeMap<String, String>;

/// Divides the extensions: those of the config, those of the manifest; foreign ones are reported.
fn divide(extensions: &Extensions, kept: bool, report: &mut Report) -> (Paths, Paths) {
    let (mut config, mut manifest) = (Paths::new(), Paths::new());
    for ((format, path), raw) in extensions {
        if *format == ID {
            let of_manifest = path.starts_with("manifest.");
            let part = if of_manifest {
                &mut manifest
            } else {
                &mut config
            };
            part.insert(path.clone(), raw.clone());
        } else {
            let why = if kept && *format == FormatId("aci") {
                "OCI has no field for it; kept verbatim in the annotation imgconv.aci.manifest for \
                 the way back"
            } else {
                "OCI has no field for it"
            };
            report.lose(path, Outcome::Dropped, why);
        }
    }
    (config, manifest)
}

/// Writes the config, or returns the original if it says the same.
fn write_config(
    wanted: &docker_config::ImageConfig,
    originals: &[Original],
    env: &Env,
    report: &mut Report,
) -> Result<Document> {
    let defaults = docker_config::Defaults {
        platform: &env.host,
        created: env.epoch.and_then(rfc3339),
        limits: &env.limits,
    };
    let original = find(originals, ID, "config").and_then(|document| {
        let read = parse(&document.bytes, &env.limits, "config").and_then(|value| {
            // Only an original that decodes is one; another format may have carried it.
            docker_config::decode(&value, &mut Report::default())?;
            Ok(value)
        });
        usable(read, "config", report).map(|value| (document, value))
    });
    let value = original.as_ref().map(|(_, value)| value);
    let (written, changed) = docker_config::encode(value, wanted, &defaults, report)?;
    match original {
        Some((document, _)) if !changed => Ok(document.clone()),
        _ => Ok(Document {
            kind: media_type::CONFIG.to_owned(),
            bytes: canonical(&written).into(),
        }),
    }
}

fn usable<T>(read: Result<T>, what: &str, report: &mut Report) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            let message = format!("the carried original can't be used: {error}");
            report.warn("bad-original", what, message);
            None
        }
    }
}

/// What a manifest is made of.
struct Parts<'a> {
    config: &'a Document,
    layers: &'a [Layer],
    sealed: &'a [SealedLayer],
    annotations: &'a BTreeMap<String, String>,
    extensions: &'a Paths,
    limits: &'a Limits,
}

/// Writes the manifest, or returns the original if it says the same.
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
    put(&mut top, "layers", layer_descriptors(parts, &before)?);
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
                media_type::MANIFEST.to_owned()
            } else {
                document.kind.clone()
            },
            bytes: document.bytes.clone(),
        });
    }
    // It is written anew, so everything in it must be true.
    correct_types(&mut top, parts)?;
    put(&mut top, "schemaVersion", Value::from(2));
    put(&mut top, "mediaType", Value::from(media_type::MANIFEST));
    Ok(Document {
        kind: media_type::MANIFEST.to_owned(),
        bytes: canonical(&Value::Object(top)).into(),
    })
}

/// Sets a field; a new one goes before the first that stands later in the specification.
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

/// Sets annotations: those that stay keep their place, new ones follow, none at all is no field.
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
    Value::Object(describe(old, media_type::CONFIG, &found.to_string(), size))
}

/// Makes a descriptor, keeping what else stands in the one that it replaces.
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
        // Embedded bytes are those of the old blob.
        if !map.contains_key(key) && key != "data" {
            map.insert(key.clone(), value.clone());
        }
    }
    map
}

/// Writes the descriptors of the layers. A blob that stays keeps its descriptor.
fn layer_descriptors(parts: &Parts<'_>, before: &Map<String, Value>) -> Result<Value> {
    let old = before
        .get("layers")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    // With as many layers as before each replaces the one at its place; otherwise only an equal
    // blob is the same layer.
    let aligned = old.len() == parts.sealed.len();
    let mut descriptors = Vec::new();
    for (i, (layer, sealed)) in parts.layers.iter().zip(parts.sealed).enumerate() {
        let found = sealed.digest.to_string();
        let equal = |value: &&Value| {
            value.get("digest").and_then(Value::as_str) == Some(&*found)
                && value.get("size").and_then(Value::as_u64) == Some(sealed.size)
        };
        let at_place = old.get(i).filter(|_| aligned);
        let same = at_place
            .filter(equal)
            .or_else(|| old.iter().find(equal))
            .and_then(Value::as_object);
        let kept = layer.blob.facts.digest == Some(sealed.digest) || same.is_some();
        let mut map = match same {
            Some(map) => map.clone(),
            None => {
                let replaced = at_place.and_then(Value::as_object);
                describe(replaced, layer_type(sealed, i)?, &found, sealed.size)
            }
        };
        put_layer_fields(&mut map, layer, kept);
        descriptors.push(Value::Object(map));
    }
    Ok(Value::Array(descriptors))
}

fn layer_type(sealed: &SealedLayer, i: usize) -> Result<&'static str> {
    media_type::of_compression(sealed.compression).ok_or_else(|| {
        let message = format!("OCI has no layers compressed with {}", sealed.compression);
        Error::new(Code::Unsupported, message).at(format!("layer {i}"))
    })
}

/// Gives every layer its true type.
fn correct_types(top: &mut Map<String, Value>, parts: &Parts<'_>) -> Result<()> {
    let Some(Value::Array(descriptors)) = top.get_mut("layers") else {
        return Ok(());
    };
    let layers = parts.layers.iter().zip(parts.sealed);
    for (i, (descriptor, (layer, sealed))) in descriptors.iter_mut().zip(layers).enumerate() {
        let kind = descriptor.get("mediaType").and_then(Value::as_str);
        if !kind.is_some_and(|kind| is_true(kind, layer, sealed)) {
            descriptor["mediaType"] = Value::from(layer_type(sealed, i)?);
        }
    }
    Ok(())
}

/// Says whether the type of a kept layer may stay in a manifest that is written anew.
fn is_true(kind: &str, layer: &Layer, sealed: &SealedLayer) -> bool {
    media_type::layer(kind).is_some_and(|kind| {
        let wanted = if kind.foreign {
            !layer.urls.is_empty()
        } else {
            !kind.docker
        };
        wanted && kind.compression == sealed.compression
    })
}

/// Sets the URLs and annotations of a layer's descriptor where they differ from the model's.
fn put_layer_fields(map: &mut Map<String, Value>, layer: &Layer, kept: bool) {
    let Layer {
        blob: _,    // the sealed layer says what was written
        diff_id: _, // in the config
        kind: _,    // the true one is written
        urls,
        annotations,
    } = layer;
    // A new blob is not at the old URLs.
    let urls: &[String] = if kept { urls } else { &[] };
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
        annotations.retain(|key, _| !TABLE_OF_CONTENTS.iter().any(|p| key.starts_with(p)));
    }
    let written: BTreeMap<String, String> = map
        .get("annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned()))
        .collect();
    if written != annotations {
        put_annotations(map, &annotations);
    }
}

/// Writes an extension that the original does not have, if it has a place.
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
                    // What was said of a blob is not said of the one that replaced it.
                    let kept =
                        parts.layers.get(i)?.blob.facts.digest == Some(parts.sealed[i].digest);
                    let layer = changed.get_mut("layers")?.get_mut(i).filter(|_| kept)?;
                    layer.as_object_mut()?.insert(key.to_owned(), value);
                }
                _ => return None,
            }
            // It must not make the manifest one that is refused.
            read_again(&changed, parts.limits).ok()?;
            Some(changed)
        });
    match written {
        Some(changed) => *top = changed,
        None => report.lose(
            path,
            Outcome::Dropped,
            "it is no field that the manifest can hold",
        ),
    }
}

fn free(key: &str, model: &[&str]) -> bool {
    !model.iter().any(|name| folds_to(key, name))
}

/// Reports what the original said of a blob that is not there any more.
///
/// # Errors
/// If the new manifest is one that would be refused, such as one with too many layers.
fn report_lost_extensions(
    top: &Map<String, Value>,
    parts: &Parts<'_>,
    report: &mut Report,
) -> Result<()> {
    let there = read_again(top, parts.limits)
        .map_err(|error| error.at("new manifest"))?
        .extensions;
    for (path, raw) in parts.extensions {
        let listed = report.losses.iter().any(|loss| loss.field == *path);
        if there.get(path) != Some(raw) && !listed {
            let message = format!("the text {} is not read back as it was", quote(raw));
            report.lose(path, Outcome::Dropped, message);
        }
    }
    Ok(())
}

/// Reads a manifest that is being made; the fields that every manifest has may still be missing.
fn read_again(top: &Map<String, Value>, limits: &Limits) -> Result<Manifest> {
    let mut whole = top.clone();
    whole.insert("schemaVersion".into(), Value::from(2));
    manifest::read(&Value::Object(whole), media_type::MANIFEST, limits)
}
