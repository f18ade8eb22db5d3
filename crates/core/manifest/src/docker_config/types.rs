//! The types of the members of an image configuration that the model has no field for.
//!
//! Engines read a configuration into typed structures (image-spec, config.md; Docker's
//! `container.Config` and `image.V1Image`), and one member of another type makes the whole image
//! unreadable for them. This module finds such members, and drops them where the configuration is
//! written anew. `null` is an absent member, as Go reads it. Members of the model are checked where
//! they are decoded.

use imgconv_json::join;
use imgconv_model::{Outcome, Report};
use serde_json::{Map, Value};

/// The type of a member.
#[derive(Clone, Copy, Debug)]
enum Type {
    Text,
    Flag,
    /// An integer of 64 bits, written without fraction and exponent.
    Integer,
    /// A list of texts.
    Texts,
    /// A list of texts, or one text.
    Command,
    /// An object whose values are empty objects.
    Set,
    /// An object with typed members.
    Object(&'static [(&'static str, Type)]),
}

use Type::{Command, Flag, Integer, Object, Set, Text, Texts};

const HEALTHCHECK: &[(&str, Type)] = &[
    ("Test", Texts),
    ("Interval", Integer),
    ("Timeout", Integer),
    ("StartPeriod", Integer),
    ("StartInterval", Integer),
    ("Retries", Integer),
];

const RUN: &[(&str, Type)] = &[
    ("Hostname", Text),
    ("Domainname", Text),
    ("AttachStdin", Flag),
    ("AttachStdout", Flag),
    ("AttachStderr", Flag),
    ("ExposedPorts", Set),
    ("Tty", Flag),
    ("OpenStdin", Flag),
    ("StdinOnce", Flag),
    ("Healthcheck", Object(HEALTHCHECK)),
    ("ArgsEscaped", Flag),
    ("Image", Text),
    ("Volumes", Set),
    ("NetworkDisabled", Flag),
    ("MacAddress", Text),
    ("OnBuild", Texts),
    ("StopTimeout", Integer),
    ("Shell", Command),
    // Members that Docker before 1.10 wrote.
    ("Memory", Integer),
    ("MemoryReservation", Integer),
    ("MemorySwap", Integer),
    ("CpuShares", Integer),
    ("Cpuset", Text),
    ("PortSpecs", Texts),
    ("VolumesFrom", Text),
];

/// The configuration of the container that an image was made from; the members that the model has
/// for `config` are checked here too.
const CONTAINER: &[(&str, Type)] = &[
    ("User", Text),
    ("Env", Texts),
    ("Cmd", Command),
    ("Entrypoint", Command),
    ("WorkingDir", Text),
    ("StopSignal", Text),
];

const TOP: &[(&str, Type)] = &[
    ("os.version", Text),
    ("os.features", Texts),
    ("id", Text),
    ("parent", Text),
    ("comment", Text),
    ("container", Text),
    ("docker_version", Text),
    ("Size", Integer),
];

/// A member of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    keys: Vec<String>,
    /// The expected type and the value that was found.
    message: String,
    /// True for a key of a set: the key is complete without its value, so the value can be
    /// corrected.
    in_set: bool,
}

impl Wrong {
    /// The path of the member, such as `config.Healthcheck.Interval`.
    fn path(&self) -> String {
        match &*self.keys {
            // The two specified names with a dot stay readable.
            [key] => key.clone(),
            keys => keys
                .iter()
                .fold(String::new(), |path, key| join(&path, key)),
        }
    }
}

/// Lists the members of a configuration that have the wrong type.
pub(super) fn wrong(top: &Map<String, Value>) -> Vec<Wrong> {
    let mut found = Vec::new();
    let mut keys = Vec::new();
    members(top, TOP, &mut keys, &mut found);
    for (key, tables) in [
        ("config", &[RUN][..]),
        ("container_config", &[RUN, CONTAINER]),
    ] {
        keys.push(key.to_owned());
        match top.get(key) {
            Some(Value::Object(run)) => {
                for table in tables {
                    members(run, table, &mut keys, &mut found);
                }
            }
            // For `config` itself this is an error of decoding.
            Some(other) if key == "container_config" => {
                check(other, Object(&[]), &mut keys, &mut found)
            }
            _ => {}
        }
        keys.pop();
    }
    found
}

fn members(
    map: &Map<String, Value>,
    table: &[(&str, Type)],
    keys: &mut Vec<String>,
    found: &mut Vec<Wrong>,
) {
    for (key, kind) in table {
        if let Some(value) = map.get(*key) {
            keys.push((*key).to_owned());
            check(value, *kind, keys, found);
            keys.pop();
        }
    }
}

/// Checks one member. The types nest at most twice, whatever the input.
fn check(value: &Value, kind: Type, keys: &mut Vec<String>, found: &mut Vec<Wrong>) {
    let is_texts = |items: &[Value]| items.iter().all(|item| item.is_string() || item.is_null());
    let (fits, expected) = match (kind, value) {
        (_, Value::Null) => return,
        (Set, Value::Object(map)) => {
            for (key, value) in map {
                if !(value.is_null() || value.is_object()) {
                    keys.push(key.clone());
                    add("an empty object", value, true, keys, found);
                    keys.pop();
                }
            }
            return;
        }
        (Object(table), Value::Object(map)) => return members(map, table, keys, found),
        (Text, value) => (value.is_string(), "a string"),
        (Flag, value) => (value.is_boolean(), "`true` or `false`"),
        (Integer, value) => (value.as_i64().is_some(), "an integer of 64 bits"),
        (Texts, Value::Array(items)) => (is_texts(items), "a list of strings"),
        (Command, Value::Array(items)) => (is_texts(items), "a list of strings"),
        (Command, value) => (value.is_string(), "a list of strings"),
        (Texts, _) => (false, "a list of strings"),
        (Set | Object(_), _) => (false, "an object"),
    };
    if !fits {
        add(expected, value, false, keys, found);
    }
}

fn add(expected: &str, value: &Value, in_set: bool, keys: &[String], found: &mut Vec<Wrong>) {
    let what = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("`{flag}`"),
        Value::Number(number) => format!("the number {}", imgconv_model::quote(number.to_string())),
        Value::String(text) => format!("the string {}", imgconv_model::quote(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    found.push(Wrong {
        keys: keys.to_vec(),
        message: format!("expected {expected}, found {what}"),
        in_set,
    });
}

/// Warns of members of the wrong type with `config-type`.
pub(super) fn warn(found: &[Wrong], report: &mut Report) {
    for wrong in found {
        let message = format!(
            "field {}: {}; engines can't load such a config",
            imgconv_model::quote(wrong.path()),
            wrong.message
        );
        report.warn("config-type", "config", message);
    }
}

/// Drops members of the wrong type from a configuration, so that engines can load it. A key of a
/// set of ports or volumes stays, with a correct value. With a report, each member is a loss.
pub(super) fn mend(top: &mut Map<String, Value>, found: &[Wrong], mut report: Option<&mut Report>) {
    for wrong in found {
        let Some((last, parents)) = wrong.keys.split_last() else {
            continue;
        };
        let inner = parents.iter().try_fold(&mut *top, |place, parent| {
            place.get_mut(parent).and_then(Value::as_object_mut)
        });
        // The check walked the same path, so the parent exists.
        let Some(place) = inner else { continue };
        let (outcome, how) = if wrong.in_set {
            place.insert(last.clone(), Value::Object(Map::new()));
            (Outcome::Approximated, "an empty object is written")
        } else {
            place.shift_remove(last);
            (Outcome::Dropped, "engines could not load the config")
        };
        if let Some(report) = &mut report {
            report.lose(wrong.path(), outcome, format!("{}: {how}", wrong.message));
        }
    }
}
