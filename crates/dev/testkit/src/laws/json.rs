//! The strictness of one JSON document, at each of its members.

use std::fmt::Write as _;

use imgconv_model::{Code, Result};
use serde_json::{Value, json};

/// A name that no specification has.
const UNKNOWN: &str = "zz-unknown";
/// A name that is replaced by another one in the text of a document.
const TWIN: &str = "@@twin@@";

/// A valid document with every member that its format knows, under the laws of strict JSON.
///
/// Paths of members are names with dots between them; `[]` follows the name of a list whose items
/// are meant.
#[derive(Clone, Copy)]
pub struct StrictJson<'a> {
    /// The document.
    pub text: &'a str,
    /// Reads a document, and shows the meaning that was read, with the members that were kept and
    /// the irregularities that were reported; without the bytes of the document.
    pub read: &'a dyn Fn(&str) -> Result<String>,
    /// The objects whose members have names of the user's choice, such as annotations.
    pub free: &'a [&'a str],
    /// The objects whose unknown members are neither kept nor reported, because a documented rule
    /// says so.
    pub dropped: &'a [&'a str],
}

impl std::fmt::Debug for StrictJson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

/// One step from the root to a value.
#[derive(Clone, Debug)]
enum Step {
    Member(String),
    Item(usize),
}

type Place = Vec<Step>;

impl StrictJson<'_> {
    /// Checks that no member stands twice or is misspelt, that a value of another type is refused,
    /// that null counts as absent, and that an unknown member is kept or reported.
    ///
    /// # Panics
    /// If a law is broken; all breaches are listed.
    pub fn is_strict(&self) {
        let value: Value = serde_json::from_str(self.text).unwrap();
        let warnings = |shown: &str| shown.matches("Warning {").count();
        let usual = warnings(&(self.read)(self.text).unwrap());
        let mut breaches = String::new();
        let mut members = Vec::new();
        let mut objects = Vec::new();
        collect(&value, &mut Vec::new(), &mut members, &mut objects);
        let mut say = |path: &str, what: &str, found: &dyn std::fmt::Debug| {
            let found = format!("{found:?}");
            writeln!(breaches, "{path}: {what}, found {found:.120}").unwrap();
        };
        for place in &objects {
            let path = path_of(place);
            let with = |name: &str| {
                let mut changed = value.clone();
                at(&mut changed, place)[name] = json!("x");
                changed.to_string()
            };
            let free = self.free.contains(&&*path);
            let found = (self.read)(&with(UNKNOWN));
            match &found {
                Ok(_) if self.dropped.contains(&&*path) => {}
                Ok(shown) if shown.contains(UNKNOWN) => {}
                _ => say(&path, "an unknown member is kept or reported", &found),
            }
            let names: Vec<String> = match at(&mut value.clone(), place) {
                Value::Object(map) => map.keys().cloned().collect(),
                _ => Vec::new(),
            };
            for name in names {
                let mut changed = value.clone();
                let object = at(&mut changed, place);
                object[TWIN] = object[&name].clone();
                let twice = changed.to_string().replace(TWIN, &name);
                let found = (self.read)(&twice).map_err(|error| error.code());
                // JSON inside a text of another document is a part of its manifest.
                let refused = [Code::BadJson, Code::Ambiguous, Code::BadManifest];
                if !found.as_ref().is_err_and(|code| refused.contains(code)) {
                    say(&format!("{path}.{name}"), "a twin is refused", &found);
                }
                let other = misspelt(&name);
                if free || other == name {
                    continue;
                }
                let misspelt = changed.to_string().replace(TWIN, &other);
                let found = (self.read)(&misspelt).map_err(|error| error.code());
                if !matches!(found, Err(Code::BadJson | Code::Ambiguous)) {
                    say(&format!("{path}.{name}"), "another case is refused", &found);
                }
            }
        }
        for place in &members {
            let path = path_of(place);
            let with = |new: Value| {
                let mut changed = value.clone();
                *at(&mut changed, place) = new;
                (self.read)(&changed.to_string()).map_err(|error| error.code())
            };
            let old = at(&mut value.clone(), place).clone();
            // A value of another type is refused, or kept as it is, or reported.
            for (other, mark) in [
                (json!(714.5), "714.5"),
                (json!(UNKNOWN), UNKNOWN),
                (json!([[UNKNOWN]]), UNKNOWN),
                (json!({ UNKNOWN: [] }), UNKNOWN),
            ] {
                let alike = std::mem::discriminant(&other) == std::mem::discriminant(&old);
                let found = with(other.clone());
                let silent = |shown: &String| !shown.contains(mark) && warnings(shown) <= usual;
                if !alike && found.as_ref().is_ok_and(silent) {
                    say(
                        &path,
                        &format!("{other} is refused, kept or reported"),
                        &found,
                    );
                }
            }
            if let Some(Step::Member(name)) = place.last() {
                let mut without = value.clone();
                if let Value::Object(map) = at(&mut without, &place[..place.len() - 1]) {
                    map.retain(|key, _| key != name);
                }
                let absent = (self.read)(&without.to_string()).map_err(|error| error.code());
                let null = with(Value::Null);
                let parent = path_of(&place[..place.len() - 1]);
                if null != absent && !self.free.contains(&&*parent) {
                    say(&path, "null counts as absent", &(null, absent));
                }
            }
        }
        for text in [
            format!("\u{feff}{}", self.text),
            format!("{} x", self.text),
            format!("{}{}", self.text, self.text),
        ] {
            let found = (self.read)(&text).map_err(|error| error.code());
            if !matches!(found, Err(Code::BadJson | Code::BadManifest)) {
                say("the document", "nothing stands around it", &found);
            }
        }
        assert!(breaches.is_empty(), "{breaches}");
    }
}

/// Lists the places of all members and items, and those of all objects.
fn collect(value: &Value, place: &mut Place, members: &mut Vec<Place>, objects: &mut Vec<Place>) {
    match value {
        Value::Object(map) => {
            objects.push(place.clone());
            for (name, value) in map {
                place.push(Step::Member(name.clone()));
                members.push(place.clone());
                collect(value, place, members, objects);
                place.pop();
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                place.push(Step::Item(i));
                members.push(place.clone());
                collect(value, place, members, objects);
                place.pop();
            }
        }
        _ => {}
    }
}

fn at<'a>(value: &'a mut Value, place: &[Step]) -> &'a mut Value {
    place.iter().fold(value, |value, step| match step {
        Step::Member(name) => &mut value[name],
        Step::Item(i) => &mut value[i],
    })
}

fn path_of(place: &[Step]) -> String {
    let mut path = String::new();
    for step in place {
        match step {
            Step::Member(name) if path.is_empty() => path.push_str(name),
            Step::Member(name) => {
                path.push('.');
                path.push_str(name);
            }
            Step::Item(_) => path.push_str("[]"),
        }
    }
    path
}

/// The name with its first letter in the other case.
fn misspelt(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) if first.is_ascii_uppercase() => {
            first.to_ascii_lowercase().to_string() + letters.as_str()
        }
        Some(first) => first.to_ascii_uppercase().to_string() + letters.as_str(),
        None => String::new(),
    }
}
