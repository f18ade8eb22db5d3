//! One local file that is a whole image, such as an ACI; `-` is standard input or output.
//!
//! The transport does not interpret or decompress the bytes: a format does. The transport opens
//! regular files only, detects changes of a file during the run, and makes files appear all at once
//! or not at all.

mod naming;
mod read;
mod write;

use std::path::Path;

use imgconv_model::{
    Addressing, Bundle, BundleSink, Env, FormatId, Names, Place, Result, Shape, Transport, Writes,
};

pub use naming::file_names;
pub use read::{FileBundle, from_pipe, from_reader};
pub use write::overlaps;

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "aci",
    syntax: "aci:PATH",
    about: "one ACI file, a directory to write ACIs to, or `-` for standard input or output",
    shape: Shape::File,
    addressing: Addressing::Alone,
    any_file: true,
    layout: false,
    families: &[],
    writes: Some(Writes {
        formats: &[FormatId::ACI],
        names: Names::Image,
        descriptors: false,
        any_digest: true,
        shares_blobs: false,
    }),
};

/// The transport, as the catalog lists it.
pub static FILE: File = File;

/// One local file, or `-`.
#[derive(Clone, Copy, Debug)]
pub struct File;

impl Transport for File {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether the path is a regular file; a format decides whether its bytes are an image.
    fn recognise(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        if rest == "-" {
            return Ok(Box::new(from_pipe(rest, env)?));
        }
        Ok(Box::new(FileBundle::open(rest)?))
    }

    /// Opens a destination. A directory (one that exists, or a path that ends with `/`) takes one
    /// file for each publication, under its `file_name`; so does a path that does not exist yet
    /// if there are several publications. Any other path is the file itself, and an existing one
    /// is replaced, as `cp` does. `-` is standard output, written at the commit only.
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        write::create(rest, env)
    }
}
