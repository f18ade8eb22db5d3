//! A place in memory, and helpers that read from it and write again.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Cursor;
use std::sync::Arc;

use imgconv_model::{
    Artifact, Blob, Bundle, Code, Compression, Digest, Document, DocumentFormat, Encoded, Env,
    Error, Extras, Facts, Image, Layer, Limits, NamedBlobs, Open, Platform, Reader, Report, Result,
    Root, RootEntry, SealedLayer, Step, check,
};
use imgconv_stream::Verified;

use crate::sha256_hex;

/// A diff ID of no real layer.
pub const ID_A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Another diff ID of no real layer.
pub const ID_B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Blobs by digest, which panic when they are opened, since no format may open a blob; and members
/// by name.
#[derive(Debug, Default)]
pub struct Memory {
    /// The blobs. A document that does not match its digest is a mismatch.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// The members; a member without bytes panics when it is opened.
    pub members: BTreeMap<String, Option<Vec<u8>>>,
    /// True if all blobs count as present except the missing ones, whatever their sizes.
    pub has_all: bool,
    /// The blobs that count as missing.
    pub missing: Vec<Digest>,
}

/// Bytes that panic when they are opened.
#[derive(Debug)]
pub struct Sealed;

impl Open for Sealed {
    fn open(&self) -> Result<Reader> {
        panic!("a format opened a blob");
    }
}

/// The bytes of a member, verified when they are read.
#[derive(Debug)]
struct Member {
    bytes: Vec<u8>,
    facts: Facts,
}

impl Open for Member {
    fn open(&self) -> Result<Reader> {
        let bytes = Cursor::new(self.bytes.clone());
        Ok(Box::new(Verified::new(bytes, &self.facts, "member")))
    }
}

/// Returns the SHA-256 of bytes.
fn digest(bytes: &[u8]) -> Digest {
    Digest::parse(&format!("sha256:{}", sha256_hex(bytes))).unwrap()
}

fn verify(facts: &Facts, bytes: &[u8]) -> Result<()> {
    if let Some(size) = facts.size
        && size != bytes.len() as u64
    {
        return Err(Error::mismatch("size", size, bytes.len()));
    }
    match facts.digest {
        Some(wanted) if wanted != digest(bytes) => {
            Err(Error::mismatch("digest", wanted, digest(bytes)))
        }
        _ => Ok(()),
    }
}

impl Memory {
    /// Stores bytes and returns the fields `"digest":"…","size":…` of a descriptor.
    pub fn put(&mut self, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        self.blobs.insert(digest, bytes.to_vec());
        format!(r#""digest":"{digest}","size":{}"#, bytes.len())
    }

    /// Removes stored bytes.
    ///
    /// # Panics
    /// If the bytes were not stored.
    pub fn forget(&mut self, bytes: &[u8]) {
        self.blobs.remove(&digest(bytes)).unwrap();
    }

    fn find(&self, facts: &Facts) -> Result<&Vec<u8>> {
        let digest = facts.digest.unwrap();
        let missing = || Error::new(Code::Missing, format!("blob {digest} is not here"));
        let bytes = self.blobs.get(&digest).ok_or_else(missing)?;
        verify(facts, bytes)?;
        Ok(bytes)
    }
}

fn sealed(facts: &Facts) -> Blob {
    Blob {
        facts: facts.clone(),
        bytes: Arc::new(Sealed),
    }
}

impl Bundle for Memory {
    fn locator(&self) -> String {
        "memory".into()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(Vec::new())
    }

    fn root(&self, _: &RootEntry) -> Result<Root> {
        Err(Error::new(Code::Missing, "no roots"))
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let bytes = self.find(facts)?;
        if bytes.len() as u64 > limit.1 {
            return Err(Limits::exceeded(limit.0, limit.1, "document"));
        }
        Ok(Document {
            kind: kind.into(),
            bytes: bytes.as_slice().into(),
        })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        if !self.has_all {
            self.find(facts)?;
        } else if let Some(digest) = facts.digest.filter(|digest| self.missing.contains(digest)) {
            return Err(Error::new(Code::Missing, format!("{digest} is not here")));
        }
        Ok(sealed(facts))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            members: Some(self),
            ..Extras::default()
        }
    }
}

impl NamedBlobs for Memory {
    fn member(&self, name: &str, facts: &Facts) -> Result<Blob> {
        match self.members.get(name) {
            None => Err(Error::new(Code::Missing, format!("{name} is not here"))),
            Some(None) => Ok(sealed(facts)),
            Some(Some(bytes)) => Ok(Blob {
                facts: facts.clone(),
                bytes: Arc::new(Member {
                    bytes: bytes.clone(),
                    facts: facts.clone(),
                }),
            }),
        }
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}

/// Returns an environment in which nothing can be written.
pub fn env() -> Env {
    Env::new("/nonexistent", Platform::new("linux", "amd64"))
}

/// Makes a root document.
pub fn root(kind: &str, text: impl AsRef<[u8]>) -> Document {
    Document {
        kind: kind.into(),
        bytes: text.as_ref().into(),
    }
}

/// Reads a root; an image must be valid.
///
/// # Errors
/// The errors of the format.
///
/// # Panics
/// If an image is not valid.
pub fn decode(
    format: &dyn DocumentFormat,
    memory: &Memory,
    root: &Document,
    env: &Env,
) -> Result<(Artifact, Report)> {
    let mut report = Report::default();
    let artifact = format.decode(root, memory, env, &mut report)?;
    if let Artifact::Image(image) = &artifact {
        assert_eq!(check(image), Vec::<String>::new());
    }
    Ok((artifact, report))
}

/// Checks that a result is an error with a code and a part of its message.
///
/// # Panics
/// If the result is another error, or none.
pub fn fails<T: Debug>(result: Result<T>, code: Code, part: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

/// Seals the layers unchanged, as a plain copy does. A layer without a size or a diff ID gets
/// invented ones.
///
/// # Panics
/// If a layer has no digest.
pub fn kept(image: &Image) -> Vec<SealedLayer> {
    let layer = |layer: &Layer| SealedLayer {
        digest: layer.blob.facts.digest.unwrap(),
        size: layer.blob.facts.size.unwrap_or(9),
        compression: Compression::Gzip,
        diff_id: layer.diff_id.unwrap_or_else(|| digest(b"diff")),
        step: Step::Keep,
        annotations: Default::default(),
    };
    image.layers.iter().map(layer).collect()
}

/// Makes a layer of nine bytes that nobody can open.
///
/// # Panics
/// If the text is no digest.
pub fn layer(digest: &str) -> Layer {
    let facts = Facts {
        digest: Some(Digest::parse(digest).unwrap()),
        size: Some(9),
    };
    Layer {
        blob: sealed(&facts),
        diff_id: None,
        kind: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// Encodes an image as documents: the documents that the root refers to, the root, and the report.
///
/// # Errors
/// The errors of the format.
pub fn encode(
    format: &dyn DocumentFormat,
    image: &Image,
    layers: &[SealedLayer],
    env: &Env,
) -> Result<(Vec<Document>, Document, Report)> {
    let mut report = Report::default();
    let Encoded { documents, root } = format.encode(image, layers, env, &mut report)?;
    Ok((documents, root, report))
}

/// Returns the text of a document.
///
/// # Panics
/// If the document is not UTF-8.
pub fn text(document: &Document) -> &str {
    std::str::from_utf8(&document.bytes).unwrap()
}
