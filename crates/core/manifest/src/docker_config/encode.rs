//! Encoding: from the model's fields to the JSON of an image configuration, with as few changes as
//! possible of the configuration that the image was decoded from.

use std::collections::BTreeSet;

use imgconv_json::{check_field_names, is_rfc3339, known_time, parse, split};
use imgconv_model::{Digest, History, Outcome, Platform, Port, Report, Result, RunConfig, quote};
use serde_json::{Map, Value};

use super::{Defaults, ImageConfig, ROOTFS, RUN, RUN_OTHER, TOP, TOP_OTHER, decode, port, types};

/// Writes an image configuration. Returns its value, and whether the value differs from `original`.
///
/// With an original, every unchanged field keeps its JSON, and so does every field that the model
/// does not have; an extension can be added or changed, not removed. If no field differs the caller
/// uses the original's bytes. New fields stand in the specification's order.
///
/// Values that can't be written are in the report: a range of ports becomes single ports, a text
/// that is not a date is dropped. An assumed platform is a loss and the warning `assumed-platform`.
///
/// # Errors
/// The errors of [`decode`] for `original`.
pub fn encode(
    original: Option<&Value>,
    wanted: &ImageConfig,
    defaults: &Defaults<'_>,
    report: &mut Report,
) -> Result<(Value, bool)> {
    let mut ignored = Report::default();
    let (old, before) = match original {
        Some(value) => {
            let map = value.as_object().cloned().unwrap_or_default();
            (decode(value, &mut ignored)?, map)
        }
        None => (ImageConfig::default(), Map::new()),
    };
    let fresh = original.is_none();
    let mut top = before.clone();
    let ImageConfig {
        platform,
        created,
        author,
        config,
        diff_ids,
        history,
        extensions,
    } = wanted;
    if old.created != *created {
        set(&mut top, TOP, "created", date(created.as_deref()));
    }
    if old.author != *author {
        set(&mut top, TOP, "author", author.clone().map(Value::from));
    }
    set_platform(&mut top, &old.platform, platform);
    let run = write_run(top.get("config"), &old.config, config);
    if fresh || run.as_ref() != top.get("config").and_then(Value::as_object) {
        // Some engines expect the object even if it is empty.
        if fresh || run.is_some() {
            let run = Value::Object(run.unwrap_or_default());
            set(&mut top, TOP, "config", Some(run));
        }
    }
    if fresh || old.diff_ids != *diff_ids {
        let rootfs = write_rootfs(top.get("rootfs"), diff_ids);
        set(&mut top, TOP, "rootfs", Some(rootfs));
    }
    let named = history.iter().filter(|step| !step.empty_layer).count();
    if old.history != *history || (!history.is_empty() && named != diff_ids.len()) {
        set(&mut top, TOP, "history", write_history(history, diff_ids));
    }
    for (path, raw) in extensions {
        if old.extensions.get(path) != Some(raw) && !write_extension(&mut top, path, raw, defaults)
        {
            let why = "an image config can't hold this field";
            report.lose(path, Outcome::Dropped, why);
        }
    }
    let mut changed = fresh || top != before;
    if changed {
        if fresh && created.is_none() && defaults.created.is_some() {
            let created = defaults.created.clone().map(Value::from);
            set(&mut top, TOP, "created", created);
            let why = "the image has no date, and `SOURCE_DATE_EPOCH` gives one";
            report.lose("created", Outcome::Synthesised, why);
        }
        let mismatched = ignored
            .warnings
            .iter()
            .any(|warning| warning.code == "history-mismatch");
        if mismatched && history.is_empty() {
            set(&mut top, TOP, "history", None);
        }
        assume_platform(&mut top, platform, defaults.platform, report);
    }
    changed = fresh || top != before;
    let value = Value::Object(top);
    report_differences(&decode(&value, &mut ignored)?, wanted, report);
    Ok((value, changed))
}

/// Drops the members of a configuration that no engine could load: members of the wrong type, each
/// of which is a loss. Returns true if there were any. A configuration that is `copied` keeps them,
/// with a warning.
pub fn loadable(config: &mut Value, copied: bool, report: &mut Report) -> bool {
    let Value::Object(top) = config else {
        return false;
    };
    let wrong = types::wrong(top);
    if copied {
        types::warn(&wrong, report);
        return false;
    }
    types::mend(top, &wrong, Some(report));
    !wrong.is_empty()
}

/// Sets or removes a field; a new field goes before the first one that stands later in `order`.
fn set(map: &mut Map<String, Value>, order: &[&str], key: &str, value: Option<Value>) {
    match (value, map.contains_key(key)) {
        (None, _) => {
            map.shift_remove(key);
        }
        (Some(value), true) => {
            map.insert(key.to_owned(), value);
        }
        (Some(value), false) => {
            let rank = |key: &str| order.iter().position(|name| *name == key);
            let mine = rank(key);
            let place = map
                .keys()
                .position(|other| rank(other).is_some_and(|other| Some(other) > mine));
            let place = place.unwrap_or(map.len());
            map.shift_insert(place, key.to_owned(), value);
        }
    }
}

fn date(text: Option<&str>) -> Option<Value> {
    text.and_then(known_time)
        .filter(|text| is_rfc3339(text))
        .map(Value::from)
}

fn text(text: &str) -> Option<Value> {
    Some(text).filter(|text| !text.is_empty()).map(Value::from)
}

fn set_platform(top: &mut Map<String, Value>, old: &Platform, new: &Platform) {
    let Platform {
        os,
        architecture,
        variant,
    } = new;
    if old.architecture != *architecture {
        set(top, TOP, "architecture", text(architecture));
    }
    if old.os != *os {
        set(top, TOP, "os", text(os));
    }
    if old.variant != *variant {
        set(top, TOP, "variant", text(variant.as_deref().unwrap_or("")));
    }
}

fn assume_platform(
    top: &mut Map<String, Value>,
    platform: &Platform,
    assumed: &Platform,
    report: &mut Report,
) {
    if platform.is_complete() {
        return;
    }
    let whole = platform.completed(assumed);
    if platform.architecture.is_empty() {
        set(top, TOP, "architecture", text(&whole.architecture));
        if let (None, Some(variant)) = (&platform.variant, &whole.variant) {
            set(top, TOP, "variant", text(variant));
        }
    }
    if platform.os.is_empty() {
        set(top, TOP, "os", text(&whole.os));
    }
    let message = format!("the image has no complete platform; {whole} is assumed");
    report.lose("platform", Outcome::Synthesised, &*message);
    report.warn("assumed-platform", "config", message);
}

/// Writes the run configuration; `None` if the original has none and no field is set.
fn write_run(
    original: Option<&Value>,
    old: &RunConfig,
    new: &RunConfig,
) -> Option<Map<String, Value>> {
    let before = original.and_then(Value::as_object);
    let mut map = before.cloned().unwrap_or_default();
    let RunConfig {
        exec,
        user,
        env,
        working_dir,
        ports,
        volumes,
        labels,
        stop_signal,
    } = new;
    let exec = exec.clone().unwrap_or_default();
    let old_exec = old.exec.clone().unwrap_or_default();
    let mut put = |key: &str, differs: bool, value: Option<Value>| {
        if differs {
            set(&mut map, RUN, key, value);
        }
    };
    let some = |text: &Option<String>| text.clone().map(Value::from);
    put("User", old.user != *user, some(user));
    put("Env", old.env != *env, list(env));
    let entrypoint = &exec.entrypoint;
    put(
        "Entrypoint",
        old_exec.entrypoint != *entrypoint,
        list(entrypoint),
    );
    put("Cmd", old_exec.cmd != exec.cmd, list(&exec.cmd));
    put(
        "WorkingDir",
        old.working_dir != *working_dir,
        some(working_dir),
    );
    put("Labels", old.labels != *labels, {
        let map = labels
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        object(map.collect())
    });
    put(
        "StopSignal",
        old.stop_signal != *stop_signal,
        some(stop_signal),
    );
    if !same_set(&old.ports, ports) {
        let exposed = write_ports(map.get("ExposedPorts"), &old.ports, ports);
        set(&mut map, RUN, "ExposedPorts", object(exposed));
    }
    if !same_set(&old.volumes, volumes) {
        let wanted: BTreeSet<&str> = volumes.iter().map(String::as_str).collect();
        let mut paths = taken(map.get("Volumes"), |path| wanted.contains(path));
        for path in volumes {
            if !paths.contains_key(path) {
                paths.insert(path.clone(), Value::Object(Map::new()));
            }
        }
        set(&mut map, RUN, "Volumes", object(paths));
    }
    (before.is_some() || !map.is_empty()).then_some(map)
}

/// Keeps keys that could not be read as a port, and the spelling of ports that stay.
fn write_ports(original: Option<&Value>, old: &[Port], new: &[Port]) -> Map<String, Value> {
    let (before, after): (BTreeSet<&Port>, BTreeSet<&Port>) =
        (old.iter().collect(), new.iter().collect());
    let keep = |key: &str| port::read(key).is_none_or(|port| after.contains(&port));
    let mut exposed = taken(original, keep);
    for port in new.iter().filter(|port| !before.contains(port)) {
        for key in port::keys(port) {
            // A key that would not be read as a port again is reported instead.
            if !exposed.contains_key(&key) && port::read(&key).is_some() {
                exposed.insert(key, Value::Object(Map::new()));
            }
        }
    }
    exposed
}

fn taken(original: Option<&Value>, keep: impl Fn(&str) -> bool) -> Map<String, Value> {
    let entries = original.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter(|(key, _)| keep(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn same_set<T: Ord>(a: &[T], b: &[T]) -> bool {
    let set = |items| Vec::<&T>::into_iter(items).collect::<std::collections::BTreeSet<_>>();
    set(a.iter().collect()) == set(b.iter().collect())
}

fn list(items: &[String]) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(String::as_str).collect())
}

fn object(map: Map<String, Value>) -> Option<Value> {
    (!map.is_empty()).then_some(Value::Object(map))
}

fn write_rootfs(original: Option<&Value>, diff_ids: &[Digest]) -> Value {
    let mut rootfs = taken(original, |_| true);
    rootfs.insert("type".into(), "layers".into());
    let texts: Value = diff_ids.iter().map(Digest::to_string).collect();
    rootfs.insert("diff_ids".into(), texts);
    Value::Object(rootfs)
}

/// Writes the history; none if the history is unknown, which every reader accepts. Readers refuse a
/// history that does not fit the layers.
fn write_history(history: &[History], diff_ids: &[Digest]) -> Option<Value> {
    let named = history.iter().filter(|step| !step.empty_layer).count();
    if history.is_empty() || named != diff_ids.len() {
        return None;
    }
    let entry = |step: &History| {
        let History {
            created,
            created_by,
            author,
            comment,
            empty_layer,
        } = step;
        let some = |text: &Option<String>| text.clone().map(Value::from);
        let fields = [
            ("created", date(created.as_deref())),
            ("created_by", some(created_by)),
            ("author", some(author)),
            ("comment", some(comment)),
            ("empty_layer", empty_layer.then_some(Value::Bool(true))),
        ];
        let present = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(present.collect())
    };
    Some(history.iter().map(entry).collect())
}

/// Writes one extension; false if its path does not exist, or would be read as another field.
fn write_extension(
    top: &mut Map<String, Value>,
    path: &str,
    raw: &str,
    defaults: &Defaults<'_>,
) -> bool {
    let keys = match path {
        "os.version" | "os.features" => vec![path.to_owned()],
        path => match split(path) {
            Some(keys) => keys,
            None => return false,
        },
    };
    let Ok(value) = parse(raw.as_bytes(), defaults.limits, path) else {
        return false;
    };
    let free = |key: &String, known: &[&str], model: &[&str]| {
        let one = Map::from_iter([(key.clone(), Value::Null)]);
        !model.contains(&key.as_str()) && check_field_names(&one, known).is_ok()
    };
    if let [parent, set, key, member] = &keys[..]
        && parent == "config"
        && ["ExposedPorts", "Volumes"].contains(&set.as_str())
    {
        // A port that is written under another key has no place for its members.
        let place = top.get_mut(parent).and_then(|run| run.get_mut(set));
        let place = place.and_then(|set| set.get_mut(key));
        let Some(place) = place.and_then(Value::as_object_mut) else {
            return false;
        };
        place.insert(member.clone(), value);
        return true;
    }
    let keys: Vec<&String> = keys.iter().collect();
    let (parents, key): (&[&str], _) = match keys[..] {
        [key] if free(key, &[TOP, TOP_OTHER].concat(), TOP) => (&[], key),
        [parent, key] if parent == "config" && free(key, &[RUN, RUN_OTHER].concat(), RUN) => {
            (&["config"], key)
        }
        [parent, key] if parent == "rootfs" && free(key, ROOTFS, ROOTFS) => (&["rootfs"], key),
        [a, b, key] if a == "config" && b == "ExposedPorts" && port::read(key).is_none() => {
            (&["config", "ExposedPorts"], key)
        }
        _ => return false,
    };
    // An extension that engines could not read is not written.
    let alone = Map::from_iter([(key.clone(), value.clone())]);
    let alone = parents.iter().rev().fold(alone, |inner, parent| {
        Map::from_iter([((*parent).to_owned(), Value::Object(inner))])
    });
    if !types::wrong(&alone).is_empty() {
        return false;
    }
    let mut place = top;
    for parent in parents {
        if !place.get(*parent).is_some_and(Value::is_object) {
            let order = if *parent == "ExposedPorts" { RUN } else { TOP };
            set(place, order, parent, Some(Value::Object(Map::new())));
        }
        let Some(Value::Object(inner)) = place.get_mut(*parent) else {
            return false;
        };
        place = inner;
    }
    place.insert(key.clone(), value);
    true
}

/// Reports every field whose value would differ when it is read back.
fn report_differences(back: &ImageConfig, wanted: &ImageConfig, report: &mut Report) {
    let ImageConfig {
        platform,
        created,
        author,
        config,
        diff_ids: _, // those of the layers, written as they are
        history,
        extensions,
    } = wanted;
    let RunConfig {
        exec,
        user,
        env,
        working_dir,
        ports,
        volumes,
        labels,
        stop_signal,
    } = config;
    let run = &back.config;
    let mut check = |field: &str, same: bool, why: &str| {
        if !same {
            report.lose(field, Outcome::Approximated, why);
        }
    };
    let empty = "the value is empty, which is the same as absent";
    let date = "the value is not a date in the form of RFC 3339";
    let assumed = platform.os.is_empty() || platform.architecture.is_empty();
    check("platform", assumed || back.platform == *platform, empty);
    let given = created.is_none() || back.created == *created;
    check("created", given, date);
    check("author", back.author == *author, empty);
    check("exec", run.exec == *exec, empty);
    check("user", run.user == *user, empty);
    check("env", run.env == *env, empty);
    check("working_dir", run.working_dir == *working_dir, empty);
    let single = "a range is written as single ports, and a protocol in lower case";
    check("ports", same_set(&run.ports, ports), single);
    let once = "equal paths are written once";
    check("volumes", same_set(&run.volumes, volumes), once);
    check("labels", run.labels == *labels, empty);
    check("stop_signal", run.stop_signal == *stop_signal, empty);
    let fits = "the history does not fit the layers, or its dates are not RFC 3339";
    check("history", back.history == *history, fits);
    for (path, raw) in extensions {
        if back.extensions.get(path) != Some(raw) {
            let message = format!("the text {} would be read back differently", quote(raw));
            let listed = report.losses.iter().any(|loss| loss.field == *path);
            if !listed && path.starts_with("history[") {
                let why = "the history is written anew, and the model has no such field of a step";
                report.lose(path, Outcome::Dropped, why);
            } else if !listed {
                report.lose(path, Outcome::Approximated, message);
            }
        }
    }
}
