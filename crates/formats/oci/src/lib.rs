//! OCI images (image-spec 1.1): manifests, indexes and configurations, both ways.
//!
//! It reads and writes documents only. Names, layouts and registries belong to transports; the
//! bytes of layers belong to the pipeline. The decisions behind it are in `design.rs`.

#![deny(missing_docs)]

mod decode;
mod design;
mod encode;
mod index;
mod manifest;
mod media_type;

use imgconv_model::{
    Artifact, Bundle, Capabilities, Child, Compression, Document, Encoded, Env, Format, FormatId,
    Image, Index, Report, Result, Root, SealedLayer,
};

const ID: FormatId = FormatId("oci");

/// The OCI image format.
pub static OCI: Oci = Oci;

/// See [`OCI`].
#[derive(Clone, Copy, Debug)]
pub struct Oci;

impl Format for Oci {
    fn id(&self) -> FormatId {
        ID
    }

    fn about(&self) -> &'static str {
        "OCI image manifests, indexes and artifacts (image-spec 1.1)"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            stream: false,
            max_layers: None,
            compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
            index: true,
            opaque: true,
            root_kinds: &[
                media_type::MANIFEST,
                media_type::INDEX,
                media_type::ARTIFACT,
            ],
        }
    }

    fn recognise(&self, root: &Root) -> bool {
        decode::recognise(root)
    }

    fn decode(
        &self,
        root: &Root,
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

    fn encode_index(&self, children: &[Child], original: Option<&Index>) -> Result<Document> {
        index::encode(children, original)
    }
}
