//! The configuration of an image as named values, whatever the format, and what each format can
//! hold of it.
//!
//! A fact has the name by which a loss would call it: `config.Cmd`, `config.Labels.KEY`,
//! `annotations.KEY`, `created`, `history`. The facts of an ACI are those of the OCI image that the
//! ACI stands for, by docs/mapping.md, which is the specification of the mapping: appc and OCI know
//! nothing of each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::place::{Family, Image, list_of, object, text};

/// The values by their names.
pub type Facts = BTreeMap<String, Value>;

/// Members of the config that an ACI can hold.
const IN_ACI: [&str; 7] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
];

/// The facts of an image that was read.
pub fn of(image: &Image) -> Facts {
    match image.family {
        Family::Aci => of_aci(&image.config),
        Family::Rootfs => Facts::new(),
        Family::Oci | Family::Docker => of_documents(&image.config, &json!(image.annotations)),
    }
}

/// The facts of a config and of the annotations of a manifest (image-spec, config.md).
pub fn of_documents(config: &Value, annotations: &Value) -> Facts {
    let mut facts = Facts::new();
    for (key, value) in object(config) {
        match key.as_str() {
            "rootfs" => {}
            "config" => {
                for (key, value) in object(&value) {
                    if key == "Labels" {
                        for (label, value) in object(&value) {
                            facts.insert(format!("config.Labels.{label}"), value);
                        }
                    } else {
                        facts.insert(format!("config.{key}"), value);
                    }
                }
            }
            _ => drop(facts.insert(key, value)),
        }
    }
    for (key, value) in object(annotations) {
        // The program's own notes are for the way back and mean nothing else.
        if !key.starts_with("imgconv.") {
            facts.insert(format!("annotations.{key}"), value);
        }
    }
    facts.retain(|key, value| {
        key.contains("Labels.") || key.starts_with("annotations.") || !is_empty(value)
    });
    facts
}

/// The facts of the manifest of an ACI (docs/mapping.md, "ACI to OCI").
pub fn of_aci(manifest: &Value) -> Facts {
    let mut facts = Facts::new();
    let pairs = |list: &Value, key: &str| -> Vec<(String, String)> {
        let items = list_of(list);
        items
            .iter()
            .map(|item| (text(&item[key]), text(&item["value"])))
            .collect()
    };
    let labels: BTreeMap<_, _> = pairs(&manifest["labels"], "name").into_iter().collect();
    let annotations: BTreeMap<_, _> = pairs(&manifest["annotations"], "name")
        .into_iter()
        .collect();
    let (os, arch) = (labels.get("os"), labels.get("arch"));
    facts.insert("os".into(), json!(os));
    let (architecture, variant) = match arch.map_or("", |arch| arch) {
        "i386" => ("386", ""),
        "aarch64" => ("arm64", ""),
        "armv6l" => ("arm", "v6"),
        "armv7l" => ("arm", "v7"),
        other => (other, ""),
    };
    facts.insert("architecture".into(), json!(architecture));
    facts.insert("variant".into(), json!(variant));
    for (name, value) in &labels {
        if !["os", "arch", "version"].contains(&name.as_str()) {
            facts.insert(format!("annotations.appc.io/label/{name}"), json!(value));
        }
    }
    let app = &manifest["app"];
    let exec = app["exec"].clone();
    let kept = |name: &str| {
        let value = annotations.get(&format!("appc.io/docker/{name}"))?;
        serde_json::from_str::<Value>(value).ok()
    };
    match (kept("entrypoint"), kept("cmd")) {
        (None, None) => drop(facts.insert("config.Entrypoint".into(), exec)),
        (entrypoint, cmd) => {
            facts.insert("config.Entrypoint".into(), entrypoint.unwrap_or_default());
            facts.insert("config.Cmd".into(), cmd.unwrap_or_default());
        }
    }
    let user = match annotations.get("appc.io/docker/user") {
        Some(user) => user.clone(),
        None if app.is_null() => String::new(),
        None => format!("{}:{}", text(&app["user"]), text(&app["group"])),
    };
    let has_guessed_group = annotations.contains_key("imgconv.docker.group");
    let user = match user.split_once(':') {
        Some((user, _)) if has_guessed_group => user.to_owned(),
        Some(("0", "0")) => String::new(),
        _ => user,
    };
    facts.insert("config.User".into(), json!(user));
    facts.insert("config.WorkingDir".into(), app["workingDirectory"].clone());
    let environment = pairs(&app["environment"], "name");
    let environment: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    facts.insert("config.Env".into(), json!(environment));
    let volumes = list_of(&app["mountPoints"]);
    let volumes = volumes
        .iter()
        .map(|point| (text(&point["path"]), json!({})));
    facts.insert("config.Volumes".into(), Value::Object(volumes.collect()));
    let mut ports = serde_json::Map::new();
    for port in list_of(&app["ports"]) {
        let first = port["port"].as_u64().unwrap_or_default();
        for number in first..first + port["count"].as_u64().unwrap_or(1) {
            ports.insert(format!("{number}/{}", text(&port["protocol"])), json!({}));
        }
    }
    facts.insert("config.ExposedPorts".into(), Value::Object(ports));
    for (key, value) in object(&app["userLabels"]) {
        facts.insert(format!("config.Labels.{key}"), value);
    }
    for (key, value) in object(&app["userAnnotations"]) {
        facts.insert(format!("annotations.{key}"), value);
    }
    for (name, value) in &annotations {
        let key = match name.as_str() {
            "created" => "created".to_owned(),
            "authors" => "author".to_owned(),
            "homepage" => "annotations.org.opencontainers.image.url".to_owned(),
            "documentation" => "annotations.org.opencontainers.image.documentation".to_owned(),
            name if name.starts_with("appc.io/docker/") || name.starts_with("imgconv.") => continue,
            name => format!("annotations.{name}"),
        };
        facts.insert(key, json!(value));
    }
    // An ACI that was made of another image keeps the manifest of that image, which has the annotations.
    let is_made = annotations
        .keys()
        .any(|name| name.starts_with("imgconv.") && name.ends_with(".manifest"));
    if !is_made {
        let version = labels.get("version").map(|version| json!(version));
        let implied = [
            ("created", facts.get("created").cloned()),
            ("authors", facts.get("author").cloned()),
            ("version", version),
        ];
        for (name, value) in implied {
            let value = value.unwrap_or_default();
            if !is_empty(&value) {
                let key = format!("annotations.org.opencontainers.image.{name}");
                facts.entry(key).or_insert(value);
            }
        }
    }
    only_in_aci(manifest, &mut facts);
    facts.retain(|key, value| {
        key.contains("Labels.") || key.starts_with("annotations.") || !is_empty(value)
    });
    facts
}

/// The fields that only an ACI has, named as their losses are.
fn only_in_aci(manifest: &Value, facts: &mut Facts) {
    for key in ["dependencies", "pathWhitelist", "vendor"] {
        facts.insert(key.to_owned(), manifest[key].clone());
    }
    let app = &manifest["app"];
    for key in ["supplementaryGIDs", "eventHandlers", "isolators"] {
        facts.insert(format!("app.{key}"), app[key].clone());
    }
    for point in list_of(&app["mountPoints"]) {
        let name = text(&point["name"]);
        if !name.starts_with("volume-") {
            facts.insert(format!("app.mountPoints[{name}].name"), json!(name));
        }
        if point["readOnly"] == true {
            facts.insert(format!("app.mountPoints[{name}].readOnly"), json!(true));
        }
    }
    for port in list_of(&app["ports"]) {
        let name = text(&port["name"]);
        if name != format!("{}-{}", port["port"], text(&port["protocol"])) {
            facts.insert(format!("app.ports[{name}].name"), json!(name));
        }
    }
}

/// Says whether only an ACI can have a fact.
pub fn is_of_aci(key: &str) -> bool {
    key.starts_with("app.") || ["dependencies", "pathWhitelist", "vendor"].contains(&key)
}

/// Empty values mean the same as no value (config.md: the fields are optional).
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The losses that a format of the target causes, each `OUTCOME FIELD`, and the facts that are left.
pub fn lost(facts: &Facts, to: Family) -> (BTreeSet<String>, Facts) {
    let (mut losses, mut left) = (BTreeSet::new(), Facts::new());
    for (key, value) in facts {
        let mut lose = |outcome: &str, field: &str| {
            losses.insert(format!("{outcome} {field}"));
        };
        if is_of_aci(key) && to != Family::Aci {
            match key.as_str() {
                "dependencies" | "pathWhitelist" => lose("approximated", key),
                _ => lose("dropped", key),
            }
            continue;
        }
        match to {
            Family::Oci => drop(left.insert(key.clone(), value.clone())),
            Family::Docker if key.starts_with("annotations.") => lose("dropped", &quoted(key)),
            Family::Docker => drop(left.insert(key.clone(), value.clone())),
            Family::Rootfs => match key.as_str() {
                "os" | "architecture" | "variant" => lose("dropped", "platform"),
                _ => lose("dropped", &quoted(key)),
            },
            Family::Aci => match aci(key, value) {
                Fate::Kept => drop(left.insert(key.clone(), value.clone())),
                Fate::Dropped => lose("dropped", &quoted(key)),
                Fate::Unseen => {}
                Fate::Changed(value, fields) => {
                    for field in fields {
                        lose("approximated", &field);
                    }
                    left.insert(key.clone(), value);
                }
            },
        }
    }
    (losses, left)
}

/// A field as losses spell it: a key of an object with other characters than letters, digits and a
/// few signs stands in quotes; that of an annotation never does.
fn quoted(key: &str) -> String {
    if key.starts_with("annotations.") {
        return key.to_owned();
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let quote = |name: &str| match name.chars().all(is_word) {
        true => name.to_owned(),
        false => json!(name).to_string(),
    };
    for group in ["config.Labels.", "config."] {
        if let Some(name) = key.strip_prefix(group) {
            return format!("{group}{}", quote(name));
        }
    }
    match key {
        "os.version" | "os.features" => key.to_owned(),
        _ => quote(key),
    }
}

enum Fate {
    Kept,
    Dropped,
    /// No reader acts on the value, so that nothing is lost.
    Unseen,
    Changed(Value, Vec<String>),
}

/// What becomes of a fact in an ACI (docs/mapping.md, "OCI to ACI").
fn aci(key: &str, value: &Value) -> Fate {
    if let Some(member) = key.strip_prefix("config.") {
        if member.starts_with("Labels.") {
            return Fate::Kept;
        }
        return match member {
            "Env" => environment(value),
            "WorkingDir" => {
                let path = text(value);
                match path.starts_with('/') {
                    true => Fate::Kept,
                    false => {
                        let fields = vec!["config.WorkingDir".to_owned()];
                        Fate::Changed(json!(format!("/{path}")), fields)
                    }
                }
            }
            _ if IN_ACI.contains(&member) => Fate::Kept,
            "Hostname" if value == "" => Fate::Unseen,
            _ => Fate::Dropped,
        };
    }
    if key.starts_with("annotations.") {
        return Fate::Kept;
    }
    match key {
        _ if is_of_aci(key) => Fate::Kept,
        "os" | "architecture" | "created" | "author" => Fate::Kept,
        "variant" => Fate::Kept,
        _ => Fate::Dropped,
    }
}

/// Of two values of a name the last counts (appc: names are unique; engines take the last).
fn environment(value: &Value) -> Fate {
    let all: Vec<String> = list_of(value).iter().map(text).collect();
    let name = |text: &String| text.split_once('=').map(|(name, _)| name.to_owned());
    let (mut left, mut fields) = (Vec::new(), Vec::new());
    for (at, text) in all.iter().enumerate() {
        if all[at + 1..].iter().any(|later| name(later) == name(text)) {
            fields.push(format!("config.Env[{}]", json!(text)));
        } else {
            left.push(text.clone());
        }
    }
    match fields.is_empty() {
        true => Fate::Kept,
        false => Fate::Changed(json!(left), fields),
    }
}

/// The steps of a history: what made each, and whether it made no layer.
pub fn steps(history: &Value) -> Vec<(String, bool)> {
    let step = |step: &Value| (text(&step["created_by"]), step["empty_layer"] == true);
    list_of(history).iter().map(step).collect()
}

/// The number of steps that made a layer.
pub fn layers(steps: &[(String, bool)]) -> usize {
    steps.iter().filter(|(_, is_empty)| !is_empty).count()
}

/// The steps after the layers from `from` on were merged to one (docs/layers.md: the history keeps
/// every step, and one more entry has the merged layer, which replaces that of an earlier merge).
pub fn merged(steps: Vec<(String, bool)>, from: usize) -> Vec<(String, bool)> {
    const MARK: &str = "imgconv squash";
    let (mut out, mut layers) = (Vec::new(), 0);
    for (made_by, is_empty) in steps {
        let is_above = layers > from || (layers == from && !is_empty);
        layers += usize::from(!is_empty);
        if !is_above {
            out.push((made_by, is_empty));
        } else if is_empty || made_by != MARK {
            out.push((made_by, true));
        }
    }
    out.push((MARK.to_owned(), false));
    out
}

/// The differences between two sets of facts, a line each.
pub fn differences(expected: &Facts, found: &Facts) -> Vec<String> {
    let mut keys: BTreeSet<&String> = expected.keys().collect();
    keys.extend(found.keys());
    let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let mut out = Vec::new();
    for key in keys {
        let (wanted, found) = (expected.get(key), found.get(key));
        if wanted != found {
            out.push(format!(
                "{key}: expected {}, found {}",
                shown(wanted),
                shown(found)
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_loses_what_it_cannot_hold() {
        let config = json!({
            "os": "linux", "architecture": "amd64", "comment": "c",
            "config": { "Env": ["A=1", "A=2"], "StopSignal": "9", "Labels": { "a.b": "" } },
        });
        let facts = of_documents(
            &config,
            &json!({ "k.k": "v", "imgconv.aci.manifest": "{}" }),
        );
        let losses = |to| lost(&facts, to).0.into_iter().collect::<Vec<_>>();
        assert_eq!(losses(Family::Oci), [""; 0]);
        assert_eq!(losses(Family::Docker), ["dropped annotations.k.k"]);
        let of_aci = [
            "approximated config.Env[\"A=1\"]",
            "dropped comment",
            "dropped config.StopSignal",
        ];
        assert_eq!(losses(Family::Aci), of_aci);
        assert!(losses(Family::Rootfs).contains(&"dropped config.Labels.\"a.b\"".to_owned()));
    }

    #[test]
    fn merged_steps_stay_as_steps_without_a_layer() {
        let steps = |list: &[(&str, bool)]| {
            let step = |(made_by, is_empty): &(&str, bool)| ((*made_by).to_owned(), *is_empty);
            list.iter().map(step).collect::<Vec<_>>()
        };
        let before = steps(&[("a", false), ("env", true), ("b", false), ("c", false)]);
        let once = merged(before, 1);
        let all = [
            ("a", false),
            ("env", true),
            ("b", true),
            ("c", true),
            ("imgconv squash", false),
        ];
        assert_eq!(once, steps(&all));
        let again = merged(once, 0);
        let all = [
            ("a", true),
            ("env", true),
            ("b", true),
            ("c", true),
            ("imgconv squash", false),
        ];
        assert_eq!(again, steps(&all));
    }
}
