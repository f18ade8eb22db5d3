//! Writing indexes over published documents.

use imgconv_json::{Map, Value, canonical, parse};
use imgconv_model::{Child, Document, Index, Limits, Platform, Result};

use crate::{
    descriptor::{descriptor, is_of_bytes},
    family::Family,
    media_type,
};

/// Writes an index, see [`imgconv_model::DocumentFormat::encode_index`]. An original of the same
/// family is returned byte for byte if it lists the same children; otherwise the other fields of
/// the original stay, in either family: readers of both families accept them.
///
/// # Errors
/// If the original is not JSON.
pub fn encode_index(
    family: &Family,
    children: &[Child],
    original: Option<&Index>,
) -> Result<Document> {
    if let Some(original) = original
        && original.children == children
        && of_family(family, &original.document)
    {
        return Ok(original.document.clone());
    }
    let limits = Limits::default();
    let mut top = Map::new();
    top.insert("schemaVersion".into(), Value::from(2));
    top.insert("mediaType".into(), Value::from(family.index));
    // The value is replaced below; the key is inserted here for the order of the fields.
    top.insert("manifests".into(), Value::Null);
    if let Some(original) = original
        && let Value::Object(old) = parse(&original.document.bytes, &limits, "index")?
    {
        top.extend(old);
        top.insert("mediaType".into(), Value::from(family.index));
    }
    let descriptors = children.iter().map(entry).collect();
    top.insert("manifests".into(), Value::Array(descriptors));
    Ok(Document {
        kind: family.index.to_owned(),
        bytes: canonical(&Value::Object(top)).into(),
    })
}

/// Returns true if an index is of the family and no field contradicts that.
fn of_family(family: &Family, document: &Document) -> bool {
    let kind = media_type::normalise(&document.kind);
    kind.is_empty() || kind == family.index
}

/// Writes a child's descriptor: its old text, changed where the fields differ.
fn entry(child: &Child) -> Value {
    let Child {
        kind,
        digest,
        size,
        platform,
        annotations,
        raw,
    } = child;
    let limits = Limits::default();
    let old = match parse(raw.as_bytes(), &limits, "descriptor") {
        // An unchanged descriptor keeps its text, with all members that are null or empty.
        Ok(value)
            if descriptor(&value, "descriptor", &limits).is_ok_and(|read| {
                let raw = raw.clone();
                Child { raw, ..read.child } == *child
            }) =>
        {
            return value;
        }
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let digest = digest.to_string();
    let same = old.get("digest").and_then(Value::as_str) == Some(&*digest);
    let mut map = Map::new();
    map.insert("mediaType".into(), Value::from(kind.as_str()));
    map.insert("digest".into(), Value::from(digest));
    map.insert("size".into(), Value::from(*size));
    for (key, value) in old {
        if !map.contains_key(&key) && (same || !is_of_bytes(&key)) {
            map.insert(key, value);
        }
    }
    match platform {
        Some(platform) => {
            let old = map.get("platform").and_then(Value::as_object);
            let written = write_platform(platform, old);
            map.insert("platform".into(), written);
        }
        None => {
            map.shift_remove("platform");
        }
    }
    if annotations.is_empty() {
        map.shift_remove("annotations");
    } else {
        let entries = annotations.iter();
        let entries = entries.map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        let entries = Value::Object(entries.collect());
        map.insert("annotations".into(), entries);
    }
    Value::Object(map)
}

/// Writes a platform; `os.version` and similar members stay if the platform is unchanged.
fn write_platform(platform: &Platform, old: Option<&Map<String, Value>>) -> Value {
    let Platform {
        os,
        architecture,
        variant,
    } = platform;
    let mut map = Map::new();
    map.insert("architecture".into(), Value::from(architecture.as_str()));
    map.insert("os".into(), Value::from(os.as_str()));
    if let Some(variant) = variant {
        map.insert("variant".into(), Value::from(variant.as_str()));
    }
    if let Some(old) = old {
        let is = |key, text: &str| old.get(key).and_then(Value::as_str) == Some(text);
        if is("os", os) && is("architecture", architecture) {
            for (key, value) in old {
                if key != "variant" {
                    map.insert(key.clone(), value.clone());
                }
            }
        }
    }
    Value::Object(map)
}
