//! Docker's older images: manifests of version 2, schema 1, signed and unsigned, read and written;
//! and docker v1 images, read.
//!
//! Registries and engines have dropped both, so this crate converts what is still stored. It reads
//! and writes documents only: names, archives and registries belong to transports, the bytes of
//! layers to the pipeline. The design decisions are in `design.rs`.

#![deny(missing_docs)]

mod compatibility;
mod decode;
mod design;
mod encode;
mod id;
mod jws;
mod key;
mod v1;
mod wire;

use imgconv_model::{
    Artifact, Bundle, Capabilities, Child, Code, Compression, Document, DocumentFormat, Encoded,
    Env, Error, FormatFacts, FormatFamily, FormatId, Image, Index, Limits, Report, Result,
    SealedLayer,
};

pub use jws::{SignatureState, manifest_digest, sign, verify_document};
pub use key::{KeyId, SigningKey};
pub use wire::SIGNED;

/// Returns the ID by which docker before 1.10 knows the image of a root document of this crate's
/// formats: the id of its top v1 image, 64 hex digits.
pub fn image_id(document: &Document, limits: &Limits) -> Option<String> {
    let value = imgconv_json::parse(&document.bytes, limits, "manifest").ok()?;
    let id = |value: &imgconv_json::Value| value.get("id")?.as_str().map(str::to_owned);
    let top = match value.get("history") {
        None => id(&value)?,
        Some(history) => {
            let text = history.get(0)?.get("v1Compatibility")?.as_str()?;
            id(&imgconv_json::parse(text.as_bytes(), limits, "v1Compatibility").ok()?)?
        }
    };
    imgconv_manifest::v1_image::is_id(&top).then_some(top)
}

/// The facts of manifests of version 2, schema 1.
static V2S1_FACTS: FormatFacts = FormatFacts {
    id: FormatId::DOCKER_V2S1,
    family: FormatFamily::Docker,
    about: "Docker image manifests, version 2, schema 1, signed or not",
    capabilities: Capabilities {
        max_layers: None,
        compressions: &[Compression::Gzip],
        annotations: false,
        index: false,
        opaque: false,
        root_kinds: &[wire::SIGNED, wire::UNSIGNED],
    },
};

/// Docker manifests of version 2, schema 1.
pub static DOCKER_V2S1: DockerV2s1 = DockerV2s1;

/// The facts of docker v1 images.
static V1_FACTS: FormatFacts = FormatFacts {
    id: FormatId::DOCKER_V1,
    family: FormatFamily::Docker,
    about: "docker v1 images, as docker saved and registries stored them before 1.10 (read only)",
    capabilities: Capabilities {
        max_layers: None,
        compressions: &[Compression::None],
        annotations: false,
        index: false,
        opaque: false,
        root_kinds: &[imgconv_manifest::v1_image::KIND],
    },
};

/// Docker v1 images, in the form that transports give them.
pub static DOCKER_V1: DockerV1 = DockerV1;

/// See [`DOCKER_V2S1`].
#[derive(Clone, Copy, Debug)]
pub struct DockerV2s1;

/// See [`DOCKER_V1`].
#[derive(Clone, Copy, Debug)]
pub struct DockerV1;

impl DocumentFormat for DockerV2s1 {
    fn facts(&self) -> &'static FormatFacts {
        &V2S1_FACTS
    }

    fn recognise(&self, root: &Document) -> bool {
        decode::recognise(root)
    }

    fn decode(
        &self,
        root: &Document,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact> {
        decode::decode(root, bundle, env, report)
    }

    fn encode(
        &self,
        image: &Image,
        layers: &[SealedLayer],
        env: &Env,
        report: &mut Report,
    ) -> Result<Encoded> {
        encode::encode(image, layers, env, report)
    }

    fn encode_index(&self, _: &[Child], _: Option<&Index>) -> Result<Document> {
        Err(no_index("schema 1"))
    }
}

impl DocumentFormat for DockerV1 {
    fn facts(&self) -> &'static FormatFacts {
        &V1_FACTS
    }

    fn recognise(&self, root: &Document) -> bool {
        v1::recognise(root)
    }

    fn decode(
        &self,
        root: &Document,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact> {
        v1::decode(root, bundle, env, report)
    }

    fn encode(&self, _: &Image, _: &[SealedLayer], _: &Env, _: &mut Report) -> Result<Encoded> {
        let message = "writing docker v1 images is not supported: use docker-archive";
        Err(Error::new(Code::Unsupported, message))
    }

    fn encode_index(&self, _: &[Child], _: Option<&Index>) -> Result<Document> {
        Err(no_index("a docker v1 image"))
    }
}

fn no_index(what: &str) -> Error {
    let message = format!("{what} has no index, so each name is for one image");
    Error::new(Code::Unsupported, message).hint("choose one platform with `--platform`")
}
