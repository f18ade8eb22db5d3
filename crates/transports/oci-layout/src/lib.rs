//! OCI image layouts (image-spec, image-layout.md): a directory, or a tar of one.
//!
//! The transport owns `oci-layout`, `index.json` and the names in it, and finds blobs by their
//! digests. The documents behind the names belong to formats. Both forms are read by the same
//! code, so a directory and its tar never differ.

mod archive;
mod directory;
mod edit;
mod files;
mod gc;
mod growing;
mod hold;
mod leftovers;
mod lock;
mod pack;
mod pool;
mod read;
mod shared;
mod write;

use std::{path::Path, sync::Arc};

use imgconv_fs::Links;
use imgconv_model::{
    Addressing, Bundle, BundleSink, Counted, Env, Error, FormatFamily, FormatId, Names, Place,
    Result, Shape, Transport, Work, Writes,
};
use imgconv_stream::Interruptible;

use crate::{
    archive::Archive,
    directory::Directory,
    files::{BLOBS, Files, INDEX_FILE, LAYOUT_FILE},
    read::LayoutBundle,
};
pub use crate::{
    edit::edit,
    gc::{Sweep, Swept, gc},
    pack::ArchiveSink,
    shared::Sharing,
    write::{LayoutSink, lists},
};
pub use imgconv_fs::Link;
pub use imgconv_layout::RefName;

/// The facts of a layout in a directory.
static DIRECTORY_PLACE: Place = Place {
    scheme: "oci",
    syntax: "oci:PATH[:REF]",
    about: "a directory that is an OCI image layout",
    shape: Shape::Directory,
    addressing: Addressing::Reference,
    any_file: false,
    layout: true,
    families: &[FormatFamily::Oci],
    writes: Some(Writes {
        formats: &[FormatId::OCI],
        names: Names::Tags,
        descriptors: true,
        any_digest: true,
        shares_blobs: true,
    }),
};

/// The facts of a layout in a tar.
static ARCHIVE_PLACE: Place = Place {
    scheme: "oci-archive",
    syntax: "oci-archive:PATH[:REF]",
    about: "a tar of an OCI image layout, plain or compressed; `-` is standard input or output",
    shape: Shape::File,
    addressing: Addressing::Reference,
    any_file: false,
    layout: true,
    families: &[FormatFamily::Oci],
    writes: Some(Writes {
        formats: &[FormatId::OCI],
        names: Names::Tags,
        descriptors: true,
        any_digest: true,
        shares_blobs: false,
    }),
};

/// The transport of layout directories, as the catalog lists it.
pub static OCI_LAYOUT: OciLayout = OciLayout;

/// The transport of layout archives, as the catalog lists it.
pub static OCI_ARCHIVE: OciArchive = OciArchive;

/// A layout in a directory.
#[derive(Clone, Copy, Debug)]
pub struct OciLayout;

impl Transport for OciLayout {
    fn place(&self) -> &'static Place {
        &DIRECTORY_PLACE
    }

    /// Says whether a directory has the marker file, or looks like a layout without it.
    fn recognise(&self, path: &Path) -> Result<bool> {
        let has = |name: &str| imgconv_fs::is_there(&path.join(name));
        Ok(imgconv_fs::is_directory(path)?
            && (has(LAYOUT_FILE)? || (has(INDEX_FILE)? && has(BLOBS)?)))
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        let directory = Directory::open(Path::new(rest), links(env))?;
        let locator = format!("oci:{rest}");
        Ok(Box::new(LayoutBundle::new(
            locator,
            Arc::new(directory),
            env,
        )?))
    }

    /// Opens a destination: a path where nothing exists, an empty directory, or a layout, which
    /// keeps its contents.
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        create_with(rest, env, RefName::default())
    }
}

/// A layout in a tar, which may be compressed.
#[derive(Clone, Copy, Debug)]
pub struct OciArchive;

impl Transport for OciArchive {
    fn place(&self) -> &'static Place {
        &ARCHIVE_PLACE
    }

    /// Says whether the first members of a tar, which may be compressed, belong to a layout.
    fn recognise(&self, path: &Path) -> Result<bool> {
        archive::recognise(path)
    }

    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        let locator = format!("oci-archive:{rest}");
        let archive = open_archive(rest, env).map_err(|error| error.at(locator.clone()))?;
        Ok(Box::new(LayoutBundle::new(
            locator,
            Arc::new(archive),
            env,
        )?))
    }

    /// Opens a destination: a file, replaced if it exists, or `-` for standard output.
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        create_archive_with(rest, env, RefName::default())
    }
}

/// Opens a layout, in a directory or an archive, whatever is wrong with its marker and its index,
/// and returns the errors: for `verify`. The layout lists every readable entry of the index, also
/// images with ambiguous names.
///
/// # Errors
/// If the directory or the archive itself can't be read.
pub fn open_damaged(
    transport: &dyn Transport,
    rest: &str,
    env: &Env,
) -> Result<(Box<dyn Bundle>, Vec<Error>)> {
    let place = transport.place();
    let locator = format!("{}:{rest}", place.scheme);
    let files: Arc<dyn Files> = match place.shape == Shape::Directory {
        true => Arc::new(Directory::open(Path::new(rest), links(env))?),
        false => {
            let archive = open_archive(rest, env).map_err(|error| error.at(locator.clone()))?;
            Arc::new(archive)
        }
    };
    let (bundle, errors) = LayoutBundle::damaged(locator, files, env);
    Ok((Box::new(bundle), errors))
}

fn open_archive(rest: &str, env: &Env) -> Result<Archive> {
    match rest {
        "-" => {
            let input = Interruptible::standard_input(env)?;
            let work = Work::begin("standard input", Counted::Result, None, env);
            Archive::from_reader(work.reading(Box::new(input)), env)
        }
        path => Archive::open(Path::new(path), env),
    }
}

/// Opens a layout directory for writing; `ref_name` chooses the form of `ref.name`.
///
/// # Errors
/// See [`LayoutSink::create`].
pub fn create_with(rest: &str, env: &Env, ref_name: RefName) -> Result<Box<dyn BundleSink>> {
    Ok(Box::new(
        LayoutSink::create(rest, env)?.with_ref_name(ref_name),
    ))
}

/// Opens a layout archive for writing; `ref_name` chooses the form of `ref.name`.
///
/// # Errors
/// See [`ArchiveSink::create`].
pub fn create_archive_with(
    rest: &str,
    env: &Env,
    ref_name: RefName,
) -> Result<Box<dyn BundleSink>> {
    Ok(Box::new(
        ArchiveSink::create(rest, env)?.with_ref_name(ref_name),
    ))
}

/// The treatment of symbolic links in a layout that is read.
fn links(env: &Env) -> Links {
    match env.places.follow_blob_links {
        true => Links::Follow,
        false => Links::Refuse,
    }
}
