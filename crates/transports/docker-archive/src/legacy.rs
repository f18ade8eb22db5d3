//! Archives from before Docker 1.10: `repositories`, and a directory for each layer, whose `json`
//! names its parent.
//!
//! The chain of parents is walked here and becomes one root document; what each `json` says of the
//! image is for the format. There are no digests: nothing but the tar itself says what the bytes
//! should be.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_model::{
    Algorithm, Child, Code, Document, Error, Limits, Name, Result, RootEntry, quote,
};
use imgconv_stream::digest;
use imgconv_wire::{Map, Object, Value, canonical};

use crate::{
    REPOSITORIES_FILE,
    manifest::child,
    members::{Members, limit},
    naming,
};

/// The kind of a root document that is a chain of v1 images:
/// `{"id":ID,"layers":[{"id":ID,"json":TEXT,"layer":MEMBER},…]}`, the base first, `TEXT` verbatim.
pub const V1_IMAGE: &str = "application/vnd.imgconv.docker-v1.image.v1+json";

/// The only version of the directory of a layer.
const VERSION: &str = "1.0";

/// Says whether a text is the id of a v1 image (robustness A1a).
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

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
        let json = read_json(members, id, limits).ok();
        parents.extend(json.and_then(|json| Some((*id, json.parent?))));
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
                let child = describe(members, &id, limits, &mut walked).ok();
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
            },
            id,
        });
    }
    Ok(roots)
}

/// Makes the root document of an image.
pub(crate) fn document(members: &Members, id: &str, limits: &Limits) -> Result<Document> {
    let value = chain(members, id, limits, &mut 0)?;
    Ok(Document {
        kind: V1_IMAGE.to_owned(),
        bytes: canonical(&value).into(),
    })
}

fn describe(members: &Members, id: &str, limits: &Limits, walked: &mut u64) -> Result<Child> {
    let value = chain(members, id, limits, walked)?;
    let bytes = canonical(&value);
    let digest = digest(Algorithm::Sha256, &bytes);
    Ok(child(V1_IMAGE, digest, bytes.len() as u64))
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
        let mut known: BTreeMap<Name, String> = BTreeMap::new();
        for repository in object.map().keys() {
            for (tag, id) in object.string_map(repository)? {
                let text = format!("{repository}:{tag}");
                let name = naming::read(&text).ok().filter(|_| Name::is_tag(&tag));
                let Some(name) = name else {
                    named.push((text, None, id));
                    continue;
                };
                match known.insert(name.clone(), id.clone()) {
                    None => named.push((text, Some(name), id)),
                    Some(other) if other == id => {}
                    Some(other) => {
                        let message = format!(
                            "two images have the name {}: {other} and {id}",
                            quote(&text)
                        );
                        return Err(Error::new(Code::Ambiguous, message));
                    }
                }
            }
        }
        Ok(named)
    };
    read().map_err(|error| error.at(place))
}

/// Refuses what is no id before it becomes part of any name (robustness A1a).
fn check_id(id: &str) -> Result<()> {
    if is_id(id) {
        return Ok(());
    }
    let message = format!(
        "{} is not an image id of 64 lower-case hex digits",
        quote(id)
    );
    Err(Error::new(Code::BadName, message))
}

/// What the chain needs of a layer's `json`.
struct Json {
    text: String,
    parent: Option<String>,
}

fn read_json(members: &Members, id: &str, limits: &Limits) -> Result<Json> {
    let name = format!("{id}/json");
    let bytes = members.read_name(&name, ("config", limits.config))?;
    let place = format!("entry {}", quote(&name));
    let value = imgconv_wire::parse(&bytes, limits, &place)?;
    let parent = parent(&value, id).map_err(|error| error.at(place))?;
    // The parser takes nothing but UTF-8.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Json { text, parent })
}

fn parent(value: &Value, id: &str) -> Result<Option<String>> {
    let object = Object::new(value, "")?;
    object.check_names(&["id", "parent", "os", "architecture", "variant"])?;
    if let Some(own) = object.opt_string("id")?.filter(|own| *own != id) {
        let message = format!("expected the id of its directory, found {}", quote(own));
        return Err(object.bad("id", message));
    }
    // They become parts of file names (robustness A3).
    for key in ["os", "architecture", "variant"] {
        let text = object.opt_string(key)?.unwrap_or_default();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if text.len() > 200 || text.starts_with('.') || !text.bytes().all(allowed) {
            let message = format!(
                "{} is not a word of letters, digits, `.`, `_`, `-`",
                quote(text)
            );
            return Err(Error::new(Code::BadName, message).at(format!("field {key}")));
        }
    }
    let parent = object.opt_string("parent")?.filter(|id| !id.is_empty());
    parent
        .map(|parent| {
            check_id(parent).map_err(|error| error.at("field parent"))?;
            Ok(parent.to_owned())
        })
        .transpose()
}

/// Walks from an image to its base (robustness A2a, A2b); counts its steps, also where it fails.
fn chain(members: &Members, id: &str, limits: &Limits, walked: &mut u64) -> Result<Value> {
    let mut layers: Vec<Value> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut bytes = 0u64;
    check_id(id).map_err(|error| error.at(format!("file {REPOSITORIES_FILE}")))?;
    let mut next = Some(id.to_owned());
    while let Some(current) = next {
        let place = || format!("image {id}");
        if seen.len() as u64 >= limits.layers {
            let what = format!("the chain of parents of {id}");
            return Err(Limits::exceeded("layers", limits.layers, what));
        }
        *walked = walked.saturating_add(1);
        if !members.has(&format!("{current}/json")) {
            let message = format!("the archive has no image {current}");
            let error = Error::new(Code::Missing, message);
            return Err(match layers.len() {
                0 => error.at(format!("file {REPOSITORIES_FILE}")),
                _ => error.at(place()),
            });
        }
        check_version(members, &current, limits).map_err(|error| error.at(place()))?;
        let json = read_json(members, &current, limits).map_err(|error| error.at(place()))?;
        bytes = bytes.saturating_add(json.text.len() as u64);
        if bytes > limits.archive_json {
            let what = format!("the documents of all layers of {id}");
            return Err(Limits::exceeded("archive_json", limits.archive_json, what));
        }
        let mut layer = Map::new();
        layer.insert("id".into(), Value::from(&*current));
        layer.insert("json".into(), Value::from(json.text));
        layer.insert("layer".into(), Value::from(format!("{current}/layer.tar")));
        layers.push(Value::Object(layer));
        if let Some(parent) = &json.parent
            && (*parent == current || seen.contains(parent))
        {
            let message = format!("the chain of parents comes back to {parent}");
            return Err(Error::new(Code::Cycle, message).at(place()));
        }
        seen.insert(current);
        next = json.parent;
    }
    layers.reverse();
    let mut object = Map::new();
    object.insert("id".into(), Value::from(id));
    object.insert("layers".into(), Value::Array(layers));
    Ok(Value::Object(object))
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
