//! A bundle in memory, and helpers to decode from it and encode again.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_format_docker_v2s1::{DOCKER_V1, DOCKER_V2S1};
use imgconv_model::{
    Algorithm, Artifact, Blob, Bundle, Code, Compression, Digest, Document, DocumentFormat,
    Encoded, Env, Error, Extras, Facts, Image, Limits, NamedBlobs, Open, Platform, Reader, Report,
    Result, Root, RootEntry, SealedLayer, Step, check,
};
use imgconv_stream::digest;

pub(crate) const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
pub(crate) const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";
pub(crate) const V1: &str = "application/vnd.imgconv.docker-v1.image.v1+json";

/// Says that every blob is there; documents are those that were put in.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) documents: BTreeMap<Digest, Vec<u8>>,
    /// Blobs that are not there.
    pub(crate) missing: Vec<Digest>,
    pub(crate) members: Vec<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Sealed;

impl Open for Sealed {
    fn open(&self) -> Result<Reader> {
        panic!("a format opened a blob");
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
        let wanted = facts.digest.unwrap();
        let missing = || Error::new(Code::Missing, format!("{wanted} is not here"));
        let bytes = self.documents.get(&wanted).ok_or_else(missing)?;
        if bytes.len() as u64 > limit.1 {
            return Err(Limits::exceeded(limit.0, limit.1, "document"));
        }
        let found = digest(Algorithm::Sha256, bytes);
        if found != wanted {
            return Err(Error::mismatch("digest", wanted, found));
        }
        Ok(Document {
            kind: kind.into(),
            bytes: bytes.as_slice().into(),
        })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        let wanted = facts.digest.unwrap();
        if self.missing.contains(&wanted) {
            return Err(Error::new(Code::Missing, format!("{wanted} is not here")));
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
        if !self.members.contains(&name) {
            return Err(Error::new(Code::Missing, format!("{name} is not here")));
        }
        Ok(sealed(facts))
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}

pub(crate) fn env() -> Env {
    Env::new("/nonexistent", Platform::new("linux", "amd64"))
}

pub(crate) fn root(kind: &str, text: &[u8]) -> Document {
    Document {
        kind: kind.into(),
        bytes: text.into(),
    }
}

pub(crate) fn decode_with(memory: &Memory, root: &Document, env: &Env) -> Result<(Image, Report)> {
    let mut report = Report::default();
    let format: &dyn DocumentFormat = if DOCKER_V1.recognise(root) {
        &DOCKER_V1
    } else {
        &DOCKER_V2S1
    };
    match format.decode(root, memory, env, &mut report)? {
        Artifact::Image(image) => {
            assert_eq!(check(&image), Vec::<String>::new());
            Ok((*image, report))
        }
        other => panic!("expected an image, found {other:?}"),
    }
}

pub(crate) fn decode(text: impl AsRef<[u8]>) -> Result<(Image, Report)> {
    decode_with(&Memory::default(), &root(SIGNED, text.as_ref()), &env())
}

pub(crate) fn image(text: impl AsRef<[u8]>) -> Image {
    decode(text).unwrap().0
}

pub(crate) fn fails<T: std::fmt::Debug>(result: Result<T>, code: Code, part: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

pub(crate) fn refuse(text: impl AsRef<[u8]>, code: Code, part: &str) {
    fails(decode(text), code, part);
}

/// Seals the layers as they are, as a plain copy does.
pub(crate) fn kept(image: &Image) -> Vec<SealedLayer> {
    let layer = |layer: &imgconv_model::Layer| SealedLayer {
        digest: layer.blob.facts.digest.unwrap(),
        size: 9,
        compression: Compression::Gzip,
        diff_id: digest(Algorithm::Sha256, b"diff"),
        step: Step::Keep,
        annotations: Default::default(),
    };
    image.layers.iter().map(layer).collect()
}

/// Encodes; returns the root and the documents that go with it.
pub(crate) fn encode(image: &Image, layers: &[SealedLayer]) -> (Document, Vec<Document>, Report) {
    let mut report = Report::default();
    let Encoded { documents, root } = DOCKER_V2S1
        .encode(image, layers, &env(), &mut report)
        .unwrap();
    (root, documents, report)
}

pub(crate) fn text(document: &Document) -> &str {
    std::str::from_utf8(&document.bytes).unwrap()
}
