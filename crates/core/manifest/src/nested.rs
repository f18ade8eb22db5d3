//! Manifests and indexes that an artifact keeps as its content: the blobs that they refer to belong to the artifact.
//! containerd and ORAS follow a descriptor of such a type wherever the descriptor stands.

use std::collections::BTreeSet;

use imgconv_model::{Bundle, Child, Code, Limits, Result};
use imgconv_stream::read_to_limit;

use crate::{Part, Told, embedded::find_blob, references, told};

/// Adds the blobs that manifests and indexes among the blobs of an artifact refer to, where the place stores them. A
/// blob that is not stored is passed over: no specification asks for it. A document that can't be read adds nothing,
/// since copying the document gives the error.
///
/// # Errors
/// [`Code::Limit`] if the artifact has more blobs than a graph may have nodes.
pub(crate) fn add(blobs: &mut Vec<Child>, bundle: &dyn Bundle, limits: &Limits) -> Result<()> {
    let mut known: BTreeSet<_> = blobs.iter().map(|child| child.digest).collect();
    let mut next = 0;
    while let Some(child) = blobs.get(next) {
        next += 1;
        if told(&child.kind) != Told::Listing {
            continue;
        }
        for child in listed(child, bundle, limits) {
            if !known.insert(child.digest) {
                continue;
            }
            let opened = find_blob(bundle, &child, limits).and_then(|blob| blob.open());
            if !opened.is_err_and(|error| error.code() == Code::Missing) {
                blobs.push(child);
            }
            let most = ("graph_nodes", limits.graph_nodes);
            Limits::check(known.len() as u64, most, "the number of blobs")?;
        }
    }
    Ok(())
}

/// The descriptors in a document, without the subject, which is no part of the document.
fn listed(child: &Child, bundle: &dyn Bundle, limits: &Limits) -> Vec<Child> {
    let read = || {
        let reader = find_blob(bundle, child, limits)?.open()?;
        let limit = ("manifest", limits.manifest);
        let bytes = read_to_limit(reader, limit, "a document of an artifact")?;
        references(&child.kind, &bytes, limits)
    };
    let list = read().ok().flatten().map(|read| read.list);
    let list = list.into_iter().flatten();
    list.filter(|one| one.part != Part::Subject)
        .filter_map(|one| Some(Child::new(one.kind, one.digest, one.size?)))
        .collect()
}
