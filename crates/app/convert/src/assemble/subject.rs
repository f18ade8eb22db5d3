//! The `subject` of a document whose subject is no longer at the destination: the field is removed
//! and reported as a loss. The document itself stays, for it holds more than the reference.

use imgconv_json::{Value, canonical, parse};
use imgconv_model::{
    Document, Env, FormatId, Image, Index, Limits, Outcome as LossKind, Report, Result,
};

use crate::read::node::SUBJECT;

/// Takes the subject out of an image.
///
/// # Errors
/// If the image's manifest is no JSON.
pub(crate) fn drop_of_image(
    image: &mut Image,
    format: FormatId,
    why: &str,
    env: &Env,
    report: &mut Report,
) -> Result<()> {
    image.extensions.remove(&(format, SUBJECT.to_owned()));
    let own = |original: &&mut imgconv_model::Original| {
        original.format == format && original.role == "manifest"
    };
    // An original keeps the fields that the model does not have.
    if let Some(original) = image.originals.iter_mut().find(own) {
        original.document = without(&original.document, &env.limits)?;
    }
    report.lose(SUBJECT, LossKind::Dropped, why);
    Ok(())
}

/// Takes the subject out of an index.
///
/// # Errors
/// If the index is no JSON.
pub(crate) fn drop_of_index(
    index: &Index,
    why: &str,
    env: &Env,
    report: &mut Report,
) -> Result<Index> {
    report.lose("index.subject", LossKind::Dropped, why);
    Ok(Index {
        children: index.children.clone(),
        document: without(&index.document, &env.limits)?,
        subject: None,
    })
}

fn without(document: &Document, limits: &Limits) -> Result<Document> {
    let mut value = parse(&document.bytes, limits, "document")?;
    if let Value::Object(map) = &mut value {
        map.shift_remove("subject");
    }
    Ok(Document {
        kind: document.kind.clone(),
        bytes: canonical(&value).into(),
    })
}
