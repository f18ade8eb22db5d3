//! The format under the laws of the testkit, and helpers to decode and to encode again.

use imgconv_format_oci::OCI;
use imgconv_model::{Artifact, Code, Document, Env, Image, Report, Result, SealedLayer};
use imgconv_testkit::laws::{self, Documents};
pub(crate) use imgconv_testkit::laws::{ID_A, ID_B, Memory, env, kept, root, text};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The documents of the format, for the laws.
pub(crate) const DOCUMENTS: Documents = Documents {
    format: &OCI,
    manifest: MANIFEST,
    index: INDEX,
    config: CONFIG,
    layer: TAR_GZIP,
    foreign: "application/vnd.docker.distribution.manifest.v2+json",
    typed: false,
};

pub(crate) fn decode(memory: &Memory, kind: &str, text: &str) -> Result<(Artifact, Report)> {
    DOCUMENTS.decode(memory, kind, text)
}

pub(crate) fn image(memory: &Memory, text: &str) -> (Image, Report) {
    DOCUMENTS.image(memory, text)
}

pub(crate) fn refuse(memory: &Memory, kind: &str, text: &str, code: Code, part: &str) {
    DOCUMENTS.refuse(memory, kind, text, code, part);
}

/// Encodes and returns the config and the manifest.
pub(crate) fn encode(
    image: &Image,
    layers: &[SealedLayer],
    env: &Env,
) -> (Document, Document, Report) {
    let (documents, root, report) = laws::encode(&OCI, image, layers, env).unwrap();
    let [config] = documents.try_into().unwrap();
    (config, root, report)
}
