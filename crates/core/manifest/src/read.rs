//! The shape of a manifest: strict reading of its JSON, without following its references.
//!
//! Both directions use it: decoding to follow the descriptors, encoding to read an original and to
//! check that a new manifest reads as intended.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_json::{Map, Object, Value, canonical, folds_to, join};
use imgconv_model::{Code, Digest, Error, Limits, Result, quote};

use crate::{
    descriptor::{DESCRIPTOR_FIELDS, Descriptor, descriptor},
    embedded::{compare, data_of},
    family::Family,
    media_type,
};

/// The properties of a manifest, in the order they are written in.
pub(crate) const FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "blobs",
    "layers",
    "subject",
    "annotations",
];

/// The properties of an index (image-spec, image-index.md).
pub const INDEX_FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "artifactType",
    "manifests",
    "subject",
    "annotations",
];

/// The properties that are fields of the model or follow from it.
pub(crate) const MODEL_FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "annotations",
];

/// Fields that only one kind of root document has. A document may have only those of its own kind,
/// in any spelling (CVE-2021-41190).
const KIND_FIELDS: &[&str] = &["config", "fsLayers", "history", "layers", "manifests"];

/// The annotation that holds a verbatim ACI manifest, see the design notes.
pub(crate) const ACI_MANIFEST: &str = "imgconv.aci.manifest";

/// A manifest as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The config; only the withdrawn artifact manifest has none.
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
    /// The subject of this document, if its digest has a supported algorithm.
    pub(crate) subject: Option<Digest>,
    pub(crate) artifact_type: Option<String>,
    /// All annotations, the private one included.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Properties that the model has no field for: path from `manifest.` on to JSON text.
    pub(crate) extensions: BTreeMap<String, String>,
}

/// Reads a manifest. `kind` is its bare media type: [`Family::manifest`] or [`Family::artifact`].
pub(crate) fn read(
    family: &Family,
    value: &Value,
    kind: &str,
    limits: &Limits,
) -> Result<Manifest> {
    let top = Object::new(value, "")?;
    let artifact = family.artifact == Some(kind);
    // `blobs` alone distinguishes the withdrawn artifact manifest, which has neither field.
    let own: &[&str] = if artifact { &[] } else { &["config", "layers"] };
    head(&top, own, FIELDS, kind, !artifact)?;
    let (config, list) = if artifact {
        (None, "blobs")
    } else {
        let config = checked(top.need("config")?, top.path("config"), limits)?;
        (Some(config), "layers")
    };
    let items = top.list(list)?;
    if items.len() as u64 > limits.layers {
        let what = format!("the list of {} layers", items.len());
        return Err(Limits::exceeded("layers", limits.layers, what));
    }
    let layers = items
        .iter()
        .enumerate()
        .map(|(i, item)| checked(item, format!("{list}[{i}]"), limits))
        .collect::<Result<Vec<_>>>()?;
    let mut manifest = Manifest {
        config,
        layers,
        subject: subject(&top)?.map(|(digest, _)| digest),
        artifact_type: top.opt_text("artifactType")?.map(str::to_owned),
        annotations: top.string_map("annotations")?,
        extensions: BTreeMap::new(),
    };
    list_extensions(&top, &mut manifest.extensions)?;
    Ok(manifest)
}

/// Checks the common parts of manifests and indexes: field names, version, media type.
pub(crate) fn head(
    top: &Object<'_>,
    own: &[&str],
    known: &[&str],
    kind: &str,
    versioned: bool,
) -> Result<()> {
    for key in top.map().keys() {
        let alien = KIND_FIELDS
            .iter()
            .find(|name| !own.contains(name) && folds_to(key, name));
        if alien.is_some() {
            let message = format!(
                "the document is {}, but has the field {}, which belongs to another kind of \
                 document",
                quote(kind),
                quote(key)
            );
            return Err(Error::new(Code::Ambiguous, message));
        }
    }
    top.check_names(known)?;
    if let Some(written) = top.opt_text("mediaType")?
        && media_type::normalise(written) != kind
    {
        let message = format!(
            "the descriptor has the media type {}, but the document has the mediaType {}",
            quote(kind),
            quote(written)
        );
        return Err(Error::new(Code::Ambiguous, message).at("field mediaType"));
    }
    if versioned && top.size("schemaVersion")? != 2 {
        let found = top.need("schemaVersion")?;
        return Err(top.bad("schemaVersion", format!("expected 2, found {found}")));
    }
    Ok(())
}

/// The digest of a subject, and the content that its descriptor embeds.
pub(crate) type Subject = (Digest, Option<Arc<[u8]>>);

/// Reads the digest of the subject, and the content that its descriptor embeds, verified. The
/// digest must be valid; an algorithm that is not computed here is accepted, since a subject is not
/// followed.
pub(crate) fn subject(top: &Object<'_>) -> Result<Option<Subject>> {
    let Some(subject) = top.opt_object("subject")? else {
        return Ok(None);
    };
    subject.check_names(DESCRIPTOR_FIELDS)?;
    let size = subject.size("size")?;
    match subject.digest("digest") {
        Ok(digest) => {
            let data = data_of(&subject, size)?;
            if let Some(data) = &data {
                compare(data, &digest, size, "field subject.data")?;
            }
            Ok(Some((digest, data)))
        }
        Err(error) if error.code() == Code::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a descriptor and compares its digest with embedded bytes, and with well-known content.
pub(crate) fn checked(value: &Value, path: String, limits: &Limits) -> Result<Descriptor> {
    let read = descriptor(value, &*path, limits)?;
    let child = &read.child;
    if child.kind.is_empty() {
        let message = "the descriptor has no mediaType";
        return Err(Error::new(Code::BadManifest, message).at(format!("field {path}")));
    }
    let verify = |bytes: &[u8], what: String| compare(bytes, &child.digest, child.size, &what);
    if let Some(data) = &read.data {
        verify(data, format!("field {path}.data"))?;
    }
    if media_type::normalise(&child.kind) == media_type::OCI_EMPTY {
        verify(
            b"{}",
            format!("field {path}, which has the type of `{{}}`,"),
        )?;
    }
    Ok(read)
}

/// Lists the properties that the model has no field for, by path.
fn list_extensions(top: &Object<'_>, extensions: &mut BTreeMap<String, String>) -> Result<()> {
    let mut add = |parent: &str, map: &Map<String, Value>, known: &[&str]| {
        for (key, value) in map {
            if !known.contains(&key.as_str()) && !value.is_null() {
                let raw = String::from_utf8_lossy(&canonical(value)).into_owned();
                extensions.insert(join(parent, key), raw);
            }
        }
    };
    add("manifest", top.map(), MODEL_FIELDS);
    if let Some(config) = top.opt_object("config")? {
        add("manifest.config", config.map(), CONFIG_MODEL_FIELDS);
    }
    for (i, layer) in top.objects("layers")?.iter().enumerate() {
        let parent = format!("manifest.layers.{i}");
        add(&parent, layer.map(), LAYER_MODEL_FIELDS);
    }
    Ok(())
}

/// Properties of the config's descriptor that need no extension. Embedded data only repeats the
/// blob.
pub(crate) const CONFIG_MODEL_FIELDS: &[&str] = &["mediaType", "digest", "size", "data"];

/// Properties of a layer's descriptor that need no extension.
pub(crate) const LAYER_MODEL_FIELDS: &[&str] =
    &["mediaType", "digest", "size", "data", "urls", "annotations"];
