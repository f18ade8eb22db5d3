//! Opening blobs: in the place of their image, or in the directory of what was made.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use imgconv_model::{Blob, Code, Digest, Error, Facts, Reader, Result};

use super::{
    contents::{At, Held},
    opening::Stock,
    proven::Stamped,
    repository::Repository,
};

/// An open blob.
#[derive(Debug)]
pub struct Opened {
    /// The number of bytes.
    pub size: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// The bytes of an open blob.
pub enum Bytes {
    /// A reader that verifies the bytes at its end, and the file that it reads, if it reads one as it is.
    Unproven(Reader, Option<Stamped>),
    /// A file whose bytes were verified before, as long as the file is unchanged.
    Proven(Stamped),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unproven(..) => "Unproven",
            Self::Proven(_) => "Proven",
        })
    }
}

impl Stock {
    /// Opens a blob; `None` without `make` if a file that was made has to be compared with its digest
    /// first, or to be made again.
    ///
    /// # Errors
    /// [`Code::Missing`] if the repository has no such blob, and the errors of the source.
    pub fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        make: bool,
    ) -> Result<Option<Opened>> {
        if let Some(file) = self
            .proven
            .get(digest)
            .filter(|_| repository.has_blob(digest))
        {
            let size = file.size();
            let bytes = Bytes::Proven(file);
            return Ok(Some(Opened { size, bytes }));
        }
        let blob = self.find_blob(repository, digest, make)?;
        blob.map(|blob| Self::opened(&blob)).transpose()
    }

    /// Opens a blob, and notes the file that is read.
    pub(super) fn opened(blob: &Blob) -> Result<Opened> {
        let file = |blob: &Blob| blob.bytes.file().ok().flatten().and_then(Stamped::of);
        let (before, reader, after) = (file(blob), blob.open()?, file(blob));
        // The reader has opened the same file between.
        let both = before.zip(after);
        let file = both.and_then(|(before, after)| before.is_same(&after).then_some(after));
        Ok(Opened {
            size: blob.facts.size.unwrap_or_default(),
            bytes: Bytes::Unproven(reader, file),
        })
    }

    /// Remembers that all bytes of a blob were read from a file, and verified.
    pub fn prove(&self, digest: Digest, file: Stamped) {
        if file.is_unchanged() {
            self.proven.add(digest, file);
        }
    }

    /// Returns a blob with its size. The bytes are verified whenever they are read.
    fn find_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        make: bool,
    ) -> Result<Option<Blob>> {
        let (held, document) = {
            let contents = repository.contents();
            (
                contents.blobs.get(digest).cloned(),
                contents.manifests.get(digest).map(Arc::clone),
            )
        };
        let missing = || {
            Error::new(
                Code::Missing,
                format!("the repository has no blob {digest}"),
            )
        };
        let of_memory = |bytes: Arc<[u8]>| Blob {
            facts: Facts {
                digest: Some(*digest),
                size: Some(bytes.len() as u64),
            },
            bytes: Arc::new(bytes),
        };
        let Some(Held { at, size }) = held else {
            // Old clients and mirrors fetch documents as blobs too.
            let found = document.filter(|found| found.digest == *digest);
            return found
                .map(|found| Some(of_memory(Arc::clone(&found.bytes))))
                .ok_or_else(missing);
        };
        let size = size.or_else(|| self.known_size(digest));
        let facts = Facts {
            digest: Some(*digest),
            size,
        };
        let mut blob = match at {
            At::Document(bytes) => return Ok(Some(of_memory(bytes))),
            At::Made(number, want) => {
                if !self.cache.is_verified(digest) {
                    if !make {
                        return Ok(None);
                    }
                    if self.cache.verified(digest)?.is_none() {
                        self.make_again(repository, (number, want), digest)?;
                    }
                }
                self.cache.blob(digest, size)?.ok_or_else(missing)?
            }
            At::Source(number) => {
                let item = &self.items[number];
                let part = self.part(item.source, &item.entries[0])?;
                let bundle = part
                    .as_deref()
                    .unwrap_or(&*self.sources[item.source].bundle);
                bundle.blob(&facts)?
            }
        };
        if blob.facts.size.is_none() {
            blob.facts.size = Some(self.measure(digest, &blob)?);
        }
        Ok(Some(blob))
    }

    fn known_size(&self, digest: &Digest) -> Option<u64> {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.get(digest).copied()
    }

    /// Finds the size of a blob whose document does not state it: that of its file, or by reading it once.
    fn measure(&self, digest: &Digest, blob: &Blob) -> Result<u64> {
        let file = blob.bytes.file()?;
        let length = file.and_then(|file| Some(file.metadata().ok()?.len()));
        let size = match length {
            Some(size) => size,
            None => {
                let mut reader = blob.open()?;
                std::io::copy(&mut reader, &mut std::io::sink()).map_err(Error::from_io)?
            }
        };
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.insert(*digest, size);
        Ok(size)
    }
}
