//! Docker images since 1.10: manifests and manifest lists of v2 schema 2, as registries hold them,
//! and the images of an archive of `docker save`. Both have the same config.
//!
//! The crate reads and writes documents only. Schema 1, v1 images and the other parts of an archive
//! belong to other crates. The code that OCI shares is in [`imgconv_manifest`]
//! (`crates/core/manifest`).

#![deny(missing_docs)]

mod archive;
mod empty_layer;
mod family;

use imgconv_manifest::{self as manifest, media_type};
use imgconv_model::{
    Artifact, Bundle, Capabilities, Child, Code, Compression, Document, DocumentFormat, Encoded,
    Env, Error, FormatFacts, FormatFamily, Image, Index, Report, Result, SealedLayer,
};

use crate::family::FAMILY;

/// The kind of the root document of [`DOCKER_ARCHIVE`]: one entry of an archive's `manifest.json`,
/// verbatim. The kind belongs to this project; docker defines none.
pub use imgconv_manifest::archive_image::KIND as ARCHIVE_IMAGE;

/// The facts of image manifest v2 schema 2.
static V2S2_FACTS: FormatFacts = FormatFacts {
    id: FAMILY.id,
    family: FormatFamily::Docker,
    about: "Docker image manifests and manifest lists (v2 schema 2)",
    capabilities: Capabilities {
        max_layers: None,
        compressions: &[Compression::Gzip, Compression::None],
        annotations: false,
        index: true,
        opaque: true,
        root_kinds: &[media_type::DOCKER_MANIFEST, media_type::DOCKER_LIST],
    },
};

/// Image manifest v2 schema 2, as the catalog lists it.
pub static DOCKER_V2S2: DockerV2s2 = DockerV2s2;

/// See [`DOCKER_V2S2`].
#[derive(Clone, Copy, Debug)]
pub struct DockerV2s2;

impl DocumentFormat for DockerV2s2 {
    fn facts(&self) -> &'static FormatFacts {
        &V2S2_FACTS
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

/// The facts of the images of an archive.
static ARCHIVE_FACTS: FormatFacts = FormatFacts {
    id: archive::FAMILY.id,
    family: FormatFamily::Docker,
    about: "one image of an archive of `docker save` (1.10 and later)",
    capabilities: Capabilities {
        max_layers: None,
        compressions: &[Compression::None],
        annotations: false,
        index: false,
        opaque: false,
        root_kinds: &[ARCHIVE_IMAGE],
    },
};

/// One image of a `docker save` archive of 1.10 and later, as the catalog lists it.
pub static DOCKER_ARCHIVE: DockerArchive = DockerArchive;

/// See [`DOCKER_ARCHIVE`].
///
/// Its root is an [`ARCHIVE_IMAGE`]. Blobs have names instead of digests: a transport finds them by
/// [`NamedBlobs::member`](imgconv_model::NamedBlobs::member), and fills in `RepoTags` when it
/// publishes an image.
#[derive(Clone, Copy, Debug)]
pub struct DockerArchive;

impl DocumentFormat for DockerArchive {
    fn facts(&self) -> &'static FormatFacts {
        &ARCHIVE_FACTS
    }

    fn recognise(&self, root: &Document) -> bool {
        root.kind == ARCHIVE_IMAGE
    }

    fn decode(
        &self,
        root: &Document,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact> {
        archive::decode(root, bundle, env, report).map(|image| Artifact::Image(Box::new(image)))
    }

    fn encode(
        &self,
        image: &Image,
        layers: &[SealedLayer],
        env: &Env,
        report: &mut Report,
    ) -> Result<Encoded> {
        archive::encode(image, layers, env, report)
    }

    fn encode_index(&self, _: &[Child], _: Option<&Index>) -> Result<Document> {
        let message = "a docker archive can't hold several platforms under one name";
        Err(Error::new(Code::Unsupported, message).hint("`--platform OS/ARCH` chooses one"))
    }
}
