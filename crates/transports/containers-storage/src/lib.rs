//! The store of podman, buildah and CRI-O (`/var/lib/containers/storage`, or
//! `~/.local/share/containers/storage` of a user). Read only.
//!
//! Facts from containers/storage (`images.go`, `layers.go`), the same from podman 1 to 5. `DRIVER` is
//! the graph driver, `overlay` or `vfs`; a store can have both.
//!
//! - `DRIVER-images/images.json` lists images: `id`, `names`, `layer` (the topmost), and the names of
//!   documents. `DRIVER-images/ID/manifest` is the manifest; the document of any other name is the file
//!   `=BASE64-OF-NAME`, and a config has its digest as its name. `manifest-DIGEST` is the manifest
//!   with that digest: an image may have several.
//! - The document `signature-HEX` has the signatures of such a manifest (simple signing, or sigstore),
//!   `signatures` those of the last one. `metadata` in the list has their sizes (`signatures-sizes`,
//!   `signature-sizes`). They are counted and not read.
//! - An image of `podman manifest create` has no layers, and its manifest is an index. The index names
//!   the manifests of other images of the store, or of images that were not pulled.
//! - `DRIVER-layers/layers.json` lists layers: `id`, `parent`, `diff-digest` (the diff ID) and
//!   `diff-size`. `DRIVER-layers/ID.tar-split.gz` is the record from which the tar of the layer is put
//!   together byte for byte.
//! - `overlay/ID/diff` and `vfs/dir/ID` have the files.
//!
//! A locator is the path of a store, or has skopeo's form, `[DRIVER@ROOT]NAME`. A name alone is looked
//! for in the default store of podman, which `storage.conf` names, with its additional stores.
//!
//! The store does not keep the compressed layers that a manifest names. Where a manifest names layers
//! that are plain tars, they are found by their digests and the manifest stays as it is. Otherwise
//! each layer gets the descriptor of its plain tar, so the manifest has another digest, and an index
//! that names the manifest gets that digest.

#![deny(missing_docs)]

mod config;
mod image;
mod layers;
mod read;
mod spec;

use std::path::Path;

use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

use crate::{layers::DRIVERS, read::Store};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "containers-storage",
    syntax: "containers-storage:PATH[:REF]",
    about: "the store of podman, buildah or CRI-O, such as /var/lib/containers/storage (read only)",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Oci, FormatFamily::Docker],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static CONTAINERS_STORAGE: ContainersStorage = ContainersStorage;

/// See [`CONTAINERS_STORAGE`].
#[derive(Clone, Copy, Debug)]
pub struct ContainersStorage;

impl Transport for ContainersStorage {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a directory holds the list of images of a driver.
    fn recognise(&self, path: &Path) -> Result<bool> {
        imgconv_fs::is_place(path, |directory| {
            for driver in DRIVERS {
                if image::is_there(directory, driver)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn split(&self, rest: &str) -> Option<(String, Option<String>)> {
        spec::split(rest)
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(Store::open(rest, env)?))
    }
}
