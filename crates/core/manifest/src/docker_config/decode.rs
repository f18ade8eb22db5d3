//! Decoding: from the JSON of an image configuration to the model's fields.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::{Object, canonical, folds_to, is_rfc3339, join, known_time, parse};
use imgconv_model::{Digest, Exec, History, Limits, Platform, Report, Result, RunConfig};
use serde_json::{Map, Value};

use super::{HISTORY, ImageConfig, ROOTFS, RUN, RUN_OTHER, TOP, TOP_OTHER, port, types};

/// Reads an image configuration. `null` is the same as absent everywhere; `Entrypoint` and `Cmd`
/// may be one text, which is a list of one; an empty text where a name or a date belongs is absent.
///
/// A member that the model has no field for, and whose type differs from the one that engines read,
/// gets the warning `config-type` and does not count; [`loadable`](super::loadable) drops it from
/// the written configuration.
///
/// Warns with `missing-platform` if `os` or `architecture` is absent, and with `history-mismatch`
/// if the history names another number of layers than there are diff IDs; the history then counts
/// as unknown.
///
/// # Errors
/// [`BadManifest`](imgconv_model::Code::BadManifest) if a field that the model has is of another
/// shape, the type of `rootfs` is not `layers`, or a date is not RFC 3339;
/// [`BadJson`](imgconv_model::Code::BadJson) for a misspelt field, and the errors of digests.
pub fn decode(value: &Value, report: &mut Report) -> Result<ImageConfig> {
    let wrong = value.as_object().map(types::wrong).unwrap_or_default();
    let mended = (!wrong.is_empty()).then(|| {
        types::warn(&wrong, report);
        let mut map = value.as_object().cloned().unwrap_or_default();
        types::mend(&mut map, &wrong, None);
        Value::Object(map)
    });
    let top = Object::new(mended.as_ref().unwrap_or(value), "")?;
    top.check_names(&[TOP, TOP_OTHER].concat())?;
    let mut extensions = BTreeMap::new();
    let text =
        |key: &str| -> Result<String> { Ok(top.opt_string(key)?.unwrap_or_default().into()) };
    let platform = Platform {
        os: text("os")?,
        architecture: text("architecture")?,
        variant: present(top.opt_string("variant")?),
    };
    if platform.os.is_empty() || platform.architecture.is_empty() {
        let message = "the image has no operating system or no processor";
        report.warn("missing-platform", "config", message);
    }
    let diff_ids = read_diff_ids(&top, &mut extensions)?;
    let history = read_history(&top, diff_ids.len(), &mut extensions, report)?;
    let config = match top.opt_object("config")? {
        None => RunConfig::default(),
        Some(config) => read_run(&config, &mut extensions)?,
    };
    for (key, value) in others(top.map(), TOP) {
        // The two specified names with a dot stay readable: `os` itself is not an object.
        let path = match key {
            "os.version" | "os.features" => key.to_owned(),
            key => join("", key),
        };
        extensions.insert(path, print(value));
    }
    Ok(ImageConfig {
        platform,
        created: date(&top, "created")?,
        author: present(top.opt_string("author")?),
        config,
        diff_ids,
        history,
        extensions,
    })
}

/// Returns true if bytes may be an image configuration: a JSON object with a `rootfs`. Tools that
/// store files in registries give other documents the type of a configuration.
///
/// Bytes that are malformed in any other way count as a configuration, so that [`decode`] reports
/// the error.
pub fn is_config(bytes: &[u8], limits: &Limits) -> bool {
    match parse(bytes, limits, "config") {
        Ok(Value::Object(map)) => match map.get("rootfs") {
            Some(Value::Object(rootfs)) => !rootfs.values().all(is_zero),
            Some(_) => false,
            // A misspelt name is an error (robustness C10).
            None => map.keys().any(|key| folds_to(key, "rootfs")),
        },
        Ok(_) => false,
        Err(_) => {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            text.trim_ascii_start().starts_with(b"{")
        }
    }
}

fn read_diff_ids(
    top: &Object<'_>,
    extensions: &mut BTreeMap<String, String>,
) -> Result<Vec<Digest>> {
    let rootfs = top.object("rootfs")?;
    rootfs.check_names(ROOTFS)?;
    let kind = rootfs.string("type")?;
    if kind != "layers" {
        let found = imgconv_model::quote(kind);
        return Err(rootfs.bad("type", format!("expected \"layers\", found {found}")));
    }
    for (key, value) in others(rootfs.map(), ROOTFS) {
        extensions.insert(join("rootfs", key), print(value));
    }
    let texts = rootfs.string_list("diff_ids")?;
    let parse = |(i, text): (usize, &String)| {
        Digest::parse(text).map_err(|error| error.at(format!("field rootfs.diff_ids[{i}]")))
    };
    texts.iter().enumerate().map(parse).collect()
}

fn read_history(
    top: &Object<'_>,
    layers: usize,
    extensions: &mut BTreeMap<String, String>,
    report: &mut Report,
) -> Result<Vec<History>> {
    let mut history = Vec::new();
    let nothing = Value::Object(Map::new());
    for (i, entry) in top.list("history")?.iter().enumerate() {
        // Go reads `null` as a step with empty fields.
        let entry = if entry.is_null() { &nothing } else { entry };
        let entry = Object::new(entry, format!("history[{i}]"))?;
        entry.check_names(HISTORY)?;
        for (key, value) in others(entry.map(), HISTORY) {
            extensions.insert(join(&format!("history[{i}]"), key), print(value));
        }
        let text = |key| Ok(entry.opt_string(key)?.map(str::to_owned));
        history.push(History {
            created: date(&entry, "created")?,
            created_by: text("created_by")?,
            author: text("author")?,
            comment: text("comment")?,
            empty_layer: entry.flag("empty_layer")?,
        });
    }
    let named = history.iter().filter(|step| !step.empty_layer).count();
    if !history.is_empty() && named != layers {
        let message = format!(
            "the history names {named} layers, but the image has {layers}: the history is ignored"
        );
        report.warn("history-mismatch", "config", message);
        history.clear();
    }
    Ok(history)
}

fn read_run(config: &Object<'_>, extensions: &mut BTreeMap<String, String>) -> Result<RunConfig> {
    config.check_names(&[RUN, RUN_OTHER].concat())?;
    let exec = Exec {
        entrypoint: command(config, "Entrypoint")?,
        cmd: command(config, "Cmd")?,
    };
    let mut ports = Vec::new();
    let mut seen = BTreeSet::new();
    if let Some(exposed) = config.opt_object("ExposedPorts")? {
        for (key, value) in exposed.map() {
            match port::read(key) {
                Some(port) => {
                    read_members("config.ExposedPorts", key, value, extensions);
                    if seen.insert(port.clone()) {
                        ports.push(port);
                    }
                }
                // The model can't hold the key, but a copy keeps it and other formats report it.
                None => {
                    extensions.insert(join("config.ExposedPorts", key), print(value));
                }
            }
        }
    }
    let volumes = config.opt_object("Volumes")?;
    for (key, value) in volumes.iter().flat_map(Object::map) {
        read_members("config.Volumes", key, value, extensions);
    }
    for (key, value) in others(config.map(), RUN) {
        if !(RUN_OTHER.contains(&key) && is_zero(value)) {
            extensions.insert(join("config", key), print(value));
        }
    }
    Ok(RunConfig {
        exec: (exec != Exec::default()).then_some(exec),
        user: present(config.opt_string("User")?),
        env: texts(config, "Env")?,
        working_dir: present(config.opt_string("WorkingDir")?),
        ports,
        volumes: volumes
            .map(|volumes| volumes.map().keys().cloned().collect())
            .unwrap_or_default(),
        labels: config.string_map("Labels")?,
        stop_signal: present(config.opt_string("StopSignal")?),
    })
}

/// Reads the members of a value that the specification wants to be an empty object.
fn read_members(set: &str, key: &str, value: &Value, extensions: &mut BTreeMap<String, String>) {
    for (member, value) in value
        .as_object()
        .into_iter()
        .flat_map(|map| others(map, &[]))
    {
        extensions.insert(join(&join(set, key), member), print(value));
    }
}

fn command(config: &Object<'_>, key: &str) -> Result<Vec<String>> {
    match config.get(key) {
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        _ => texts(config, key),
    }
}

/// Reads a list of texts; `null` in the list is an empty text, as Go reads it.
fn texts(config: &Object<'_>, key: &str) -> Result<Vec<String>> {
    let items = config.list(key)?;
    if !items.iter().any(Value::is_null) {
        return config.string_list(key);
    }
    let text = |item: &Value| {
        if item.is_null() {
            Value::from("")
        } else {
            item.clone()
        }
    };
    let list = Value::Array(items.iter().map(text).collect());
    let one = Map::from_iter([(key.to_owned(), list)]);
    Object::new(&Value::Object(one), "config")?.string_list(key)
}

fn date(object: &Object<'_>, key: &str) -> Result<Option<String>> {
    let Some(text) = object.opt_string(key)?.and_then(known_time) else {
        return Ok(None);
    };
    if !is_rfc3339(text) {
        let found = imgconv_model::quote(text);
        return Err(object.bad(key, format!("expected a date of RFC 3339, found {found}")));
    }
    Ok(Some(text.to_owned()))
}

fn present(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Lists the fields that are present and not `null`, without the known fields.
fn others<'a>(
    map: &'a Map<String, Value>,
    known: &'a [&str],
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    map.iter()
        .map(|(key, value)| (key.as_str(), value))
        .filter(|(key, value)| !known.contains(key) && !value.is_null())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Prints a value as the text of an extension.
pub(super) fn print(value: &Value) -> String {
    String::from_utf8_lossy(&canonical(value)).into_owned()
}
