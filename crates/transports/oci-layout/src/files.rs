//! The files of a layout, in any container: a few files found by name.
//!
//! The directory and the archive implement this and nothing more, so that both are read by the
//! same code and behave the same.

use std::{fmt::Debug, fs::File};

pub(crate) use imgconv_layout::{INDEX_FILE, MARKER_FILE as LAYOUT_FILE};
use imgconv_layout::{Index, check_marker};
use imgconv_model::{Algorithm, Code, Digest, Error, Limits, Reader, Result};
use imgconv_stream::read_to_limit;

/// The directory of all blobs.
pub(crate) const BLOBS: &str = "blobs";
/// Every algorithm whose directory may hold blobs, in order.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// A place that holds the files of a layout.
pub(crate) trait Files: Debug + Send + Sync {
    /// Opens a file by the components of its name; also returns its size. `None` if there is none.
    ///
    /// # Errors
    /// [`Code::Escape`](imgconv_model::Code::Escape) for a symbolic link,
    /// [`Code::Io`](imgconv_model::Code::Io) for anything else that is not a regular file.
    fn open(&self, name: &[&str]) -> Result<Option<(Reader, u64)>>;

    /// Opens a file of the local file system that no symbolic link leads to; `None` if there is no
    /// such file.
    ///
    /// # Errors
    /// See [`Files::open`].
    fn file(&self, _name: &[&str]) -> Result<Option<File>> {
        Ok(None)
    }

    /// Lists every blob whose name is a digest, in order. Other files are passed over.
    ///
    /// # Errors
    /// If the place can't be listed.
    fn blobs(&self) -> Result<Vec<Digest>>;

    /// Opens a blob.
    ///
    /// # Errors
    /// See [`Files::open`].
    fn blob(&self, digest: &Digest) -> Result<Option<(Reader, u64)>> {
        self.open(&[BLOBS, digest.algorithm().as_str(), &digest.hex()])
    }

    /// Returns true if there is a blob.
    ///
    /// # Errors
    /// See [`Files::open`].
    fn has_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.blob(digest)?.is_some())
    }

    /// Reads a whole file of at most `limit` bytes. `None` if there is none.
    ///
    /// # Errors
    /// [`Code::Limit`](imgconv_model::Code::Limit), and see [`Files::open`].
    fn read(&self, name: &str, limit: (&'static str, u64)) -> Result<Option<Vec<u8>>> {
        let Some((reader, size)) = self.open(&[name])? else {
            return Ok(None);
        };
        if size > limit.1 {
            let what = format!("file {name} of {size} bytes");
            return Err(Limits::exceeded(limit.0, limit.1, what));
        }
        let bytes = read_to_limit(reader, limit, &format!("file {name}"))?;
        if bytes.len() as u64 != size {
            let what = format!("size of file {name}");
            return Err(Error::mismatch(what, size, bytes.len()));
        }
        Ok(Some(bytes))
    }
}

/// Checks the `oci-layout` file (robustness D10).
///
/// # Errors
/// [`Code::Missing`], [`Code::BadJson`], [`Code::Unsupported`] or [`Code::Limit`].
pub(crate) fn check_layout(files: &dyn Files, limits: &Limits) -> Result<()> {
    let limit = ("layout_file", limits.layout_file);
    let Some(bytes) = files.read(LAYOUT_FILE, limit)? else {
        let message = format!("there is no file `{LAYOUT_FILE}`, so this is no OCI layout");
        return Err(Error::new(Code::Missing, message));
    };
    check_marker(&bytes, limits)
}

/// Reads the `index.json` of a layout.
///
/// # Errors
/// [`Code::Missing`] if there is no index, and the errors of [`Index::parse`].
pub(crate) fn read_index(files: &dyn Files, limits: &Limits) -> Result<Index> {
    let limit = ("root_index", limits.root_index);
    let Some(bytes) = files.read(INDEX_FILE, limit)? else {
        let message = format!("there is no file `{INDEX_FILE}` in the layout");
        return Err(Error::new(Code::Missing, message));
    };
    Index::parse(&bytes, limits)
}
