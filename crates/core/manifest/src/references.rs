//! The references of a document of any family: for callers that follow every reference of a place,
//! whatever the documents mean.
//!
//! The module reads the shape of one document and follows no reference. The formats interpret
//! images.

use std::sync::Arc;

use imgconv_json::{Object, Value, folds_to, parse, within};
use imgconv_model::{Code, Digest, Limits, Result};

use crate::{
    descriptor::Descriptor,
    kind::{KINDS, guess},
    media_type::{
        self, DOCKER_LIST, DOCKER_PREFIX, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED, OCI_ARTIFACT,
        OCI_INDEX, OCI_MANIFEST,
    },
    read::{FIELDS, INDEX_FIELDS, checked, head},
    tar_sum::TarSum,
};

/// The layer of a step of schema 1 without a layer. Its bytes are known, so it need not be stored.
const EMPTY_LAYER: &str = "a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";

/// The role of a reference in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An entry of an index.
    Entry,
    /// The config.
    Config,
    /// A layer of an image, or any other blob.
    Blob,
    /// The subject of the document. A subject may be absent (image-spec, manifest.md).
    Subject,
}

/// One reference of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The role in the document.
    pub part: Part,
    /// The content type; empty if the document has none.
    pub kind: String,
    /// The digest.
    pub digest: Digest,
    /// The size in bytes, if the document has it.
    pub size: Option<u64>,
    /// True if the document is complete without the blob, because its bytes are embedded or known,
    /// or because it is a foreign layer.
    pub dispensable: bool,
    /// The verified content, if the document embeds it.
    pub data: Option<Arc<[u8]>>,
}

impl Reference {
    /// Changes a reference of a document that is itself the content of an artifact: the artifact is complete without
    /// the blob, and what the reference leads to is content of the artifact too.
    pub fn be_content(&mut self) {
        self.dispensable = true;
        if self.part == Part::Entry {
            self.part = Part::Blob;
        }
    }
}

/// A document and all its references.
#[derive(Clone, Debug)]
pub struct References {
    /// The document's own type, one of [`KINDS`].
    pub kind: &'static str,
    /// The references, in the order of the document.
    pub list: Vec<Reference>,
    /// The layers of schema 1 that are named by a [`TarSum`], which is not a digest of stored
    /// bytes.
    pub tar_sums: Vec<String>,
}

/// Reads the references of a document. `kind` is the type by which the document is referred to.
/// `None` for a type of other content; for a type without a meaning, the shape decides.
///
/// # Errors
/// The errors of strict JSON and of the document's shape.
pub fn references(kind: &str, bytes: &[u8], limits: &Limits) -> Result<Option<References>> {
    let said = media_type::normalise(kind);
    let value = match parse(bytes, limits, "document") {
        // A blob of any content may have a type without a meaning.
        Err(_) if said.is_empty() => return Ok(None),
        _ if !said.is_empty() && !KINDS.contains(&&*said) => return Ok(None),
        value => value?,
    };
    let said = if said.is_empty() {
        shape(&value)
    } else {
        &said
    };
    let Some(kind) = KINDS.iter().copied().find(|kind| *kind == said) else {
        return Ok(None);
    };
    let top = Object::new(&value, "")?;
    let mut tar_sums = Vec::new();
    let mut list = match kind {
        OCI_INDEX | DOCKER_LIST => {
            head(&top, &["manifests"], INDEX_FIELDS, kind, true)?;
            descriptors(&top, "manifests", Part::Entry, limits)?
        }
        OCI_ARTIFACT => {
            head(&top, &[], FIELDS, kind, false)?;
            descriptors(&top, "blobs", Part::Blob, limits)?
        }
        DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED => layers_of_schema1(&top, &mut tar_sums)?,
        _ => {
            head(&top, &["config", "layers"], FIELDS, kind, true)?;
            let config = checked(top.need("config")?, top.path("config"), limits)?;
            let mut list = vec![reference(config, Part::Config)];
            list.extend(descriptors(&top, "layers", Part::Blob, limits)?);
            list
        }
    };
    list.extend(subject(&top)?);
    Ok(Some(References {
        kind,
        list,
        tar_sums,
    }))
}

/// The type of a document that has none from a descriptor or its own `mediaType`.
fn shape(value: &Value) -> &str {
    let has = |name: &str| {
        let keys = value.as_object().into_iter().flat_map(|map| map.keys());
        keys.into_iter().any(|key| folds_to(key, name))
    };
    match guess(value) {
        "" if has("manifests") => OCI_INDEX,
        "" if has("layers") || has("config") => OCI_MANIFEST,
        kind => kind,
    }
}

fn descriptors(top: &Object<'_>, key: &str, part: Part, limits: &Limits) -> Result<Vec<Reference>> {
    let items = top.list(key)?;
    let limit = match part {
        Part::Entry => ("graph_nodes", limits.graph_nodes),
        _ => ("layers", limits.layers),
    };
    within(items.len() as u64, limit, &format!("the length of `{key}`"))?;
    let read = |(i, item)| {
        let read = checked(item, format!("{key}[{i}]"), limits)?;
        Ok(reference(read, part))
    };
    items.iter().enumerate().map(read).collect()
}

fn reference(read: Descriptor, part: Part) -> Reference {
    let Descriptor { child, urls, data } = read;
    let foreign = media_type::layer(&child.kind).is_some_and(|kind| kind.foreign);
    Reference {
        part,
        dispensable: data.is_some() || (foreign && !urls.is_empty()),
        kind: child.kind,
        digest: child.digest,
        size: Some(child.size),
        data,
    }
}

fn layers_of_schema1(top: &Object<'_>, tar_sums: &mut Vec<String>) -> Result<Vec<Reference>> {
    let mut list = Vec::new();
    for layer in top.objects("fsLayers")? {
        let digest = match layer.digest("blobSum") {
            Err(error) if error.code() == Code::Unsupported => {
                let text = layer.string("blobSum")?;
                TarSum::parse(text).ok_or(error)?;
                tar_sums.push(text.to_owned());
                continue;
            }
            digest => digest?,
        };
        list.push(Reference {
            part: Part::Blob,
            kind: String::new(),
            digest,
            size: None,
            dispensable: digest.hex() == EMPTY_LAYER,
            data: None,
        });
    }
    Ok(list)
}

fn subject(top: &Object<'_>) -> Result<Option<Reference>> {
    let Some((digest, data)) = crate::read::subject(top)? else {
        return Ok(None);
    };
    let subject = top.object("subject")?;
    Ok(Some(Reference {
        part: Part::Subject,
        kind: subject.opt_string("mediaType")?.unwrap_or_default().into(),
        digest,
        size: Some(subject.size("size")?),
        dispensable: true,
        data,
    }))
}

/// Returns the family of a type, `oci` or `docker`, if both families have a type for the same
/// content. Types that stand in documents of both, and all others, have no family.
pub fn family_of(kind: &str) -> Option<&'static str> {
    let kind = media_type::normalise(kind);
    let known = KINDS.contains(&&*kind)
        || media_type::is_image_config(&kind)
        || media_type::layer(&kind).is_some();
    match kind.starts_with(DOCKER_PREFIX) {
        _ if !known => None,
        true => Some("docker"),
        false => Some("oci"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

    fn found(kind: &str, text: &str) -> Vec<(Part, String, bool)> {
        let read = references(kind, text.as_bytes(), &Limits::default()).unwrap();
        let list = read.map(|read| read.list).unwrap_or_default();
        list.into_iter()
            .map(|one| (one.part, one.digest.to_string(), one.dispensable))
            .collect()
    }

    #[test]
    fn every_kind_of_document_tells_what_it_refers_to() {
        let one = |kind: &str, digest: &str, more: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":1{more}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}],"subject":{}}}"#,
            one("application/vnd.oci.image.config.v1+json", A, ""),
            one("application/vnd.oci.image.layer.v1.tar", B, ""),
            one(
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                A,
                r#","urls":["https://example.com"]"#
            ),
            one("application/vnd.oci.image.manifest.v1+json", C, ""),
        );
        let expected = [
            (Part::Config, A.to_owned(), false),
            (Part::Blob, B.to_owned(), false),
            (Part::Blob, A.to_owned(), true),
            (Part::Subject, C.to_owned(), true),
        ];
        for kind in [
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
            "",
            "application/json",
        ] {
            assert_eq!(found(kind, &manifest), expected, "{kind}");
        }
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            one("application/vnd.oci.image.manifest.v1+json", A, "")
        );
        for kind in [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "",
        ] {
            assert_eq!(found(kind, &index), [(Part::Entry, A.to_owned(), false)]);
        }
        let artifact = format!(r#"{{"blobs":[{}]}}"#, one("a/b", A, ""));
        assert_eq!(
            found("application/vnd.oci.artifact.manifest.v1+json", &artifact),
            [(Part::Blob, A.to_owned(), false)]
        );
        let schema1 = format!(
            r#"{{"schemaVersion":1,"fsLayers":[{{"blobSum":"{B}"}},{{"blobSum":"sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"}}],"history":[],"signatures":[]}}"#
        );
        for kind in [
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.docker.distribution.manifest.v1+json",
            "",
        ] {
            let list = found(kind, &schema1);
            assert_eq!(list[0], (Part::Blob, B.to_owned(), false));
            assert!(list[1].2, "the empty layer need not be there");
        }
    }

    #[test]
    fn what_lists_nothing_refers_to_nothing_and_what_is_malformed_is_refused() {
        for (kind, text) in [
            ("application/xml", "<a/>"),
            ("application/octet-stream", "no json"),
            ("application/vnd.oci.image.config.v1+json", "{}"),
            ("", "[1]"),
        ] {
            assert!(found(kind, text).is_empty(), "{kind}");
        }
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        for text in [
            "",
            "{",
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#,
            r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"x","size":1}}"#,
        ] {
            assert!(
                references(manifest, text.as_bytes(), &Limits::default()).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn only_types_that_both_made_belong_to_one() {
        for (kind, family) in [
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some("oci")),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Some("docker"),
            ),
            (
                "application/vnd.docker.container.image.v1+json",
                Some("docker"),
            ),
            ("application/vnd.oci.image.index.v1+json", Some("oci")),
            ("application/vnd.oci.empty.v1+json", None),
            ("application/vnd.docker.plugin.v1+json", None),
            ("application/octet-stream", None),
        ] {
            assert_eq!(family_of(kind), family, "{kind}");
        }
    }
}
