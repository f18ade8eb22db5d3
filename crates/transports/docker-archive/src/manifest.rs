//! `manifest.json`, the list of images since Docker 1.10.
//!
//! Each entry is the root document of an image. The format interprets the config; this module
//! checks only the shape of the list itself, and the names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_json::{Map, Object, Value, canonical, folds_to};
use imgconv_model::{
    Algorithm, Child, Code, Digest, Document, Error, Limits, Name, Result, RootEntry, quote,
};
use imgconv_stream::digest;

use crate::{files::MANIFEST_FILE, naming};

pub use imgconv_manifest::archive_image::KIND as ARCHIVE_IMAGE;

const FIELDS: &[&str] = &["Config", "RepoTags", "Layers", "Parent", "LayerSources"];

/// One entry of `manifest.json`.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The names, each as text and parsed.
    pub(crate) names: Vec<(String, Name)>,
    /// The texts in the place of names that are no names.
    pub(crate) bad_names: BTreeSet<String>,
    /// The ID of an image in the place of its name, as containerd writes for an image that CRI
    /// named.
    pub(crate) id: Option<String>,
    /// The member with the config.
    pub(crate) config: String,
    /// The members with the layers, base first.
    pub(crate) layers: Vec<String>,
    /// The entry, compact, and its digest.
    document: Arc<[u8]>,
    digest: Digest,
}

impl Item {
    pub(crate) fn child(&self) -> Child {
        Child::new(ARCHIVE_IMAGE, self.digest, self.document.len() as u64)
    }

    pub(crate) fn document(&self) -> Document {
        Document {
            kind: ARCHIVE_IMAGE.to_owned(),
            bytes: Arc::clone(&self.document),
        }
    }

    /// Returns the image ID, in hexadecimal, that the name of the config states: `HEX.json`,
    /// `blobs/sha256/HEX` since Docker 25, or `sha256:HEX` of go-containerregistry. A config that differs from that ID is refused when it is read.
    fn image_id(&self) -> Option<String> {
        let config = &*self.config;
        let hex = match config.strip_suffix(".json") {
            Some(hex) => hex,
            None => ["blobs/sha256/", "sha256:"]
                .iter()
                .find_map(|prefix| config.strip_prefix(prefix))?,
        };
        let id = Digest::parse(&format!("sha256:{hex}")).ok()?;
        Some(id.hex())
    }

    /// Says whether another entry is the same image.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (&self.config, &self.layers) == (&other.config, &other.layers)
    }
}

/// Reads `manifest.json` (robustness A7a). An invalid name concerns its image alone (A12), and so
/// does a name of two different images (K12).
///
/// # Errors
/// [`Code::BadManifest`], [`Code::BadJson`] and [`Code::Limit`].
pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<Vec<Item>> {
    let place = || format!("file {MANIFEST_FILE}");
    let value = imgconv_json::parse(bytes, limits, &place())?;
    check(&value, limits).map_err(|error| error.at(place()))
}

fn check(value: &Value, limits: &Limits) -> Result<Vec<Item>> {
    let Value::Array(values) = value else {
        let message = "expected a list of images";
        return Err(Error::new(Code::BadManifest, message));
    };
    let read = |(i, value)| item(value, &format!("[{i}]"), limits);
    values.iter().enumerate().map(read).collect()
}

/// Returns an entry with its fields in the usual spelling: docker and every other program written
/// in Go match them without regard to case, and old versions of Jib wrote them in lower case
/// (robustness K27). A field in two spellings is refused.
fn in_usual_spelling(object: &Object<'_>) -> Result<Value> {
    let mut usual = Map::new();
    for (key, value) in object.map() {
        let field = FIELDS.iter().find(|field| folds_to(key, field));
        let name = field.map_or(&**key, |field| *field);
        if usual.insert(name.to_owned(), value.clone()).is_some() {
            // Readers differ in which of them they use.
            object.check_names(FIELDS)?;
            let message = format!("is given twice, once as {}", quote(key));
            return Err(object.bad(name, message));
        }
    }
    Ok(Value::Object(usual))
}

fn item(value: &Value, path: &str, limits: &Limits) -> Result<Item> {
    let value = &in_usual_spelling(&Object::new(value, path)?)?;
    let object = Object::new(value, path)?;
    let config = object.string("Config")?;
    if config.is_empty() {
        return Err(object.bad("Config", "is empty"));
    }
    let layers = object.string_list("Layers")?;
    if layers.iter().any(String::is_empty) {
        return Err(object.bad("Layers", "the name of a layer is empty"));
    }
    if layers.len() as u64 > limits.layers {
        let what = format!("an image of {} layers", layers.len());
        return Err(Limits::exceeded("layers", limits.layers, what));
    }
    let mut names: Vec<(String, Name)> = Vec::new();
    let mut bad_names: BTreeSet<String> = BTreeSet::new();
    let mut known: BTreeSet<Name> = BTreeSet::new();
    let mut id = None;
    for text in object.string_list("RepoTags")? {
        match naming::read(&text) {
            Ok(name) if known.insert(name.clone()) => names.push((text, name)),
            Ok(_) => {}
            Err(_) if Digest::parse(&text).is_ok() => id = Some(text),
            Err(_) => drop(bad_names.insert(text)),
        }
    }
    let document = canonical(value);
    Ok(Item {
        names,
        bad_names,
        id,
        config: config.to_owned(),
        layers,
        digest: digest(Algorithm::Sha256, &document),
        document: document.into(),
    })
}

/// Lists the entry points that `manifest.json` has, one for each name, with the place of their entry.
pub(crate) fn entries(items: &[Item]) -> Vec<(RootEntry, usize)> {
    let mut seen: BTreeMap<Name, usize> = BTreeMap::new();
    let mut roots = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let image_id = item.image_id();
        let mut push = |name: Option<&Name>, text: Option<&String>| {
            let texts = text.into_iter().chain(&image_id).cloned().collect();
            let entry = RootEntry {
                position,
                name: name.cloned(),
                texts,
                child: Some(item.child()),
                error: None,
                ambiguous: None,
            };
            roots.push((entry, position));
        };
        if item.names.is_empty() && item.bad_names.is_empty() {
            push(None, item.id.as_ref());
        }
        for (text, name) in &item.names {
            // The name of two different images is listed with both: only it is ambiguous.
            let first = *seen.entry(name.qualified()).or_insert(position);
            if first == position || !items[first].same(item) {
                push(Some(name), Some(text));
            }
        }
        for text in &item.bad_names {
            push(None, Some(text));
        }
    }
    roots
}
