//! The losses of documents and descriptors that are not written.

use std::collections::BTreeSet;

use imgconv_json::{Object, Value, join};
use imgconv_layout::{details, is_name};
use imgconv_manifest::describes_bytes;
use imgconv_model::{Child, Code, Env, Error, Index, Layer, Outcome as LossKind, Report, Result};

use crate::{
    choose::request::Request,
    options::Missing,
    read::{
        node::{ImageNode, Node, platform_of},
        spec::{spec_listed, spec_own},
    },
};

/// Reports the fields of a descriptor that is not written. Other code reports names.
///
/// # Errors
/// If the text of the descriptor is no JSON object.
pub(crate) fn descriptor(
    listed: &Child,
    node: &Node,
    why: &str,
    env: &Env,
    report: &mut Report,
) -> Result<()> {
    let mut repeated = repeated(listed, node);
    if let Node::Image(image) = node {
        repeated.extend(repeated_platform(listed, image));
    }
    for field in details(listed, &env.limits)? {
        let is_name = field.strip_prefix("annotations.").is_some_and(is_name);
        if !is_name && !is_content(&field) && !repeated.contains(&field) {
            report.lose(format!("index.manifests.{field}"), LossKind::Dropped, why);
        }
    }
    Ok(())
}

/// The fields of the descriptor of an artifact that say what the artifact's own document says: without them nothing is
/// lost, and a registry makes them of the document (distribution-spec, "Listing Referrers").
fn repeated(listed: &Child, node: &Node) -> BTreeSet<String> {
    let mut repeated = BTreeSet::new();
    let Node::Opaque { opaque, .. } = node else {
        return repeated;
    };
    let own = opaque.document.as_ref();
    let own = own.and_then(|document| serde_json::from_slice::<Value>(&document.bytes).ok());
    let (Some(own), Ok(said)) = (own, serde_json::from_str::<Value>(&listed.raw)) else {
        return repeated;
    };
    let kinds = [
        own.pointer("/artifactType"),
        own.pointer("/config/mediaType"),
    ];
    let kind = kinds.into_iter().flatten().next();
    if said
        .get("artifactType")
        .is_some_and(|said| Some(said) == kind)
    {
        repeated.insert("artifactType".to_owned());
    }
    let annotations = said.get("annotations").and_then(Value::as_object);
    for (key, value) in annotations.into_iter().flatten() {
        if own.get("annotations").and_then(|own| own.get(key)) == Some(value) {
            repeated.insert(format!("annotations.{key}"));
        }
    }
    repeated
}

/// The fields of the platform in the descriptor of an image that the config of the image says too.
fn repeated_platform(listed: &Child, image: &ImageNode) -> Vec<String> {
    let (listed, own) = (spec_listed(listed), spec_own(image));
    let mut repeated = Vec::new();
    if listed.os_version == own.os_version {
        repeated.push("platform.os.version".to_owned());
    }
    if listed.os_features == own.os_features {
        repeated.push("platform.os.features".to_owned());
    }
    repeated
}

/// Reports a variant that only the descriptor of an image has, where the image is written as documents and the
/// descriptor is not.
pub(crate) fn variant(listed: &Child, image: &ImageNode, why: &str, report: &mut Report) {
    if platform_of(image, Some(listed)).variant != image.image.platform.variant
        && !image.image.platform.os.is_empty()
    {
        report.lose("index.manifests.platform.variant", LossKind::Dropped, why);
    }
}

/// Says whether a field only repeats the root's content: without such a field nothing is lost.
pub(crate) fn is_content(field: &str) -> bool {
    field == "data"
}

/// Reports the own fields of an index that is not written.
///
/// # Errors
/// If the document of the index is no JSON object.
pub(crate) fn index(index: &Index, why: &str, env: &Env, report: &mut Report) -> Result<()> {
    let value = imgconv_json::parse(&index.document.bytes, &env.limits, "index")?;
    let top = Object::new(&value, "index")?;
    let mut lose = |field: String| report.lose(field, LossKind::Dropped, why);
    for (key, value) in top.map() {
        match &**key {
            "schemaVersion" | "mediaType" | "manifests" => {}
            _ if value.is_null() => {}
            "annotations" => {
                for name in top.string_map(key)?.keys() {
                    lose(format!("index.annotations.{name}"));
                }
            }
            key => lose(join("index", key)),
        }
    }
    Ok(())
}

/// Reports the annotations and URLs of the layers from `from` on, which are merged: the merged layer has none of
/// them, for each of them is about one of these layers.
pub(crate) fn merged_layers(layers: &[Layer], from: usize, report: &mut Report) {
    let mut lose = |field: String, noun: &str| {
        let why = format!("{noun} a layer that was merged");
        report.lose(field, LossKind::Dropped, why);
    };
    for (i, layer) in layers.iter().enumerate().skip(from) {
        let keys = layer.annotations.keys();
        for key in keys.filter(|key| !describes_bytes(key)) {
            let field = format!("layers.{i}.annotations.{key}");
            lose(field, "the annotation describes");
        }
        if !layer.urls.is_empty() {
            lose(format!("layers.{i}.urls"), "the URLs lead to");
        }
    }
}

/// Returns the reason why an index is not written.
pub(crate) fn no_index(request: &Request<'_>) -> String {
    format!("{} has no index", request.target.id())
}

/// Reports, or refuses, an index entry whose document is not stored.
///
/// # Errors
/// [`Code::Missing`] if the user forbids it, or the target can't list the document as it is.
pub(crate) fn missing_child(
    listed: &Child,
    place: &str,
    request: &Request<'_>,
    report: &mut Report,
) -> Result<()> {
    let what = format!(
        "the index lists {}, but the source does not store it",
        listed.digest
    );
    let refuse = |what| {
        let error = Error::new(Code::Missing, what).at(place);
        Err(error.hint("`--missing drop` leaves the entry out of the index"))
    };
    let index = match request.options.missing {
        Missing::Drop if request.options.preserve_digests => {
            return Err(Error::new(Code::Missing, what).at(place).hint(
                "`--missing keep` leaves the index as it is; without `--preserve-digests` the \
                 index is written without the entry",
            ));
        }
        Missing::Keep if !request.capabilities.root_kinds.contains(&&*listed.kind) => {
            let target = request.target.id();
            return refuse(format!(
                "{what}, and the entry can't be converted to {target}"
            ));
        }
        Missing::Fail => return refuse(what),
        Missing::Keep => "the index keeps the entry",
        Missing::Drop => "the index is written without the entry",
    };
    report.warn("missing-child", place, format!("{what}; {index}"));
    Ok(())
}
