//! Content descriptors (image-spec, descriptor.md), which OCI and Docker documents share.
//!
//! The module reads the shape of a descriptor; readers of the blob check its digest and size.

use std::sync::Arc;

use imgconv_json::{Object, Value, canonical, within};
use imgconv_model::{Child, Limits, Platform, Result};

use crate::{embedded::data_of, media_type::REVERSALS};

/// The properties of a descriptor, in the order of the specification.
pub const DESCRIPTOR_FIELDS: &[&str] = &[
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "platform",
    "artifactType",
];

/// The properties that are valid for the bytes of one document only.
const OF_BYTES: &[&str] = &["urls", "data"];

const PLATFORM_FIELDS: &[&str] = &["architecture", "os", "os.version", "os.features", "variant"];

/// Returns true if a property of a descriptor is valid for the bytes of the described document only,
/// so that the property is dropped when the document is written anew.
pub fn is_of_bytes(field: &str) -> bool {
    OF_BYTES.contains(&field)
}

/// A descriptor with all its properties.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// The media type (`kind`, empty if there is none), digest, size, platform and annotations.
    pub child: Child,
    /// URLs from which the blob can be downloaded.
    pub urls: Vec<String>,
    /// The embedded bytes, not yet compared with the digest.
    pub data: Option<Arc<[u8]>>,
}

/// Reads a descriptor.
///
/// # Errors
/// `bad-manifest` if its shape is wrong, `bad-digest` or `unsupported` for its digest, `bad-json`
/// for a misspelt property or `data` that is not base64, and `limit` if the claimed size exceeds
/// the limit `image_bytes`.
pub fn descriptor(value: &Value, path: impl Into<String>, limits: &Limits) -> Result<Descriptor> {
    let object = Object::new(value, path)?;
    let mut read = descriptor_without_data(value, &object, limits)?;
    read.data = data_of(&object, read.child.size)?;
    Ok(read)
}

/// Returns the type of artifacts in a descriptor.
pub fn artifact_type(child: &Child) -> Option<String> {
    let value: Value = serde_json::from_str(&child.raw).ok()?;
    Some(value.get("artifactType")?.as_str()?.to_owned())
}

/// Says whether a descriptor has the type of artifacts that hold a record of reversal.
pub fn is_listed_record(child: &Child) -> bool {
    artifact_type(child).is_some_and(|kind| REVERSALS.contains(&&*kind))
}

/// Reads a descriptor like [`descriptor`], without its embedded content: for lists in which bad
/// content must affect one entry only.
pub fn descriptor_without_data(
    value: &Value,
    object: &Object<'_>,
    limits: &Limits,
) -> Result<Descriptor> {
    object.check_names(DESCRIPTOR_FIELDS)?;
    let digest = object.digest("digest")?;
    let size = object.size("size")?;
    within(
        size,
        ("image_bytes", limits.image_bytes),
        &object.path("size"),
    )?;
    let child = Child {
        kind: object.opt_string("mediaType")?.unwrap_or_default().into(),
        digest,
        size,
        platform: object
            .opt_object("platform")?
            .map(|platform| read_platform(&platform))
            .transpose()?,
        annotations: object.string_map("annotations")?,
        raw: String::from_utf8_lossy(&canonical(value)).into_owned(),
    };
    Ok(Descriptor {
        child,
        urls: object.string_list("urls")?,
        data: None,
    })
}

fn read_platform(object: &Object<'_>) -> Result<Platform> {
    object.check_names(PLATFORM_FIELDS)?;
    Ok(Platform {
        os: object.opt_string("os")?.unwrap_or_default().into(),
        architecture: object
            .opt_string("architecture")?
            .unwrap_or_default()
            .into(),
        variant: object
            .opt_string("variant")?
            .filter(|variant| !variant.is_empty())
            .map(str::to_owned),
    })
}
