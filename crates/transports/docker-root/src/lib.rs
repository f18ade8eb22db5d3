//! The data root of a docker engine (`/var/lib/docker`), which need not run. Read only. A root can have
//! images in three stores:
//!
//! Since Docker 1.10, in the engine's own store (moby's `image`, `layer` and `reference` packages, the
//! same up to Docker 28): `image/DRIVER/` is a folder for each graph driver that was ever in use there.
//!
//! - `repositories.json` names images: `{"Repositories":{REPOSITORY:{REFERENCE:IMAGE-ID}}}`, where a
//!   reference is `REPOSITORY:TAG` or `REPOSITORY@DIGEST`.
//! - `imagedb/content/sha256/HEX` is a config, byte for byte; its digest is the image ID.
//! - `layerdb/sha256/CHAIN-ID/` has `diff` (the diff ID), `cache-id` (the name of the folder that the
//!   graph driver extracted the layer to) and `tar-split.json.gz`, from which the tar of the layer is
//!   put together byte for byte. The chain ID of the lowest layer is its diff ID; that of any other is
//!   the SHA-256 of `PARENT-CHAIN-ID DIFF-ID`.
//!
//! Before Docker 1.10 (docker's `graph` package), version 1 images:
//!
//! - `repositories-DRIVER` names images: `{"Repositories":{REPOSITORY:{TAG:ID}}}`.
//! - `graph/ID/json` describes an image and names its parent; Docker 1.9 left the id out and wrote the
//!   parent to `graph/ID/parent` or to the field `parent_id`. `graph/ID/tar-data.json.gz` is the record
//!   of the layer's tar, since Docker 1.8; `ID` is also the name of the driver's folder.
//! - `.migration-v1-images.json` lists the images that a newer engine copied to its own store.
//!
//! With containerd's image store, which Docker 29 uses by default: `containerd/daemon` is containerd's
//! root directory, see `imgconv_containerd`. The images are in the namespace `moby`. An engine that
//! uses the containerd of the system has them in `../containerd` (`/var/lib/containerd`), of which only
//! that namespace is read.
//!
//! An image of the engine's own store that containerd's store holds whole is listed there only. A name
//! that two stores give to different images is ambiguous.
//!
//! No file is trusted: a config is verified by its name, a layer by the diff ID in the config, and
//! files are opened below the folder of their layer only.

#![deny(missing_docs)]

mod driver;
mod graph;
mod measured;
mod read;
mod store;

use std::path::Path;

use imgconv_containerd::Store;
use imgconv_fs::or_other_kind;
use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

use crate::read::{DAEMON, DataRoot};

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

    /// Says whether a directory has one of the three stores.
    fn recognise(&self, path: &Path) -> Result<bool> {
        imgconv_fs::is_place(path, |root| {
            if !or_other_kind(store::drivers(root))?.is_empty() || graph::is_there(root)? {
                return Ok(true);
            }
            match or_other_kind(root.directory(DAEMON))? {
                Some(daemon) => Store::is_there(&daemon),
                None => Ok(false),
            }
        })
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(DataRoot::open(rest, env)?))
    }
}
