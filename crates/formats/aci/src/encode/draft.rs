//! A manifest that is being written: small changes to a JSON document that keep the rest of it,
//! unknown fields and order included.

use std::collections::BTreeSet;

use imgconv_json::{Map, Value};
use imgconv_model::{Port, Result};

use crate::{manifest::VERSION, run};

/// The order in which fields are written without an original.
const ORDER: &[&str] = &[
    "acKind",
    "acVersion",
    "name",
    "labels",
    "app",
    "dependencies",
    "pathWhitelist",
    "annotations",
];
const APP_ORDER: &[&str] = &[
    "exec",
    "user",
    "group",
    "supplementaryGIDs",
    "eventHandlers",
    "workingDirectory",
    "environment",
    "isolators",
    "mountPoints",
    "ports",
    "userAnnotations",
    "userLabels",
];

/// A manifest that is being written.
#[derive(Debug)]
pub(super) struct Draft {
    value: Value,
    fresh: bool,
}

impl Draft {
    /// Starts with a document.
    pub(super) fn of(original: &Value) -> Self {
        let value = original.clone();
        Self {
            value,
            fresh: false,
        }
    }

    /// Starts with a name only.
    pub(super) fn fresh(name: &str) -> Self {
        let fields = [
            ("acKind", "ImageManifest"),
            ("acVersion", VERSION),
            ("name", name),
        ];
        let map: Map<String, Value> = fields
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let value = map.into();
        Self { value, fresh: true }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Completes the manifest: without an original, fields and pairs are sorted.
    pub(super) fn finish(mut self) -> Value {
        if self.fresh {
            for list in ["labels", "annotations"] {
                if let Some(Value::Array(pairs)) = self.root().get_mut(list) {
                    let name =
                        |pair: &Value| pair.get("name").and_then(Value::as_str).map(str::to_owned);
                    pairs.sort_by_key(name);
                }
            }
            if let Some(Value::Object(app)) = self.root().get_mut("app") {
                order(app, APP_ORDER);
            }
            order(self.root(), ORDER);
        }
        self.value
    }

    fn root(&mut self) -> &mut Map<String, Value> {
        as_object(&mut self.value)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.value.get(key)?.as_str().map(str::to_owned)
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.root().insert(key.to_owned(), value);
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.root().shift_remove(key);
    }

    /// Returns the app, which is made if it is missing: with no command, as root.
    pub(super) fn app(&mut self) -> &mut Map<String, Value> {
        let app = self.root().entry("app").or_insert(Value::Null);
        if app.is_null() {
            let fields: [(&str, Value); 3] = [
                ("exec", Value::Array(Vec::new())),
                ("user", "0".into()),
                ("group", "0".into()),
            ];
            let fields = fields.map(|(key, value)| (key.to_owned(), value));
            *app = fields.into_iter().collect::<Map<_, _>>().into();
        }
        as_object(app)
    }

    /// Sets a field of the app, or removes it if it is empty.
    pub(super) fn set_app(&mut self, key: &str, empty: bool, value: Value) {
        if !empty {
            self.app().insert(key.to_owned(), value);
        } else if self.has("app") {
            self.app().shift_remove(key);
        }
    }

    /// Returns the value of a pair in `labels` or `annotations`.
    pub(super) fn pair_value(&self, list: &str, name: &str) -> Option<String> {
        let pairs = self.value.get(list)?.as_array()?;
        let pair = pairs.iter().find(|pair| is_named(pair, name))?;
        Some(pair.get("value")?.as_str()?.to_owned())
    }

    /// Sets or removes a pair in `labels` or `annotations`. An empty list is left out.
    pub(super) fn set_pair(&mut self, list: &str, name: &str, value: Option<&str>) {
        let entry = self.root().entry(list).or_insert(Value::Null);
        if !entry.is_array() {
            *entry = Value::Array(Vec::new());
        }
        let Value::Array(pairs) = entry else { return };
        let position = pairs.iter().position(|pair| is_named(pair, name));
        match (position, value) {
            (Some(i), Some(value)) => {
                as_object(&mut pairs[i]).insert("value".into(), value.into());
            }
            (Some(i), None) => drop(pairs.remove(i)),
            (None, Some(value)) => pairs.push(pair(name, value)),
            (None, None) => {}
        }
        if pairs.is_empty() {
            self.remove(list);
        }
    }

    pub(super) fn set_user_annotation(&mut self, key: &str, value: Option<&str>) {
        let app = self.app();
        let map = app.entry("userAnnotations").or_insert(Value::Null);
        if !map.is_object() {
            *map = Value::Object(Map::new());
        }
        match value {
            Some(value) => drop(as_object(map).insert(key.to_owned(), value.into())),
            None => drop(as_object(map).shift_remove(key)),
        }
        if as_object(map).is_empty() {
            app.shift_remove("userAnnotations");
        }
    }

    /// Writes ports. An entry of the manifest, or a kept entry, stays if all its ports are wanted;
    /// entries for the remaining ports are made, sorted by name.
    pub(super) fn write_ports(&mut self, ports: &[Port], kept: &[Value]) {
        let wanted = run::ranges(ports);
        let mut entries = self.app_list("ports");
        entries.extend(kept.iter().cloned());
        let mut covered = Vec::new();
        let mut names = run::FreeNames::default();
        entries.retain(|entry| {
            let Some(port) = read_port(entry).filter(|port| run::covers(&wanted, port)) else {
                return false;
            };
            let name = entry
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let new = names.take(name.to_owned());
            if new {
                covered.push(port);
            }
            new
        });
        let covered = run::ranges(&covered);
        let mut seen = BTreeSet::new();
        let made = ports
            .iter()
            .filter(|port| !run::covers(&covered, port) && seen.insert(*port));
        let mut new: Vec<(String, Value)> = made
            .map(|port| {
                let name = names.give(run::port_name(port));
                let fields: [(&str, Value); 4] = [
                    ("name", name.clone().into()),
                    ("protocol", port.protocol.clone().into()),
                    ("port", port.number.into()),
                    ("count", port.count.into()),
                ];
                let fields = fields.map(|(key, value)| (key.to_owned(), value));
                (name, fields.into_iter().collect::<Map<_, _>>().into())
            })
            .collect();
        new.sort_by(|a, b| a.0.cmp(&b.0));
        entries.extend(new.into_iter().map(|(_, value)| value));
        self.set_app("ports", entries.is_empty(), entries.into());
    }

    /// Writes mount points, like [`Self::write_ports`].
    pub(super) fn write_mount_points(&mut self, volumes: &[String], kept: &[Value]) -> Result<()> {
        let named = run::mount_points(volumes)?;
        let wanted = run::volume_paths(volumes);
        let mut entries = self.app_list("mountPoints");
        entries.extend(kept.iter().cloned());
        let mut covered = BTreeSet::new();
        let mut names = run::FreeNames::default();
        entries.retain(|entry| {
            let text = |key| {
                entry
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let paths = run::volume_paths(&[text("path")]);
            let new = paths.is_subset(&wanted) && names.take(text("name"));
            if new {
                covered.extend(paths);
            }
            new
        });
        let mut new = Vec::new();
        for (base, path) in named {
            if run::volume_paths(std::slice::from_ref(&path)).is_subset(&covered) {
                continue;
            }
            let name = names.give(base);
            let fields = [("name", name.clone()), ("path", path)];
            let fields = fields.map(|(key, value)| (key.to_owned(), Value::from(value)));
            new.push((name, Value::from(fields.into_iter().collect::<Map<_, _>>())));
        }
        new.sort_by(|a, b| a.0.cmp(&b.0));
        entries.extend(new.into_iter().map(|(_, value)| value));
        self.set_app("mountPoints", entries.is_empty(), entries.into());
        Ok(())
    }

    fn app_list(&self, key: &str) -> Vec<Value> {
        let list = self.value.get("app").and_then(|app| app.get(key));
        list.and_then(Value::as_array).cloned().unwrap_or_default()
    }
}

/// Reads a port entry of a manifest.
fn read_port(entry: &Value) -> Option<Port> {
    let number = |key: &str| entry.get(key)?.as_u64().and_then(|n| u16::try_from(n).ok());
    let protocol = entry
        .get("protocol")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Some(Port {
        number: number("port")?,
        count: number("count").unwrap_or(1).max(1),
        protocol: if protocol.is_empty() {
            "tcp".into()
        } else {
            protocol.to_lowercase()
        },
    })
}

/// An object of `name` and `value`.
pub(super) fn pair(name: &str, value: &str) -> Value {
    let fields = [("name", name), ("value", value)];
    let fields = fields.map(|(key, value)| (key.to_owned(), Value::from(value)));
    fields.into_iter().collect::<Map<_, _>>().into()
}

fn is_named(pair: &Value, name: &str) -> bool {
    pair.get("name").and_then(Value::as_str) == Some(name)
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

/// Puts known fields first, in the given order; the others follow in their own order.
fn order(map: &mut Map<String, Value>, known: &[&str]) {
    let mut ordered = Map::new();
    for key in known {
        if let Some(value) = map.shift_remove(*key) {
            ordered.insert((*key).to_owned(), value);
        }
    }
    ordered.append(map);
    *map = ordered;
}
