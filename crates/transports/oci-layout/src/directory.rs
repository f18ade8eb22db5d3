//! The files of a layout in a directory, see [`imgconv_fs::Directory`].

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use imgconv_fs::Links;
use imgconv_model::{Algorithm, Code, Digest, Error, Reader, Result};

use crate::files::{ALGORITHMS, BLOBS, Files};

/// A directory that holds the files of a layout.
#[derive(Debug)]
pub(crate) struct Directory {
    files: imgconv_fs::Directory,
    links: Links,
    /// The advice about a refused link.
    hint: &'static str,
}

const READING: &str = "`--allow-symlinked-blobs` follows links";
const WRITING: &str = "nothing is written through links; `imgconv convert --allow-symlinked-blobs` copies a layout with \
                       links to another one";

/// Makes a directory from an open descriptor. Links below it are refused.
impl From<OwnedFd> for Directory {
    fn from(descriptor: OwnedFd) -> Self {
        Self {
            files: descriptor.into(),
            links: Links::Refuse,
            hint: WRITING,
        }
    }
}

impl Directory {
    /// Opens a directory to read it. The path is the user's, so links in it are followed.
    pub(crate) fn open(path: &Path, links: Links) -> Result<Self> {
        let files = imgconv_fs::Directory::open(path)?.with_links(links);
        let hint = READING;
        Ok(Self { files, links, hint })
    }

    /// Opens a directory to change it. The path is the user's, so links in it are followed.
    pub(crate) fn open_to_change(path: &Path) -> Result<Self> {
        let opened = Self::open(path, Links::Refuse)?;
        let hint = WRITING;
        Ok(Self { hint, ..opened })
    }

    /// Adds advice to the error of a refused link.
    fn advise(&self, error: Error) -> Error {
        advise(error, self.hint)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.files.as_fd()
    }

    /// Opens the directory of the blobs of an algorithm; `None` if there is none.
    pub(crate) fn blobs_of(&self, algorithm: Algorithm) -> Result<Option<imgconv_fs::Directory>> {
        let path = format!("{BLOBS}/{}", algorithm.as_str());
        self.files
            .directory(&path)
            .map_err(|error| self.advise(error))
    }

    /// Opens a file by the components of its name; also returns its size.
    fn look(&self, name: &[&str]) -> Result<Option<(File, u64)>> {
        self.files
            .file(&name.join("/"))
            .map_err(|error| self.advise(error))
    }
}

impl Files for Directory {
    fn open(&self, name: &[&str]) -> Result<Option<(Reader, u64)>> {
        let found = self.look(name)?;
        Ok(found.map(|(file, size)| (Box::new(file) as Reader, size)))
    }

    fn has_blob(&self, digest: &Digest) -> Result<bool> {
        let path = format!("{BLOBS}/{}/{}", digest.algorithm().as_str(), digest.hex());
        self.files
            .has_file(&path)
            .map_err(|error| self.advise(error))
    }

    fn file(&self, name: &[&str]) -> Result<Option<File>> {
        if self.links == Links::Follow {
            return Ok(None);
        }
        Ok(self.look(name)?.map(|(file, _)| file))
    }

    fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in ALGORITHMS {
            let path = format!("{BLOBS}/{}", algorithm.as_str());
            let names = self
                .files
                .names(&path)
                .map_err(|error| self.advise(error))?;
            found.extend(
                names
                    .iter()
                    .filter_map(|name| Digest::from_hex(algorithm, name)),
            );
        }
        found.sort();
        Ok(found)
    }
}

/// Makes a directory of a layout if there is none, and opens it. `shown` names it in errors.
pub(crate) fn make_directory(parent: impl AsFd, name: &str, shown: &str) -> Result<OwnedFd> {
    imgconv_fs::make_directory_at(parent, name)
        .map_err(|error| advise(error, WRITING).at(format!("directory {shown}")))
}

fn advise(error: Error, hint: &str) -> Error {
    match error.code() {
        Code::Escape => error.hint(hint),
        _ => error,
    }
}
