//! The content store of rkt: `cas` in its data directory (`/var/lib/rkt`). Read only.
//!
//! Facts from rkt's `store/imagestore`: `cas/blob` and `cas/imageManifest` are key-value stores with
//! one file for each key, `sha512/XX/sha512-HEX`, where `HEX` is the first half of the image ID in 64
//! hex digits and `XX` its first two. A blob is the ACI, always uncompressed; the other store has its
//! manifest, written anew by rkt. `cas/db` (a `ql` database with names, times and origins) is not
//! read: the index is made of the manifests. Half a hash proves nothing, so every blob is hashed
//! whenever it is read, and must match the key.

#![deny(missing_docs)]

mod blob;
mod paths;
mod read;

use std::path::Path;

use imgconv_model::{Addressing, Bundle, Env, FormatFamily, Place, Result, Shape, Transport};

use crate::{
    paths::{BLOBS, MANIFESTS},
    read::Store,
};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "rkt",
    syntax: "rkt:PATH[:REF]",
    about: "rkt's data directory, the one that holds `cas` (read only)",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Aci],
    writes: None,
};

/// The transport, as the catalog lists it.
pub static RKT: Rkt = Rkt;

/// See [`RKT`].
#[derive(Clone, Copy, Debug)]
pub struct Rkt;

impl Transport for Rkt {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a directory holds one of the two stores.
    fn recognise(&self, path: &Path) -> Result<bool> {
        imgconv_fs::is_place(path, |directory| {
            let has = |store| directory.is_directory(&format!("{store}/sha512"));
            Ok(has(BLOBS)? || has(MANIFESTS)?)
        })
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(Store::open(rest, env)?))
    }
}
