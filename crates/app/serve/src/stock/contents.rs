//! The documents and blobs of one repository, by digest.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_format_docker_v2s1::manifest_digest;
use imgconv_manifest::{Part, References, is_index, media_type, references};
use imgconv_model::{Algorithm, Bundle, Code, Digest, Document, Facts, Limits, Result};
use imgconv_stream::digest;
use serde_json::{Value, json};

use super::forms::Want;

/// A manifest or an index.
#[derive(Debug)]
pub struct Manifest {
    /// The media type.
    pub kind: &'static str,
    /// The digest by which a registry knows the document.
    pub digest: Digest,
    /// The document.
    pub bytes: Arc<[u8]>,
    /// The document that this document is about.
    pub subject: Option<Digest>,
    /// The documents and blobs that the document lists.
    pub(super) refers_to: Vec<Digest>,
}

impl Manifest {
    /// Returns true for an index or a manifest list.
    pub fn is_index(&self) -> bool {
        is_index(self.kind)
    }

    /// Returns true for a manifest of Docker's schema 1.
    pub(super) fn is_schema1(kind: &str) -> bool {
        [
            media_type::DOCKER_SCHEMA1,
            media_type::DOCKER_SCHEMA1_SIGNED,
        ]
        .contains(&kind)
    }

    /// Returns the descriptor of the document, as the referrers API lists it (distribution-spec, "Listing
    /// Referrers"): `artifactType` is that of the document, else the type of its config.
    pub fn descriptor(&self) -> Value {
        let document: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        let text = |value: Option<&Value>| {
            let text = value
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let config = || {
            text(
                document
                    .get("config")
                    .and_then(|config| config.get("mediaType")),
            )
        };
        let mut descriptor = json!({
            "mediaType": self.kind,
            "digest": self.digest.to_string(),
            "size": self.bytes.len(),
        });
        if let Some(artifact) = text(document.get("artifactType")).or_else(config) {
            descriptor["artifactType"] = artifact.into();
        }
        if let Some(annotations) = document
            .get("annotations")
            .filter(|found| found.is_object())
        {
            descriptor["annotations"] = annotations.clone();
        }
        descriptor
    }
}

/// A v1 image: one step of an image.
#[derive(Clone, Debug)]
pub struct V1Image {
    /// The document `json`.
    pub json: String,
    /// The ids from this image down to its base, this one first.
    pub ancestry: Vec<String>,
    /// The layer.
    pub layer: Digest,
    /// The number of the repository with the layer.
    pub(super) repository: usize,
}

/// Where a blob is.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// In the place of the image of that number.
    Source(usize),
    /// In the directory of what was made, as a part of that form of the image of that number.
    Made(usize, Want),
    /// In the document that refers to the blob.
    Document(Arc<[u8]>),
}

/// A blob.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) at: At,
    /// The number of bytes, if it is known.
    pub(super) size: Option<u64>,
}

/// The documents and blobs.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) manifests: BTreeMap<Digest, Arc<Manifest>>,
    pub(super) blobs: BTreeMap<Digest, Held>,
}

/// A document with everything that it needs.
pub(super) struct Complete {
    pub(super) manifest: Arc<Manifest>,
    /// Every digest by which the document may be asked for.
    digests: Vec<Digest>,
    blobs: Vec<(Digest, Held)>,
}

impl Contents {
    /// Adds a document and its blobs.
    pub(super) fn add(&mut self, complete: Complete) {
        let Complete {
            manifest,
            digests,
            blobs,
        } = complete;
        for digest in digests {
            let manifests = &mut self.manifests;
            manifests
                .entry(digest)
                .or_insert_with(|| Arc::clone(&manifest));
        }
        for (digest, held) in blobs {
            self.blobs.entry(digest).or_insert(held);
        }
    }

    /// Adds a blob that no document refers to.
    pub(super) fn add_blob(&mut self, digest: Digest, held: Held) {
        self.blobs.entry(digest).or_insert(held);
    }

    /// Says whether verified bytes of that digest and size can be served without the directory of what was
    /// made.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        let blob = self.blobs.get(digest);
        let blob = blob.filter(|held| !matches!(held.at, At::Made(..)));
        blob.is_some_and(|held| held.size.is_none_or(|known| known == size))
            || self.manifests.get(digest).is_some_and(|found| {
                found.bytes.len() as u64 == size
                    && self::digest(digest.algorithm(), &found.bytes) == *digest
            })
    }

    /// Returns the bytes of a document and of everything below it, as far as it is there; `None` if a
    /// size is not known.
    pub(super) fn size(&self, root: &Manifest) -> Option<u64> {
        let mut sizes = BTreeMap::from([(root.digest, root.bytes.len() as u64)]);
        let mut open: Vec<Digest> = root.refers_to.clone();
        while let Some(digest) = open.pop() {
            if sizes.contains_key(&digest) {
                continue;
            }
            if let Some(held) = self.blobs.get(&digest) {
                sizes.insert(digest, held.size?);
            } else if let Some(manifest) = self.manifests.get(&digest) {
                sizes.insert(digest, manifest.bytes.len() as u64);
                open.extend(&manifest.refers_to);
            }
        }
        Some(
            sizes
                .values()
                .fold(0, |all, size| all.saturating_add(*size)),
        )
    }

    /// Lists the documents about a document, by their digests.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<Arc<Manifest>> {
        let mut found: BTreeMap<Digest, &Arc<Manifest>> = BTreeMap::new();
        for manifest in self.manifests.values() {
            if manifest.subject.as_ref() == Some(subject) {
                found.insert(manifest.digest, manifest);
            }
        }
        found.into_values().map(Arc::clone).collect()
    }
}

/// The state of a document's parts at a place.
pub(super) enum Found {
    /// Everything is there.
    Complete(Complete),
    /// A registry has no documents of this type, or a part of the image is not there as it is named.
    Incomplete,
}

/// Looks for the parts of a document at a place. `at` says where the blobs of the place are served from,
/// and `found_by` are the digests by which the document was found there.
///
/// # Errors
/// If the document is malformed, or the place can't be read.
pub(super) fn look(
    document: &Document,
    found_by: &[Digest],
    at: &At,
    blob: &dyn Fn(&Facts) -> Result<Option<Option<u64>>>,
    limits: &Limits,
) -> Result<Found> {
    let Some(References {
        kind,
        list,
        tar_sums,
    }) = references(&document.kind, &document.bytes, limits)?
    else {
        return Ok(Found::Incomplete);
    };
    if !tar_sums.is_empty() {
        return Ok(Found::Incomplete);
    }
    let mut subject = None;
    let mut blobs = Vec::new();
    let mut refers_to = Vec::new();
    for reference in list {
        match reference.part {
            Part::Entry => {
                refers_to.push(reference.digest);
                continue;
            }
            Part::Subject => {
                subject = Some(reference.digest);
                continue;
            }
            Part::Config | Part::Blob => refers_to.push(reference.digest),
        }
        let facts = Facts {
            digest: Some(reference.digest),
            size: reference.size,
        };
        let held = match (blob(&facts)?, reference.data) {
            (Some(size), _) => Held {
                at: at.clone(),
                size: reference.size.or(size),
            },
            (None, Some(data)) => Held {
                size: Some(data.len() as u64),
                at: At::Document(data),
            },
            // A foreign layer is at its URLs. The empty layer of schema 1 is fetched like any other.
            (None, None) if reference.dispensable && !Manifest::is_schema1(kind) => continue,
            (None, None) => return Ok(Found::Incomplete),
        };
        blobs.push((reference.digest, held));
    }
    let bytes = &document.bytes;
    let own = match (Manifest::is_schema1(kind), found_by.first()) {
        (true, _) => manifest_digest(bytes)?,
        (false, Some(digest)) => *digest,
        (false, None) => digest(Algorithm::Sha256, bytes),
    };
    let mut digests = vec![own];
    digests.extend(found_by);
    let manifest = Arc::new(Manifest {
        kind,
        digest: own,
        bytes: Arc::clone(bytes),
        subject,
        refers_to,
    });
    Ok(Found::Complete(Complete {
        manifest,
        digests,
        blobs,
    }))
}

/// Looks for a blob at a place: its size, if the place knows it; `None` if the blob is not there.
///
/// # Errors
/// If the place can't be read.
pub(super) fn find(bundle: &dyn Bundle, facts: &Facts) -> Result<Option<Option<u64>>> {
    match bundle.blob(facts) {
        Ok(blob) => Ok(Some(blob.facts.size)),
        Err(error) if error.code() == Code::Missing => Ok(None),
        Err(error) => Err(error),
    }
}
