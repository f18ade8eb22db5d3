//! The `subject` of a document whose subject is no longer at the destination: the field is removed
//! and reported as a loss. The document itself stays, for it holds more than the reference. The same
//! holds for an image's reference to its SOCI index.

use std::collections::BTreeMap;

use imgconv_json::{Value, canonical, parse};
use imgconv_model::{
    Child, Document, DocumentFormat, Env, FormatId, Image, Index, Limits, Notes,
    Outcome as LossKind, Report, Result, SealedLayer,
};
use imgconv_stream::digest;

use crate::read::node::SUBJECT;

/// The annotation with the digest of the SOCI index of an image, in the image's manifest and in its
/// descriptor. The index holds tables of contents of the image's stored layers.
const SOCI_INDEX: &str = "com.amazon.soci.index-digest";

/// Takes the reference to a SOCI index out of an image whose manifest gets another digest. `before` is
/// the descriptor of the manifest in the source.
///
/// # Errors
/// If the image can't be encoded.
pub(crate) fn drop_soci_index(
    image: &mut Image,
    before: Option<&Child>,
    (target, sealed): (&dyn DocumentFormat, &[SealedLayer]),
    env: &Env,
    report: &mut Report,
) -> Result<()> {
    let Some(before) = before.filter(|_| image.annotations.contains_key(SOCI_INDEX)) else {
        return Ok(());
    };
    // Only the manifest shows its digest. The manifest that is written tells the losses and warnings.
    let aside = &env.with_notes(&Notes::default());
    let encoded = target.encode(image, sealed, aside, &mut Report::default())?;
    if digest(before.digest.algorithm(), &encoded.root.bytes) != before.digest {
        image.annotations.remove(SOCI_INDEX);
        lose_soci_index("", before, report);
    }
    Ok(())
}

/// Takes the reference to a SOCI index out of the annotations of a descriptor whose document was
/// rewritten. `listed` is the descriptor in the source.
pub(crate) fn drop_soci_of_descriptor(
    annotations: &mut BTreeMap<String, String>,
    listed: &Child,
    report: &mut Report,
) {
    if annotations.remove(SOCI_INDEX).is_some() {
        lose_soci_index("index.manifests.", listed, report);
    }
}

fn lose_soci_index(parent: &str, before: &Child, report: &mut Report) {
    let field = format!("{parent}annotations.{SOCI_INDEX}");
    let why = format!(
        "the annotation names the SOCI index of {}, and that image was rewritten",
        before.digest
    );
    report.lose(field, LossKind::Dropped, why);
}

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
