//! Archives from before Docker 1.10: `repositories`, and a directory for each layer, whose `json`
//! names its parent.
//!
//! The chain of parents is walked here and becomes one root document; what each `json` says of the
//! image is for the format. There are no digests: nothing but the tar itself says what the bytes
//! should be.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{Child, Code, Digest, Document, Error, Limits, Name, Result, RootEntry, quote};
use imgconv_wire::{
    Object,
    v1_image::{self, Chain, Images, check_id, is_id},
};

use crate::{
    REPOSITORIES_FILE,
    members::{Members, limit},
    naming,
};

/// The only version of the directory of a layer.
const VERSION: &str = "1.0";

/// An entry point, and the id that it names. One without a descriptor has a chain that can't be
/// read: [`document`] says why.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) entry: RootEntry,
    pub(crate) id: String,
}

/// An entry of `repositories`: the text, the name if it is one, the id.
type Named = (String, Option<Name>, String);

/// Lists the entry points: every name in `repositories`, then every image that is nobody's parent
/// and has no name, and one of each circle that no chain leads to. What is wrong with one image is no harm to the others.
pub(crate) fn heads(members: &Members, limits: &Limits) -> Result<Vec<Head>> {
    let named = repositories(members, limits)?;
    let ids: Vec<&str> = members
        .names()
        .filter_map(|name| name.strip_suffix("/json").filter(|id| is_id(id)))
        .collect();
    let mut parents: BTreeMap<&str, String> = BTreeMap::new();
    for id in &ids {
        // Whoever follows a chain through it meets the error.
        let parent = v1_image::parent(members, id, limits).ok().flatten();
        parents.extend(parent.map(|parent| (*id, parent)));
    }
    let mut not_heads: BTreeSet<&str> = named.iter().map(|(_, _, id)| &**id).collect();
    not_heads.extend(parents.values().map(String::as_str));
    let is_head = |id: &&str| !not_heads.contains(*id);
    let mut unnamed: Vec<&str> = ids.iter().copied().filter(is_head).collect();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut reach = |head: &'_ str| {
        let mut next = ids.binary_search(&head).ok().map(|i| ids[i]);
        let mut is_new = false;
        while let Some(id) = next.filter(|id| reached.insert(id)) {
            is_new = true;
            next = parents.get(id).map(String::as_str);
        }
        is_new
    };
    for head in named.iter().map(|(_, _, id)| &**id).chain(unnamed.clone()) {
        reach(head);
    }
    // Whatever is left leads back to itself.
    unnamed.extend(ids.iter().filter(|id| reach(id)));
    let unnamed: Vec<String> = unnamed.into_iter().map(str::to_owned).collect();
    let mut heads: Vec<(Option<String>, Option<Name>, String)> = named
        .into_iter()
        .map(|(text, name, id)| (Some(text), name, id))
        .collect();
    heads.extend(unnamed.into_iter().map(|id| (None, None, id)));
    let mut made: BTreeMap<String, Option<Child>> = BTreeMap::new();
    let mut walked = 0u64;
    let mut roots = Vec::with_capacity(heads.len());
    for (position, (text, name, id)) in heads.into_iter().enumerate() {
        let child = match made.get(&id) {
            Some(child) => child.clone(),
            None => {
                let chain = chain(members, &id, limits, &mut walked).ok();
                let child = chain.map(|chain| chain.child());
                if walked > limits.graph_nodes {
                    let what = "the number of layers of all images";
                    return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
                }
                made.insert(id.clone(), child.clone());
                child
            }
        };
        roots.push(Head {
            entry: RootEntry {
                position,
                name,
                texts: text.into_iter().chain([id.clone()]).collect(),
                child,
                error: None,
                ambiguous: None,
            },
            id,
        });
    }
    Ok(roots)
}

/// Makes the root document of an image.
pub(crate) fn document(members: &Members, id: &str, limits: &Limits) -> Result<Document> {
    chain(members, id, limits, &mut 0).map(|chain| chain.document)
}

/// Walks the chain of an image that is listed; counts its steps, also where it fails.
fn chain(members: &Members, id: &str, limits: &Limits, walked: &mut u64) -> Result<Chain> {
    let listed = |error: Error| error.at(format!("file {REPOSITORIES_FILE}"));
    check_id(id).map_err(listed)?;
    v1_image::chain(members, id, limits, walked).map_err(|error| {
        match members.has(&format!("{id}/json")) {
            true => error,
            false => listed(error),
        }
    })
}

impl Images for Members {
    fn json(&self, id: &str, limits: &Limits) -> Result<Option<Vec<u8>>> {
        let name = format!("{id}/json");
        if !self.has(&name) {
            return Ok(None);
        }
        check_version(self, id, limits)?;
        self.read_name(&name, ("config", limits.config)).map(Some)
    }

    fn json_name(&self, id: &str) -> String {
        format!("entry {}", quote(format!("{id}/json")))
    }

    fn layer_name(&self, id: &str) -> String {
        format!("{id}/layer.tar")
    }
}

/// Reads `repositories`: texts, names and ids, in the order of the file.
fn repositories(members: &Members, limits: &Limits) -> Result<Vec<Named>> {
    if !members.has(REPOSITORIES_FILE) {
        return Ok(Vec::new());
    }
    let most = limit(REPOSITORIES_FILE, limits).unwrap_or(("archive_json", limits.archive_json));
    let bytes = members.read_name(REPOSITORIES_FILE, most)?;
    let place = format!("file {REPOSITORIES_FILE}");
    let value = imgconv_wire::parse(&bytes, limits, &place)?;
    let read = || -> Result<_> {
        let object = Object::new(&value, "")?;
        let mut named: Vec<Named> = Vec::new();
        let mut known: BTreeSet<(Name, String)> = BTreeSet::new();
        for repository in object.map().keys() {
            for (tag, id) in object.string_map(repository)? {
                let text = format!("{repository}:{tag}");
                // A digest that stands where the tag does is one.
                let by_digest = format!("{repository}@{tag}");
                let name = match Digest::parse(&tag) {
                    Ok(_) => naming::read(&by_digest).ok(),
                    Err(_) => naming::read(&text).ok().filter(|_| Name::is_tag(&tag)),
                };
                let Some(name) = name else {
                    named.push((text, None, id));
                    continue;
                };
                // The name of two images is listed with both: only it is ambiguous.
                if known.insert((name.qualified(), id.clone())) {
                    named.push((text, Some(name), id));
                }
            }
        }
        Ok(named)
    };
    read().map_err(|error| error.at(place))
}

fn check_version(members: &Members, id: &str, limits: &Limits) -> Result<()> {
    let name = format!("{id}/VERSION");
    if !members.has(&name) {
        return Ok(());
    }
    let bytes = members.read_name(&name, ("layout_file", limits.layout_file))?;
    if bytes.trim_ascii() == VERSION.as_bytes() {
        return Ok(());
    }
    let message = format!("version {} is not supported, only {VERSION}", quote(&bytes));
    Err(Error::new(Code::Unsupported, message).at(format!("entry {}", quote(&name))))
}
