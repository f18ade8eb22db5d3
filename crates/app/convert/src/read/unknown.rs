//! Listed documents of a type that no format knows: a layer or a cache's config in an index, a file
//! of an unknown tool. Such a type is no error (image-spec, image-index.md).
//!
//! Such a document is carried byte for byte and never interpreted; if it is JSON, the blobs that it
//! describes are carried too.

use std::collections::BTreeSet;

use imgconv_json::{Value, parse};
use imgconv_manifest::{Told, descriptor, find_blob, find_document, told};
use imgconv_model::{Bundle, Child, Code, Digest, Env, Error, Limits, Opaque, Result};

/// Says whether an opaque document is a blob of an unknown type: such a blob is listed among its
/// own blobs.
pub fn is_blob(opaque: &Opaque, child: &Child) -> bool {
    let first = opaque.blobs.first();
    first.is_some_and(|blob| blob.digest == child.digest)
}

/// Reads a document of an unknown type, as far as it may refer to other blobs.
///
/// # Errors
/// [`Code::Missing`] if the document is not stored, and the errors of reading it.
pub(crate) fn read(bundle: &dyn Bundle, child: &Child, env: &Env) -> Result<Opaque> {
    let limits = &env.limits;
    let what = match &*child.kind {
        "" => "blob without a type".to_owned(),
        kind => format!("blob of type {kind}"),
    };
    let mut opaque = Opaque {
        document: None,
        blobs: vec![child.clone()],
        subject: None,
        what,
        image: false,
    };
    // A registry may have stored the document as a manifest, and then as no blob.
    let is_blob = is_there(bundle, child, limits)?;
    if is_blob && (!may_be_json(&child.kind) || child.size > limits.manifest) {
        return Ok(opaque);
    }
    let document = find_document(bundle, child, limits)?;
    let value = parse(&document.bytes, limits, "document").ok();
    let is_object = value.as_ref().is_some_and(Value::is_object);
    opaque.document = Some(document).filter(|_| is_object || !is_blob);
    if let Some(value) = value.filter(|_| opaque.document.is_some()) {
        let subject = value.pointer("/subject/digest").and_then(Value::as_str);
        opaque.subject = subject.and_then(|text| Digest::parse(text).ok());
        let described = described(bundle, child, value, env)?;
        opaque.blobs.extend(described);
    }
    Ok(opaque)
}

fn may_be_json(kind: &str) -> bool {
    told(kind) != Told::Other || kind.to_ascii_lowercase().ends_with("json")
}

fn is_there(bundle: &dyn Bundle, child: &Child, limits: &Limits) -> Result<bool> {
    match find_blob(bundle, child, limits).and_then(|blob| blob.open()) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Code::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds the blobs that a document describes, and the blobs that those describe in turn, as far as
/// they are stored. The document's subject does not travel with it.
fn described(bundle: &dyn Bundle, child: &Child, value: Value, env: &Env) -> Result<Vec<Child>> {
    let limits = &env.limits;
    let mut seen = BTreeSet::from([child.digest]);
    let (mut found, mut documents) = (Vec::new(), vec![value]);
    while let Some(document) = documents.pop() {
        env.check_cancelled()?;
        for described in descriptors(&document, limits) {
            if !seen.insert(described.digest) {
                continue;
            }
            let most = ("graph_nodes", limits.graph_nodes);
            Limits::check(
                seen.len() as u64,
                most,
                "the number of blobs of one document",
            )?;
            let at = |error: Error| error.at(format!("blob {}", described.digest));
            if !is_there(bundle, &described, limits).map_err(at)? {
                continue;
            }
            if may_be_json(&described.kind) && described.size <= limits.manifest {
                let read = find_document(bundle, &described, limits).map_err(at)?;
                documents.extend(parse(&read.bytes, limits, "document"));
            }
            found.push(described);
        }
    }
    Ok(found)
}

/// Lists every descriptor in a document: an object with a type, a digest and a size.
fn descriptors(document: &Value, limits: &Limits) -> Vec<Child> {
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
