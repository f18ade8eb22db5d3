//! OCI images (image-spec 1.1): manifests, indexes and configurations, both ways.
//!
//! **Read [`imgconv_manifest`] (`crates/core/manifest`) next.** OCI's documents have the same shape as
//! those of Docker's schema 2, so that crate decodes and encodes both. This one states the media
//! types of OCI and binds them to the trait [`Format`].

#![deny(missing_docs)]

use imgconv_manifest::{self as manifest, Family};
use imgconv_model::{
    Artifact, Bundle, Capabilities, Child, Compression, Document, DocumentFormat, Encoded, Env,
    FormatFacts, FormatFamily, FormatId, Image, Index, Report, Result, SealedLayer,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Withdrawn before image-spec 1.1, but written by tools while it was a draft.
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

const FAMILY: Family = Family {
    id: FormatId::OCI,
    name: "OCI",
    manifest: MANIFEST,
    index: INDEX,
    artifact: Some(ARTIFACT),
    config: "application/vnd.oci.image.config.v1+json",
    config_aliases: &[],
    layers: &[
        (Compression::None, "application/vnd.oci.image.layer.v1.tar"),
        (
            Compression::Gzip,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            Compression::Zstd,
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    ],
    foreign_layers: &[
        (
            Compression::None,
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
        ),
        (
            Compression::Gzip,
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ),
        (
            Compression::Zstd,
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        ),
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
        root_kinds: &[MANIFEST, INDEX, ARTIFACT],
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
