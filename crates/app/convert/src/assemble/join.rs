//! Several platforms of one name: one index, where the target has indexes.

use std::collections::BTreeMap;

use imgconv_model::{Algorithm, Child, Code, Digest, Error, Name, Result};

use super::output::{Item, Output};
use crate::{choose::request::Request, read::spec::told_apart};

/// Makes one index of single images that have one name and several platforms.
///
/// # Errors
/// [`Code::Ambiguous`] if two images have one name and platform, or the target has no index.
pub(super) fn join_platforms(
    items: Vec<(Item, bool)>,
    request: &Request<'_>,
    output: &dyn Output,
) -> Result<Vec<Item>> {
    let mut joined: Vec<Vec<Item>> = Vec::new();
    let mut by_name: BTreeMap<Name, usize> = BTreeMap::new();
    for (item, single) in items {
        let name = item.publication.name.clone().filter(|_| single);
        let at = name.map(|name| *by_name.entry(name).or_insert(joined.len()));
        match at.and_then(|at| joined.get_mut(at)) {
            Some(group) => group.push(item),
            None => joined.push(vec![item]),
        }
    }
    let mut items = Vec::new();
    for group in joined {
        // The same image given twice is one image.
        let mut same: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut different: Vec<Item> = Vec::new();
        for item in group {
            match same.get(&item.publication.root.digest) {
                // Two ACIs with a record each, of one image, are told apart by their records.
                Some(at) => {
                    let images = item.images.into_iter();
                    let recorded = images.filter(|image| image.reversal.is_some());
                    different[*at].images.extend(recorded);
                }
                None => {
                    same.insert(item.publication.root.digest, different.len());
                    different.push(item);
                }
            }
        }
        let mut group = different;
        if group.len() == 1 {
            items.append(&mut group);
            continue;
        }
        group.sort_by_cached_key(|item| item.publication.root.platform.clone());
        for pair in group.windows(2) {
            let [a, b] = [&pair[0], &pair[1]];
            if a.publication.root.platform == b.publication.root.platform {
                let sources = [a, b]
                    .map(|item| item.images[0].source.clone())
                    .join(" and ");
                let message = format!(
                    "{sources} are different images of one name and platform, {}",
                    a.images[0].name.as_deref().unwrap_or("?")
                );
                return Err(Error::new(Code::Ambiguous, message)
                    .hint("convert them one at a time, with `--name`"));
            }
        }
        if !request.capabilities.index {
            let images = group.into_iter().flat_map(|item| item.images);
            let there = images.map(|image| (image.platform.unwrap_or_default(), image.digest));
            return Err(one_platform(request, &there.collect::<Vec<_>>()));
        }
        let children: Vec<Child> = group
            .iter()
            .map(|item| item.publication.root.clone())
            .collect();
        let document = request.documents_format().encode_index(&children, None)?;
        let mut publication = group[0].publication.clone();
        publication.root = output.document(&document, Algorithm::Sha256)?;
        let images = group.into_iter().flat_map(|item| item.images).collect();
        items.push(Item {
            publication,
            images,
        });
    }
    Ok(items)
}

/// The error for several platforms where the target can hold one.
pub(super) fn one_platform(request: &Request<'_>, there: &[(String, Option<String>)]) -> Error {
    let target = request.target.id();
    let message = format!(
        "there are {} platforms, but {target} can hold only one",
        there.len().max(2)
    );
    Error::new(Code::Ambiguous, message).hint(format!(
        "choose one with `--platform`, or by its digest with the REF `@DIGEST`: {}",
        told_apart(there).join(", ")
    ))
}
