//! Decoding: from the documents of a family to the model.
//!
//! A manifest is followed to its config, and its layers are named; the entries of an index are not
//! followed. No blob is opened.

use std::sync::Arc;

use imgconv_json::{Object, Value, folds_to, parse, within};
use imgconv_model::{
    Artifact, Blob, Bundle, Child, Code, Document, Env, Error, Extensions, FormatId, Image, Index,
    Layer, Limits, Opaque, Open, Original, Reader, Report, Result, quote,
};

use crate::{
    descriptor::Descriptor,
    docker_config,
    embedded::blob_or,
    encode::describes_compression,
    family::Family,
    media_type,
    read::{self, ACI_MANIFEST, Manifest},
    remade::report_remade,
};

/// Returns true if a root is a document of the family, see
/// [`imgconv_model::DocumentFormat::recognise`].
pub fn recognise(family: &Family, document: &Document) -> bool {
    let kind = media_type::normalise(&document.kind);
    if !kind.is_empty() {
        return is_root(family, &kind);
    }
    // Without a media type the fields of the document decide. Documents are bounded by their
    // limits.
    let Ok(Value::Object(map)) = parse(&document.bytes, &Limits::default(), "document") else {
        return false;
    };
    match map.get("mediaType") {
        Some(Value::String(kind)) if !kind.is_empty() => {
            is_root(family, &media_type::normalise(kind))
        }
        Some(Value::Null | Value::String(_)) | None if family.untyped => {
            let version = map.get("schemaVersion").and_then(Value::as_u64) == Some(2);
            let has = |name| map.keys().any(|key| folds_to(key, name));
            version && (has("manifests") || has("layers") || has("config"))
        }
        Some(_) | None => false,
    }
}

fn is_root(family: &Family, kind: &str) -> bool {
    kind == family.manifest || kind == family.index || family.artifact == Some(kind)
}

/// Reads a root, see [`imgconv_model::DocumentFormat::decode`].
///
/// # Errors
/// The errors of strict JSON and of the document's shape, and
/// [`Missing`](imgconv_model::Code::Missing) if a referenced document is missing.
pub fn decode(
    family: &Family,
    document: &Document,
    bundle: &dyn Bundle,
    env: &Env,
    report: &mut Report,
) -> Result<Artifact> {
    let limits = &env.limits;
    let size = document.bytes.len() as u64;
    within(size, ("manifest", limits.manifest), "the document")?;
    let value = parse(&document.bytes, limits, "document")?;
    let kind = kind(family, document, &value)?;
    let document = Document {
        kind: if document.kind.is_empty() {
            kind.clone()
        } else {
            document.kind.clone()
        },
        bytes: Arc::clone(&document.bytes),
    };
    if kind == family.index {
        return decode_index(family, document, &value, limits)
            .map(Artifact::Index)
            .map_err(|error| error.at("index"));
    }
    let manifest =
        read::read(family, &value, &kind, limits).map_err(|error| error.at("manifest"))?;
    let unknown_layer = manifest
        .layers
        .iter()
        .map(|layer| layer.child.kind.as_str())
        .find(|kind| media_type::layer(kind).is_none());
    let config = match &manifest.config {
        Some(config) if is_image_config(family, &config.child.kind) => config,
        _ => return Ok(Artifact::Opaque(opaque(document, &manifest, None))),
    };
    if let Some(layer) = unknown_layer {
        return Ok(Artifact::Opaque(opaque(document, &manifest, Some(layer))));
    }
    let config_document = fetch_config(config, bundle, limits)?;
    if !docker_config::is_config(&config_document.bytes, limits) {
        return Ok(Artifact::Opaque(Opaque {
            what: match &manifest.artifact_type {
                Some(kind) => format!("artifact {kind}"),
                None => "artifact without an image config".to_owned(),
            },
            ..opaque(document, &manifest, None)
        }));
    }
    decode_image(
        family,
        &document,
        &manifest,
        config_document,
        bundle,
        env,
        report,
    )
    .map(|image| Artifact::Image(Box::new(image)))
}

/// Returns the kind of a document: the kind of its descriptor, else its own `mediaType`, else the
/// kind that its fields show.
fn kind(family: &Family, document: &Document, value: &Value) -> Result<String> {
    let kind = media_type::normalise(&document.kind);
    if !kind.is_empty() {
        return Ok(kind);
    }
    let top = Object::new(value, "")?;
    if let Some(kind) = top.opt_text("mediaType")? {
        return Ok(media_type::normalise(kind));
    }
    let has = |name| top.map().keys().any(|key| folds_to(key, name));
    let kind = if has("manifests") {
        family.index
    } else {
        family.manifest
    };
    Ok(kind.to_owned())
}

fn decode_index(
    family: &Family,
    document: Document,
    value: &Value,
    limits: &Limits,
) -> Result<Index> {
    let top = Object::new(value, "")?;
    read::head(&top, &["manifests"], read::INDEX_FIELDS, family.index, true)?;
    let subject = read::subject(&top)?.map(|(digest, _)| digest);
    top.string_map("annotations")?;
    let items = top.list("manifests")?;
    if items.len() as u64 > limits.graph_nodes {
        let what = format!("the list of {} manifests", items.len());
        return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
    }
    let child =
        |(i, item)| read::checked(item, format!("manifests[{i}]"), limits).map(|read| read.child);
    Ok(Index {
        children: items.iter().enumerate().map(child).collect::<Result<_>>()?,
        document,
        subject,
    })
}

/// Returns true if a config descriptor's type is that of an image.
fn is_image_config(family: &Family, kind: &str) -> bool {
    media_type::is_image_config(kind) || family.config_aliases.contains(&kind)
}

/// Makes an opaque root, which is carried unchanged. `layer` is the layer type that makes the
/// manifest an artifact.
fn opaque(document: Document, manifest: &Manifest, layer: Option<&str>) -> Opaque {
    let config = manifest.config.as_ref().map(|config| &config.child);
    let layers = manifest.layers.iter().map(|layer| &layer.child);
    let kind = |child: &&Child| {
        media_type::layer(&child.kind).is_some() || media_type::perhaps_layer(&child.kind)
    };
    let image = layer.is_some() && layers.clone().any(|child| kind(&child));
    let what = match (layer, &manifest.artifact_type, config) {
        (Some(layer), ..) if image => format!("image with layers of type {layer}"),
        (_, Some(kind), _) => format!("artifact {kind}"),
        (Some(layer), ..) => format!("artifact with layers of type {layer}"),
        (_, _, Some(config)) if config.kind != media_type::OCI_EMPTY => {
            format!("artifact {}", config.kind)
        }
        _ => "artifact without a type".to_owned(),
    };
    Opaque {
        document: Some(document),
        blobs: config.into_iter().chain(layers).cloned().collect(),
        subject: manifest.subject,
        what,
        image,
    }
}

fn decode_image(
    family: &Family,
    document: &Document,
    manifest: &Manifest,
    config_document: Document,
    bundle: &dyn Bundle,
    env: &Env,
    report: &mut Report,
) -> Result<Image> {
    let value = parse(&config_document.bytes, &env.limits, "config")?;
    let read = docker_config::decode(&value, report).map_err(|error| error.at("config"))?;
    let docker_config::ImageConfig {
        platform,
        created,
        author,
        config,
        diff_ids,
        history,
        extensions: config_extensions,
    } = read;
    if diff_ids.len() != manifest.layers.len() {
        let message = format!(
            "the config has {} diff IDs, but the manifest has {} layers",
            diff_ids.len(),
            manifest.layers.len()
        );
        return Err(Error::new(Code::BadManifest, message).at("config › field rootfs.diff_ids"));
    }
    let mut layer = |(i, layer): (usize, &Descriptor)| -> Result<Layer> {
        let place = || format!("layer {i} ({})", layer.child.digest);
        let stored = Layer {
            blob: match layer_blob(layer, bundle) {
                Err(error) if error.code() == Code::Missing => {
                    let remade = bundle.remake(&diff_ids[..=i]);
                    let Some(blob) = remade.map_err(|error| error.at(place()))? else {
                        return Err(error.at(place()));
                    };
                    report_remade(i, place(), report);
                    return Ok(remade_layer(layer, blob));
                }
                blob => blob.map_err(|error| error.at(place()))?,
            },
            diff_id: Some(diff_ids[i]),
            kind: Some(layer.child.kind.clone()),
            urls: layer.urls.clone(),
            annotations: layer.child.annotations.clone(),
        };
        Ok(stored)
    };
    let layers = manifest.layers.iter().enumerate();
    let layers = layers.map(&mut layer).collect::<Result<Vec<_>>>()?;
    let mut annotations = manifest.annotations.clone();
    let aci = annotations.remove(ACI_MANIFEST);
    let mut originals = vec![
        original(family.id, "manifest", document.clone()),
        original(family.id, "config", config_document),
    ];
    if let Some(text) = aci {
        let document = Document {
            kind: media_type::CARRIED_ACI_MANIFEST.to_owned(),
            bytes: text.into_bytes().into(),
        };
        originals.push(original(FormatId::ACI, "manifest", document));
    }
    let extensions = config_extensions
        .into_iter()
        .chain(manifest.extensions.clone())
        .map(|(path, raw)| ((family.id, path), raw));
    Ok(Image {
        name: None,
        platform,
        created,
        author,
        config,
        layers,
        history,
        annotations,
        extensions: extensions.collect::<Extensions>(),
        originals,
    })
}

fn original(format: FormatId, role: &'static str, document: Document) -> Original {
    Original {
        format,
        role,
        document,
    }
}

/// Reads the config; embedded bytes, already verified, replace a blob that is missing.
fn fetch_config(config: &Descriptor, bundle: &dyn Bundle, limits: &Limits) -> Result<Document> {
    let child = &config.child;
    within(child.size, ("config", limits.config), "the config")?;
    let limit = ("config", limits.config);
    match (
        bundle.document(&child.kind, &child.facts(), limit),
        &config.data,
    ) {
        (Err(error), Some(data)) if error.code() == Code::Missing => Ok(Document {
            kind: child.kind.clone(),
            bytes: Arc::clone(data),
        }),
        (Ok(document), _) => Ok(Document {
            kind: child.kind.clone(),
            bytes: document.bytes,
        }),
        (Err(error), _) if error.code() == Code::Missing => {
            Err(error.at("config, which the manifest refers to"))
        }
        (Err(error), _) => Err(error.at("config")),
    }
}

/// A layer that is made anew, so that neither its descriptor nor its diff ID describe it.
fn remade_layer(layer: &Descriptor, blob: Blob) -> Layer {
    let mut annotations = layer.child.annotations.clone();
    annotations.retain(|key, _| !describes_compression(key));
    Layer {
        blob,
        diff_id: None,
        kind: None,
        urls: Vec::new(),
        annotations,
    }
}

fn layer_blob(layer: &Descriptor, bundle: &dyn Bundle) -> Result<Blob> {
    let facts = layer.child.facts();
    let instead = |bytes: Arc<dyn Open>| Blob {
        facts: facts.clone(),
        bytes,
    };
    match blob_or(bundle, &facts, layer.data.clone()) {
        Err(error) if error.code() == Code::Missing => {
            let foreign = media_type::layer(&layer.child.kind).is_some_and(|kind| kind.foreign);
            if foreign && !layer.urls.is_empty() {
                let urls = layer.urls.clone();
                return Ok(instead(Arc::new(NotCarried { urls })));
            }
            Err(error.at("referenced by the manifest"))
        }
        other => other,
    }
}

/// The blob of a foreign layer that is not stored with its image. The blob is never downloaded.
#[derive(Debug)]
struct NotCarried {
    urls: Vec<String>,
}

impl Open for NotCarried {
    fn open(&self) -> Result<Reader> {
        let urls: Vec<String> = self.urls.iter().map(quote).collect();
        let message = format!(
            "the layer is foreign and not stored with its image; its URLs are {}",
            urls.join(", ")
        );
        Err(Error::new(Code::Missing, message))
    }
}
