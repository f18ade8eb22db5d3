//! Documents of types that no format knows: the descriptors in such a document are found by their shape.

use imgconv_json::Value;
use imgconv_model::{Child, Limits};

use crate::{Told, descriptor, told};

/// Says whether a document of that type may be JSON, and so have descriptors.
pub fn may_be_json(kind: &str) -> bool {
    told(kind) != Told::Other || kind.to_ascii_lowercase().ends_with("json")
}

/// Lists every descriptor in a document: an object with a type, a digest and a size. A subject is left out, because a
/// subject is no content of the document.
pub fn descriptors(document: &Value, limits: &Limits) -> Vec<Child> {
    let mut found = Vec::new();
    let mut left = vec![document];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items.iter().rev()),
            Value::Object(map) => {
                if let Ok(read) = descriptor(value, "descriptor", limits)
                    && !read.child.kind.is_empty()
                {
                    found.push(read.child);
                }
                let others = map.iter().filter(|(key, _)| *key != "subject");
                left.extend(others.map(|(_, value)| value).rev());
            }
            _ => {}
        }
    }
    found
}
