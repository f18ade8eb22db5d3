//! The format under the laws of the testkit, images as tools write them, and helpers to decode and
//! to encode.

use imgconv_format_docker_v2s2::DOCKER_V2S2;
use imgconv_model::{Artifact, Document, Encoded, Image, Report, Result, SealedLayer};
use imgconv_testkit::laws::{self, Documents};
pub(crate) use imgconv_testkit::laws::{ID_A, ID_B, Memory, env, kept, root, text};

pub(crate) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const TAR_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// The documents of the format, for the laws.
pub(crate) const DOCUMENTS: Documents = Documents {
    format: &DOCKER_V2S2,
    manifest: MANIFEST,
    index: LIST,
    config: CONFIG,
    layer: TAR_GZIP,
    foreign: "application/vnd.oci.image.manifest.v1+json",
    typed: true,
};

pub(crate) fn decode(memory: &Memory, kind: &str, text: &str) -> Result<(Artifact, Report)> {
    DOCUMENTS.decode(memory, kind, text)
}

pub(crate) fn image(memory: &Memory, text: &str) -> (Image, Report) {
    DOCUMENTS.image(memory, text)
}

/// Takes the config and the root out of what was encoded.
pub(crate) fn documents(encoded: Encoded) -> (Document, Document) {
    let Encoded { documents, root } = encoded;
    let [config] = documents.try_into().unwrap();
    (config, root)
}

/// Encodes and returns the config and the manifest.
pub(crate) fn encode(image: &Image, layers: &[SealedLayer]) -> (Document, Document, Report) {
    let (documents, root, report) = laws::encode(&DOCKER_V2S2, image, layers, &env()).unwrap();
    let [config] = documents.try_into().unwrap();
    (config, root, report)
}

/// Stores bytes and returns the fields of a descriptor as `docker push` orders them.
fn put(memory: &mut Memory, bytes: &[u8]) -> String {
    let fields = memory.put(bytes);
    let (digest, size) = fields.split_once(',').unwrap();
    format!("{size},{digest}")
}

/// The least there is.
pub(crate) fn minimal(memory: &mut Memory) -> String {
    DOCUMENTS.minimal(memory)
}

/// The minimal image with one edit of its manifest.
pub(crate) fn edited(from: &str, to: &str) -> (Memory, String) {
    DOCUMENTS.edited(from, to)
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
    let config = put(memory, engine_config().as_bytes());
    let (a, b) = (put(memory, b"layer a"), put(memory, b"layer b"));
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
