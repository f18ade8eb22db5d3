//! Docker v1 images, as `docker save` wrote them before 1.10: a chain of JSON files, each with a
//! layer. Read only.
//!
//! No place stores a document for such an image; the transport that finds the chain makes one, of
//! the kind [`KIND`]. The chain is checked here once more, since the image depends on it.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_json::{Object, Value, parse};
use imgconv_manifest::{
    report_remade,
    v1_image::{KIND, REMADE, is_id},
};
use imgconv_model::{
    Artifact, Blob, Bundle, Code, Document, Env, Error, Facts, FormatId, Layer, Limits, Original,
    Report, Result, quote,
};

use crate::{
    compatibility::{self, Step},
    decode::build,
};

/// Returns true if a root is a v1 image.
pub(crate) fn recognise(root: &Document) -> bool {
    root.kind == KIND
}

/// Reads a root.
pub(crate) fn decode(
    document: &Document,
    bundle: &dyn Bundle,
    env: &Env,
    report: &mut Report,
) -> Result<Artifact> {
    let limits = &env.limits;
    let value = parse(&document.bytes, limits, "image")?;
    let top = Object::new(&value, "")?;
    top.check_names(&["id", "layers"])?;
    let items = top.objects("layers")?;
    if items.len() as u64 > limits.layers {
        let what = format!("the chain of {} images", items.len());
        return Err(Limits::exceeded("layers", limits.layers, what));
    }
    let (mut steps, mut layers): (Vec<Step>, Vec<Layer>) = Default::default();
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        item.check_names(&["id", "json", "layer", REMADE])?;
        let id = checked_id(item, "id")?;
        if !seen.insert(id) {
            let message = format!("the chain of parents comes back to {id}");
            return Err(Error::new(Code::Cycle, message));
        }
        let step = read_step(item, id, limits)?;
        let below = steps.last().map(|below| below.v1.id.as_str());
        let parent = step.v1.parent.as_deref();
        if parent == Some(id) {
            let message = format!("the image {id} is its own parent");
            return Err(Error::new(Code::Cycle, message).at(step.place));
        }
        if parent != below {
            let text = |id: Option<&str>| id.map_or("none".to_owned(), quote);
            let message = format!("the parent is {}, expected {}", text(parent), text(below));
            let code = if below.is_none() {
                Code::Missing
            } else {
                Code::BadManifest
            };
            return Err(Error::new(code, message).at(step.place));
        }
        let member = item.string("layer")?;
        let place = || format!("layer {i} ({})", quote(member));
        let mut blob = bundle
            .member(member, &Facts::default())
            .map_err(|error| error.at(place()))?;
        // Old engines saved steps without changes in this form (robustness A11a).
        if blob.facts.size == Some(0) {
            let message = "the layer has no bytes at all; it is read as an empty tar";
            report.warn("empty-layer", place(), message);
            let empty: Arc<[u8]> = Arc::from([0; 1024]);
            blob = Blob {
                facts: Facts::default(),
                bytes: Arc::new(empty),
            };
        }
        if item.get(REMADE) == Some(&Value::Bool(true)) {
            report_remade(i, place(), report);
        }
        layers.push(Layer {
            blob,
            diff_id: None,
            kind: None,
            urls: Vec::new(),
            annotations: Default::default(),
        });
        steps.push(step);
    }
    let id = checked_id(&top, "id")?;
    if steps.last().map(|step| step.v1.id.as_str()) != Some(id) {
        let message = format!("the chain does not end with the image {id}");
        return Err(top.bad("layers", message));
    }
    let image = compatibility::assemble(&steps, None, limits, report)?;
    let original = Original {
        format: FormatId::DOCKER_V1,
        role: "manifest",
        document: document.clone(),
    };
    let image = build(None, image, layers, original);
    Ok(Artifact::Image(Box::new(image)))
}

fn checked_id<'a>(object: &Object<'a>, key: &str) -> Result<&'a str> {
    let id = object.string(key)?;
    if is_id(id) {
        return Ok(id);
    }
    let message = format!("the id {} is not 64 lower-case hex digits", quote(id));
    Err(Error::new(Code::BadName, message).at(format!("field {}", object.path(key))))
}

fn read_step(item: &Object<'_>, id: &str, limits: &Limits) -> Result<Step> {
    let place = format!("{id}/json");
    let v1 = compatibility::read(item.string("json")?, limits, &place)?;
    if v1.id != id {
        let message = format!(
            "the file is the JSON of the image {}, expected {id}",
            quote(&v1.id)
        );
        return Err(Error::new(Code::BadManifest, message).at(place));
    }
    Ok(Step {
        v1,
        place,
        empty: false,
    })
}
