//! The storage of a Docker registry on a disk: of version 2 (the distribution project), of version 1
//! (the older docker-registry), or both in one directory. Read only; no registry has to run.
//!
//! The storage has repositories and tags, but not the host of the registry: names are
//! `REPOSITORY:TAG` qualified by docker's rules, or begin with
//! [`Env::registry_host`](imgconv_model::Env). Formats interpret the documents.

#![deny(missing_docs)]

mod head;
mod links;
mod paths;
mod read;
mod v1;
mod v2;

use std::path::Path;

use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

use crate::read::Storage;

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "registry-storage",
    syntax: "registry-storage:PATH[:REF]",
    about: "the storage of a Docker registry, version 2 or 1: its root directory (read only)",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Docker],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static REGISTRY_STORAGE: RegistryStorage = RegistryStorage;

/// See [`REGISTRY_STORAGE`].
#[derive(Clone, Copy, Debug)]
pub struct RegistryStorage;

impl Transport for RegistryStorage {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a directory holds repositories of version 2, or images of version 1.
    fn recognise(&self, path: &Path) -> Result<bool> {
        imgconv_fs::is_place(path, |directory| {
            Ok(v2::is_there(directory)? || v1::is_there(directory)?)
        })
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(Storage::open(rest, env)?))
    }
}
