//! The data root of a docker engine (`/var/lib/docker`), which need not run. Read only.
//!
//! Facts from moby's `image`, `layer` and `reference` packages, the same from Docker 1.10 to 28:
//! `image/DRIVER/` has a folder for each graph driver that was ever in use there.
//!
//! - `repositories.json` names images: `{"Repositories":{REPOSITORY:{REFERENCE:IMAGE-ID}}}`, where a
//!   reference is `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
//! - `imagedb/content/sha256/HEX` is a config, byte for byte; its digest is the image ID.
//! - `layerdb/sha256/CHAIN-ID/` has `diff` (the diff ID), `cache-id` (the name of the folder that the
//!   graph driver extracted the layer to) and `tar-split.json.gz`, from which the tar of the layer is
//!   put together byte for byte. The chain ID of the lowest layer is its diff ID; that of any other is
//!   the SHA-256 of `PARENT-CHAIN-ID DIFF-ID`.
//!
//! No file is trusted: a config is verified by its name, a layer by the diff ID in the config, and
//! files are opened below the folder of their layer only.

#![deny(missing_docs)]

mod driver;
mod read;
mod store;

use std::path::Path;

use imgconv_fs::Directory;
use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

use crate::read::DataRoot;

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "docker-root",
    syntax: "docker-root:PATH[:REF]",
    about: "the data root of a docker engine, such as /var/lib/docker (read only)",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Docker],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static DOCKER_ROOT: DockerRoot = DockerRoot;

/// See [`DOCKER_ROOT`].
#[derive(Clone, Copy, Debug)]
pub struct DockerRoot;

impl Transport for DockerRoot {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a directory holds the images of a graph driver.
    fn recognise(&self, path: &Path) -> bool {
        path.is_dir()
            && Directory::open(path).is_ok_and(|directory| {
                store::drivers(&directory).is_ok_and(|drivers| !drivers.is_empty())
            })
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(DataRoot::open(rest, env)?))
    }
}
