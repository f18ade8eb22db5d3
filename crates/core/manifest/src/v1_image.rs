//! Docker v1 images: directories named by ids, each with a `json` that may name a parent (docker's
//! image/spec/v1.md).
//!
//! Such an image has no document of its own. The places that hold v1 images (files of `docker save`
//! before Docker 1.10, storage of registries before version 2) walk the chain of parents here, and
//! make one root document of the chain; the format interprets each `json`.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::{Map, Object, Value, canonical, parse};
use imgconv_model::{Algorithm, Child, Code, Document, Error, Limits, Result, quote};
use imgconv_stream::digest;

use crate::media_type;

/// The kind of a root document that is a chain of v1 images, base first:
/// `{"id":ID,"layers":[{"id":ID,"json":TEXT,"layer":MEMBER},…]}`, `TEXT` verbatim. A layer whose tar is
/// made anew ([`Images::is_remade`]) also has the field [`REMADE`], which is `true`.
pub const KIND: &str = media_type::V1_IMAGE;

/// The field of a layer in the root document whose tar the place did not keep.
pub const REMADE: &str = "remade";

/// Returns true if a text is the id of a v1 image: 64 lower-case hex digits (robustness A1a).
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Refuses a text that is not an id before it becomes part of any path (robustness A1a).
///
/// # Errors
/// [`Code::BadName`].
pub fn check_id(id: &str) -> Result<()> {
    if is_id(id) {
        return Ok(());
    }
    let message = format!(
        "{} is not an image id of 64 lower-case hex digits",
        quote(id)
    );
    Err(Error::new(Code::BadName, message))
}

/// The root document of a chain.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The document, of the kind [`KIND`].
    pub document: Document,
    /// The ids, base first.
    pub ids: Vec<String>,
}

impl Chain {
    /// Compares the chain of parents with the list of ancestors of [`ancestry`]: all clients of a
    /// registry must see the same image.
    ///
    /// # Errors
    /// [`Code::Ambiguous`].
    pub fn check_ancestry(&self, ancestry: &[String], place: &str) -> Result<()> {
        if ancestry.iter().rev().eq(&self.ids) {
            return Ok(());
        }
        let id = self.ids.last().map_or("the image", String::as_str);
        let message = format!("the ancestors of {id} are not its chain of parents");
        Err(Error::new(Code::Ambiguous, message).at(place.to_owned()))
    }

    /// Makes the descriptor of the document.
    pub fn child(&self) -> Child {
        let bytes = &self.document.bytes;
        Child::new(KIND, digest(Algorithm::Sha256, bytes), bytes.len() as u64)
    }
}

/// A place that holds v1 images.
pub trait Images {
    /// Reads the `json` of an image, at most `limits.config` bytes; `None` if it is missing.
    ///
    /// # Errors
    /// If the `json` can't be read, or the image is not complete.
    fn json(&self, id: &str, limits: &Limits) -> Result<Option<Vec<u8>>>;

    /// Returns the name of the `json` of an image for messages.
    fn json_name(&self, id: &str) -> String;

    /// Returns the name by which [`NamedBlobs::member`](imgconv_model::NamedBlobs::member) finds
    /// the layer.
    fn layer_name(&self, id: &str) -> String;

    /// Returns true if the place did not keep the tar of the layer and makes the tar anew from
    /// extracted files.
    ///
    /// # Errors
    /// If the files of the layer can't be examined.
    fn is_remade(&self, id: &str) -> Result<bool>;
}

/// Finds the images that have to be listed by their ids: every image that is not in `named` and is no
/// parent, and one image of each circle that no chain leads to. `ids` are all ids, sorted. An image
/// with an unreadable `json` has no parent here; its chain gives the error.
pub fn unnamed(images: &dyn Images, ids: &[&str], named: &[&str], limits: &Limits) -> Vec<String> {
    let mut parents: BTreeMap<&str, String> = BTreeMap::new();
    for id in ids {
        let parent = parent(images, id, limits).ok().flatten();
        parents.extend(parent.map(|parent| (*id, parent)));
    }
    let mut not_heads: BTreeSet<&str> = named.iter().copied().collect();
    not_heads.extend(parents.values().map(String::as_str));
    let is_head = |id: &&str| !not_heads.contains(*id);
    let mut unnamed: Vec<&str> = ids.iter().copied().filter(is_head).collect();
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut reach = |head: &str| {
        let mut next = ids.binary_search(&head).ok().map(|i| ids[i]);
        let mut is_new = false;
        while let Some(id) = next.filter(|id| reached.insert(id)) {
            is_new = true;
            next = parents.get(id).map(String::as_str);
        }
        is_new
    };
    for head in named.iter().chain(&unnamed) {
        reach(head);
    }
    // The remaining images form circles.
    unnamed.extend(ids.iter().filter(|id| reach(id)));
    unnamed.into_iter().map(str::to_owned).collect()
}

/// Returns the id of an image's parent.
///
/// # Errors
/// [`Code::Missing`] if there is no such image, and the errors of a malformed `json`.
pub fn parent(images: &dyn Images, id: &str, limits: &Limits) -> Result<Option<String>> {
    Ok(read(images, id, limits)?.parent)
}

/// Walks from an image to its base (robustness A2a, A2b) and makes the root document. `walked`
/// grows with every step, also if the walk fails.
///
/// # Errors
/// [`Code::Missing`], [`Code::Cycle`] or [`Code::Limit`] for the chain, and the errors of a
/// malformed `json`.
pub fn chain(images: &dyn Images, id: &str, limits: &Limits, walked: &mut u64) -> Result<Chain> {
    walk(images, id, limits, walked).map_err(|error| error.at(format!("image {id}")))
}

fn walk(images: &dyn Images, id: &str, limits: &Limits, walked: &mut u64) -> Result<Chain> {
    let mut layers: Vec<Value> = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut bytes = 0u64;
    let mut next = Some(id.to_owned());
    while let Some(current) = next {
        if seen.len() as u64 >= limits.layers {
            let what = format!("the chain of parents of {id}");
            return Err(Limits::exceeded("layers", limits.layers, what));
        }
        *walked = walked.saturating_add(1);
        let json = read(images, &current, limits)?;
        bytes = bytes.saturating_add(json.text.len() as u64);
        if bytes > limits.archive_json {
            let what = format!("the documents of all layers of {id}");
            return Err(Limits::exceeded("archive_json", limits.archive_json, what));
        }
        let mut layer = Map::new();
        layer.insert("id".into(), Value::from(&*current));
        layer.insert("json".into(), Value::from(json.text));
        layer.insert("layer".into(), Value::from(images.layer_name(&current)));
        if images.is_remade(&current)? {
            layer.insert(REMADE.into(), Value::from(true));
        }
        layers.push(Value::Object(layer));
        if let Some(parent) = &json.parent
            && (*parent == current || seen.contains(parent))
        {
            let message = format!("the chain of parents comes back to {parent}");
            return Err(Error::new(Code::Cycle, message));
        }
        seen.insert(current.clone());
        ids.push(current);
        next = json.parent;
    }
    layers.reverse();
    ids.reverse();
    let mut object = Map::new();
    object.insert("id".into(), Value::from(id));
    object.insert("layers".into(), Value::Array(layers));
    let document = Document {
        kind: KIND.to_owned(),
        bytes: canonical(&Value::Object(object)).into(),
    };
    Ok(Chain { document, ids })
}

/// Reads the list of ancestors that a registry has for an image, the image itself first; `place` names the
/// list.
///
/// # Errors
/// [`Code::BadManifest`] if the text is no list, [`Code::BadName`] for an item that is no id,
/// [`Code::Cycle`] for an id that occurs twice, [`Code::Ambiguous`] if the list does not begin with the
/// image, [`Code::Limit`] for more than `limits.layers` ids.
pub fn ancestry(bytes: &[u8], id: &str, limits: &Limits, place: &str) -> Result<Vec<String>> {
    let value = parse(bytes, limits, place)?;
    let read = || -> Result<Vec<String>> {
        let Some(listed) = value.as_array() else {
            let message = "the ancestors are not a list";
            return Err(Error::new(Code::BadManifest, message));
        };
        if listed.len() as u64 > limits.layers {
            let what = format!("the list of {} ancestors of {id}", listed.len());
            return Err(Limits::exceeded("layers", limits.layers, what));
        }
        let mut ids: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for item in listed {
            let item = item.as_str().unwrap_or_default();
            check_id(item)?;
            if !seen.insert(item) {
                let message = format!("the list of ancestors comes back to {item}");
                return Err(Error::new(Code::Cycle, message));
            }
            ids.push(item.to_owned());
        }
        match ids.first() {
            Some(first) if first == id => Ok(ids),
            first => {
                let found = first.map_or("no image".to_owned(), quote);
                let message = format!("the list of ancestors begins with {found}, expected {id}");
                Err(Error::new(Code::Ambiguous, message))
            }
        }
    };
    read().map_err(|error| error.at(place.to_owned()))
}

/// The parts of a `json` that the chain needs.
struct Json {
    text: String,
    parent: Option<String>,
}

fn read(images: &dyn Images, id: &str, limits: &Limits) -> Result<Json> {
    let Some(bytes) = images.json(id, limits)? else {
        let message = format!("there is no image {id}");
        return Err(Error::new(Code::Missing, message));
    };
    let place = images.json_name(id);
    let value = parse(&bytes, limits, &place)?;
    let parent = parent_in(&value, id).map_err(|error| error.at(place))?;
    // The parser accepts UTF-8 only.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Json { text, parent })
}

fn parent_in(value: &Value, id: &str) -> Result<Option<String>> {
    let object = Object::new(value, "")?;
    object.check_names(&["id", "parent", "os", "architecture", "variant"])?;
    if let Some(own) = object.opt_string("id")?.filter(|own| *own != id) {
        let message = format!("expected the id of its directory, found {}", quote(own));
        return Err(object.bad("id", message));
    }
    // The values become parts of file names (robustness A3).
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
