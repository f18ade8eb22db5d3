//! The root directory of containerd (`/var/lib/containerd`, or `containerd/daemon` below the data
//! root of a docker engine with the containerd image store). containerd need not run. Read only.
//!
//! The files are described in `imgconv_containerd`.

#![deny(missing_docs)]

use std::path::Path;

use imgconv_containerd::Store;
use imgconv_fs::Directory;
use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

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
    fn recognise(&self, path: &Path) -> Result<bool> {
        imgconv_fs::is_place(path, Store::is_there)
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        let locator = format!("containerd:{rest}");
        let found = Directory::open(Path::new(rest))
            .and_then(|directory| Store::open(directory, &locator, env));
        match found {
            Ok(store) => Ok(Box::new(store)),
            Err(error) => Err(error.at(locator)),
        }
    }
}
