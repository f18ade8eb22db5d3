//! Bytes that are files: blobs of a directory, and files that stay open.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use imgconv_model::{Code, Error, Facts, Open, Reader, Result};
use imgconv_stream::Verified;

use crate::directory::Directory;

/// A blob that is a file of a directory. The file is opened anew for each pass, and its bytes are
/// compared with the claimed digest and size whenever they are read.
#[derive(Debug)]
pub struct StoredBlob {
    directory: Arc<Directory>,
    path: String,
    facts: Facts,
    /// The place for messages, and the name of the blob there.
    locator: String,
    name: String,
}

impl StoredBlob {
    /// Finds a blob at a path below a directory; `None` if there is no such file. `locator` names
    /// the place in messages, and `name` names the blob in that place.
    ///
    /// # Errors
    /// The errors of [`Directory::file`], at `locator`.
    pub fn find(
        directory: &Arc<Directory>,
        path: String,
        facts: Facts,
        locator: &str,
        name: String,
    ) -> Result<Option<Self>> {
        let blob = Self {
            directory: Arc::clone(directory),
            path,
            facts,
            locator: locator.to_owned(),
            name,
        };
        Ok(blob.open_file()?.map(|_| blob))
    }

    fn open_file(&self) -> Result<Option<File>> {
        let found = self.directory.file(&self.path);
        let found = found.map_err(|error| error.at(self.locator.clone()))?;
        Ok(found.map(|(file, _)| file))
    }

    /// Opens the file, which existed when the blob was found.
    fn open_again(&self) -> Result<File> {
        self.open_file()?.ok_or_else(|| {
            let message = format!("file {} is gone", self.path);
            Error::new(Code::Missing, message).at(self.locator.clone())
        })
    }
}

impl Open for StoredBlob {
    fn open(&self) -> Result<Reader> {
        let what = format!("{} of {}", self.name, self.locator);
        let file = self.open_again()?;
        Ok(Box::new(Verified::new(file, &self.facts, what)))
    }

    fn file(&self) -> Result<Option<File>> {
        self.open_again().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read as _};

    use imgconv_model::Algorithm;
    use imgconv_stream::digest;

    use super::*;

    #[test]
    fn a_stored_blob_is_verified_and_may_vanish() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("blob"), "hello").unwrap();
        let directory = Arc::new(Directory::open(folder.path()).unwrap());
        let find = |path: &str, claimed: &str| {
            let facts = Facts {
                digest: Some(digest(Algorithm::Sha256, claimed.as_bytes())),
                size: Some(5),
            };
            let name = "the blob".to_owned();
            StoredBlob::find(&directory, path.to_owned(), facts, "place:x", name).unwrap()
        };
        let read = |blob: &StoredBlob| -> Result<String> {
            let mut text = String::new();
            let read = blob.open()?.read_to_string(&mut text);
            read.map(|_| text).map_err(Error::from_io)
        };
        assert!(find("none", "hello").is_none());
        let blob = find("blob", "hello").unwrap();
        assert_eq!(read(&blob).unwrap(), "hello");
        let other = find("blob", "other").unwrap();
        let error = read(&other).unwrap_err();
        assert_eq!(error.code(), Code::Mismatch);
        assert!(error.to_string().contains("the blob of place:x"), "{error}");
        fs::remove_file(folder.path().join("blob")).unwrap();
        assert_eq!(
            read(&blob).unwrap_err().to_string(),
            "place:x: file blob is gone"
        );
    }
}

/// A file that stays open. It is read by position, so that each reader starts at its beginning.
#[derive(Debug)]
pub struct HeldFile(pub Arc<File>);

impl Open for HeldFile {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(Pass {
            file: Arc::clone(&self.0),
            offset: 0,
        }))
    }
}

struct Pass {
    file: Arc<File>,
    offset: u64,
}

impl Read for Pass {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
