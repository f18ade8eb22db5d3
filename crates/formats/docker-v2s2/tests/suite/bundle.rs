//! A bundle in memory, images as tools write them, and helpers to decode and encode.

use std::{collections::BTreeMap, sync::Arc};

use imgconv_format_docker_v2s2::DOCKER_V2S2;
use imgconv_model::{
    Algorithm, Artifact, Blob, Bundle, Code, Compression, Digest, Document, DocumentFormat,
    Encoded, Env, Error, Extras, Facts, Image, Limits, NamedBlobs, Open, Platform, Reader, Report,
    Result, Root, RootEntry, SealedLayer, Step, check,
};
use imgconv_stream::digest;

pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const TAR_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const ID_A: &str =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const ID_B: &str =
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Blobs by digest, which fail when they are opened, and members by name, which do not.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    blobs: BTreeMap<Digest, Vec<u8>>,
    pub(crate) members: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Sealed;

impl Open for Sealed {
    fn open(&self) -> Result<Reader> {
        panic!("a format opened a blob");
    }
}

impl Memory {
    /// Stores bytes and returns the fields `"size":…,"digest":"…"` of a descriptor.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> String {
        let digest = digest(Algorithm::Sha256, bytes);
        self.blobs.insert(digest, bytes.to_vec());
        format!(r#""size":{},"digest":"{digest}""#, bytes.len())
    }

    pub(crate) fn forget(&mut self, bytes: &[u8]) {
        self.blobs
            .remove(&digest(Algorithm::Sha256, bytes))
            .unwrap();
    }

    fn find(&self, facts: &Facts) -> Result<&Vec<u8>> {
        let digest = facts.digest.unwrap();
        let missing = || Error::new(Code::Missing, format!("blob {digest} is not here"));
        let bytes = self.blobs.get(&digest).ok_or_else(missing)?;
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
        Extras {
            members: Some(self),
            ..Extras::default()
        }
    }
}

impl NamedBlobs for Memory {
    fn member(&self, name: &str, facts: &Facts) -> Result<Blob> {
        let Some(bytes) = self.members.get(name) else {
            return Err(Error::new(Code::Missing, format!("no member {name}")));
        };
        let bytes: Arc<dyn Open> = Arc::new(Member {
            bytes: bytes.clone(),
            facts: facts.clone(),
        });
        let facts = facts.clone();
        Ok(Blob { facts, bytes })
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}

#[derive(Debug)]
struct Member {
    bytes: Vec<u8>,
    facts: Facts,
}

impl Open for Member {
    fn open(&self) -> Result<Reader> {
        let bytes = std::io::Cursor::new(self.bytes.clone());
        let verified = imgconv_stream::Verified::new(bytes, &self.facts, "member");
        Ok(Box::new(verified))
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
    let artifact = DOCKER_V2S2.decode(&root(kind, text), memory, &env(), &mut report)?;
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

/// Takes the config and the root out of what was encoded.
pub(crate) fn documents(encoded: Encoded) -> (Document, Document) {
    let Encoded { documents, root } = encoded;
    let [config] = documents.try_into().unwrap();
    (config, root)
}

/// Encodes and returns the config and the manifest.
pub(crate) fn encode(image: &Image, layers: &[SealedLayer]) -> (Document, Document, Report) {
    let mut report = Report::default();
    let encoded = DOCKER_V2S2.encode(image, layers, &env(), &mut report);
    let (config, root) = documents(encoded.unwrap());
    (config, root, report)
}

pub(crate) fn text(document: &Document) -> &str {
    std::str::from_utf8(&document.bytes).unwrap()
}

/// The least there is.
pub(crate) fn minimal(memory: &mut Memory) -> String {
    let config = memory.put(
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{ID_A}"]}}}}"#)
            .as_bytes(),
    );
    let layer = memory.put(b"layer a");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}",{config}}},"layers":[{{"mediaType":"{TAR_GZIP}",{layer}}}]}}"#
    )
}

/// The minimal image with one edit of its manifest.
pub(crate) fn edited(from: &str, to: &str) -> (Memory, String) {
    let mut memory = Memory::default();
    let text = minimal(&mut memory);
    assert!(text.contains(from), "{text} lacks {from}");
    let text = text.replacen(from, to, 1);
    (memory, text)
}

/// The config of an engine, with all that only Docker's engines look at.
pub(crate) fn engine_config() -> String {
    format!(
        r#"{{
  "architecture": "arm64", "variant": "v8", "os": "linux", "os.version": "10", "docker_version": "1.12.0",
  "created": "2016-01-02T03:04:05.678901234Z", "author": "A \u003ca@b\u003e",
  "container_config": {{"Cmd": ["x"], "Memory": 0}},
  "config": {{
    "Hostname": "0a1b", "User": "www-data", "ExposedPorts": {{"80": {{}}, "no/port": {{}}}},
    "Env": ["PATH=/bin"], "Entrypoint": "/init", "Cmd": null, "Volumes": {{"/data": {{}}}},
    "WorkingDir": "/w", "Labels": {{"z": "1", "a": "2"}}, "StopSignal": "SIGTERM", "StopTimeout": 7,
    "Healthcheck": {{"Test": ["CMD-SHELL", "true"], "Interval": 30000000000}},
    "Shell": ["/bin/bash", "-c"], "OnBuild": ["RUN x"], "Unknown": {{"x": 1.50}}
  }},
  "rootfs": {{"type": "layers", "diff_ids": ["{ID_A}", "{ID_B}"]}},
  "history": [
    {{"created": "2016-01-02T03:04:05Z", "created_by": "ADD <x>"}},
    {{"created_by": "ENV", "empty_layer": true, "more": 1}},
    {{"comment": "c"}}
  ]
}}
"#
    )
}

/// What `docker push` writes: three spaces, this order.
pub(crate) fn pushed(memory: &mut Memory) -> String {
    let config = memory.put(engine_config().as_bytes());
    let (a, b) = (memory.put(b"layer a"), memory.put(b"layer b"));
    format!(
        r#"{{
   "schemaVersion": 2,
   "mediaType": "{MANIFEST}",
   "config": {{
      "mediaType": "{CONFIG}", {config}
   }},
   "layers": [
      {{"mediaType": "{TAR_GZIP}", {a}}},
      {{"mediaType": "{TAR_GZIP}", {b}, "vendor": 1}}
   ]
}}"#
    )
}
