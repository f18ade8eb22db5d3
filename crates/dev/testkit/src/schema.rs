//! Validates the program's JSON by the schemas in `docs/schema`.
//!
//! The schemas leave documents open, so that consumers accept members of later versions. Here they are
//! closed: a member that no schema describes is a fault. Only the keywords that these schemas have are
//! known, and any other keyword is a fault too: nothing is passed over. The crates that validate by all
//! of JSON Schema bring more than forty packages; `cargo xtask oracle json` lets one of another language
//! judge the same documents.

use std::path::Path;

use serde_json::Value;

type Map = serde_json::Map<String, Value>;

use crate::{Failure, Result, read_text};

/// The most references that lead from one schema to the next.
const DEPTH: usize = 64;

/// A schema of `docs/schema`.
#[derive(Clone, Debug)]
pub struct Schema {
    name: String,
    root: Value,
}

impl Schema {
    /// Reads `docs/schema/NAME.json` of this repository.
    pub fn load(name: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/schema");
        Self::parse(name, &read_text(&folder.join(format!("{name}.json")))?)
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let root = serde_json::from_str(text);
        Ok(Self {
            name: name.to_owned(),
            root: root.map_err(|error| Failure::new(format!("{name}.json: {error}")))?,
        })
    }

    /// Validates the text of a document: its members, and that no character in it moves a cursor or
    /// changes the direction of text.
    pub fn check(&self, text: &str) -> Result<()> {
        let fault = |fault: String| Failure::new(format!("{}: {fault}", self.name));
        if let Some(c) = text.chars().find(|c| acts(*c)) {
            return Err(fault(format!("the character {c:?} is not escaped")));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| fault(format!("{error}: {text}")))?;
        let faults = self.faults(&value);
        match faults.is_empty() {
            true => Ok(()),
            false => Err(fault(format!("{}\n{text}", faults.join("\n")))),
        }
    }

    /// Returns what is wrong with a document.
    pub fn faults(&self, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.value(&self.root, value, "$", 0, &mut faults);
        faults
    }

    fn value(
        &self,
        schema: &Value,
        value: &Value,
        at: &str,
        depth: usize,
        faults: &mut Vec<String>,
    ) {
        let Some(schema) = schema.as_object() else {
            faults.push(format!("{at}: the schema {schema} is not an object"));
            return;
        };
        if depth > DEPTH {
            faults.push(format!("{at}: the schema refers to itself"));
            return;
        }
        let schema = &self.joined(schema);
        for (keyword, operand) in schema {
            match &**keyword {
                "$schema" | "$defs" | "title" | "description" | "required" | "default" => {}
                "$ref" => match operand.as_str().and_then(|name| name.strip_prefix('#')) {
                    Some(pointer) if self.root.pointer(pointer).is_some() => {
                        let target = self.root.pointer(pointer).unwrap_or_default();
                        self.value(target, value, at, depth + 1, faults);
                    }
                    _ => faults.push(format!("{at}: nothing is at {operand}")),
                },
                "type" => {
                    let names = operand
                        .as_array()
                        .map_or(std::slice::from_ref(operand), |it| it);
                    if !names.iter().any(|name| is_of(value, name)) {
                        faults.push(format!("{at}: {value} is not of the type {operand}"));
                    }
                }
                "format" => self.format(operand, value, at, faults),
                "minimum" => {
                    if value.as_f64() < operand.as_f64() && value.is_number() {
                        faults.push(format!("{at}: {value} is less than {operand}"));
                    }
                }
                "const" => {
                    if value != operand {
                        faults.push(format!("{at}: {value} is not {operand}"));
                    }
                }
                "enum" => {
                    if !operand.as_array().is_some_and(|all| all.contains(value)) {
                        faults.push(format!("{at}: {value} is none of {operand}"));
                    }
                }
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(operand, item, &format!("{at}[{i}]"), depth + 1, faults);
                    }
                }
                "properties" | "additionalProperties" => {}
                "anyOf" | "oneOf" => self.choice(keyword, operand, (value, at), depth, faults),
                other => faults.push(format!("{at}: the keyword `{other}` is not known here")),
            }
        }
        if let Some(members) = value.as_object() {
            self.members(schema, members, at, depth, faults);
        }
    }

    /// Moves the members that a schema shares with the schemas below it into these: a `$ref` beside `properties`, and
    /// `properties` beside `oneOf`. Then each schema that names members knows all of them.
    fn joined(&self, schema: &Map) -> Map {
        let mut all = schema.clone();
        if !all.contains_key("properties") {
            return all;
        }
        let target = all.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|name| self.root.pointer(name.strip_prefix('#')?));
        if let Some(target) = target.and_then(Value::as_object) {
            all.remove("$ref");
            add(&mut all, target);
        }
        if let Some(Value::Array(mut branches)) = all.remove("oneOf") {
            for branch in branches.iter_mut().filter_map(Value::as_object_mut) {
                add(branch, &all);
            }
            all.retain(|keyword, _| !matches!(&**keyword, "type" | "properties" | "required"));
            all.insert("oneOf".to_owned(), Value::Array(branches));
        }
        all
    }

    /// Validates the members of an object. A schema that names members, or is of an object without
    /// naming any, knows all of them.
    fn members(
        &self,
        schema: &Map,
        members: &Map,
        at: &str,
        depth: usize,
        faults: &mut Vec<String>,
    ) {
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                faults.push(format!("{at}: the member `{name}` is missing"));
            }
        }
        let names_members =
            known.is_some() || others.is_some() || schema.get("type") == Some(&"object".into());
        for (name, value) in members.iter().filter(|_| names_members) {
            let at = format!("{at}.{name}");
            match (known.and_then(|known| known.get(name)), others) {
                (Some(schema), _) | (None, Some(schema)) => {
                    self.value(schema, value, &at, depth + 1, faults);
                }
                (None, None) => faults.push(format!("{at}: no schema describes this member")),
            }
        }
    }

    fn choice(
        &self,
        keyword: &str,
        operand: &Value,
        (value, at): (&Value, &str),
        depth: usize,
        faults: &mut Vec<String>,
    ) {
        let attempts: Vec<Vec<String>> = operand
            .as_array()
            .into_iter()
            .flatten()
            .map(|schema| {
                let mut faults = Vec::new();
                self.value(schema, value, at, depth + 1, &mut faults);
                faults
            })
            .collect();
        let fitting = attempts.iter().filter(|faults| faults.is_empty()).count();
        if fitting == 0 {
            let texts = attempts.iter().map(|faults| faults.join(", "));
            let texts = texts.collect::<Vec<_>>().join("; or ");
            faults.push(format!("{at}: no schema of `{keyword}` fits: {texts}"));
        } else if fitting > 1 && keyword == "oneOf" {
            faults.push(format!("{at}: {fitting} schemas of `oneOf` fit"));
        }
    }

    fn format(&self, name: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let fits = match name.as_str() {
            _ if !value.is_number() => true,
            Some("double") => true,
            Some("uint" | "uint64") => value.as_u64().is_some(),
            Some("uint32") => value.as_u64().is_some_and(|it| u32::try_from(it).is_ok()),
            _ => {
                faults.push(format!("{at}: the format {name} is not known here"));
                return;
            }
        };
        if !fits {
            faults.push(format!("{at}: {value} is not of the format {name}"));
        }
    }
}

/// Adds the members that a schema names, and those that it requires, to another one.
fn add(to: &mut Map, from: &Map) {
    if let Some(Value::Object(members)) = from.get("properties") {
        let own = to
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        let own = own.as_object_mut().into_iter();
        own.for_each(|own| own.extend(members.clone()));
    }
    if let Some(Value::Array(names)) = from.get("required") {
        let own = to
            .entry("required")
            .or_insert_with(|| Value::Array(Vec::new()));
        let own = own.as_array_mut().into_iter();
        own.for_each(|own| own.extend(names.clone()));
    }
}

/// Says whether a terminal or a viewer would act on a character.
fn acts(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "x",
        "type": "object",
        "properties": {
            "n": { "type": "integer", "format": "uint64", "minimum": 0 },
            "list": { "type": "array", "items": { "$ref": "#/$defs/one" } },
            "map": { "type": "object", "additionalProperties": { "type": "string" } },
            "maybe": { "anyOf": [ { "$ref": "#/$defs/one" }, { "type": "null" } ] }
        },
        "required": ["n"],
        "$defs": {
            "one": { "oneOf": [
                { "type": "object", "properties": { "k": { "const": "a" } }, "required": ["k"] },
                { "type": "object", "properties": { "k": { "enum": ["b", "c"] } }, "required": ["k"] }
            ] }
        }
    }"##;

    #[test]
    fn documents_that_fit_pass() {
        let schema = Schema::parse("x", SCHEMA).unwrap();
        for text in [
            r#"{"n":1}"#,
            r#"{"n":18446744073709551615,"list":[{"k":"a"},{"k":"c"}],"map":{"x":"\u001b"},"maybe":null}"#,
        ] {
            assert_eq!(schema.check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        let schema = Schema::parse("x", SCHEMA).unwrap();
        for (text, part) in [
            (r#"{}"#, "`n` is missing"),
            (r#"{"n":-1}"#, "less than"),
            (r#"{"n":1.5}"#, "not of the type"),
            (r#"{"n":"1"}"#, "not of the type"),
            (r#"{"n":1,"other":1}"#, "$.other: no schema describes"),
            (
                r#"{"n":1,"list":[{"k":"d"}]}"#,
                "$.list[0]: no schema of `oneOf`",
            ),
            (r#"{"n":1,"list":[{}]}"#, "$.list[0]: no schema of `oneOf`"),
            (r#"{"n":1,"map":{"x":1}}"#, "$.map.x"),
            (r#"{"n":1,"maybe":5}"#, "`anyOf`"),
            (r#"[]"#, "not of the type"),
            (r#"{"n":1"#, "EOF"),
            ("{\"n\":1,\"map\":{\"x\":\"\u{202e}\"}}", "not escaped"),
        ] {
            let error = schema.check(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        for (schema, part) in [
            (r#"{"pattern":"x"}"#, "`pattern` is not known"),
            (r##"{"$ref":"#/$defs/x"}"##, "nothing is at"),
            (r##"{"$ref":"#"}"##, "refers to itself"),
            (r#"{"format":"date"}"#, "format"),
            ("true", "not an object"),
        ] {
            let error = Schema::parse("x", schema).unwrap().check("1").unwrap_err();
            assert!(error.to_string().contains(part), "{schema}: {error}");
        }
    }

    #[test]
    fn shared_members_count_in_each_choice() {
        let schema = r##"{ "properties": { "time": { "type": "number", "format": "double" } }, "required": ["time"],
            "oneOf": [
                { "$ref": "#/$defs/work", "properties": { "event": { "const": "begin" } }, "required": ["event"] },
                { "properties": { "event": { "const": "end" } }, "required": ["event"] } ],
            "$defs": { "work": { "properties": { "id": { "type": "integer" } }, "required": ["id"] } } }"##;
        let schema = Schema::parse("x", schema).unwrap();
        for text in [
            r#"{"time":0.5,"event":"begin","id":1}"#,
            r#"{"time":1,"event":"end"}"#,
        ] {
            assert_eq!(schema.check(text), Ok(()), "{text}");
        }
        for text in [
            r#"{"event":"end"}"#,
            r#"{"time":1,"event":"begin"}"#,
            r#"{"time":1,"event":"end","id":1}"#,
        ] {
            assert!(schema.check(text).is_err(), "{text}");
        }
    }
}
