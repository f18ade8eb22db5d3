//! Artifacts with which an image becomes the old docker image again that it was made of: a file of `docker save`
//! from before Docker 1.10, or a manifest of schema 1 (`docs/reversal.md`).

use std::collections::BTreeSet;

use imgconv_json::{Object, parse};
use imgconv_manifest::{
    descriptor,
    media_type::{
        REVERSAL_ARCHIVE, REVERSAL_ARCHIVE_RECORD, REVERSAL_SCHEMA1, REVERSAL_SCHEMA1_MANIFEST,
    },
};
use imgconv_model::{Child, Code, Digest, Error, FormatId, Limits, Opaque, Result};

use super::node::{ImageNode, Node};

/// The annotation with the composed digest of an archive, which its record has too.
pub const IDENTITY: &str = "imgconv.reversal.identity";
/// The annotation with the digest of the original: the digest by which registries served the manifest, or the SHA-256 of
/// the tar of an archive, if its record has version 1.
pub const DIGEST: &str = "imgconv.reversal.digest";
/// The annotation with the names of the image in the archive, separated by spaces.
pub const NAMES: &str = "imgconv.reversal.names";
/// The annotation with the digests of the manifests of all images of an archive of several, in the order of the archive,
/// separated by spaces.
pub const IMAGES: &str = "imgconv.reversal.images";
/// The annotation with the SHA-256 of the manifest with its signatures.
pub const FILE_DIGEST: &str = "imgconv.reversal.file-digest";
/// The annotation with the media type of the manifest.
pub const MEDIA_TYPE: &str = "imgconv.reversal.media-type";
/// The annotation with the name of the file that the archive was.
pub const FILE: &str = "imgconv.reversal.file";

/// The kind of an old docker image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of `docker save` from before Docker 1.10.
    Archive,
    /// A manifest of schema 1.
    Schema1,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Archive, Self::Schema1];

    /// The type of the artifact.
    pub fn artifact_type(self) -> &'static str {
        match self {
            Self::Archive => REVERSAL_ARCHIVE,
            Self::Schema1 => REVERSAL_SCHEMA1,
        }
    }

    /// The type of the record, a blob of the artifact.
    pub fn record_type(self) -> &'static str {
        match self {
            Self::Archive => REVERSAL_ARCHIVE_RECORD,
            Self::Schema1 => REVERSAL_SCHEMA1_MANIFEST,
        }
    }

    /// The name of the kind in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Archive => "docker-save",
            Self::Schema1 => "schema1",
        }
    }

    /// The original in messages.
    pub(crate) fn original(self) -> &'static str {
        match self {
            Self::Archive => "the docker archive",
            Self::Schema1 => "the schema 1 manifest",
        }
    }
}

/// An artifact of an old docker image.
#[derive(Clone, Debug)]
pub struct DockerRecord {
    /// The kind of the original.
    pub kind: Kind,
    /// The digest of the artifact's manifest.
    pub digest: Digest,
    /// The image that the record is about.
    pub subject: Digest,
    /// The blob of the record.
    pub record: Child,
    /// The digest of the original.
    pub original: Digest,
    /// Whether the digest is the composed one of an archive, and not that of its tar.
    pub composed: bool,
    /// The names of the image in the archive.
    pub names: Vec<String>,
    /// The manifests of all images of the archive, in its order; the subject is among them.
    pub images: Vec<Digest>,
    /// The media type of the manifest.
    pub media_type: String,
    /// The SHA-256 of the manifest with its signatures.
    pub whole: Option<Digest>,
    /// The name of the file that the archive was.
    pub file: Option<String>,
}

impl DockerRecord {
    /// Reads an artifact; `None` if it is of another type.
    ///
    /// # Errors
    /// [`Code::BadManifest`] if its manifest lacks what such an artifact has.
    pub fn of(opaque: &Opaque, child: &Child, limits: &Limits) -> Result<Option<Self>> {
        let (Some(kind), Some(document)) = (kind_of(opaque), &opaque.document) else {
            return Ok(None);
        };
        let read = || -> Result<Self> {
            let value = parse(&document.bytes, limits, "document")?;
            let top = Object::new(&value, "")?;
            let mut record = None;
            for (i, blob) in top.list("layers")?.iter().enumerate() {
                let blob = descriptor(blob, format!("layers[{i}]"), limits)?.child;
                if blob.kind == kind.record_type() {
                    record = record.or(Some(blob));
                }
            }
            let annotations = top.string_map("annotations")?;
            let lacks = |what: &str| Error::new(Code::BadManifest, format!("there is no {what}"));
            let text = |key: &str| annotations.get(key).cloned();
            let needed = |key: &str| text(key).ok_or_else(|| lacks(&format!("annotation {key}")));
            let names = text(NAMES).unwrap_or_default();
            let subject = opaque.subject.ok_or_else(|| lacks("subject"))?;
            let images = text(IMAGES).filter(|_| kind == Kind::Archive);
            let identity = text(IDENTITY).filter(|_| kind == Kind::Archive);
            let composed = identity.is_some();
            let original = identity.map_or_else(|| needed(DIGEST), Ok)?;
            Ok(Self {
                kind,
                digest: child.digest,
                subject,
                images: images.map_or_else(|| Ok(vec![subject]), |text| listed(&text, &subject))?,
                record: record.ok_or_else(|| lacks("blob of the record"))?,
                original: Digest::parse(&original)?,
                composed,
                names: names.split_whitespace().map(str::to_owned).collect(),
                media_type: match kind {
                    Kind::Archive => String::new(),
                    Kind::Schema1 => needed(MEDIA_TYPE)?,
                },
                whole: match kind {
                    Kind::Archive => None,
                    Kind::Schema1 => Some(Digest::parse(&needed(FILE_DIGEST)?)?),
                },
                file: text(FILE),
            })
        };
        read()
            .map(Some)
            .map_err(|error| error.at(field(child, kind)))
    }
}

/// Reads the list of the images of an archive. Its length is bounded by that of the manifest.
fn listed(text: &str, subject: &Digest) -> Result<Vec<Digest>> {
    let images = text.split_whitespace().map(Digest::parse);
    let images = images.collect::<Result<Vec<Digest>>>()?;
    let bad = |message: &str| Err(Error::new(Code::BadManifest, format!("{IMAGES} {message}")));
    if images.iter().collect::<BTreeSet<&Digest>>().len() != images.len() {
        return bad("lists an image twice");
    }
    match images.contains(subject) {
        true => Ok(images),
        false => bad("does not list the image that the artifact is about"),
    }
}

/// The name of an artifact in reports.
pub(crate) fn field(child: &Child, kind: Kind) -> String {
    format!("artifact {} {}", kind.artifact_type(), child.digest)
}

/// The kind of the original that an artifact is about, by the artifact's type; `None` for another type.
pub fn kind_of(opaque: &Opaque) -> Option<Kind> {
    let kind = opaque.what.strip_prefix("artifact ")?;
    Kind::ALL
        .into_iter()
        .find(|one| one.artifact_type() == kind)
}

/// Says whether an image may have been an old docker image: records are kept beside OCI images alone.
pub fn may_have_been(node: &ImageNode) -> bool {
    node.format.id() == FormatId::OCI
}

/// The artifacts among nodes that a function reads, each with the position of its node; a malformed artifact is an
/// error of its own.
pub(super) fn artifacts<'n, T>(
    nodes: impl Iterator<Item = &'n Node>,
    read: impl Fn(&Opaque, &Child) -> Result<Option<T>>,
) -> Vec<(usize, &'n Child, Result<T>)> {
    let mut found: Vec<(usize, &Child, Result<T>)> = Vec::new();
    for (position, node) in nodes.enumerate() {
        for (node, _) in node.walk() {
            if let Node::Opaque { opaque, child } = node
                && let Some(read) = read(opaque, child).transpose()
            {
                found.push((position, child, read));
            }
        }
    }
    // An artifact that several lists have counts where the last of them has it.
    let mut seen = BTreeSet::new();
    found.reverse();
    found.retain(|(_, child, _)| seen.insert(child.digest));
    found.reverse();
    found
}

/// The artifacts of old docker images among nodes, each with the position of its node; a malformed artifact is
/// an error of its own.
pub fn among<'n>(
    nodes: impl Iterator<Item = &'n Node>,
    limits: &Limits,
) -> Vec<(usize, &'n Child, Result<DockerRecord>)> {
    artifacts(nodes, |opaque, child| {
        DockerRecord::of(opaque, child, limits)
    })
}
