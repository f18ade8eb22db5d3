//! One image, or one list of images, in a directory of plain files: the `dir:` of skopeo.
//!
//! The manifest is `manifest.json`, every blob is a file named by the hex digits of its digest, a
//! manifest that a list names is `HEX.manifest.json`, and `version` marks the whole. There are no
//! names. Signatures (`signature-N`) are left behind with a warning. Formats interpret the
//! documents.

#![deny(missing_docs)]

mod files;
mod read;
mod write;

use std::path::Path;

use imgconv_model::{
    Addressing, Bundle, BundleSink, Env, FormatId, Names, Place, Result, Shape, Transport, Writes,
};

use crate::{
    files::{MANIFEST_FILE, VERSION_FILE, VERSION_START},
    read::DirBundle,
    write::DirSink,
};

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "dir",
    syntax: "dir:PATH",
    about: "a directory with one image in plain files, as skopeo writes it",
    shape: Shape::Directory,
    addressing: Addressing::Alone,
    any_file: false,
    layout: false,
    families: &[],
    writes: Some(Writes {
        formats: &[FormatId::OCI, FormatId::DOCKER_V2S2, FormatId::DOCKER_V2S1],
        names: Names::None,
        descriptors: false,
        any_digest: false,
        shares_blobs: false,
    }),
};

/// The transport, as the catalog lists it.
pub static DIR: Dir = Dir;

/// See [`DIR`].
#[derive(Clone, Copy, Debug)]
pub struct Dir;

impl Transport for Dir {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a directory has the marker file and a manifest.
    fn recognise(&self, path: &Path) -> Result<bool> {
        let limits = imgconv_model::Limits::default();
        imgconv_fs::is_place(path, |directory| {
            let limit = ("layout_file", limits.layout_file);
            let marker = directory.read(VERSION_FILE, limit)?.unwrap_or_default();
            Ok(marker.starts_with(VERSION_START.as_bytes()) && directory.is_file(MANIFEST_FILE)?)
        })
    }

    /// Opens a directory; the marker file may be missing, since old tools did not write it.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(DirBundle::open(rest, env)?))
    }

    /// Opens a destination: a path where nothing exists, or an empty directory.
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        Ok(Box::new(DirSink::create(rest, env)?))
    }
}
