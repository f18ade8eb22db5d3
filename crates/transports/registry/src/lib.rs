//! A registry: images by the protocol of the OCI distribution specification 1.1, which Docker's
//! Registry HTTP API v2 became.
//!
//! A session is for one repository, or for the list of all: it holds the tokens. Reading resolves a tag once and verifies
//! everything else by digest; blobs stream, and continue after an interruption. Writing uploads
//! blobs as they are made, in pieces, and publishes manifests at the end: an index after its
//! entries, tags last. Formats interpret the documents.

#![deny(missing_docs)]

mod blob;
mod challenge;
mod held;
mod publish;
mod read;
mod referrers;
mod session;
mod sink;
mod sources;
mod spool;
mod upload;
mod whole;
mod write;

use std::path::Path;

use imgconv_model::{
    Addressing, Bundle, BundleSink, Env, FormatFamily, FormatId, Names, Place, Result, Shape,
    Transport, Writes,
};

pub use imgconv_registry::{Host, Location};

pub use crate::sink::RegistrySink;
use crate::{
    read::{RegistryBundle, Resolved},
    whole::WholeRegistry,
};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "docker",
    syntax: "docker://HOST[:PORT][/REPO[:TAG|@DIGEST]]",
    about: "a registry; without a tag `latest` is read (`ls`: every tag), and an image keeps its own; \
            `ls` and `migrate` read every repository of a host",
    shape: Shape::Server,
    addressing: Addressing::Registry,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Docker],
    writes: Some(Writes {
        formats: &[FormatId::OCI, FormatId::DOCKER_V2S2, FormatId::DOCKER_V2S1],
        names: Names::Location,
        descriptors: false,
        any_digest: true,
        shares_blobs: false,
    }),
};

/// The transport, as the catalog lists it.
pub static REGISTRY: Registry = Registry;

/// See [`REGISTRY`].
#[derive(Clone, Copy, Debug)]
pub struct Registry;

impl Transport for Registry {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// A path is never a registry.
    fn recognise(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Connects at the first read.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        if let Some(host) = Host::parse(rest) {
            return Ok(Box::new(WholeRegistry::open(host, env)?));
        }
        let (location, resolved) = (Location::parse(rest)?, Resolved::default());
        Ok(Box::new(RegistryBundle::open(location, resolved, env)?))
    }

    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        Ok(Box::new(RegistrySink::create(Location::parse(rest)?, env)?))
    }
}
