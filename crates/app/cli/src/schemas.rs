//! The JSON Schemas in `docs/schema`, made from the types that are printed. A test compares them with
//! the files; `cargo xtask docs` writes the files, by the ignored test below.

use std::{collections::BTreeSet, fs, path::PathBuf};

use imgconv::{Document, Freed, Merged, Migration, Outcome, Resolution, Tagged, Verdict};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

use crate::{documents as own, progress::ProgressLine};

/// Makes a schema.
type Make = fn() -> Value;

/// The documents: the name of the file, the title, and the schema.
const ALL: &[(&str, &str, Make)] = &[
    (
        "result",
        "The result of commands that write images, and of their `--dry-run`",
        of::<Document<Outcome>>,
    ),
    (
        "migration",
        "The result of `migrate`, as `--json` and as `--report`",
        of::<Document<Migration>>,
    ),
    (
        "merge-reports",
        "The result of `migrate merge-reports`",
        of::<Document<Merged>>,
    ),
    ("ls", "The result of `ls`", of::<Document<own::Listing>>),
    (
        "inspect",
        "The result of `inspect`",
        of::<Document<own::Inspections>>,
    ),
    ("verify", "The result of `verify`", of::<Document<Verdict>>),
    (
        "diff",
        "The result of `diff`",
        of::<Document<own::Differences>>,
    ),
    (
        "unpack",
        "The result of `unpack`",
        of::<Document<own::Unpacked>>,
    ),
    (
        "tags-list",
        "The result of `tags list`",
        of::<Document<own::TagList>>,
    ),
    (
        "tags-resolve",
        "The result of `tags resolve`",
        of::<Document<Resolution>>,
    ),
    (
        "tags-validate",
        "The result of `tags validate`",
        of::<Document<own::Problems>>,
    ),
    (
        "tags-export",
        "The result of `tags export --json`",
        of::<Document<own::ExportedTags>>,
    ),
    (
        "layout-rm",
        "The result of `layout rm`",
        of::<Document<own::RemovedEntries>>,
    ),
    (
        "layout-tag",
        "The result of `layout tag`",
        of::<Document<Tagged>>,
    ),
    (
        "layout-gc",
        "The result of `layout gc`",
        of::<Document<Freed>>,
    ),
    (
        "formats",
        "The result of `formats`",
        of::<Document<own::Catalog>>,
    ),
    (
        "serve",
        "What `serve` prints when the server listens",
        of::<Document<own::Serving>>,
    ),
    (
        "error",
        "An error, on standard error",
        of::<Document<own::Failed>>,
    ),
    (
        "progress",
        "An event of `--progress json`, a line of standard error",
        of::<Document<ProgressLine>>,
    ),
];

/// Makes the schema of a type as it is written.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut value = schema.to_value();
    simplify(&mut value);
    value
}

/// Makes each description one line, and takes `null` from members that are absent instead.
fn simplify(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(simplify),
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            let required: BTreeSet<String> = map
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect();
            if let Some(Value::Object(members)) = map.get_mut("properties") {
                let absent = members
                    .iter_mut()
                    .filter(|(name, _)| !required.contains(*name));
                absent.for_each(|(_, member)| without_null(member));
            }
            map.values_mut().for_each(simplify);
        }
        _ => {}
    }
}

/// Removes `null` from the types of a member.
fn without_null(member: &mut Value) {
    if let Some(types) = member.get_mut("type")
        && let Value::Array(list) = types
    {
        list.retain(|name| name != "null");
        if let [only] = &list[..] {
            *types = only.clone();
        }
    }
    let choice = member.get_mut("anyOf").and_then(Value::as_array_mut);
    if let Some(choice) = choice {
        choice.retain(|one| one["type"] != "null");
        if let [only] = &choice[..] {
            let only = only.clone();
            let map = member.as_object_mut().unwrap();
            map.remove("anyOf");
            map.extend(only.as_object().unwrap().clone());
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/schema")
}

/// The files of `docs/schema`, with their contents.
fn files() -> Vec<(String, String)> {
    let file = |(name, title, make): &(&str, &str, Make)| {
        let mut schema = make();
        schema["title"] = (*title).into();
        let map = schema.as_object_mut().unwrap();
        // The description is that of the frame, which says less than the title.
        map.remove("description");
        let text = serde_json::to_string_pretty(&schema).unwrap();
        (format!("{name}.json"), format!("{text}\n"))
    };
    ALL.iter().map(file).collect()
}

#[test]
fn the_schemas_are_those_of_the_types() {
    let mut found: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected: Vec<String> = files().into_iter().map(|(name, _)| name).collect();
    expected.sort();
    assert_eq!(found, expected);
    for (name, text) in files() {
        let found = fs::read_to_string(folder().join(&name)).unwrap();
        assert!(
            found == text,
            "docs/schema/{name} is stale, run `cargo xtask docs`"
        );
    }
}

#[test]
fn every_member_has_a_description() {
    fn search(at: &str, value: &Value, found: &mut Vec<String>) {
        if let Some(members) = value["properties"].as_object() {
            for (name, member) in members {
                let described = member["description"].is_string() || name == "event";
                if !described
                    || member["description"]
                        .as_str()
                        .is_some_and(|it| it.contains("[`"))
                {
                    found.push(format!("{at}.{name}"));
                }
            }
        }
        match value {
            Value::Array(values) => values.iter().for_each(|it| search(at, it, found)),
            Value::Object(map) => map
                .iter()
                .for_each(|(key, it)| search(&format!("{at}/{key}"), it, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, text) in files() {
        search(&name, &serde_json::from_str(&text).unwrap(), &mut found);
    }
    assert_eq!(found, [""; 0]);
}

#[test]
#[ignore = "writes docs/schema; `cargo xtask docs` runs this test"]
fn write() {
    fs::create_dir_all(folder()).unwrap();
    for (name, text) in files() {
        fs::write(folder().join(name), text).unwrap();
    }
}
