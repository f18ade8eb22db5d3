//! From a schema 1 manifest to the model. The only blob that is read is the empty layer.

use imgconv_json::{Value, folds_to, parse, within};
use imgconv_model::{
    Artifact, Bundle, Code, Document, Env, Error, Extensions, Facts, FormatId, Image, Layer,
    Limits, Name, Original, Report, Result, quote,
};

use crate::{
    compatibility::{self, Assembled, Step},
    jws::{Envelope, SignatureState, members},
    wire::{self, EMPTY_LAYER, LAYER, LayerName, SIGNED, UNSIGNED, empty_layer},
};

/// Returns true if a root is a manifest of schema 1, see
/// [`imgconv_model::DocumentFormat::recognise`].
pub(crate) fn recognise(document: &Document) -> bool {
    match &*normalise(&document.kind) {
        SIGNED | UNSIGNED => true,
        "" => recognise_content(&document.bytes),
        _ => false,
    }
}

/// Recognises a document without a type by its fields. Ambiguous documents are recognised too, so
/// that they are refused as ambiguous.
fn recognise_content(bytes: &[u8]) -> bool {
    let Some(members) = members(bytes) else {
        return false;
    };
    let values = |name: &str| -> Vec<Value> {
        members
            .iter()
            .filter(|member| folds_to(&member.key, name))
            .filter_map(|member| parse(&bytes[member.value.clone()], &Limits::default(), name).ok())
            .collect()
    };
    let kinds = values("mediaType");
    let own_kind = kinds.iter().all(|kind| match kind {
        Value::String(kind) => [SIGNED, UNSIGNED].contains(&&**kind),
        other => other.is_null(),
    });
    let schema2 = values("schemaVersion")
        .iter()
        .any(|version| version.as_u64() == Some(2));
    let layers = members
        .iter()
        .any(|member| folds_to(&member.key, "fsLayers"));
    own_kind && !schema2 && layers
}

/// Normalises a kind; a type without a meaning becomes empty (B11c, C2b).
fn normalise(kind: &str) -> String {
    let bare = kind.split(';').next().unwrap_or("").trim();
    let bare = bare.to_ascii_lowercase();
    match &*bare {
        "application/json" | "text/plain" | "application/octet-stream" => String::new(),
        _ => bare,
    }
}

/// The content of a document, without the bytes of its layers.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) name: Option<Name>,
    pub(crate) image: Assembled,
    /// The blobs of the layers, base first.
    pub(crate) blobs: Vec<LayerName>,
    /// True if a step has the known empty layer.
    pub(crate) has_empty: bool,
}

/// Reads the payload of a document.
pub(crate) fn read(payload: &[u8], limits: &Limits, report: &mut Report) -> Result<Read> {
    let manifest = wire::read(payload, limits, report)?;
    let (steps, names): (Vec<Step>, Vec<LayerName>) = manifest.steps.into_iter().unzip();
    let architecture = manifest.architecture.as_deref();
    let image = compatibility::assemble(&steps, architecture, limits, report)?;
    let with_layer = steps.iter().zip(names).filter(|(step, _)| !step.empty);
    Ok(Read {
        name: manifest.name,
        image,
        blobs: with_layer.map(|(_, name)| name).collect(),
        has_empty: steps.iter().any(|step| step.empty),
    })
}

/// Reads a root, see [`imgconv_model::DocumentFormat::decode`].
pub(crate) fn decode(
    document: &Document,
    bundle: &dyn Bundle,
    env: &Env,
    report: &mut Report,
) -> Result<Artifact> {
    let limits = &env.limits;
    let size = document.bytes.len() as u64;
    within(size, ("manifest", limits.manifest), "the document")?;
    let manifest = |error: Error| error.at("manifest");
    let envelope = Envelope::open(&document.bytes, limits).map_err(manifest)?;
    let state = envelope.verify().map_err(manifest)?;
    let Read {
        name,
        image,
        blobs,
        has_empty,
    } = read(&envelope.payload, limits, report).map_err(manifest)?;
    if has_empty {
        check_empty_layer(bundle)?;
    }
    let layer = |(i, name): (usize, LayerName)| layer(bundle, i, &name);
    let layers = blobs.into_iter().enumerate().map(layer);
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let kind = match state {
        _ if !normalise(&document.kind).is_empty() => document.kind.clone(),
        SignatureState::Unsigned => UNSIGNED.to_owned(),
        SignatureState::Valid(_) => SIGNED.to_owned(),
    };
    let original = Original {
        format: FormatId::DOCKER_V2S1,
        role: "manifest",
        document: Document {
            kind,
            bytes: document.bytes.clone(),
        },
    };
    Ok(Artifact::Image(Box::new(build(
        name, image, layers, original,
    ))))
}

/// Makes an image of its parts.
pub(crate) fn build(
    name: Option<Name>,
    image: Assembled,
    layers: Vec<Layer>,
    original: Original,
) -> Image {
    let Assembled {
        platform,
        created,
        author,
        config,
        history,
        extensions,
    } = image;
    let extensions = extensions
        .into_iter()
        .map(|(path, raw)| ((original.format, path), raw));
    Image {
        name,
        platform,
        created,
        author,
        config,
        layers,
        history,
        annotations: Default::default(),
        extensions: extensions.collect::<Extensions>(),
        originals: vec![original],
    }
}

/// The bytes of the empty layer are known, so the blob need not be stored; but a stored blob of its
/// digest must have these bytes.
fn check_empty_layer(bundle: &dyn Bundle) -> Result<()> {
    let size = EMPTY_LAYER.len() as u64;
    let facts = Facts {
        digest: Some(empty_layer()),
        size: Some(size),
    };
    match bundle.document(LAYER, &facts, ("manifest", size)) {
        Err(error) if error.code() != Code::Missing => Err(error.at("the empty layer")),
        Ok(document) if *document.bytes != EMPTY_LAYER[..] => Err(Error::mismatch(
            "the empty layer",
            empty_layer(),
            imgconv_stream::digest(imgconv_model::Algorithm::Sha256, &document.bytes),
        )),
        _ => Ok(()),
    }
}

fn layer(bundle: &dyn Bundle, i: usize, name: &LayerName) -> Result<Layer> {
    let found = match name {
        LayerName::Digest(digest) => bundle.blob(&Facts::of(*digest)),
        LayerName::TarSum(sum) => bundle
            .member(sum, &Facts::default())
            .map_err(|error| unknown_sum(sum, error)),
    };
    let blob = found.map_err(|error| error.at(format!("layer {i} ({name})")))?;
    Ok(Layer {
        blob,
        diff_id: None,
        kind: None,
        urls: Vec::new(),
        annotations: Default::default(),
    })
}

/// Makes the error of a tar sum for which a place has no blob.
fn unknown_sum(sum: &str, error: Error) -> Error {
    if !matches!(error.code(), Code::Missing | Code::Unsupported) {
        return error;
    }
    let message = format!(
        "the layer is named by the tar sum {}, but this place has no blob with this sum: {error}",
        quote(sum)
    );
    Error::new(Code::Unsupported, message).hint(
        "the blob is found only in the storage of the registry that the image was pushed to, by \
         the repository's `_layers/tarsum`: `registry-storage:PATH` reads that storage",
    )
}
