//! A registry of version 1: images by the registry API v1 that docker-registry spoke (its
//! `docs/`, and docker's `docs/reference/api/registry_api.md` and `hub_registry_spec.md`). Read only.
//!
//! An index knows the users and names the registries of a repository, with a token for them; both are often
//! one server. An image is a chain of ids, each with a `json` and a layer. An id is no digest: a layer is
//! verified by the checksum that the registry computed, if the registry has one. Formats interpret the documents.

#![deny(missing_docs)]

mod images;
mod layer;
mod read;
mod session;

use std::path::Path;

use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};
use imgconv_registry::{Location, Protocol};

use crate::read::Repository;

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "dockerv1",
    syntax: "dockerv1://HOST[:PORT]/REPO[:TAG]",
    about: "a registry that speaks the API v1; without a tag `latest` is read (`ls`, `migrate`: every tag)",
    shape: Shape::Server,
    addressing: Addressing::Registry,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Docker],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static REGISTRY_V1: RegistryV1 = RegistryV1;

/// See [`REGISTRY_V1`].
#[derive(Clone, Copy, Debug)]
pub struct RegistryV1;

impl Transport for RegistryV1 {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// A path is never a registry.
    fn recognise(&self, _: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Connects at the first read.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        let location = Location::parse_as(Protocol::V1, rest)?;
        Ok(Box::new(Repository::open(location, env)?))
    }
}
