//! A bundle in memory, and helpers to decode from it and encode again.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_format_oci::OCI;
use imgconv_model::{
    Algorithm, Artifact, Blob, Bundle, Code, Compression, Digest, Document, DocumentFormat,
    Encoded, Env, Error, Extras, Facts, Image, Limits, Open, Platform, Reader, Report, Result,
    Root, RootEntry, SealedLayer, Step, check,
};
use imgconv_stream::digest;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Blobs by digest. They fail when they are opened, since no format may open one.
#[derive(Debug, Default)]
pub(crate) struct Memory(BTreeMap<Digest, Vec<u8>>);

#[derive(Debug)]
pub(crate) struct Sealed;

impl Open for Sealed {
    fn open(&self) -> Result<Reader> {
        panic!("a format opened a blob");
    }
}

impl Memory {
    /// Stores bytes and returns the fields `"digest":"…","size":…` of a descriptor.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> String {
        let digest = digest(Algorithm::Sha256, bytes);
        self.0.insert(digest, bytes.to_vec());
        format!(r#""digest":"{digest}","size":{}"#, bytes.len())
    }

    /// Takes bytes away that were stored.
    pub(crate) fn forget(&mut self, bytes: &[u8]) {
        self.0.remove(&digest(Algorithm::Sha256, bytes)).unwrap();
    }

    fn find(&self, facts: &Facts) -> Result<&Vec<u8>> {
        let digest = facts.digest.unwrap();
        let missing = || Error::new(Code::Missing, format!("blob {digest} is not here"));
        let bytes = self.0.get(&digest).ok_or_else(missing)?;
        if facts.size != Some(bytes.len() as u64) {
            return Err(Error::mismatch("size", facts.size.unwrap(), bytes.len()));
        }
        Ok(bytes)
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
        self.find(facts)?;
        Ok(Blob {
            facts: facts.clone(),
            bytes: Arc::new(Sealed),
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras::default()
    }
}

pub(crate) fn env() -> Env {
    Env::new("/nonexistent", Platform::new("linux", "amd64"))
}

pub(crate) fn root(kind: &str, text: &str) -> Document {
    Document {
        kind: kind.into(),
        bytes: text.as_bytes().into(),
    }
}

pub(crate) fn decode(memory: &Memory, kind: &str, text: &str) -> Result<(Artifact, Report)> {
    let mut report = Report::default();
    let artifact = OCI.decode(&root(kind, text), memory, &env(), &mut report)?;
    Ok((artifact, report))
}

pub(crate) fn image(memory: &Memory, text: &str) -> (Image, Report) {
    match decode(memory, MANIFEST, text).unwrap() {
        (Artifact::Image(image), report) => {
            assert_eq!(check(&image), Vec::<String>::new());
            (*image, report)
        }
        (other, _) => panic!("expected an image, found {other:?}"),
    }
}

pub(crate) fn refuse(memory: &Memory, kind: &str, text: &str, code: Code, part: &str) {
    let error = decode(memory, kind, text).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error} lacks {part}");
}

/// Seals the layers as they are, as a plain copy does.
pub(crate) fn kept(image: &Image) -> Vec<SealedLayer> {
    let layer = |layer: &imgconv_model::Layer| SealedLayer {
        digest: layer.blob.facts.digest.unwrap(),
        size: layer.blob.facts.size.unwrap(),
        compression: Compression::Gzip,
        diff_id: layer.diff_id.unwrap(),
        step: Step::Keep,
        annotations: Default::default(),
    };
    image.layers.iter().map(layer).collect()
}

/// Encodes and returns the config and the manifest.
pub(crate) fn encode(
    image: &Image,
    layers: &[SealedLayer],
    env: &Env,
) -> (Document, Document, Report) {
    let mut report = Report::default();
    let Encoded { documents, root } = OCI.encode(image, layers, env, &mut report).unwrap();
    let [config] = documents.try_into().unwrap();
    (config, root, report)
}

pub(crate) fn text(document: &Document) -> &str {
    std::str::from_utf8(&document.bytes).unwrap()
}
