//! The format under the laws of the testkit, and helpers to decode and to encode again.

use imgconv_format_docker_v2s1::{DOCKER_V1, DOCKER_V2S1};
use imgconv_model::{
    Artifact, Code, Document, DocumentFormat, Env, Image, Report, Result, SealedLayer,
};
use imgconv_testkit::laws;
pub(crate) use imgconv_testkit::laws::{Memory, env, fails, kept, root, text};

pub(crate) const SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
pub(crate) const UNSIGNED: &str = "application/vnd.docker.distribution.manifest.v1+json";
pub(crate) const V1: &str = "application/vnd.imgconv.docker-v1.image.v1+json";

/// Says that every blob is there; documents are those that are put in.
pub(crate) fn memory() -> Memory {
    Memory {
        has_all: true,
        ..Memory::default()
    }
}

pub(crate) fn decode_with(memory: &Memory, root: &Document, env: &Env) -> Result<(Image, Report)> {
    let format: &dyn DocumentFormat = if DOCKER_V1.recognise(root) {
        &DOCKER_V1
    } else {
        &DOCKER_V2S1
    };
    match laws::decode(format, memory, root, env)? {
        (Artifact::Image(image), report) => Ok((*image, report)),
        (other, _) => panic!("expected an image, found {other:?}"),
    }
}

pub(crate) fn decode(text: impl AsRef<[u8]>) -> Result<(Image, Report)> {
    decode_with(&memory(), &root(SIGNED, text), &env())
}

pub(crate) fn image(text: impl AsRef<[u8]>) -> Image {
    decode(text).unwrap().0
}

pub(crate) fn refuse(text: impl AsRef<[u8]>, code: Code, part: &str) {
    fails(decode(text), code, part);
}

/// Encodes; returns the root and the documents that go with it.
pub(crate) fn encode(image: &Image, layers: &[SealedLayer]) -> (Document, Vec<Document>, Report) {
    let (documents, root, report) = laws::encode(&DOCKER_V2S1, image, layers, &env()).unwrap();
    (root, documents, report)
}
