//! One local file that is a whole image, such as an ACI; `-` is standard input or output.
//!
//! The reading and the writing are those of [`imgconv_file`]; this crate states the facts of the place.

use std::path::Path;

use imgconv_file::{FileBundle, create, from_pipe};
use imgconv_model::{
    Addressing, Bundle, BundleSink, Env, FormatId, Names, Place, Result, Shape, Transport, Writes,
};

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
    fn recognise(&self, path: &Path) -> Result<bool> {
        imgconv_fs::is_file(path)
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        if rest == "-" {
            return Ok(Box::new(from_pipe(rest, env)?));
        }
        Ok(Box::new(FileBundle::open(rest)?))
    }

    /// Opens a destination, see [`imgconv_file::create`].
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        create(rest, env)
    }
}
