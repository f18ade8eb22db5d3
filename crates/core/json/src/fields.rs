//! Reading typed fields out of a parsed document, with errors that name the field.
//!
//! One rule holds everywhere: `null` is the same as an absent field. The caller interprets the
//! fields.

use std::collections::BTreeMap;

use imgconv_model::{Code, Digest, Error, Limits, Result, quote};
use serde_json::{Map, Value};

/// An object of a document, and the path that leads to it.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Object<'a> {
    /// Reads a value as an object. `path` leads to the value and is empty for a whole document.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the value is not an object.
    pub fn new(value: &'a Value, path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(wrong(&path, "an object", other)),
        }
    }

    /// Returns the object itself.
    pub fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Returns the path of a field of this object, such as `layers[2].digest`.
    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Returns a field that is present and not `null`.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Returns a required field.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is absent.
    pub fn need(&self, key: &str) -> Result<&'a Value> {
        self.get(key)
            .ok_or_else(|| self.bad(key, "is required, but absent"))
    }

    /// Makes a [`Code::BadManifest`] error about a field of this object.
    pub fn bad(&self, key: &str, message: impl Into<String>) -> Error {
        Error::new(Code::BadManifest, message).at(place(&self.path(key)))
    }

    /// Reads a required text.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is absent or not a text.
    pub fn string(&self, key: &str) -> Result<&'a str> {
        let value = self.need(key)?;
        value
            .as_str()
            .ok_or_else(|| wrong(&self.path(key), "a string", value))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not a text.
    pub fn opt_string(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key).map(|_| self.string(key)).transpose()
    }

    /// Reads a text whose absence means the same as an empty text: writers in Go write optional
    /// members as `null` or as `""`, and no reader in Go can distinguish the three.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not a text.
    pub fn opt_text(&self, key: &str) -> Result<Option<&'a str>> {
        Ok(self.opt_string(key)?.filter(|text| !text.is_empty()))
    }

    /// Reads a truth value; absent is false.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and neither `true` nor `false`.
    pub fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(wrong(&self.path(key), "`true` or `false`", other)),
        }
    }

    /// Reads a list; an absent field is an empty list.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not a list.
    pub fn list(&self, key: &str) -> Result<&'a [Value]> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong(&self.path(key), "a list", other)),
        }
    }

    /// Reads a list of texts; an absent field is an empty list.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not a list, or an item is not a text.
    pub fn string_list(&self, key: &str) -> Result<Vec<String>> {
        let item = |(i, value): (usize, &Value)| match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong(
                &format!("{}[{i}]", self.path(key)),
                "a string",
                other,
            )),
        };
        self.list(key)?.iter().enumerate().map(item).collect()
    }

    /// Reads a list of objects; an absent field is an empty list.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not a list, or an item is not an object.
    pub fn objects(&self, key: &str) -> Result<Vec<Object<'a>>> {
        let item = |(i, value)| Object::new(value, format!("{}[{i}]", self.path(key)));
        self.list(key)?.iter().enumerate().map(item).collect()
    }

    /// Reads an object.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not an object.
    pub fn opt_object(&self, key: &str) -> Result<Option<Object<'a>>> {
        self.get(key)
            .map(|value| Object::new(value, self.path(key)))
            .transpose()
    }

    /// Reads a required object.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is absent or not an object.
    pub fn object(&self, key: &str) -> Result<Object<'a>> {
        Object::new(self.need(key)?, self.path(key))
    }

    /// Reads a map of texts; an absent field is an empty map, and a `null` in the map an empty
    /// text.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is present and not an object, or a value is not a text.
    pub fn string_map(&self, key: &str) -> Result<BTreeMap<String, String>> {
        let Some(object) = self.opt_object(key)? else {
            return Ok(BTreeMap::new());
        };
        let entry = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Null => Ok((name.clone(), String::new())),
            other => Err(wrong(&object.path(name), "a string", other)),
        };
        object.map.iter().map(entry).collect()
    }

    /// Reads a required number of bytes: an integer from 0 to 2^63 - 1, written without fraction or
    /// exponent, as every other reader expects it.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is absent or has another value.
    pub fn size(&self, key: &str) -> Result<u64> {
        let value = self.need(key)?;
        let number = match value {
            Value::Number(number) => number.as_u64().filter(|&size| size <= i64::MAX as u64),
            _ => None,
        };
        number.ok_or_else(|| {
            let found = match value {
                Value::Number(number) => quote(number.to_string()),
                other => kind(other).into(),
            };
            self.bad(
                key,
                format!("expected an integer from 0 to 2^63-1, found {found}"),
            )
        })
    }

    /// Reads a required digest.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if the field is absent or not a text, and the errors of
    /// [`Digest::parse`].
    pub fn digest(&self, key: &str) -> Result<Digest> {
        let text = self.string(key)?;
        Digest::parse(text).map_err(|error| error.at(place(&self.path(key))))
    }

    /// Refuses a field whose name is one of `known` only after case folding, see
    /// [`check_field_names`].
    ///
    /// # Errors
    /// [`Code::BadJson`] that names the field.
    pub fn check_names(&self, known: &[&str]) -> Result<()> {
        check_field_names(self.map, known).map_err(|error| match &*self.path {
            "" => error,
            path => error.at(place(path)),
        })
    }
}

/// Refuses a key that equals one of `known` only after case folding: readers that fold (Go's do)
/// would take it for the known field, others would not see it. U+017F folds to `s` and U+212A to
/// `k`, the two letters outside ASCII that fold into it.
///
/// # Errors
/// [`Code::BadJson`] that names the key and the field it looks like.
pub fn check_field_names(map: &Map<String, Value>, known: &[&str]) -> Result<()> {
    for key in map.keys() {
        if known.contains(&key.as_str()) {
            continue;
        }
        let like = known.iter().find(|name| folds_to(key, name));
        if let Some(like) = like {
            let message = format!(
                "non-canonical field name {}: some readers read the field as `{like}`",
                quote(key)
            );
            return Err(Error::new(Code::BadJson, message));
        }
    }
    Ok(())
}

/// Returns true if a key is a field name after case folding; see [`check_field_names`].
pub fn folds_to(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// Checks a claimed size against a limit, before the content is read.
///
/// # Errors
/// [`Code::Limit`] that names `what`.
pub fn within(size: u64, limit: (&'static str, u64), what: &str) -> Result<()> {
    if size > limit.1 {
        return Err(Limits::exceeded(
            limit.0,
            limit.1,
            format!("{what} of {size} bytes"),
        ));
    }
    Ok(())
}

/// Appends a key to a path: plain if the key has only letters, digits, `_`, `-` and `/`, in double
/// quotes otherwise, so that different places have different paths.
pub fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-/".contains(&byte));
    let key = if plain {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Splits a path that [`join`] made into its keys; `None` if [`join`] makes no such path.
pub fn split(path: &str) -> Option<Vec<String>> {
    let mut rest = path;
    let mut keys = Vec::new();
    loop {
        let end = if rest.starts_with('"') {
            let mut escaped = false;
            let inner = rest.bytes().skip(1).position(|byte| {
                let end = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                end
            })?;
            let end = inner + 2;
            keys.push(serde_json::from_str::<String>(&rest[..end]).ok()?);
            end
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            keys.push(rest[..end].to_owned());
            end
        };
        if end == rest.len() {
            break;
        }
        rest = rest[end..].strip_prefix('.')?;
    }
    let again = keys
        .iter()
        .fold(String::new(), |path, key| join(&path, key));
    (again == path).then_some(keys)
}

fn place(path: &str) -> String {
    if path.is_empty() {
        return "the document".into();
    }
    // A key may be long or hostile: `quote` shortens and escapes, its outer quotes are not needed.
    let quoted = quote(path).replace("\\\"", "\"");
    let inner = quoted.strip_prefix('"').unwrap_or(&quoted);
    format!("field {}", inner.strip_suffix('"').unwrap_or(inner))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn wrong(path: &str, expected: &str, found: &Value) -> Error {
    let message = format!("expected {expected}, found {}", kind(found));
    Error::new(Code::BadManifest, message).at(place(path))
}
