//! The values of the isolators that appc 0.8.11 defines (ace.md, "Isolators"), with the checks of
//! `actool`. Isolators with other names may have any value.

use std::collections::BTreeSet;

use imgconv_json::{Map, Value};
use imgconv_model::quote;

const RETAIN: &str = "os/linux/seccomp-retain-set";
const REMOVE: &str = "os/linux/seccomp-remove-set";

/// Isolators that an app may have only once.
const SINGLE: &[&str] = &[
    RETAIN,
    REMOVE,
    "os/linux/oom-score-adj",
    "os/linux/cpu-shares",
    "os/linux/selinux-context",
    "os/unix/sysctl",
];

/// Returns the error in the value of a defined isolator, if there is one.
pub(super) fn fault(name: &str, value: &Value) -> Option<String> {
    match name {
        "os/linux/capabilities-retain-set" | "os/linux/capabilities-remove-set" => set(value).err(),
        RETAIN | REMOVE => set(value).and_then(errno).err(),
        "os/linux/no-new-privileges" => match value {
            Value::Bool(_) | Value::Null => None,
            other => Some(expected("true or false", other)),
        },
        "os/linux/oom-score-adj" => integer(value, -1000, 1000).err(),
        "os/linux/cpu-shares" => integer(value, 2, 262_144).err(),
        "os/linux/selinux-context" => context(value).err(),
        "os/unix/sysctl" => sysctl(value).err(),
        "resource/cpu" | "resource/memory" => resource(value, false).err(),
        "resource/block-bandwidth" | "resource/block-iops" | "resource/network-bandwidth" => {
            resource(value, true).err()
        }
        _ => None,
    }
}

/// Returns the conflict of an isolator with the ones before it, if there is one.
pub(super) fn conflict(name: &str, before: &BTreeSet<String>) -> Option<String> {
    if SINGLE.contains(&name) && before.contains(name) {
        return Some("occurs twice, but an app has only one".to_owned());
    }
    let other = match name {
        RETAIN => REMOVE,
        REMOVE => RETAIN,
        _ => return None,
    };
    before
        .contains(other)
        .then(|| format!("can't stand beside `{other}`"))
}

fn expected(what: &str, found: &Value) -> String {
    format!("expected {what}, found {}", show(found))
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value
        .as_object()
        .ok_or_else(|| expected("an object", value))
}

fn integer(value: &Value, least: i64, most: i64) -> Result<(), String> {
    let fits = value
        .as_i64()
        .is_some_and(|number| (least..=most).contains(&number));
    match fits {
        true => Ok(()),
        false => Err(expected(
            &format!("an integer from {least} to {most}"),
            value,
        )),
    }
}

/// Reads an object whose `set` is a list of texts that is not empty.
fn set(value: &Value) -> Result<&Map<String, Value>, String> {
    let object = object(value)?;
    let texts = object.get("set").and_then(Value::as_array);
    let texts = texts.filter(|list| !list.is_empty() && list.iter().all(Value::is_string));
    match texts {
        Some(_) => Ok(object),
        None => Err("expected `set`, a list of texts that is not empty".to_owned()),
    }
}

fn errno(object: &Map<String, Value>) -> Result<(), String> {
    let valid = |text: &str| {
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        text.is_empty() || text.starts_with('E') && text.bytes().all(upper)
    };
    match object.get("errno") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if valid(text) => Ok(()),
        Some(other) => Err(expected("`errno` to be a name such as `EPERM`", other)),
    }
}

fn context(value: &Value) -> Result<(), String> {
    let object = object(value)?;
    for key in ["user", "role", "type", "level"] {
        let text = object.get(key).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() || key != "level" && text.contains(':') {
            return Err(format!("`{key}` can't be {}", quote(text)));
        }
    }
    Ok(())
}

fn sysctl(value: &Value) -> Result<(), String> {
    for (key, value) in object(value)? {
        if !value.is_string() {
            return Err(expected(&format!("{} to be a text", quote(key)), value));
        }
    }
    Ok(())
}

/// Checks a request and a limit of a resource; `device` is for a resource that has only a limit.
fn resource(value: &Value, device: bool) -> Result<(), String> {
    let object = object(value)?;
    let default = match object.get("default") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(other) => return Err(expected("`default` to be true or false", other)),
    };
    if default != device {
        return Err(format!("`default` must be {device}"));
    }
    for key in ["request", "limit"] {
        let text = match object.get(key) {
            None | Some(Value::Null) => continue,
            Some(_) if device && key == "request" => {
                return Err("`request` is not allowed here".to_owned());
            }
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(other) => return Err(expected(&format!("`{key}` to be a quantity"), other)),
        };
        if !is_quantity(&text) {
            let text = quote(&text);
            return Err(format!(
                "`{key}` is {text}, expected a quantity such as `500m` or `2G`"
            ));
        }
    }
    Ok(())
}

/// Returns true for `NUMBER[SUFFIX]`, where the suffix is of SI, binary, or an exponent.
fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = text
        .bytes()
        .position(|b| !b.is_ascii_digit() && b != b'.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let digits = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() <= 1;
    let known = [
        "", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|power| {
        let power = power.strip_prefix(['+', '-']).unwrap_or(power);
        !power.is_empty() && power.bytes().all(|b| b.is_ascii_digit())
    });
    digits && (known.contains(&suffix) || exponent)
}

/// Returns a value as messages show it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => number.to_string(),
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
