//! `docker save` files of every generation: read all, write the one that every engine loads.
//!
//! - before Docker 1.10: `repositories` and `ID/{VERSION,json,layer.tar}`; before 1.2 a directory may
//!   have another name, and there may be no `repositories`;
//! - from 1.10 on, and podman's and skopeo's variants: `manifest.json`;
//! - from 25 on: an OCI layout and `manifest.json` in one tar. The layout is used, after both were
//!   compared.
//!
//! The transport owns the lists of images, their names and the members of the tar. Formats
//! interpret the images: they get a root document and request the members that it names.

mod both;
mod directories;
mod draft;
mod files;
mod layout;
mod legacy;
mod manifest;
mod members;
mod naming;
mod read;
mod write;

use std::{ops::ControlFlow, os::unix::fs::FileExt, path::Path};

use imgconv_fs::{open_regular, or_nothing};
use imgconv_manifest::v1_image::is_id;
use imgconv_model::{
    Addressing, Bundle, BundleSink, Env, Error, FormatFamily, FormatId, Names, Place, Reader,
    Result, Shape, Transport, Writes, quote_path,
};
use imgconv_tar::Failed;

use crate::{
    files::{MANIFEST_FILE, REPOSITORIES_FILE},
    read::ArchiveBundle,
};
pub use crate::{
    manifest::ARCHIVE_IMAGE,
    write::{ArchiveSink, Receiver, SentImage},
};

/// Decompressed bytes of an archive that are looked at to recognise it.
const PREFIX: u64 = 1 << 20;
/// The most headers of an uncompressed archive that are read to find a `manifest.json` behind the
/// layers.
const HEADERS: usize = 4096;
/// The suffixes after an id in the name of a member: the files of a v1 image, and the layers and
/// configs of writers that name them by digest.
const MARKERS: [&str; 6] = [
    "/VERSION",
    "/json",
    "/layer.tar",
    ".json",
    ".tar",
    ".tar.gz",
];

/// The facts of the kind of place.
static PLACE: Place = Place {
    scheme: "docker-archive",
    syntax: "docker-archive:PATH[:REF]",
    about: "a `docker save` file of any generation, plain or compressed; `-` is standard input or output",
    shape: Shape::File,
    addressing: Addressing::Reference,
    any_file: false,
    layout: false,
    families: &[FormatFamily::Docker],
    writes: Some(Writes {
        formats: &[FormatId::DOCKER_ARCHIVE],
        names: Names::Repositories,
        descriptors: false,
        any_digest: true,
        shares_blobs: false,
    }),
};

/// The transport of docker archives, as the catalog lists it.
pub static DOCKER_ARCHIVE: DockerArchive = DockerArchive;

/// A `docker save` file.
#[derive(Clone, Copy, Debug)]
pub struct DockerArchive;

impl Transport for DockerArchive {
    fn place(&self) -> &'static Place {
        &PLACE
    }

    /// Says whether a tar, which may be compressed, holds one of docker's own lists of images, a
    /// directory of a v1 image, or layers and configs with the names that podman and skopeo use. An
    /// OCI layout is accepted only with a `manifest.json` in it: this transport has to be asked
    /// before the one of layout archives. Of a compressed archive only the start is read.
    fn recognise(&self, path: &Path) -> Result<bool> {
        let mut each = |name: &str| {
            if is_marker(name) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        Ok(imgconv_tar::look(path, PREFIX, &mut each)?.is_some() || has_marker(path)?)
    }

    /// Opens an archive. It is read to its end once, and copied to the temporary directory if it is
    /// compressed or comes from standard input.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>> {
        Ok(Box::new(ArchiveBundle::open(rest, env)?))
    }

    /// Opens a destination: a file, replaced if it exists, or `-` for standard output.
    fn create(&self, rest: &str, env: &Env) -> Result<Box<dyn BundleSink>> {
        Ok(Box::new(ArchiveSink::create(rest, env)?))
    }
}

/// Opens an archive that another place sends: a copy of at most `limit` bytes is made in the temporary
/// directory. `locator` is the other place for messages.
///
/// # Errors
/// The errors of `reader`, [`Code::Limit`](imgconv_model::Code::Limit) if the archive is longer, and as
/// for an archive that a user names.
pub fn open_stream(
    reader: Reader,
    limit: u64,
    locator: &str,
    env: &Env,
) -> Result<Box<dyn Bundle>> {
    Ok(Box::new(ArchiveBundle::of_stream(
        reader, limit, locator, env,
    )?))
}

/// Returns advice for a directory with the unpacked files of such an archive; `None` for any other
/// directory.
pub fn unpacked(path: &Path) -> Option<String> {
    let is_file = |name: &str| path.join(name).is_file();
    let layer =
        |entry: std::fs::DirEntry| entry.path().join("layer.tar").symlink_metadata().is_ok();
    let is_unpacked = path.is_dir()
        && (is_file(MANIFEST_FILE)
            || is_file(REPOSITORIES_FILE)
            || path.read_dir().ok()?.take(HEADERS).flatten().any(layer));
    is_unpacked.then(|| {
        "this looks like a docker archive (`docker save`) that was unpacked: pack it again with \
         `tar -C DIR -cf FILE.tar .` and give `docker-archive:FILE.tar`"
            .to_owned()
    })
}

fn is_marker(name: &str) -> bool {
    if name == MANIFEST_FILE || name == REPOSITORIES_FILE {
        return true;
    }
    let rest = name.get(..64).filter(|id| is_id(id)).map(|_| &name[64..]);
    if rest.is_some_and(|rest| MARKERS.contains(&rest)) {
        return true;
    }
    // Up to Docker 1.1 the directory of the saved image may have any name, except that of the
    // single directory of an ACI.
    let directory = name.strip_suffix("/layer.tar");
    directory.is_some_and(|directory| directory != "rootfs" && !directory.contains('/'))
}

/// Says whether an uncompressed tar has one of these names, by jumping from header to header: most
/// writers put `manifest.json` behind the layers. Faults of the tar are found when it is opened.
///
/// # Errors
/// With the path, if a call of the system failed.
fn has_marker(path: &Path) -> Result<bool> {
    let at = |error: Error| error.at(quote_path(path));
    let Some((file, _)) = or_nothing(open_regular(path).map(Some)).map_err(at)? else {
        return Ok(false);
    };
    let failed = Failed::default();
    let header = |offset| {
        let mut header = [0; 512];
        let read = file.read_exact_at(&mut header, offset);
        read.inspect_err(|error| failed.note(Some(error))).ok()?;
        Some(header)
    };
    let has_marker = imgconv_tar::names_of_headers(header)
        .take(HEADERS)
        .any(|name| {
            let name = std::str::from_utf8(&name).ok();
            name.and_then(members::plain_name)
                .is_some_and(|name| is_marker(&name))
        });
    match failed.check() {
        Err(error) if !has_marker => Err(Error::io(error, quote_path(path))),
        _ => Ok(has_marker),
    }
}
