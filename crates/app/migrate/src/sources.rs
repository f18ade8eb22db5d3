//! The places of the source in reports on images: a journal must not hold them, because a
//! destination may be where everybody looks.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How an outcome begins; no text in one holds a quote that is not escaped.
const SOURCE: &str = "{\"source\":";

/// Replaces where outcomes come from, in one pass: an image may have tens of thousands of names.
pub(super) fn with_sources(outcomes: &RawValue, names: &BTreeMap<String, String>) -> Box<RawValue> {
    let mut out = String::with_capacity(outcomes.get().len());
    let mut rest = outcomes.get();
    while let Some(at) = rest.find(SOURCE) {
        let (before, after) = rest.split_at(at + SOURCE.len());
        out.push_str(before);
        let mut read = serde_json::Deserializer::from_str(after).into_iter::<String>();
        let source = read.next().and_then(Result::ok);
        rest = after;
        if let Some(name) = source.and_then(|source| names.get(&source)) {
            out.push_str(&serde_json::Value::from(&**name).to_string());
            rest = after.get(read.byte_offset()..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    RawValue::from_string(out).unwrap_or_else(|_| empty())
}

/// The text that replaces the place of an entry of a job in a journal.
pub(super) fn unnamed(entry: usize) -> String {
    format!("entry {entry} of the image")
}

/// No outcome.
pub(super) fn empty() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty list is JSON")
}
