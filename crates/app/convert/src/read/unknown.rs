//! Listed documents of a type that no format knows: a layer or a cache's config in an index, a file
//! of an unknown tool. Such a type is no error (image-spec, image-index.md).
//!
//! Such a document is carried byte for byte and never interpreted; if it is JSON, the blobs that it
//! describes are carried too. So are the blobs of manifests and indexes that are the content of an artifact: containerd
//! and ORAS follow a descriptor of such a type wherever the descriptor stands.

use std::collections::BTreeSet;

use imgconv_json::{Value, parse};
use imgconv_manifest::{Told, descriptors, find_blob, find_document, may_be_json, told};
use imgconv_model::{Bundle, Child, Code, Digest, Env, Error, Limits, Opaque, Result};
use imgconv_stream::read_to_limit;

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
        add_described(&mut opaque, bundle, vec![value], may_be_json, env)?;
    }
    Ok(opaque)
}

/// Adds the blobs that manifests and indexes among the blobs of an artifact describe.
///
/// # Errors
/// The errors of reading a document that is stored.
pub(super) fn add_content(opaque: &mut Opaque, bundle: &dyn Bundle, env: &Env) -> Result<()> {
    let mut documents = Vec::new();
    for blob in opaque.blobs.iter().filter(|blob| lists(&blob.kind)) {
        let at = |error: Error| error.at(format!("blob {}", blob.digest));
        if is_there(bundle, blob, &env.limits).map_err(at)? {
            documents.extend(value_of(bundle, blob, &env.limits).map_err(at)?);
        }
    }
    add_described(opaque, bundle, documents, lists, env)
}

fn lists(kind: &str) -> bool {
    told(kind) == Told::Listing
}

/// Reads a blob as JSON; `None` if it is none, or is longer than a manifest.
fn value_of(bundle: &dyn Bundle, child: &Child, limits: &Limits) -> Result<Option<Value>> {
    if child.size > limits.manifest {
        return Ok(None);
    }
    let reader = find_blob(bundle, child, limits)?.open()?;
    let bytes = read_to_limit(reader, ("manifest", limits.manifest), "document")?;
    Ok(parse(&bytes, limits, "document").ok())
}

fn is_there(bundle: &dyn Bundle, child: &Child, limits: &Limits) -> Result<bool> {
    match find_blob(bundle, child, limits).and_then(|blob| blob.open()) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Code::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds the blobs that documents describe, and the blobs that those of a followed type describe in turn, as far as
/// they are stored. A subject does not travel with its document.
fn add_described(
    opaque: &mut Opaque,
    bundle: &dyn Bundle,
    mut documents: Vec<Value>,
    is_followed: fn(&str) -> bool,
    env: &Env,
) -> Result<()> {
    let limits = &env.limits;
    let mut seen: BTreeSet<Digest> = opaque.blobs.iter().map(|blob| blob.digest).collect();
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
            if is_followed(&described.kind) {
                documents.extend(value_of(bundle, &described, limits).map_err(at)?);
            }
            opaque.blobs.push(described);
        }
    }
    Ok(())
}
