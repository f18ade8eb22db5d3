//! The tables of `docs/json.md`: every member of every document, from the schemas in `docs/schema`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::Result;

/// The order of the documents.
const ORDER: &[&str] = &[
    "result",
    "ls",
    "inspect",
    "verify",
    "diff",
    "unpack",
    "migration",
    "merge-reports",
    "layout-rm",
    "layout-tag",
    "layout-gc",
    "tags-export",
    "tags-list",
    "tags-resolve",
    "tags-validate",
    "formats",
    "serve",
    "error",
    "progress",
];

/// Makes the tables of all schemas of a folder.
pub(crate) fn of(folder: &Path) -> Result<String> {
    let mut names = BTreeSet::new();
    for file in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let name = file.map_err(|e| e.to_string())?.file_name();
        let name = name.to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    let ordered: BTreeSet<String> = ORDER.iter().map(|name| (*name).to_owned()).collect();
    if names != ordered {
        return Err(format!(
            "xtask/src/members.rs orders other documents than those of {}",
            folder.display()
        ));
    }
    let (mut out, mut told) = (String::new(), BTreeMap::new());
    for name in ORDER {
        let path = folder.join(format!("{name}.json"));
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let schema = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        out += &section(name, &schema, &mut told)?;
    }
    Ok(out)
}

/// The section of a document. `told` has the structures that an earlier table describes, each with the
/// place of the description.
fn section(name: &str, schema: &Value, told: &mut BTreeMap<String, String>) -> Result<String> {
    let title = schema["title"].as_str().unwrap_or_default();
    let mut table = Table {
        document: name,
        root: schema,
        rows: String::new(),
        told,
    };
    match schema["oneOf"].as_array() {
        Some(events) => {
            // The members of every event.
            if schema["properties"].is_object() {
                table.members("", schema)?;
            }
            for event in events {
                table.event(event)?;
            }
        }
        None => table.members("", schema)?,
    }
    Ok(format!(
        "### {name}\n\n{title}. Schema: [{name}.json](schema/{name}.json).\n\n\
         | member | type | meaning |\n| --- | --- | --- |\n{}\n",
        table.rows
    ))
}

struct Table<'a> {
    document: &'a str,
    root: &'a Value,
    rows: String,
    told: &'a mut BTreeMap<String, String>,
}

impl<'a> Table<'a> {
    fn row(&mut self, member: &str, kind: &str, meaning: &str) {
        let meaning = meaning.replace('|', "\\|");
        self.rows += &format!("| `{member}` | {kind} | {meaning} |\n");
    }

    /// The rows of an event: the value of its tag, and its other members.
    fn event(&mut self, event: &'a Value) -> Result<()> {
        let tag = &event["properties"]["event"]["const"];
        let tag = tag.as_str().ok_or("an event without the member `event`")?;
        self.row("event", &format!("`{tag}`"), &meaning(event));
        let root = self.root;
        let path = event["$ref"]
            .as_str()
            .and_then(|path| path.strip_prefix('#'));
        let shared = path.and_then(|path| root.pointer(path));
        for schema in [event].into_iter().chain(shared) {
            let members = schema["properties"].as_object().into_iter().flatten();
            for (name, member) in members.filter(|(name, _)| *name != "event") {
                self.member(&format!("… {name}"), member, is_optional(schema, name))?;
            }
        }
        Ok(())
    }

    fn members(&mut self, at: &str, schema: &'a Value) -> Result<()> {
        let dot = if at.is_empty() { "" } else { "." };
        let members = schema["properties"].as_object();
        let members = members.ok_or_else(|| format!("{}: `{at}` has no members", self.document))?;
        // The text above the tables is about the version, which every document has.
        let members = members.iter().filter(|(name, _)| *name != "version");
        for (name, member) in members {
            self.member(
                &format!("{at}{dot}{name}"),
                member,
                is_optional(schema, name),
            )?;
        }
        Ok(())
    }

    /// The row of a member, and those of the structure that it holds.
    fn member(&mut self, at: &str, member: &'a Value, optional: bool) -> Result<()> {
        let (kind, below, path) = self.kind(at, member)?;
        let absent = if optional { ", or absent" } else { "" };
        let mut text = meaning(member);
        let Some((name, schema)) = below else {
            self.row(at, &format!("{kind}{absent}"), &text);
            return Ok(());
        };
        if let Some(values) = schema["oneOf"].as_array() {
            // A word of a list, each with its meaning.
            let values = values.iter();
            let words: Vec<String> = values
                .map(|value| {
                    format!(
                        "`{}`: {}",
                        value["const"].as_str().unwrap_or_default(),
                        meaning(value)
                    )
                })
                .collect();
            text = format!("{text} {}", words.join(" "));
            self.row(at, &format!("word{absent}"), text.trim());
            return Ok(());
        }
        if let Some(elsewhere) = self.told.get(name) {
            let kind = format!("{kind} as {elsewhere}{absent}");
            self.row(at, &kind, &text);
            return Ok(());
        }
        let here = format!("`{path}` of [{0}](#{0})", self.document);
        self.told.insert(name.to_owned(), here);
        self.row(at, &format!("{kind}{absent}"), &text);
        self.members(&path, schema)
    }

    /// The type of a value in words, the structure in the value if there is one, and the structure's path.
    #[expect(clippy::type_complexity, reason = "a name would say no more")]
    fn kind(
        &self,
        at: &str,
        schema: &'a Value,
    ) -> Result<(String, Option<(&'a str, &'a Value)>, String)> {
        if let Some(name) = schema["$ref"].as_str() {
            let target = name
                .strip_prefix('#')
                .and_then(|name| self.root.pointer(name));
            let target = target.ok_or_else(|| format!("nothing is at {name}"))?;
            let name = name.rsplit('/').next().unwrap_or_default();
            return Ok(("object".to_owned(), Some((name, target)), at.to_owned()));
        }
        if let Some(choice) = schema["anyOf"].as_array() {
            let one = choice.iter().find(|one| one["type"] != "null");
            let (kind, below, path) = self.kind(at, one.ok_or("an empty choice")?)?;
            return Ok((format!("{kind} or null"), below, path));
        }
        let words: Vec<&str> = match &schema["type"] {
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
            word => word.as_str().into_iter().collect(),
        };
        let null = if words.contains(&"null") {
            " or null"
        } else {
            ""
        };
        let word = words.iter().find(|word| **word != "null");
        match (word.copied(), &schema["additionalProperties"]) {
            (Some("array"), _) => {
                let at = format!("{at}[]");
                let (kind, below, path) = self.kind(&at, &schema["items"])?;
                Ok((format!("list of {}{null}", plural(&kind)), below, path))
            }
            (Some("object"), Value::Object(_)) => {
                let at = format!("{at}.*");
                let (kind, below, path) = self.kind(&at, &schema["additionalProperties"])?;
                Ok((format!("map of {}{null}", plural(&kind)), below, path))
            }
            (Some(word), _) => Ok((format!("{word}{null}"), None, at.to_owned())),
            (None, _) => Err(format!("{}: `{at}` has no type", self.document)),
        }
    }
}

fn plural(kind: &str) -> String {
    match kind.split_once(' ') {
        Some((first, rest)) => format!("{first}s {rest}"),
        None => format!("{kind}s"),
    }
}

fn meaning(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn is_optional(schema: &Value, name: &str) -> bool {
    let required = schema["required"].as_array();
    !required.is_some_and(|all| all.iter().any(|one| one == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_of_structures_have_paths() {
        let schema = json!({
            "title": "T", "type": "object",
            "properties": {
                "version": { "type": "integer", "description": "V." },
                "images": { "type": "array", "items": { "$ref": "#/$defs/I" }, "description": "All." },
            },
            "required": ["version", "images"],
            "$defs": {
                "I": { "type": "object", "properties": {
                    "status": { "$ref": "#/$defs/S", "description": "How." },
                    "tags": { "type": "object", "additionalProperties": { "type": "string" }, "description": "a|b" },
                    "name": { "type": ["string", "null"], "description": "N." },
                }, "required": ["name", "status"] },
                "S": { "oneOf": [ { "const": "done", "description": "Written." } ] },
            },
        });
        let mut told = BTreeMap::new();
        let text = section("x", &schema, &mut told).unwrap();
        let wanted = "\
            | --- | --- | --- |\n\
            | `images` | list of objects | All. |\n\
            | `images[].status` | word | How. `done`: Written. |\n\
            | `images[].tags` | map of strings, or absent | a\\|b |\n\
            | `images[].name` | string or null | N. |\n";
        assert!(text.contains(wanted), "{text}");
        let again = section("y", &schema, &mut told).unwrap();
        let row = "| `images` | list of objects as `images[]` of [x](#x) | All. |\n";
        assert!(
            again.contains(row) && !again.contains("images[].name"),
            "{again}"
        );
    }

    #[test]
    fn an_event_has_its_members_below() {
        let schema = json!({ "title": "E", "oneOf": [ { "type": "object", "description": "Begins.", "properties": {
            "event": { "const": "begin" }, "id": { "type": "integer", "description": "N." },
        }, "required": ["event", "id"] } ] });
        let text = section("e", &schema, &mut BTreeMap::new()).unwrap();
        let wanted = "| `event` | `begin` | Begins. |\n| `… id` | integer | N. |\n";
        assert!(text.contains(wanted), "{text}");
    }
}
