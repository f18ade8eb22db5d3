//! Conversion of manifests before appc 0.6 to the current schema. Fields with a former name are
//! read by their current name; `acVersion` is not used, because old tools did not update it.
//!
//! | until | then | now |
//! | --- | --- | --- |
//! | 0.1 | `val` of a label, an isolator | `value` |
//! | 0.1 | `annotations` as an object | a list of `name` and `value` |
//! | 0.2 | `environment` as an object | a list of `name` and `value` |
//! | 0.1 | `name` and `hash` of a dependency | `imageName` and `imageID` |
//! | 0.5 | `app` of a dependency | `imageName` |
//! | 0.5 | names of mount points, ports and isolators with `/`, `.` or capitals | AC Names, AC Identifiers |
//!
//! A manifest in the current schema is unchanged.

use std::collections::BTreeSet;

use imgconv_json::{Map, Value};

use super::schema::{LONGEST_NAME, Renamed, VERSION};
use crate::identifier::{reads_as_identifier, reads_as_name, sanitise, sanitise_name};

/// A manifest in the words of today.
pub(super) struct Modern {
    pub(super) value: Value,
    pub(super) renamed: Vec<Renamed>,
}

/// The lists of `app` whose items have names, and the replacement of a name of which no character
/// is left.
const NAMED: [(&str, &str); 3] = [
    ("mountPoints", "volume"),
    ("ports", "port"),
    ("isolators", "isolator"),
];

/// Returns an old manifest in the current schema, `None` for a manifest that is current already.
pub(super) fn modern(value: &Value) -> Option<Modern> {
    let before = value.as_object()?;
    if !is_old(before) {
        return None;
    }
    let mut value = value.clone();
    let top = value.as_object_mut()?;
    for key in ["labels", "annotations"] {
        pairs(top, key);
    }
    if let Some(Value::Array(dependencies)) = top.get_mut("dependencies") {
        for dependency in dependencies.iter_mut().filter_map(Value::as_object_mut) {
            if absent(dependency, "imageName") {
                for (from, to) in MEMBERS {
                    rename(dependency, from, to);
                }
            }
            pairs(dependency, "labels");
        }
    }
    let mut renamed = Vec::new();
    if let Some(Value::Object(app)) = top.get_mut("app") {
        for key in ["environment", "isolators"] {
            pairs(app, key);
        }
        for (list, otherwise) in NAMED {
            if let Some(Value::Array(items)) = app.get_mut(list) {
                names(items, list, otherwise, &mut renamed);
            }
        }
    }
    // The field now names the version of the converted document.
    if top.get("acVersion").is_some_and(Value::is_string) {
        top.insert("acVersion".into(), VERSION.into());
    }
    Some(Modern { value, renamed })
}

/// The members of a dependency that were renamed; the earlier ones take precedence.
const MEMBERS: [(&str, &str); 3] = [
    ("app", "imageName"),
    ("name", "imageName"),
    ("hash", "imageID"),
];

/// Returns true if the manifest needs a change. The check finds the same changes as [`modern`], and
/// copies nothing.
fn is_old(top: &Map<String, Value>) -> bool {
    let old_pairs = |object: &Map<String, Value>, key: &str| match object.get(key) {
        Some(Value::Object(_)) => true,
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_object)
            .any(|item| absent(item, "value") && item.contains_key("val")),
        _ => false,
    };
    let list =
        |object: &Map<String, Value>, key: &str, old: &dyn Fn(&Map<String, Value>) -> bool| {
            let items = object.get(key).and_then(Value::as_array);
            items.is_some_and(|items| items.iter().filter_map(Value::as_object).any(old))
        };
    let old_dependency = |item: &Map<String, Value>| {
        let named = ["app", "name"].iter().any(|key| item.contains_key(*key));
        absent(item, "imageName") && named || old_pairs(item, "labels")
    };
    let app = top.get("app").and_then(Value::as_object);
    old_pairs(top, "labels")
        || old_pairs(top, "annotations")
        || list(top, "dependencies", &old_dependency)
        || app.is_some_and(|app| {
            let odd = |(key, _): &(&'static str, &str)| {
                let odd = |item: &Map<String, Value>| odd_name(item, key).is_some();
                list(app, key, &odd)
            };
            old_pairs(app, "environment") || old_pairs(app, "isolators") || NAMED.iter().any(odd)
        })
}

fn absent(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).is_none_or(Value::is_null)
}

/// Renames a member at its position, unless the new name is taken.
fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if !absent(object, to) || !object.contains_key(from) {
        return;
    }
    object.shift_remove(to);
    let members = std::mem::take(object).into_iter();
    *object = members
        .map(|(key, value)| match key == from {
            true => (to.to_owned(), value),
            false => (key, value),
        })
        .collect();
}

/// Makes a list of pairs of an object, and `value` of `val`.
fn pairs(object: &mut Map<String, Value>, key: &str) {
    match object.get_mut(key) {
        Some(Value::Array(items)) => {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                rename(item, "val", "value");
            }
        }
        Some(list @ Value::Object(_)) => {
            let Value::Object(map) = std::mem::take(list) else {
                return;
            };
            let pair = |(name, value): (String, Value)| {
                let members = [("name", Value::from(name)), ("value", value)];
                let members = members.map(|(key, value)| (key.to_owned(), value));
                Value::from(members.into_iter().collect::<Map<_, _>>())
            };
            *list = map.into_iter().map(pair).collect::<Vec<_>>().into();
        }
        _ => {}
    }
}

/// Returns the name of an item if it breaks the rules of the list.
fn odd_name<'a>(item: &'a Map<String, Value>, list: &str) -> Option<&'a str> {
    let name = item.get("name").and_then(Value::as_str)?;
    let good = match list {
        "isolators" => reads_as_identifier(name),
        _ => reads_as_name(name),
    };
    (!good && !name.is_empty() && name.len() <= LONGEST_NAME).then_some(name)
}

/// Gives the items of a list names that follow the rules and that no other item of the list has.
fn names(items: &mut [Value], list: &'static str, otherwise: &str, renamed: &mut Vec<Renamed>) {
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let odd = |item: &Value| {
        item.as_object()
            .is_some_and(|it| odd_name(it, list).is_some())
    };
    let good = items.iter().filter(|item| !odd(item)).filter_map(name);
    let mut taken: BTreeSet<String> = good.collect();
    // The next number to try for each name: the cost of many equal names is linear.
    let mut next = std::collections::BTreeMap::<String, u64>::new();
    for (index, item) in items.iter_mut().enumerate() {
        let Some(was) = item.as_object().and_then(|it| odd_name(it, list)) else {
            continue;
        };
        let was = was.to_owned();
        let made = match list {
            // An isolator that applies to several things is repeated under one name.
            "isolators" => sanitise(&was),
            _ => sanitise_name(&was),
        };
        let base = made.unwrap_or_else(|| otherwise.to_owned());
        let mut is = base.clone();
        while list != "isolators" && !taken.insert(is.clone()) {
            let number = next.entry(base.clone()).or_default();
            *number += 1;
            is = format!("{base}-{number}");
        }
        if let Some(object) = item.as_object_mut() {
            object.insert("name".into(), Value::from(&*is));
        }
        renamed.push(Renamed {
            list,
            index,
            was,
            is,
        });
    }
}
