//! One image of a docker archive: an entry of `manifest.json`, its config and its layers.
//!
//! The module reads neither the archive nor the other entries, and leaves `RepoTags` to the
//! transport. It opens no layer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_json::{Map, Object, Value, canonical, folds_to, join, parse, split};
use imgconv_manifest::{
    self as manifest, Family, archive_image::REMADE, docker_config, report_remade,
};
use imgconv_model::{
    Algorithm, Blob, Bundle, Code, Compression, Digest, Document, Encoded, Env, Error, Facts,
    FormatId, Image, Layer, Limits, Original, Outcome, Report, Result, SealedLayer, quote,
};
use imgconv_stream::{digest, read_to_limit};

use crate::{
    ARCHIVE_IMAGE,
    empty_layer::{NeverEmpty, replacement},
    family,
};

/// The facts of this format for the code of configs. `manifest` is the type of an entry, because an archive has no
/// manifest of a registry.
pub(crate) const FAMILY: Family = Family {
    id: FormatId::DOCKER_ARCHIVE,
    name: "a docker archive",
    manifest: ARCHIVE_IMAGE,
    ..family::FAMILY
};

/// The descriptors of layers as registries have them, by diff ID: docker notes the URLs of foreign layers there
/// (moby, image/tarexport/save.go).
const SOURCES: &str = "LayerSources";

/// The fields of an entry that are not extensions.
const FIELDS: &[&str] = &["Config", "RepoTags", "Layers", SOURCES, REMADE];

/// The image that this one was built on, by its ID; kept as an extension.
const PARENT: &str = "Parent";

/// Reads an entry and its config, see [`imgconv_model::DocumentFormat::decode`].
pub(crate) fn decode(
    document: &Document,
    bundle: &dyn Bundle,
    env: &Env,
    report: &mut Report,
) -> Result<Image> {
    let limits = &env.limits;
    let value = parse(&document.bytes, limits, "entry")?;
    let entry = read_entry(&value, limits).map_err(|error| error.at("entry"))?;
    let config_document =
        read_config(&entry.config, bundle, limits).map_err(|error| error.at("config"))?;
    warn_of_name(&entry.config, &config_document, report);
    let value = parse(&config_document.bytes, limits, "config")?;
    let read = docker_config::decode(&value, report).map_err(|error| error.at("config"))?;
    let docker_config::ImageConfig {
        platform,
        created,
        author,
        config,
        diff_ids,
        history,
        extensions,
    } = read;
    if diff_ids.len() != entry.layers.len() {
        let message = format!(
            "the config has {} diff IDs, but the entry has {} layers",
            diff_ids.len(),
            entry.layers.len()
        );
        return Err(Error::new(Code::BadManifest, message).at("config › field rootfs.diff_ids"));
    }
    one_content_each(&entry.layers, &diff_ids)?;
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (i, (name, diff_id)) in entry.layers.iter().zip(diff_ids).enumerate() {
        let place = || format!("layer {i} ({})", quote(name));
        let blob = match bundle.member(name, &named_facts(name)) {
            // A broken link, as Docker 1.12 wrote some: the diff ID in the config identifies the
            // layer.
            Err(error) if matches!(error.code(), Code::Missing | Code::Escape | Code::Cycle) => {
                let found = bundle
                    .layer_of(&diff_id)
                    .map_err(|error| error.at(place()))?;
                let Some((instead, blob)) = found else {
                    return Err(error.at(place()));
                };
                let message = format!(
                    "the member is missing ({}); {} is read instead, which has the same diff ID",
                    error.message(),
                    quote(instead)
                );
                report.warn("layer-found-by-diff-id", place(), message);
                blob
            }
            blob => blob.map_err(|error| error.at(place()))?,
        };
        let urls = entry.urls.get(&diff_id.to_string());
        let diff_id = match replacement(&diff_id) {
            Some(instead) => {
                let message = format!(
                    "the layer has no bytes at all; it is read as an empty tar, whose diff ID is \
                     {instead}"
                );
                report.warn("empty-layer", place(), message);
                instead
            }
            None => diff_id,
        };
        let remade = entry.remade.contains(&(i as u64));
        if remade {
            report_remade(i, place(), report);
        }
        layers.push(Layer {
            // The digest of the stored bytes is unknown, so other places store the layer anew.
            blob: Blob {
                facts: Facts {
                    digest: None,
                    // A layer without any bytes is read as an empty tar, so its size changes.
                    size: blob.facts.size.filter(|size| *size > 0),
                },
                bytes: Arc::new(NeverEmpty(blob.bytes)),
            },
            diff_id: (!remade).then_some(diff_id),
            kind: None,
            urls: urls.cloned().unwrap_or_default(),
            annotations: BTreeMap::new(),
        });
    }
    let original = |role, document| Original {
        format: FAMILY.id,
        role,
        document,
    };
    let extensions = extensions
        .into_iter()
        .chain(entry.extensions)
        .map(|(path, raw)| ((FAMILY.id, path), raw));
    Ok(Image {
        name: None, // the transport's
        platform,
        created,
        author,
        config,
        layers,
        history,
        annotations: BTreeMap::new(),
        extensions: extensions.collect(),
        originals: vec![
            original("manifest", document.clone()),
            original("config", config_document),
        ],
    })
}

struct Entry {
    config: String,
    layers: Vec<String>,
    /// The positions of layers that have no claimed diff ID.
    remade: BTreeSet<u64>,
    /// The URLs of foreign layers, by the texts of their diff IDs.
    urls: BTreeMap<String, Vec<String>>,
    extensions: BTreeMap<String, String>,
}

fn read_entry(value: &Value, limits: &Limits) -> Result<Entry> {
    let top = Object::new(value, "")?;
    top.check_names(&[FIELDS, &[PARENT]].concat())?;
    top.string_list("RepoTags")?;
    let config = top.string("Config")?;
    if config.is_empty() {
        return Err(top.bad("Config", "is empty; expected the name of the config"));
    }
    let layers = top.string_list("Layers")?;
    if layers.len() as u64 > limits.layers {
        let what = format!("the list of {} layers", layers.len());
        return Err(Limits::exceeded("layers", limits.layers, what));
    }
    if let Some(i) = layers.iter().position(String::is_empty) {
        let message = "is empty; expected the name of a layer";
        return Err(top.bad(&format!("Layers[{i}]"), message));
    }
    let others = top
        .map()
        .iter()
        .filter(|(key, value)| !FIELDS.contains(&key.as_str()) && !value.is_null());
    let extensions = others.map(|(key, value)| {
        let raw = String::from_utf8_lossy(&canonical(value)).into_owned();
        (join("manifest", key), raw)
    });
    let mut urls = BTreeMap::new();
    if let Some(sources) = top.opt_object(SOURCES)? {
        for key in sources.map().keys() {
            let source = sources.opt_object(key)?;
            let found = source.map_or(Ok(Vec::new()), |source| source.string_list("urls"))?;
            if !found.is_empty() {
                urls.insert(key.clone(), found);
            }
        }
    }
    let remade = top.list(REMADE)?.iter().filter_map(Value::as_u64).collect();
    Ok(Entry {
        remade,
        urls,
        config: config.to_owned(),
        extensions: extensions.collect(),
        layers,
    })
}

/// Returns the digest that the name of a member claims: in newer archives the name is a digest
/// (robustness A14). Older archives name a config by its digest too, but do not guarantee that.
fn named_facts(name: &str) -> Facts {
    let found = [Algorithm::Sha256, Algorithm::Sha512]
        .into_iter()
        .find_map(|algorithm| {
            let hex = name
                .strip_prefix("blobs/")?
                .strip_prefix(algorithm.as_str())?
                .strip_prefix('/')?;
            Digest::from_hex(algorithm, hex)
        });
    Facts {
        digest: found,
        size: None,
    }
}

fn read_config(name: &str, bundle: &dyn Bundle, limits: &Limits) -> Result<Document> {
    let blob = bundle.member(name, &named_facts(name))?;
    let limit = ("config", limits.config);
    let bytes = read_to_limit(blob.open()?, limit, &quote(name))?;
    Ok(Document {
        kind: FAMILY.config.to_owned(),
        bytes: bytes.into(),
    })
}

/// Warns of a config whose name is an image ID other than its own: engines have named configs by
/// their ID since Docker 1.10, and no reader relies on the name.
fn warn_of_name(name: &str, config: &Document, report: &mut Report) {
    let hex = name.strip_suffix(".json").unwrap_or_default();
    let Some(named) = Digest::from_hex(Algorithm::Sha256, hex) else {
        return;
    };
    let found = digest(Algorithm::Sha256, &config.bytes);
    if found != named {
        let message =
            format!("the config is named by the image ID {named}, and its own is {found}");
        report.warn("config-name", format!("config {}", quote(name)), message);
    }
}

/// Refuses a member that is named for two different layers (robustness A8).
fn one_content_each(names: &[String], diff_ids: &[Digest]) -> Result<()> {
    let mut known: BTreeMap<(&str, Algorithm), Digest> = BTreeMap::new();
    for (i, (name, diff_id)) in names.iter().zip(diff_ids).enumerate() {
        let first = *known.entry((name, diff_id.algorithm())).or_insert(*diff_id);
        if first != *diff_id {
            let place = format!("layer {i} ({})", quote(name));
            let what = "the diff ID of a member that is two layers";
            return Err(Error::mismatch(what, first, diff_id).at(place));
        }
    }
    Ok(())
}

/// Writes a config and an entry, see [`imgconv_model::DocumentFormat::encode`]. The names of
/// members are the digests of their bytes, as in docker since 25; every older docker can read such
/// names.
pub(crate) fn encode(
    image: &Image,
    sealed: &[SealedLayer],
    env: &Env,
    report: &mut Report,
) -> Result<Encoded> {
    let (config, extensions) = manifest::encode_config(&FAMILY, image, sealed, false, env, report)?;
    for (i, layer) in sealed.iter().enumerate() {
        if layer.compression != Compression::None {
            if image
                .layers
                .get(i)
                .is_some_and(|layer| !layer.urls.is_empty())
            {
                let message = "the layer is foreign and not stored with its image, so it can't be unpacked for a \
                               docker archive";
                return Err(Error::new(Code::Unsupported, message)
                    .at(format!("layer {i}"))
                    .hint("`--foreign fetch` fetches the layer; `--foreign drop` leaves it out"));
            }
            let message = format!(
                "a docker archive holds plain layers, and this one is compressed with {}",
                layer.compression
            );
            return Err(Error::new(Code::Unsupported, message).at(format!("layer {i}")));
        }
    }
    report_lost(image, report);
    let member = |digest: &Digest| {
        let algorithm = digest.algorithm().as_str();
        Value::from(format!("blobs/{algorithm}/{}", digest.hex()))
    };
    let mut entry = Map::new();
    let config_digest = digest(Algorithm::Sha256, &config.bytes);
    entry.insert("Config".into(), member(&config_digest));
    entry.insert("RepoTags".into(), Value::Null);
    let layers = sealed.iter().map(|layer| member(&layer.digest)).collect();
    entry.insert("Layers".into(), Value::Array(layers));
    let sources = layer_sources(image, sealed, &env.limits, report);
    if !sources.is_empty() {
        entry.insert(SOURCES.into(), Value::Object(sources));
    }
    for (path, raw) in &extensions {
        match (split(path).as_deref(), written_as(path, raw, env)) {
            (Some([_, key]), Some(value)) if is_free(key) => {
                entry.insert(key.clone(), value);
            }
            _ => {
                let why = "an entry of a docker archive can't hold this field";
                report.lose(path, Outcome::Dropped, why);
            }
        }
    }
    let root = Document {
        kind: ARCHIVE_IMAGE.to_owned(),
        bytes: canonical(&Value::Object(entry)).into(),
    };
    Ok(Encoded {
        documents: vec![config],
        root,
    })
}

/// Reads the text of an extension; `None` if its value would differ when it is read back.
fn written_as(path: &str, raw: &str, env: &Env) -> Option<Value> {
    let value = parse(raw.as_bytes(), &env.limits, path).ok()?;
    (!value.is_null() && canonical(&value) == raw.as_bytes()).then_some(value)
}

/// Returns true if an extension can be written into an entry: `Parent`, or a key that is no spelling of a known field.
fn is_free(key: &str) -> bool {
    key == PARENT
        || ![FIELDS, &[PARENT]]
            .concat()
            .iter()
            .any(|name| folds_to(key, name))
}

/// Reports values that only the manifest of a registry can hold.
fn report_lost(image: &Image, report: &mut Report) {
    let mut lose = |field: String| {
        let why = "a docker archive has no field for this value";
        report.lose(field, Outcome::Dropped, why);
    };
    for key in image.annotations.keys() {
        lose(format!("annotations.{key}"));
    }
    for (i, layer) in image.layers.iter().enumerate() {
        let annotations = layer.annotations.keys();
        for key in annotations.filter(|key| !manifest::describes_bytes(key)) {
            lose(format!("layers.{i}.annotations.{key}"));
        }
    }
}

/// Describes the foreign layers as registries have them: as the original entry does, else by the descriptor of the
/// source. URLs of a layer without a descriptor are reported.
fn layer_sources(
    image: &Image,
    sealed: &[SealedLayer],
    limits: &Limits,
    report: &mut Report,
) -> Map<String, Value> {
    let own = |it: &&Original| it.format == FAMILY.id && it.role == "manifest";
    let original = image.originals.iter().find(own);
    let original = original.and_then(|it| parse(&it.document.bytes, limits, "entry").ok());
    let mut sources = Map::new();
    for (i, (layer, sealed)) in image.layers.iter().zip(sealed).enumerate() {
        if layer.urls.is_empty() {
            continue;
        }
        let key = sealed.diff_id.to_string();
        let old = original.as_ref().and_then(|it| it.get(SOURCES)?.get(&key));
        match old.cloned().or_else(|| foreign_descriptor(layer)) {
            Some(descriptor) => drop(sources.insert(key, descriptor)),
            None => {
                let why =
                    "a docker archive has URLs of foreign layers with a known digest and size only";
                report.lose(format!("layers.{i}.urls"), Outcome::Dropped, why);
            }
        }
    }
    sources
}

/// The descriptor of a layer of a foreign type in a registry, with docker's type.
fn foreign_descriptor(layer: &Layer) -> Option<Value> {
    let Facts { digest, size } = layer.blob.facts;
    let kind = manifest::media_type::layer(layer.kind.as_deref()?).filter(|kind| kind.foreign)?;
    let mut types = FAMILY.foreign_layers.iter();
    let (_, kind) = types.find(|(compression, _)| *compression == kind.compression)?;
    let fields = [
        ("mediaType", Value::from(*kind)),
        ("size", Value::from(size?)),
        ("digest", Value::from(digest?.to_string())),
        ("urls", layer.urls.iter().map(String::as_str).collect()),
    ];
    let fields = fields.map(|(key, value)| (key.to_owned(), value));
    Some(Value::Object(fields.into_iter().collect()))
}
