//! The shape of a schema 1 manifest: strict reading of a payload, without reading blobs, and its
//! printed form.

use std::{collections::BTreeSet, fmt};

use imgconv_json::{Object, canonical, folds_to, parse};
use imgconv_manifest::{TarSum, media_type, v1_image::is_id};
use imgconv_model::{Algorithm, Code, Digest, Error, Limits, Name, Report, Result, quote};

use crate::compatibility::{self, Step};

/// The kind of a manifest with signatures.
pub const SIGNED: &str = media_type::DOCKER_SCHEMA1_SIGNED;
/// The kind of a manifest without signatures.
pub(crate) const UNSIGNED: &str = media_type::DOCKER_SCHEMA1;
/// The kind of a layer; schema 1 itself has none.
pub(crate) const LAYER: &str = media_type::DOCKER_LAYER_GZIP;

/// The layer that docker uses for steps without a layer: 1024 NULs, gzipped, always the same bytes.
pub(crate) const EMPTY_LAYER: &[u8; 32] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x09, 0x6e, 0x88, 0x00, 0xff, 0x62, 0x18, 0x05, 0xa3, 0x60, 0x14,
    0x8c, 0x58, 0x00, 0x08, 0x00, 0x00, 0xff, 0xff, 0x2e, 0xaf, 0xb5, 0xef, 0x00, 0x04, 0x00, 0x00,
];

const FIELDS: &[&str] = &[
    "schemaVersion",
    "mediaType",
    "name",
    "tag",
    "architecture",
    "fsLayers",
    "history",
];

/// Fields of other kinds of documents (CVE-2021-41190), and of the envelope.
const ALIEN_FIELDS: &[&str] = &["config", "layers", "manifests", "signatures"];

/// Returns the digest of [`EMPTY_LAYER`].
pub(crate) fn empty_layer() -> Digest {
    imgconv_stream::digest(Algorithm::Sha256, EMPTY_LAYER)
}

/// The name of a layer in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LayerName {
    /// The digest of its stored bytes.
    Digest(Digest),
    /// A tar sum, whose blob can be found only in the registry that it was pushed to.
    TarSum(String),
}

impl LayerName {
    /// Returns the digest, if the name is one.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Digest(digest) => Some(*digest),
            Self::TarSum(_) => None,
        }
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::TarSum(sum) => f.write_str(sum),
        }
    }
}

/// Reads the name of a layer.
fn layer_name(layer: &Object<'_>) -> Result<LayerName> {
    match layer.digest("blobSum") {
        Ok(digest) => Ok(LayerName::Digest(digest)),
        Err(error) => {
            let text = layer.string("blobSum")?;
            TarSum::parse(text).ok_or(error)?;
            Ok(LayerName::TarSum(text.to_owned()))
        }
    }
}

/// The content of a manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The name of the image in the manifest, which is only a hint.
    pub(crate) name: Option<Name>,
    pub(crate) architecture: Option<String>,
    /// The steps, base first, each with its blob. Those of empty layers are marked.
    pub(crate) steps: Vec<(Step, LayerName)>,
}

/// The digest of the plain tar of the empty layer: two final blocks.
const EMPTY_TAR: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// Reads the payload of a manifest.
pub(crate) fn read(payload: &[u8], limits: &Limits, report: &mut Report) -> Result<Manifest> {
    let value = parse(payload, limits, "payload")?;
    let top = Object::new(&value, "")?;
    for key in top.map().keys() {
        if ALIEN_FIELDS.iter().any(|name| folds_to(key, name)) {
            let message = format!(
                "a manifest of schema 1 has no field {}; it belongs to another kind of document",
                quote(key)
            );
            return Err(Error::new(Code::Ambiguous, message));
        }
    }
    top.check_names(FIELDS)?;
    let version = top.need("schemaVersion")?;
    if version.as_u64() != Some(1) {
        let found = quote(canonical(version));
        return Err(top.bad("schemaVersion", format!("expected 1, found {found}")));
    }
    if let Some(kind) = top.opt_text("mediaType")?
        && ![SIGNED, UNSIGNED].contains(&kind)
    {
        let message = format!("the mediaType of a manifest of schema 1 is {}", quote(kind));
        return Err(Error::new(Code::Ambiguous, message).at("field mediaType"));
    }
    let (blobs, entries) = (top.objects("fsLayers")?, top.objects("history")?);
    if blobs.len() != entries.len() {
        let message = format!(
            "there are {} fsLayers and {} history entries, expected as many",
            blobs.len(),
            entries.len()
        );
        return Err(Error::new(Code::BadManifest, message));
    }
    if blobs.is_empty() {
        return Err(top.bad("fsLayers", "there is no layer at all"));
    }
    if blobs.len() as u64 > limits.layers {
        let what = format!("the list of {} layers", blobs.len());
        return Err(Limits::exceeded("layers", limits.layers, what));
    }
    let mut steps: Vec<(Step, LayerName)> = Vec::new();
    for (i, (blob, entry)) in blobs.iter().zip(&entries).enumerate().rev() {
        blob.check_names(&["blobSum"])?;
        entry.check_names(&["v1Compatibility"])?;
        let name = layer_name(blob)?;
        let text = entry.string("v1Compatibility")?;
        let place = format!("history[{i}].v1Compatibility");
        let v1 = compatibility::read(text, limits, &place)?;
        let digest = name.digest();
        // Podman writes the manifests in its store anew, with the digests of plain tars.
        let is_plain = v1.throwaway && digest.is_some_and(|it| it.hex() == EMPTY_TAR);
        let empty = is_plain || digest == Some(empty_layer());
        if v1.throwaway && !empty {
            let message = format!(
                "the entry is marked `throwaway`, and its layer {name} is not the empty one: some \
                 readers would use the layer and others would not"
            );
            return Err(Error::new(Code::Ambiguous, message).at(place));
        }
        let step = Step { v1, place, empty };
        if follows(&step, &name, steps.last())? {
            steps.push((step, name));
        }
    }
    let mut seen = BTreeSet::new();
    for (step, _) in &steps {
        if !seen.insert(&step.v1.id) {
            let message = format!("the id {} occurs twice in the chain", step.v1.id);
            return Err(Error::new(Code::BadManifest, message).at(&*step.place));
        }
    }
    Ok(Manifest {
        name: name(&top, report)?,
        architecture: top.opt_string("architecture")?.map(str::to_owned),
        steps,
    })
}

/// Checks the place of an entry above another; false if the entry repeats that one.
fn follows(step: &Step, name: &LayerName, below: Option<&(Step, LayerName)>) -> Result<bool> {
    let fail =
        |code, message: String| -> Result<bool> { Err(Error::new(code, message).at(&*step.place)) };
    let bad = |message| fail(Code::BadManifest, message);
    let (id, parent) = (&step.v1.id, step.v1.parent.as_deref());
    if !is_id(id) {
        return bad(format!(
            "the id {} is not 64 lower-case hex digits",
            quote(id)
        ));
    }
    if parent == Some(id) {
        return fail(Code::Cycle, format!("the image {id} is its own parent"));
    }
    match below {
        None => match parent {
            Some(parent) => bad(format!(
                "the lowest entry has the parent {}, which the manifest does not have",
                quote(parent)
            )),
            None => Ok(true),
        },
        Some((below, blob)) if below.v1.id == *id => {
            if blob != name {
                return bad(format!(
                    "two entries have the id {id}, but different layers: {blob} and {name}"
                ));
            }
            if below.v1.map != step.v1.map {
                let message = format!("two entries have the id {id}, but different configs");
                return fail(Code::Ambiguous, message);
            }
            Ok(false)
        }
        Some((below, _)) if parent != Some(&below.v1.id) => bad(format!(
            "the parent is {}, expected {}",
            parent.map_or("absent".to_owned(), quote),
            below.v1.id
        )),
        Some(_) => Ok(true),
    }
}

/// Reads the name and tag. They are only a hint: the place that holds the manifest names it.
fn name(top: &Object<'_>, report: &mut Report) -> Result<Option<Name>> {
    let text = |key| Ok(top.opt_string(key)?.filter(|text| !text.is_empty()));
    let (name, tag): (Option<&str>, Option<&str>) = (text("name")?, text("tag")?);
    let written = match (name, tag) {
        (None, None) => return Ok(None),
        (Some(name), Some(tag)) => format!("{name}:{tag}"),
        (Some(name), None) => name.to_owned(),
        (None, Some(tag)) if Name::is_tag(tag) => {
            return Ok(Some(Name {
                tag: Some(tag.to_owned()),
                ..Name::default()
            }));
        }
        (None, Some(tag)) => format!(":{tag}"),
    };
    match Name::parse_reference(&written) {
        Ok(name) => Ok(Some(name)),
        Err(error) => {
            let message = format!("the name in the manifest is not used: {error}");
            report.warn("bad-name", "manifest", message);
            Ok(None)
        }
    }
}

/// An entry of a manifest that is written, top first.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) blob: Digest,
    /// The JSON of the v1 image.
    pub(crate) text: String,
}

/// Prints a manifest as docker does: indented by three spaces, without a final newline.
pub(crate) fn print(name: &str, tag: &str, architecture: &str, entries: &[Entry]) -> Vec<u8> {
    let text = |text: &str| String::from_utf8_lossy(&canonical(&text.into())).into_owned();
    let list = |key: &str, texts: Vec<String>| {
        let items: Vec<String> = texts
            .into_iter()
            .map(|value| format!("      {{\n         \"{key}\": {value}\n      }}"))
            .collect();
        items.join(",\n")
    };
    let blobs = entries.iter().map(|entry| text(&entry.blob.to_string()));
    let compatibility = entries.iter().map(|entry| text(&entry.text));
    format!(
        "{{\n   \"schemaVersion\": 1,\n   \"name\": {},\n   \"tag\": {},\n   \"architecture\": {},\n   \
         \"fsLayers\": [\n{}\n   ],\n   \"history\": [\n{}\n   ]\n}}",
        text(name),
        text(tag),
        text(architecture),
        list("blobSum", blobs.collect()),
        list("v1Compatibility", compatibility.collect()),
    )
    .into_bytes()
}
