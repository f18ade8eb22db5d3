//! A blob whose key is half of its hash.

use std::{
    fmt,
    io::{self, Read},
    sync::Arc,
};

use imgconv_fs::Directory;
use imgconv_model::{Algorithm, Code, Error, Open, Reader, Result};
use imgconv_stream::Hasher;

use crate::paths::BLOBS;

/// A key of the store: `sha512-` and the first 64 hex digits of the image ID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(String);

impl Key {
    const PREFIX: &str = "sha512-";

    /// Parses a file name; `None` if it is no key.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let hex = name.strip_prefix(Self::PREFIX)?;
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == 64 && hex.bytes().all(digit)).then(|| Self(name.to_owned()))
    }

    fn hex(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }

    /// Returns the key in rkt's form.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of the key's file in a store.
    pub(crate) fn path(&self, store: &str) -> String {
        format!("{store}/sha512/{}/{}", &self.hex()[..2], self.0)
    }
}

/// A blob where it is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) locator: String,
    pub(crate) directory: Arc<Directory>,
    pub(crate) key: Key,
}

impl Stored {
    /// Opens the file; also returns its size.
    pub(crate) fn file(&self) -> Result<(std::fs::File, u64)> {
        let found = self.directory.file(&self.key.path(BLOBS));
        found
            .map_err(|error| error.at(self.locator.clone()))?
            .ok_or_else(|| {
                let message = format!(
                    "the store has a manifest and no image {}",
                    self.key.as_str()
                );
                Error::new(Code::Missing, message).at(self.locator.clone())
            })
    }
}

impl Open for Stored {
    fn open(&self) -> Result<Reader> {
        let (file, _) = self.file()?;
        Ok(Box::new(Keyed {
            inner: file,
            key: self.key.clone(),
            locator: self.locator.clone(),
            hasher: Hasher::new(Algorithm::Sha512),
        }))
    }
}

/// Fails instead of reporting the end if the SHA-512 of all bytes does not begin with the key.
struct Keyed<R> {
    inner: R,
    key: Key,
    locator: String,
    hasher: Hasher,
}

impl<R: Read> Read for Keyed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            let found = self.hasher.clone().finish();
            if !found.hex().starts_with(self.key.hex()) {
                let what = format!("the image ID of {}", self.key.as_str());
                let error =
                    Error::mismatch(what, format!("{}…", self.key.as_str()), found.image_id());
                return Err(error.at(self.locator.clone()).into());
            }
        }
        Ok(count)
    }
}

impl<R> fmt::Debug for Keyed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
