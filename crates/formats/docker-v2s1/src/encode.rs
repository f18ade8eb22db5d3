//! From the model to a schema 1 manifest, unsigned. The module does no I/O: the digests and sizes
//! of sealed layers are enough.
//!
//! An image that is the same as its original manifest keeps that manifest, signatures included. Any
//! other manifest is written anew, and then read back: every difference is reported.

use std::collections::BTreeMap;

use imgconv_json::{
    Map, Value, canonical, check_field_names, is_rfc3339, known_time, parse, rfc3339, split, within,
};
use imgconv_manifest::{CONFIG_FORMATS, docker_config};
use imgconv_model::{
    Code, Compression, Digest, Document, Encoded, Env, Error, Extensions, FormatId, History, Image,
    Layer, Name, Outcome, Report, Result, SealedLayer, quote,
};

use crate::{
    compatibility::{self, LOWER},
    decode::{self, Read},
    id,
    jws::Envelope,
    wire::{self, EMPTY_LAYER, Entry, LAYER, LayerName, UNSIGNED, empty_layer},
};

/// The most layers of an image that docker's storage can run.
const DOCKER_LAYERS: usize = 127;

/// The fields of a v1 image for its place in a chain, which is made anew.
const PLACE: &[&str] = &["id", "parent", "parent_id", "layer_id", "throwaway"];

/// Go's zero time, which docker writes for a missing date.
const NO_DATE: &str = "0001-01-01T00:00:00Z";

/// The host of a name without a host.
const DOCKER_HOST: &str = "docker.io";

type Paths = BTreeMap<String, String>;

/// Writes an image, see [`imgconv_model::DocumentFormat::encode`].
pub(crate) fn encode(
    image: &Image,
    sealed: &[SealedLayer],
    env: &Env,
    report: &mut Report,
) -> Result<Encoded> {
    let Image {
        name,
        platform,
        created,
        author,
        config,
        layers,
        history,
        annotations,
        extensions,
        originals: _, // only an unchanged one is used, see below
    } = image;
    check_layers(layers, sealed)?;
    report_layers(layers, report);
    for key in annotations.keys() {
        let why = "schema 1 has no annotations";
        report.lose(format!("annotations.{key}"), Outcome::Dropped, why);
    }
    if sealed.len() > DOCKER_LAYERS {
        let message = format!(
            "the image has {} layers, but docker runs images with at most {DOCKER_LAYERS}",
            sealed.len()
        );
        report.warn("many-layers", "manifest", message);
    }
    if let Some((document, has_empty)) = unchanged(image, sealed, env, report) {
        report_foreign(extensions, report);
        return Ok(documents(document, has_empty));
    }
    let (own, lower) = divide(extensions, report);
    let steps = steps(history, sealed, report);
    let wanted = docker_config::ImageConfig {
        platform: platform.clone(),
        created: created.clone(),
        author: author.clone(),
        config: config.clone(),
        diff_ids: sealed.iter().map(|layer| layer.diff_id).collect(),
        history: steps.clone(),
        extensions: own.clone(),
    };
    let defaults = docker_config::Defaults {
        platform: &env.host,
        created: env.epoch.and_then(rfc3339),
        limits: &env.limits,
    };
    let (config, _) = docker_config::encode(None, &wanted, &defaults, report)?;
    let blobs = blobs(&steps, sealed);
    let entries = entries(&config, &steps, &blobs, lower.as_deref(), env)?;
    let (short, tag) = short_name(name.as_ref(), report);
    let architecture = config.get("architecture").and_then(Value::as_str);
    let payload = wire::print(&short, &tag, architecture.unwrap_or(""), &entries);
    let (size, limit) = (payload.len() as u64, env.limits.manifest);
    within(size, ("manifest", limit), "the new manifest")?;
    let back = decode::read(&payload, &env.limits, &mut Report::default())
        .map_err(|error| error.at("new manifest"))?;
    let mut kept = own;
    kept.extend(lower.map(|raw| (LOWER.to_owned(), raw)));
    report_differences(&back, image, &kept, sealed, report);
    let root = Document {
        kind: UNSIGNED.to_owned(),
        bytes: payload.into(),
    };
    Ok(documents(root, back.has_empty))
}

fn documents(root: Document, has_empty: bool) -> Encoded {
    let empty = Document {
        kind: LAYER.to_owned(),
        bytes: EMPTY_LAYER[..].into(),
    };
    Encoded {
        documents: has_empty.then_some(empty).into_iter().collect(),
        root,
    }
}

fn check_layers(layers: &[Layer], sealed: &[SealedLayer]) -> Result<()> {
    if layers.len() != sealed.len() {
        let message = format!(
            "the image has {} layers, but {} layers were written",
            layers.len(),
            sealed.len()
        );
        return Err(Error::new(Code::Usage, message));
    }
    for (i, layer) in sealed.iter().enumerate() {
        if layer.compression != Compression::Gzip {
            let message = format!(
                "schema 1 has layers compressed with gzip only, found {}",
                layer.compression
            );
            return Err(Error::new(Code::Unsupported, message).at(format!("layer {i}")));
        }
    }
    Ok(())
}

fn report_layers(layers: &[Layer], report: &mut Report) {
    for (i, layer) in layers.iter().enumerate() {
        let Layer {
            blob: _,    // the sealed layer says what was written
            diff_id: _, // schema 1 has none; it follows from the bytes
            kind: _,    // it has none
            urls,
            annotations,
        } = layer;
        let mut lose = |field: &str, is_empty: bool| {
            if !is_empty {
                let why = "schema 1 names a layer by its digest alone";
                report.lose(format!("layers.{i}.{field}"), Outcome::Dropped, why);
            }
        };
        lose("urls", urls.is_empty());
        lose("annotations", annotations.is_empty());
    }
}

/// Returns the original manifest if the image is unchanged, and whether it has empty layers.
fn unchanged(
    image: &Image,
    sealed: &[SealedLayer],
    env: &Env,
    report: &mut Report,
) -> Option<(Document, bool)> {
    let original = image
        .originals
        .iter()
        .find(|original| original.format == FormatId::DOCKER_V2S1 && original.role == "manifest")?;
    let document = &original.document;
    let read = Envelope::open(&document.bytes, &env.limits).and_then(|envelope| {
        envelope.verify()?;
        decode::read(&envelope.payload, &env.limits, &mut Report::default())
    });
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            let message = format!("the kept original document can't be used: {error}");
            report.warn("bad-original", "manifest", message);
            return None;
        }
    };
    let old = &read.image;
    let extensions: Paths = image
        .extensions
        .iter()
        .filter(|((format, _), _)| *format == FormatId::DOCKER_V2S1)
        .map(|((_, path), raw)| (path.clone(), raw.clone()))
        .collect();
    // The manifest does not have the host; a name that is the same without the host is unchanged.
    let unheard = &mut Report::default();
    if read.blobs.iter().any(|name| name.digest().is_none()) {
        let why = "the layers were named by tar sums, which are valid only in their registry; \
                   they are named by digests now, and signatures over the old names are left out";
        report.lose("fsLayers", Outcome::Approximated, why);
    }
    let same_name = image.name.is_none()
        || short_name(image.name.as_ref(), unheard) == short_name(read.name.as_ref(), unheard);
    let same = same_name
        && old.platform == image.platform
        && old.created == image.created
        && old.author == image.author
        && old.config == image.config
        && old.history == image.history
        && old.extensions == extensions
        && has_layers(&read.blobs, sealed);
    same.then(|| (document.clone(), read.has_empty))
}

/// Returns true if a manifest has exactly these layers, by their digests.
fn has_layers(names: &[LayerName], sealed: &[SealedLayer]) -> bool {
    let written = sealed.iter().map(|layer| Some(layer.digest));
    names.iter().map(LayerName::digest).eq(written)
}

fn report_foreign(extensions: &Extensions, report: &mut Report) {
    for (format, path) in extensions.keys() {
        if *format != FormatId::DOCKER_V2S1 {
            lose_field(path, report);
        }
    }
}

fn lose_field(path: &str, report: &mut Report) {
    report.lose(
        path,
        Outcome::Dropped,
        "schema 1 has no field for this value",
    );
}

/// Divides the extensions into those of the configuration and those of the lower entries. All
/// others are reported.
fn divide(extensions: &Extensions, report: &mut Report) -> (Paths, Option<String>) {
    let (mut own, mut lower) = (Paths::new(), None);
    for ((format, path), raw) in extensions {
        if !shares_config(*format) || path.starts_with("manifest.") {
            lose_field(path, report);
        } else if PLACE.contains(&&**path) {
            let why = "the ids of a chain are made anew from its layers";
            report.lose(path, Outcome::Approximated, why);
        } else if path == LOWER {
            lower = Some(raw.clone());
        } else if may_stand(path, raw) {
            own.insert(path.clone(), raw.clone());
        } else {
            lose_field(path, report);
        }
    }
    (own, lower)
}

/// Returns true if a format's extensions of the configuration have the same meaning here.
fn shares_config(format: FormatId) -> bool {
    CONFIG_FORMATS.contains(&format) || format == FormatId::DOCKER_V1
}

/// Returns true if a field can stand in a v1 image and is read back unchanged.
fn may_stand(path: &str, raw: &str) -> bool {
    let keys = match path {
        "os.version" | "os.features" => return true,
        "comment" | "rootfs" | "history" => return false,
        _ => split(path),
    };
    let Some([key]) = keys.as_deref() else {
        return keys.is_some();
    };
    let one = Map::from_iter([(key.clone(), Value::Null)]);
    let limits = imgconv_model::Limits::default();
    let value = parse(raw.as_bytes(), &limits, path);
    check_field_names(&one, compatibility::FIELDS).is_ok()
        && (key != "container_config"
            || value.is_ok_and(|value| compatibility::command(Some(&value)).is_ok()))
}

/// Returns the steps of the image, base first: its history, or one for each layer.
fn steps(history: &[History], sealed: &[SealedLayer], report: &mut Report) -> Vec<History> {
    let named = history.iter().filter(|step| !step.empty_layer).count();
    if !history.is_empty() && named == sealed.len() {
        return history.to_vec();
    }
    let why = "schema 1 has one entry for each layer, and at least one";
    report.lose("history", Outcome::Synthesised, why);
    if sealed.is_empty() {
        return vec![History {
            empty_layer: true,
            ..History::default()
        }];
    }
    vec![History::default(); sealed.len()]
}

/// Returns the blob of each step.
fn blobs(steps: &[History], sealed: &[SealedLayer]) -> Vec<Digest> {
    let mut layers = sealed.iter().map(|layer| layer.digest);
    let mut blob = |step: &History| {
        let layer = if step.empty_layer {
            None
        } else {
            layers.next()
        };
        layer.unwrap_or_else(empty_layer)
    };
    steps.iter().map(&mut blob).collect()
}

/// Makes the entries of the manifest, top first.
fn entries(
    config: &Value,
    steps: &[History],
    blobs: &[Digest],
    lower: Option<&str>,
    env: &Env,
) -> Result<Vec<Entry>> {
    let rest = lower.and_then(|raw| parse(raw.as_bytes(), &env.limits, LOWER).ok());
    let rest = rest.as_ref().and_then(Value::as_array);
    // The list belongs to other steps if its length differs; then it is not written.
    let rest = rest.filter(|rest| rest.len() + 1 == steps.len());
    let mut entries = Vec::new();
    let mut parent = String::new();
    let last = steps.len().saturating_sub(1);
    for (i, (step, blob)) in steps.iter().zip(blobs).enumerate() {
        let map = if i == last {
            let config = config.as_object().cloned().unwrap_or_default();
            let whole = Value::Object(config.clone());
            let whole = String::from_utf8_lossy(&canonical(&whole)).into_owned();
            let id = id::of_top(blob, &parent, &whole);
            top_entry(config, step, &id, &parent)
        } else {
            let id = id::of_step(blob, &parent);
            let more = rest.and_then(|rest| rest[i].as_object());
            let entry = lower_entry(step, &id, &parent, more);
            parent = id;
            entry
        };
        let text = String::from_utf8_lossy(&canonical(&Value::Object(map))).into_owned();
        let (size, limit) = (text.len() as u64, env.limits.config);
        within(size, ("config", limit), "an entry of the new manifest")?;
        entries.push(Entry { blob: *blob, text });
    }
    entries.reverse();
    Ok(entries)
}

/// Makes the top entry: the whole configuration, sorted as docker does.
fn top_entry(
    config: Map<String, Value>,
    step: &History,
    id: &str,
    parent: &str,
) -> Map<String, Value> {
    let History {
        created: _, // the image's own
        created_by,
        author: _, // the image's own
        comment,
        empty_layer,
    } = step;
    let mut fields: BTreeMap<String, Value> = config.into_iter().collect();
    fields.remove("rootfs");
    fields.remove("history");
    fields.insert("id".into(), id.into());
    if !parent.is_empty() {
        fields.insert("parent".into(), parent.into());
    }
    if let Some(comment) = comment {
        fields.insert("comment".into(), comment.as_str().into());
    }
    if *empty_layer {
        fields.insert("throwaway".into(), true.into());
    }
    let container = fields.remove("container_config");
    if let Some(container) = container_config(container, created_by.as_deref()) {
        fields.insert("container_config".into(), container);
    }
    fields.into_iter().collect()
}

/// Makes an entry below the top one, in docker's order.
fn lower_entry(
    step: &History,
    id: &str,
    parent: &str,
    more: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let History {
        created,
        created_by,
        author,
        comment,
        empty_layer,
    } = step;
    let date = created.as_deref().and_then(known_time);
    let date = date.filter(|date| is_rfc3339(date)).unwrap_or(NO_DATE);
    let container = more.and_then(|more| more.get("container_config")).cloned();
    let by = Some(created_by.as_deref().unwrap_or(""));
    let text = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Value::from);
    let fields = [
        ("id", Some(id.into())),
        ("parent", text(parent)),
        ("comment", comment.as_deref().and_then(text)),
        ("created", Some(date.into())),
        ("container_config", container_config(container, by)),
        ("author", author.as_deref().and_then(text)),
        ("throwaway", empty_layer.then_some(Value::Bool(true))),
    ];
    let mut map: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
    for (key, value) in more.into_iter().flatten() {
        let one = Map::from_iter([(key.clone(), Value::Null)]);
        let known = PLACE.contains(&&**key) || ["comment", "created", "author"].contains(&&**key);
        if !known
            && !map.contains_key(key)
            && check_field_names(&one, compatibility::FIELDS).is_ok()
        {
            map.insert(key.clone(), value.clone());
        }
    }
    map
}

/// Makes the object that holds the command of a step; an object with that command stays.
fn container_config(container: Option<Value>, created_by: Option<&str>) -> Option<Value> {
    let written = compatibility::command(container.as_ref());
    if let Ok(written) = &written
        && created_by.is_none_or(|wanted| written.as_deref().unwrap_or("") == wanted)
        && container.is_some()
    {
        return container;
    }
    let wanted = created_by?;
    let mut map = match container {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    map.insert("Cmd".into(), Value::Array(vec![wanted.into()]));
    Some(Value::Object(map))
}

/// Returns the repository as docker's registries name it, without its host, and the tag. A host
/// that is not docker's own is a loss: a reader assumes docker's (design 7).
fn short_name(name: Option<&Name>, report: &mut Report) -> (String, String) {
    let reference = name.and_then(|name| name.to_full_reference(report));
    let (host, path, tag) = reference
        .as_deref()
        .and_then(|text| {
            let text = text.split_once('@').map_or(text, |(text, _)| text);
            let (host, rest) = text.split_once('/')?;
            let (path, tag) = rest.rsplit_once(':').unwrap_or((rest, ""));
            Some((host, path, tag))
        })
        .unwrap_or_default();
    if let Some(digest) = name.and_then(|name| name.digest) {
        let why = format!("a name in schema 1 has no digest, so {digest} is dropped");
        report.lose("name", Outcome::Approximated, why);
    }
    let own = name.and_then(|name| name.repository.as_deref());
    match own {
        Some(own) if path.is_empty() => {
            let why = format!("{} can't be written as a repository", quote(own));
            report.lose("name", Outcome::Dropped, why);
        }
        Some(_) if host != DOCKER_HOST => {
            let why = format!(
                "a name in schema 1 has no host, so {} is dropped; the name is `{path}`",
                quote(host)
            );
            report.lose("name", Outcome::Approximated, why);
        }
        _ => {}
    }
    let alone = name.and_then(|name| name.tag.as_deref());
    let tag = match alone.filter(|alone| tag.is_empty() && Name::is_tag(alone)) {
        Some(alone) => alone,
        None => tag,
    };
    (path.to_owned(), tag.to_owned())
}

/// Reports every field that differs when it is read back.
fn report_differences(
    back: &Read,
    image: &Image,
    kept: &Paths,
    sealed: &[SealedLayer],
    report: &mut Report,
) {
    let Read {
        name: _, // a hint, and what it can't hold is reported where it is made
        image: after,
        blobs,
        has_empty: _, // follows from the history
    } = back;
    let mut check = |field: &str, same: bool, why: &str| {
        if !same && !report.losses.iter().any(|loss| loss.field == field) {
            report.lose(field, Outcome::Approximated, why);
        }
    };
    let assumed = image.platform.os.is_empty() || image.platform.architecture.is_empty();
    let platform = assumed || after.platform == image.platform;
    check("platform", platform, "the value is empty in part");
    let created = image.created.is_none() || after.created == image.created;
    check(
        "created",
        created,
        "the value is not a date in the form of RFC 3339",
    );
    check("author", after.author == image.author, "it is empty");
    let shared = "the last step has the date and author of the image, an empty text is absent, and \
                  dates are of RFC 3339";
    check("history", after.history == image.history, shared);
    let known = "a layer that is docker's empty one is read as a step without a layer";
    let layers = has_layers(blobs, sealed);
    check("layers", layers, known);
    for (path, raw) in kept {
        let same = after.extensions.get(path) == Some(raw);
        check(path, same, "the value differs when it is read back");
    }
}
