//! Archives from before Docker 1.10: `repositories`, and a directory for each layer, whose `json`
//! names its parent.
//!
//! The chain of parents is walked here and becomes one root document; the format interprets each
//! `json`. There are no digests: only the tar itself shows which bytes belong to a member.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::Object;
use imgconv_manifest::v1_image::{self, Chain, check_id};
use imgconv_model::{Child, Digest, Document, Error, Limits, Name, Notes, Result, RootEntry};

use crate::{
    directories::V1,
    files::REPOSITORIES_FILE,
    members::{Members, entry, limit},
    naming,
};

/// An entry point, and the id in it. An entry point without a descriptor has an unreadable chain:
/// [`document`] returns the error.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) entry: RootEntry,
    pub(crate) id: String,
    /// The text of `repositories`, if the text is no valid name.
    pub(crate) bad_name: Option<String>,
}

/// An entry of `repositories`: the text, the name if the text is a valid name, the id.
pub(crate) type Named = (String, Option<Name>, String);

/// Lists the entry points: every name in `repositories`, every directory with an image name, then
/// every image without a name that is no parent, and one image of each circle that no chain leads
/// to. An error of one image does not affect the others.
pub(crate) fn heads(v1: V1<'_>, limits: &Limits, notes: &Notes) -> Result<Vec<Head>> {
    let V1 {
        members,
        directories,
    } = v1;
    let mut named = repositories(members, limits)?;
    let known: BTreeSet<Name> = named
        .iter()
        .filter_map(|(_, name, _)| name.clone())
        .collect();
    let ids: Vec<&str> = directories.ids().collect();
    for id in &ids {
        let names = directories.names(id).into_iter();
        let new = names.filter(|(_, name)| !known.contains(name));
        named.extend(new.map(|(text, name)| (text, Some(name), (*id).to_owned())));
    }
    let heads: Vec<&str> = named.iter().map(|(_, _, id)| &**id).collect();
    let unnamed = v1_image::unnamed(&v1, &ids, &heads, limits);
    let mut heads: Vec<(Option<String>, Option<Name>, String)> = named
        .into_iter()
        .map(|(text, name, id)| (Some(text), name, id))
        .collect();
    heads.extend(unnamed.into_iter().map(|id| (None, None, id)));
    for (directory, why) in directories.odd() {
        warn_unused(notes, directory, why);
    }
    list(v1, heads, 0, limits)
}

/// Makes entry points of images, counted from a position.
pub(crate) fn list(
    v1: V1<'_>,
    heads: Vec<(Option<String>, Option<Name>, String)>,
    first: usize,
    limits: &Limits,
) -> Result<Vec<Head>> {
    let mut made: BTreeMap<String, Option<Child>> = BTreeMap::new();
    let mut walked = 0u64;
    let mut roots = Vec::with_capacity(heads.len());
    for (i, (text, name, id)) in heads.into_iter().enumerate() {
        let child = match made.get(&id) {
            Some(child) => child.clone(),
            None => {
                let chain = chain(v1, &id, limits, &mut walked).ok();
                let child = chain.map(|chain| chain.child());
                if walked > limits.graph_nodes {
                    let what = "the number of layers of all images";
                    return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
                }
                made.insert(id.clone(), child.clone());
                child
            }
        };
        let bad_name = text.clone().filter(|_| name.is_none());
        let mut texts: Vec<String> = text.into_iter().chain([id.clone()]).collect();
        for directory in v1.directories.of(&id) {
            if !texts.contains(directory) {
                texts.push(directory.clone());
            }
        }
        roots.push(Head {
            entry: RootEntry {
                position: first + i,
                name,
                texts,
                child,
                error: None,
                ambiguous: None,
            },
            id,
            bad_name,
        });
    }
    Ok(roots)
}

/// Warns about a directory whose files belong to no listed image.
pub(crate) fn warn_unused(notes: &Notes, directory: &str, why: &str) {
    let message = format!("no image is made of this directory: {why}");
    notes.warn("unused-directory", entry(directory), message);
}

/// Makes the root document of an image.
pub(crate) fn document(v1: V1<'_>, id: &str, limits: &Limits) -> Result<Document> {
    chain(v1, id, limits, &mut 0).map(|chain| chain.document)
}

/// Walks the chain of a listed image; counts its steps, also if it fails.
pub(crate) fn chain(v1: V1<'_>, id: &str, limits: &Limits, walked: &mut u64) -> Result<Chain> {
    let listed = |error: Error| error.at(format!("file {REPOSITORIES_FILE}"));
    check_id(id).map_err(listed)?;
    v1_image::chain(&v1, id, limits, walked).map_err(|error| {
        match v1.directories.of(id).is_empty() {
            false => error,
            true => listed(error),
        }
    })
}

/// Reads `repositories`: texts, names and ids, in the order of the file.
pub(crate) fn repositories(members: &Members, limits: &Limits) -> Result<Vec<Named>> {
    if !members.has(REPOSITORIES_FILE) {
        return Ok(Vec::new());
    }
    let most = limit(REPOSITORIES_FILE, limits).unwrap_or(("archive_json", limits.archive_json));
    let bytes = members.read_name(REPOSITORIES_FILE, most)?;
    let place = format!("file {REPOSITORIES_FILE}");
    let value = imgconv_json::parse(&bytes, limits, &place)?;
    let read = || -> Result<_> {
        let object = Object::new(&value, "")?;
        let mut named: Vec<Named> = Vec::new();
        let mut known: BTreeSet<(Name, String)> = BTreeSet::new();
        for repository in object.map().keys() {
            for (tag, id) in object.string_map(repository)? {
                let text = format!("{repository}:{tag}");
                // A digest in the place of the tag is read as a digest.
                let by_digest = format!("{repository}@{tag}");
                let name = match Digest::parse(&tag) {
                    Ok(_) => naming::read(&by_digest).ok(),
                    Err(_) => naming::read(&text).ok().filter(|_| Name::is_tag(&tag)),
                };
                let Some(name) = name else {
                    named.push((text, None, id));
                    continue;
                };
                // A name of two images is listed with both: only that name is ambiguous.
                if known.insert((name.qualified(), id.clone())) {
                    named.push((text, Some(name), id));
                }
            }
        }
        Ok(named)
    };
    read().map_err(|error| error.at(place))
}
