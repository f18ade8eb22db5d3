//! `oci-layout` and `index.json`: the marker and the list of entry points.
//!
//! Descriptors and properties that do not change keep their text, byte for byte, because other
//! programs store data in them that this program does not interpret (robustness INV-3).

use std::{collections::BTreeMap, fmt, sync::Arc};

use imgconv_json::{Map, Object, Value, canonical, folds_to};
use imgconv_manifest::{
    INDEX_FIELDS, descriptor_without_data, embedded, is_of_bytes,
    media_type::{DOCKER_LIST, OCI_INDEX, REVERSALS},
};
use imgconv_model::{
    Child, Code, Digest, Error, Limits, Platform, Publication, Result, TopLevel, quote,
};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::naming::{CONTAINERD_NAME, Names, REF_NAME, is_bad, is_name};

/// The name of the file that marks a layout (image-spec, image-layout.md).
pub const MARKER_FILE: &str = "oci-layout";
/// The name of the file that lists the entry points.
pub const INDEX_FILE: &str = "index.json";

/// The only version of the layout.
const VERSION: &str = "1.0.0";
/// The content of a new `oci-layout` file.
pub const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The properties that every index has. All others are the top-level properties of one index.
const OWN_FIELDS: &[&str] = &["schemaVersion", "mediaType", "manifests"];
/// Properties of image manifests: a reader that looks for them would read an index as a manifest.
const FOREIGN: &[&str] = &["config", "fsLayers", "history", "layers"];

/// The number of unreadable entries that every index may have; a longer text may have one for each
/// [`SHORTEST`] bytes, because an entry takes more memory than its text `{}`.
const FEW_UNREADABLE: usize = 1000;
/// The most unreadable entries of any index: each takes about a kilobyte.
const MOST_UNREADABLE: usize = 100_000;
const SHORTEST: usize = 64;

/// Checks the content of an `oci-layout` file (robustness D10).
///
/// # Errors
/// [`Code::BadJson`] or [`Code::Unsupported`].
pub fn check_marker(bytes: &[u8], limits: &Limits) -> Result<()> {
    let place = || format!("file {MARKER_FILE}");
    let value = imgconv_json::parse(bytes, limits, &place())?;
    let bad = |message: String| Err(Error::new(Code::BadJson, message).at(place()));
    let Value::Object(object) = &value else {
        return bad("expected an object".to_owned());
    };
    imgconv_json::check_field_names(object, &["imageLayoutVersion"]).map_err(|e| e.at(place()))?;
    match object.get("imageLayoutVersion") {
        Some(Value::String(version)) if version == VERSION => Ok(()),
        Some(Value::String(version)) => {
            let message = format!(
                "image layout version {} is not supported, only {VERSION}",
                quote(version)
            );
            Err(Error::new(Code::Unsupported, message).at(place()))
        }
        Some(_) => bad("`imageLayoutVersion` is not a string".to_owned()),
        None => bad("`imageLayoutVersion` is required, but absent".to_owned()),
    }
}

/// One descriptor of `index.json`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The descriptor, with its original text.
    pub child: Child,
    /// The names of the image.
    pub names: Names,
}

/// An item of `manifests` that is not a usable descriptor.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The text of the item.
    pub raw: String,
    /// The digest and size, if they can be read.
    pub child: Option<Child>,
    /// The names, if they can be read.
    pub names: Names,
    /// The item says that it is a record of reversal.
    pub is_record: bool,
    /// The reason why the item can't be used.
    pub error: Arc<Error>,
}

/// An item of `manifests`.
#[derive(Clone, Debug)]
pub enum Item {
    /// A descriptor.
    Listed(Listed),
    /// An item that can't be used and does not affect the other items (robustness K13).
    Unreadable(Unreadable),
}

impl Item {
    /// Returns the digest and size as a descriptor, if they can be read.
    pub fn child(&self) -> Option<&Child> {
        match self {
            Self::Listed(listed) => Some(&listed.child),
            Self::Unreadable(unreadable) => unreadable.child.as_ref(),
        }
    }

    /// Returns the digest, if it can be read.
    pub fn digest(&self) -> Option<Digest> {
        Some(self.child()?.digest)
    }

    /// Returns the names, if they can be read.
    pub fn names(&self) -> &Names {
        match self {
            Self::Listed(listed) => &listed.names,
            Self::Unreadable(unreadable) => &unreadable.names,
        }
    }

    /// Says whether the item can't be used and says that it is a record of reversal.
    pub fn is_unusable_record(&self) -> bool {
        matches!(self, Self::Unreadable(unreadable) if unreadable.is_record)
    }

    /// Returns the descriptor.
    ///
    /// # Errors
    /// The error of the entry.
    pub fn read(&self) -> Result<&Listed> {
        match self {
            Self::Listed(listed) => Ok(listed),
            Self::Unreadable(unreadable) => Err(unreadable.error.again()),
        }
    }

    /// Returns the text of the item.
    pub(crate) fn raw(&self) -> &str {
        match self {
            Self::Listed(listed) => &listed.child.raw,
            Self::Unreadable(unreadable) => &unreadable.raw,
        }
    }
}

/// The whole `index.json`.
#[derive(Debug)]
pub struct Index {
    /// Every property, in its order, with its text.
    properties: Vec<(String, String)>,
    /// The items of `manifests`, usable or not.
    pub items: Vec<Item>,
}

impl Index {
    /// Makes the index of a new layout.
    pub fn empty() -> Self {
        let property = |key: &str, text: String| (key.to_owned(), text);
        Self {
            properties: vec![
                property("schemaVersion", "2".to_owned()),
                property("mediaType", format!("\"{OCI_INDEX}\"")),
                property("manifests", String::new()),
            ],
            items: Vec::new(),
        }
    }

    /// Reads an index strictly (image-spec, image-index.md). `null` for `manifests` is an empty
    /// list, as Go programs write it. A descriptor that can't be used, and a text that is not a
    /// name, affect their own image only; see [`Item`] and [`Index::bad_names`].
    ///
    /// # Errors
    /// [`Code::Ambiguous`] if another reader could take the index for a manifest, otherwise the
    /// errors of [`parse`](imgconv_json::parse) and of the index's own properties.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let place = || format!("file {INDEX_FILE}");
        imgconv_json::check(bytes, limits, &place())?;
        Self::check(bytes, limits).map_err(|error| error.at(place()))
    }

    /// Lists the texts of name annotations that are not valid names (robustness C8e).
    pub fn bad_names(&self) -> impl Iterator<Item = String> {
        let texts = self.items.iter().flat_map(|one| one.names().texts());
        texts.filter(|text| is_bad(text))
    }

    /// Returns the annotations and other properties of the index itself.
    pub fn top_level(&self) -> TopLevel {
        let mut found = TopLevel::default();
        for (key, text) in &self.properties {
            if OWN_FIELDS.contains(&&**key) || text == "null" {
                continue;
            }
            match serde_json::from_str(text) {
                Ok(annotations) if key == "annotations" => found.annotations = annotations,
                _ => drop(found.properties.insert(key.clone(), text.clone())),
            }
        }
        found
    }

    /// Sets the annotations and other properties of a new index itself.
    pub fn set_top_level(&mut self, top_level: &TopLevel) {
        let TopLevel {
            annotations,
            properties,
        } = top_level;
        self.properties.extend(properties.clone());
        if !annotations.is_empty() {
            let text = canonical(&strings(annotations));
            let text = String::from_utf8_lossy(&text).into_owned();
            self.properties.push(("annotations".to_owned(), text));
        }
    }

    fn check(bytes: &[u8], limits: &Limits) -> Result<Self> {
        // This is a second pass over a well-formed text, for the texts of the properties: a tree of
        // all values would take too much memory, since an index may be large and may hold unknown
        // members.
        let properties: Properties = serde_json::from_slice(bytes)
            .map_err(|_| Error::new(Code::BadManifest, "expected an object"))?;
        let mut known = Map::new();
        for (key, text) in &properties.0 {
            if let Some(foreign) = FOREIGN.iter().find(|foreign| folds_to(key, foreign)) {
                let message = format!(
                    "the index has the property {} of an image manifest (`{foreign}`)",
                    quote(key)
                );
                return Err(Error::new(Code::Ambiguous, message));
            }
            let value = match INDEX_FIELDS.contains(&&**key) && key != "manifests" {
                true => imgconv_json::parse(text.as_bytes(), limits, &format!("field {key}"))?,
                false => Value::Null,
            };
            known.insert(key.clone(), value);
        }
        let known = Value::Object(known);
        let object = Object::new(&known, "")?;
        object.check_names(INDEX_FIELDS)?;
        let version = object.need("schemaVersion")?;
        if version.as_u64() != Some(2) {
            let message = format!("expected 2, found {}", quote(version.to_string()));
            return Err(object.bad("schemaVersion", message));
        }
        if let Some(kind) = object.opt_text("mediaType")?
            && kind != OCI_INDEX
            && kind != DOCKER_LIST
        {
            let message = format!("the mediaType of the index is {}", quote(kind));
            return Err(Error::new(Code::Ambiguous, message));
        }
        if !object.map().contains_key("manifests") {
            return Err(object.bad("manifests", "is required, but absent"));
        }
        object.string_map("annotations")?;
        let text = properties.0.iter().find(|(key, _)| key == "manifests");
        let text = text.map_or("null", |(_, text)| text);
        let mut items: Vec<Item> = Vec::new();
        let mut unreadable = 0;
        each(text, |item| {
            items.push(read_item(item.get(), items.len(), limits));
            unreadable += usize::from(matches!(items.last(), Some(Item::Unreadable(_))));
            let most = MOST_UNREADABLE.min(text.len() / SHORTEST);
            if unreadable > FEW_UNREADABLE.max(most) {
                let message = format!("{unreadable} entries of the list are no descriptors");
                return Err(object.bad("manifests", message));
            }
            Ok(())
        })
        .unwrap_or_else(|| Err(object.bad("manifests", "expected a list")))?;
        Ok(Self {
            properties: properties.0,
            items,
        })
    }

    /// Returns the bytes of `index.json`.
    pub fn render(&self) -> Vec<u8> {
        let mut out = b"{".to_vec();
        for (i, (key, text)) in self.properties.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend(canonical(&Value::from(key.as_str())));
            out.push(b':');
            if key != "manifests" {
                out.extend(text.as_bytes());
                continue;
            }
            let texts: Vec<&str> = self.items.iter().map(Item::raw).collect();
            out.push(b'[');
            out.extend(texts.join(",").as_bytes());
            out.push(b']');
        }
        out.push(b'}');
        out
    }
}

/// Reads one item of `manifests`.
fn read_item(text: &str, position: usize, limits: &Limits) -> Item {
    let path = format!("manifests[{position}]");
    let (value, read) = match imgconv_json::parse(text.as_bytes(), limits, &path) {
        Ok(value) => {
            let read = read_listed(&value, text, &path, limits);
            (value, read)
        }
        Err(error) => (Value::Null, Err(error)),
    };
    match read {
        Ok(listed) => Item::Listed(listed),
        Err(error) => {
            Item::Unreadable(Unreadable {
                raw: text.to_owned(),
                child: bytes_of(&value, limits),
                names: Names::read_unchecked(&texts_of(&value)),
                is_record: is_record(&value),
                error: Arc::new(error.at(format!("file {INDEX_FILE}")).hint(
                    "the other entries of the list can be used: a REF or `@DIGEST` chooses one",
                )),
            })
        }
    }
}

/// Reads one descriptor of the list.
fn read_listed(value: &Value, text: &str, path: &str, limits: &Limits) -> Result<Listed> {
    // Embedded content is checked when the root is read, so that an error affects that root only.
    let object = Object::new(value, path)?;
    let mut child = descriptor_without_data(value, &object, limits)?.child;
    if child.kind.is_empty() {
        let error = Error::new(Code::BadManifest, "is required, but absent");
        return Err(error.at(format!("field {path}.mediaType")));
    }
    check_platform(&child).map_err(|error| error.at(format!("field {path}.platform")))?;
    let names = Names::read_unchecked(&child.annotations);
    child.raw = text.to_owned();
    Ok(Listed { child, names })
}

/// Returns the digest and size of a descriptor that can't be used.
fn bytes_of(value: &Value, limits: &Limits) -> Option<Child> {
    let object = Object::new(value, "").ok()?;
    let kind = object.opt_string("mediaType").ok()?.unwrap_or_default();
    let size = object.size("size").ok()?;
    let fits = size <= limits.image_bytes;
    let digest = object.digest("digest").ok().filter(|_| fits)?;
    Some(Child::new(kind, digest, size))
}

/// Says whether a descriptor that can't be used has the type of records.
fn is_record(value: &Value) -> bool {
    let kind = value.get("artifactType").and_then(Value::as_str);
    kind.is_some_and(|kind| REVERSALS.contains(&kind))
}

/// Returns the name annotations of a descriptor that can't be used.
fn texts_of(value: &Value) -> BTreeMap<String, String> {
    let annotations = value.get("annotations").and_then(Value::as_object);
    let all = annotations.into_iter().flatten();
    let texts = all.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
    texts.filter(|(key, _)| is_name(key)).collect()
}

/// The annotations as JSON.
fn strings(annotations: &BTreeMap<String, String>) -> Value {
    let entries = annotations.iter();
    Value::Object(
        entries
            .map(|(key, text)| (key.clone(), Value::from(&**text)))
            .collect(),
    )
}

/// Names the properties of a descriptor beside its type, digest, size and platform:
/// `annotations.KEY`, `artifactType`, `platform.os.version` and so on.
///
/// # Errors
/// [`Code::BadJson`] if the descriptor's own text is malformed.
pub fn details(child: &Child, limits: &Limits) -> Result<Vec<String>> {
    let annotations = child.annotations.keys();
    let mut found: Vec<String> = annotations
        .map(|key| format!("annotations.{key}"))
        .collect();
    let text = if child.raw.is_empty() {
        "{}"
    } else {
        &child.raw
    };
    let what = format!("descriptor of {}", child.digest);
    let value = imgconv_json::parse(text.as_bytes(), limits, &what)?;
    let object = Object::new(&value, "")?;
    let known = ["mediaType", "digest", "size", "annotations", "platform"];
    let more = |object: &Object<'_>, prefix: &str, known: &[&str]| -> Vec<String> {
        let said = object.map().iter().filter(|(_, value)| !value.is_null());
        let said = said.filter(|(key, _)| !known.contains(&&***key));
        said.map(|(key, _)| format!("{prefix}{key}")).collect()
    };
    found.extend(more(&object, "", &known));
    if let Some(platform) = object.opt_object("platform")? {
        let known = ["os", "architecture", "variant"];
        found.extend(more(&platform, "platform.", &known));
    }
    Ok(found)
}

/// Makes the descriptor of a publication: the root's own, with the names in its annotations.
/// Unknown properties of the source's descriptor are kept; for a root that was written anew, all
/// but those that are valid for the old bytes only.
///
/// # Errors
/// [`Code::BadJson`] if the root's own text is malformed, [`Code::Mismatch`] if the embedded
/// content does not match its digest.
pub fn describe(publication: &Publication, names: &Names, limits: &Limits) -> Result<Listed> {
    let root = &publication.root;
    let mut object = Map::new();
    if !root.raw.is_empty() {
        let what = format!("descriptor of {}", root.digest);
        if let Value::Object(own) = imgconv_json::parse(root.raw.as_bytes(), limits, &what)? {
            object = own;
        }
        if object.get("digest").and_then(Value::as_str) == Some(&*root.digest.to_string()) {
            // Content that does not match the digest is never copied.
            embedded(root, limits)?;
        } else {
            object.retain(|key, _| !is_of_bytes(key));
        }
    }
    object.insert("mediaType".into(), Value::from(&*root.kind));
    object.insert("digest".into(), Value::from(root.digest.to_string()));
    object.insert("size".into(), Value::from(root.size));
    let mut annotations = root.annotations.clone();
    for (key, text) in [
        (REF_NAME, &names.reference),
        (CONTAINERD_NAME, &names.containerd),
    ] {
        match text {
            Some(text) => annotations.insert(key.to_owned(), text.clone()),
            None => annotations.remove(key),
        };
    }
    if annotations.is_empty() {
        object.shift_remove("annotations");
    } else {
        object.insert("annotations".into(), strings(&annotations));
    }
    match &root.platform {
        Some(platform)
            if !platform.os.is_empty()
                && !platform.architecture.is_empty()
                && is_platform(platform) =>
        {
            // The value is cloned, because removing and inserting the key would change its
            // position.
            let mut map = match object.get("platform") {
                Some(Value::Object(own)) => own.clone(),
                _ => Map::new(),
            };
            map.insert("architecture".into(), Value::from(&*platform.architecture));
            map.insert("os".into(), Value::from(&*platform.os));
            match &platform.variant {
                Some(variant) => map.insert("variant".into(), Value::from(&**variant)),
                None => map.shift_remove("variant"),
            };
            object.insert("platform".into(), Value::Object(map));
        }
        _ => {
            object.shift_remove("platform");
        }
    }
    let raw = String::from_utf8_lossy(&canonical(&Value::Object(object))).into_owned();
    Ok(Listed {
        child: Child {
            annotations,
            raw,
            ..root.clone()
        },
        names: names.clone(),
    })
}

/// Returns true if a descriptor of a layout can have a platform: readers refuse a platform that
/// could be read as a path (robustness A3), so it is not written.
pub fn is_platform(platform: &Platform) -> bool {
    bad_part(platform).is_none()
}

/// Returns the part of a platform that is not a plain word.
fn bad_part(platform: &Platform) -> Option<&str> {
    let token = |part: &str| {
        part.len() <= 200
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let variant = platform.variant.as_deref().unwrap_or_default();
    let parts = [&*platform.os, &*platform.architecture, variant];
    parts.into_iter().find(|part| !token(part))
}

/// Refuses parts of a platform that could be read as a path (robustness A3).
fn check_platform(child: &Child) -> Result<()> {
    let Some(part) = child.platform.as_ref().and_then(bad_part) else {
        return Ok(());
    };
    let message = format!(
        "{} is not a word of letters, digits, `.`, `_`, `-`",
        quote(part)
    );
    Err(Error::new(Code::BadName, message))
}

/// Adds the properties that another descriptor of the same bytes has in addition; returns true if
/// there were any.
pub(crate) fn annotate(old: &mut Child, new: &Child) -> bool {
    let mut all = old.annotations.clone();
    all.extend(new.annotations.clone());
    // The text was read or made as an object.
    let [Ok(Value::Object(mut object)), Ok(Value::Object(more))] =
        [&old.raw, &new.raw].map(|raw| serde_json::from_str(raw))
    else {
        return false;
    };
    let before = object.len();
    for (key, value) in more {
        if key != "platform" && !object.contains_key(&key) {
            object.insert(key, value);
        }
    }
    if all == old.annotations && object.len() == before {
        return false;
    }
    object.insert("annotations".into(), strings(&all));
    old.annotations = all;
    old.raw = String::from_utf8_lossy(&canonical(&Value::Object(object))).into_owned();
    true
}

/// Returns the text that selects a publication later: its full name if it has one, because several
/// repositories may have the same tag; else its name; else its digest.
pub fn address(names: &Names, digest: &Digest) -> String {
    let full = |text: &&String| text.contains(['/', ':']) && !text.starts_with('@');
    let reference = names.reference.as_ref();
    let text = reference.filter(full).or(names.containerd.as_ref());
    match text.or(reference) {
        Some(text) => text.clone(),
        None => format!("@{digest}"),
    }
}

/// The properties of an object with their texts, in their order.
struct Properties(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Properties;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut found = Vec::new();
                while let Some((key, text)) = map.next_entry::<String, &'de RawValue>()? {
                    found.push((key, text.get().to_owned()));
                }
                Ok(Properties(found))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Takes the items of a list one by one, so that a list of millions needs no memory of its own;
/// `null` is an empty list. `None` if the text is not a list.
fn each(list: &str, mut take: impl FnMut(&RawValue) -> Result<()>) -> Option<Result<()>> {
    struct Items<'a>(&'a mut dyn FnMut(&RawValue) -> Result<()>, Result<()>);
    impl<'de> Visitor<'de> for &mut Items<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            while let Some(item) = items.next_element::<&'de RawValue>()? {
                self.1 = (self.0)(item);
                if self.1.is_err() {
                    // The error of `take` replaces that of the deserializer.
                    return Err(A::Error::custom("an item was refused"));
                }
            }
            Ok(())
        }
    }
    let mut items = Items(&mut take, Ok(()));
    let read = serde_json::Deserializer::from_str(list).deserialize_any(&mut items);
    match (read, items.1) {
        (_, Err(error)) => Some(Err(error)),
        (Ok(()), _) => Some(Ok(())),
        (Err(_), Ok(())) => None,
    }
}
