//! The content that a descriptor embeds (`data`; image-spec, descriptor.md). Embedded content
//! replaces a blob that is not stored, and is compared with the digest and the size in any case.

use std::{fs::File, sync::Arc};

use imgconv_json::{Object, base64, parse, within};
use imgconv_model::{
    Blob, Bundle, Child, Code, Digest, Document, Error, Facts, Limits, Open, ReadAt, Reader, Result,
};
use imgconv_stream::digest;

/// Reads the property `data` of a descriptor of `size` bytes, without comparing it with the digest.
/// An empty text is absent, unless it is the whole blob.
///
/// # Errors
/// [`Code::BadJson`] if the text is not base64, [`Code::BadManifest`] if the value is not a text.
pub(crate) fn data_of(object: &Object<'_>, size: u64) -> Result<Option<Arc<[u8]>>> {
    let text = object.opt_string("data")?;
    let Some(text) = text.filter(|text| !text.is_empty() || size == 0) else {
        return Ok(None);
    };
    let bytes = base64(text).ok_or_else(|| {
        let message = "expected base64 of the standard alphabet with padding";
        Error::new(Code::BadJson, message).at(format!("field {}", object.path("data")))
    })?;
    Ok(Some(bytes.into()))
}

/// Compares bytes with the digest and the size of a descriptor; `what` names the bytes in messages.
///
/// # Errors
/// [`Code::Mismatch`].
pub(crate) fn compare(bytes: &[u8], wanted: &Digest, size: u64, what: &str) -> Result<()> {
    if bytes.len() as u64 != size {
        let what = format!("size of {what}");
        return Err(Error::mismatch(what, size, bytes.len()));
    }
    match digest(wanted.algorithm(), bytes) {
        found if found == *wanted => Ok(()),
        found => Err(Error::mismatch(what, wanted, found)),
    }
}

/// Returns the content that a descriptor embeds, verified; `None` if it embeds none.
///
/// # Errors
/// [`Code::Mismatch`] if the content differs from the digest or the size, [`Code::BadJson`] or
/// [`Code::BadManifest`] if it is malformed.
pub fn embedded(child: &Child, limits: &Limits) -> Result<Option<Arc<[u8]>>> {
    if child.raw.is_empty() {
        return Ok(None);
    }
    let place = format!("descriptor of {}", child.digest);
    let value = parse(child.raw.as_bytes(), limits, &place)?;
    let object = Object::new(&value, "").map_err(|error| error.at(place.clone()))?;
    let Some(bytes) = data_of(&object, child.size).map_err(|error| error.at(place.clone()))? else {
        return Ok(None);
    };
    compare(&bytes, &child.digest, child.size, "field data").map_err(|error| {
        error.at(place).hint(
            "the embedded content does not match the digest; without `data` the stored blob is \
             used",
        )
    })?;
    Ok(Some(bytes))
}

/// Reads the document of a descriptor, of at most as many bytes as a manifest: the stored document, else
/// the embedded content.
///
/// # Errors
/// The errors of [`Bundle::document`] and [`embedded`].
pub fn find_document(bundle: &dyn Bundle, child: &Child, limits: &Limits) -> Result<Document> {
    let limit = ("manifest", limits.manifest);
    match bundle.document(&child.kind, &child.facts(), limit) {
        Err(error) if error.code() == Code::Missing => {
            embedded_document(child, limits)?.ok_or(error)
        }
        found => found,
    }
}

/// The document that a descriptor embeds, of at most as many bytes as a manifest; `None` if there is none.
///
/// # Errors
/// The errors of [`embedded`], and [`Code::Limit`] for a longer document.
pub fn embedded_document(child: &Child, limits: &Limits) -> Result<Option<Document>> {
    let Some(bytes) = embedded(child, limits)? else {
        return Ok(None);
    };
    let limit = ("manifest", limits.manifest);
    within(bytes.len() as u64, limit, "the embedded document")?;
    let kind = child.kind.clone();
    Ok(Some(Document { kind, bytes }))
}

/// Returns the blob of a descriptor: the stored blob, else the embedded content.
///
/// # Errors
/// The errors of [`Bundle::blob`] and [`embedded`].
pub fn find_blob(bundle: &dyn Bundle, child: &Child, limits: &Limits) -> Result<Blob> {
    blob_or(bundle, &child.facts(), embedded(child, limits)?)
}

/// Returns a stored blob, or a blob of the given verified content if none is stored.
///
/// # Errors
/// The errors of [`Bundle::blob`].
pub(crate) fn blob_or(bundle: &dyn Bundle, facts: &Facts, data: Option<Arc<[u8]>>) -> Result<Blob> {
    let bytes: Arc<dyn Open> = match (bundle.blob(facts), data) {
        (found, None) => return found,
        (Ok(Blob { facts: _, bytes }), Some(data)) => Arc::new(StoredOr { bytes, data }),
        (Err(error), Some(data)) if error.code() == Code::Missing => Arc::new(data),
        (Err(error), Some(_)) => return Err(error),
    };
    Ok(Blob {
        facts: facts.clone(),
        bytes,
    })
}

/// A stored blob whose content is embedded too: only reading it shows whether a registry has the
/// blob.
#[derive(Debug)]
struct StoredOr {
    bytes: Arc<dyn Open>,
    data: Arc<[u8]>,
}

impl Open for StoredOr {
    fn open(&self) -> Result<Reader> {
        match self.bytes.open() {
            Err(error) if error.code() == Code::Missing => self.data.open(),
            found => found,
        }
    }

    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        self.bytes.positioned()
    }

    fn identity(&self) -> Option<String> {
        self.bytes.identity()
    }

    fn file(&self) -> Result<Option<File>> {
        self.bytes.file()
    }
}
