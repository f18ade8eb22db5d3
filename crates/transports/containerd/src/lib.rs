//! The root directory of containerd (`/var/lib/containerd`, or `containerd/daemon` below the data
//! root of a docker engine with the containerd image store). containerd need not run. Read only.
//!
//! Facts from containerd's `plugins/content/local` and `core/metadata/buckets.go`, the same from
//! containerd 1.2 to 2.1:
//!
//! - `io.containerd.content.v1.content/blobs/ALGORITHM/HEX` are documents and layers, as a registry
//!   served them.
//! - `io.containerd.metadata.v1.bolt/meta.db` is a bbolt database. Its bucket `v1` has a bucket for
//!   each namespace (`default`, `k8s.io`, `moby`, …); the bucket `images` of a namespace has a
//!   bucket for each name; and the bucket `target` of a name is the descriptor: `digest`,
//!   `mediatype`, and `size` as a signed varint.
//!
//! Every blob is verified by its digest whenever it is read. Layers that containerd deleted after
//! it extracted them (`discard_unpacked_layers`) are missing; snapshots are not read.

#![deny(missing_docs)]

mod names;
mod paths;
mod read;

use std::path::Path;

use imgconv_fs::Directory;
use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

use crate::{paths::BLOBS, read::Store};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "containerd",
    syntax: "containerd:PATH[:REF]",
    about: "containerd's root directory, such as /var/lib/containerd (read only)",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Oci, FormatFamily::Docker],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static CONTAINERD: Containerd = Containerd;

/// See [`CONTAINERD`].
#[derive(Clone, Copy, Debug)]
pub struct Containerd;

impl Transport for Containerd {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a directory holds a content store.
    fn recognise(&self, path: &Path) -> bool {
        path.is_dir() && Directory::open(path).is_ok_and(|directory| directory.is_directory(BLOBS))
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(Store::open(rest, env)?))
    }
}
