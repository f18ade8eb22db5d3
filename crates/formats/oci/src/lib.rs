//! OCI images (image-spec 1.1): manifests, indexes and configurations, both ways.
//!
//! **Read [`imgconv_manifest`] (`crates/core/manifest`) next.** OCI's documents have the same shape
//! as those of Docker's schema 2, so that crate decodes and encodes both. This crate defines the
//! media types of OCI and binds them to the trait [`Format`].

#![deny(missing_docs)]

use imgconv_manifest::{self as manifest, Family, media_type};
use imgconv_model::{
    Artifact, Bundle, Capabilities, Child, Compression, Document, DocumentFormat, Encoded, Env,
    FormatFacts, FormatFamily, FormatId, Image, Index, Report, Result, SealedLayer,
};

const FAMILY: Family = Family {
    id: FormatId::OCI,
    name: "OCI",
    manifest: media_type::OCI_MANIFEST,
    index: media_type::OCI_INDEX,
    artifact: Some(media_type::OCI_ARTIFACT),
    config: media_type::OCI_CONFIG,
    config_aliases: &[],
    layers: &[
        (Compression::None, media_type::OCI_LAYER),
        (Compression::Gzip, media_type::OCI_LAYER_GZIP),
        (Compression::Zstd, media_type::OCI_LAYER_ZSTD),
    ],
    foreign_layers: &[
        (Compression::None, media_type::OCI_FOREIGN_LAYER),
        (Compression::Gzip, media_type::OCI_FOREIGN_LAYER_GZIP),
        (Compression::Zstd, media_type::OCI_FOREIGN_LAYER_ZSTD),
    ],
    annotations: true,
    untyped: true,
    usual_layers: None,
};

/// The facts of the format.
static FACTS: FormatFacts = FormatFacts {
    id: FAMILY.id,
    family: FormatFamily::Oci,
    about: "OCI image manifests, indexes and artifacts (image-spec 1.1)",
    capabilities: Capabilities {
        max_layers: None,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        annotations: true,
        index: true,
        opaque: true,
        root_kinds: &[
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::OCI_ARTIFACT,
        ],
    },
};

/// The OCI image format.
pub static OCI: Oci = Oci;

/// See [`OCI`].
#[derive(Clone, Copy, Debug)]
pub struct Oci;

impl DocumentFormat for Oci {
    fn facts(&self) -> &'static FormatFacts {
        &FACTS
    }

    fn recognise(&self, root: &Document) -> bool {
        manifest::recognise(&FAMILY, root)
    }

    fn decode(
        &self,
        root: &Document,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact> {
        manifest::decode(&FAMILY, root, bundle, env, report)
    }

    fn encode(
        &self,
        image: &Image,
        layers: &[SealedLayer],
        env: &Env,
        report: &mut Report,
    ) -> Result<Encoded> {
        manifest::encode(&FAMILY, image, layers, env, report)
    }

    fn encode_index(&self, children: &[Child], original: Option<&Index>) -> Result<Document> {
        manifest::encode_index(&FAMILY, children, original)
    }
}
