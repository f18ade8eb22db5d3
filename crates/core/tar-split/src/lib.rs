//! The tar of a layer, restored byte for byte from its tar-split record and the files that an
//! engine extracted.
//!
//! Docker (since 1.8), podman and CRI-O keep the files of a layer extracted, and beside them a
//! record of all bytes of the layer's tar that are not the content of a file: headers, padding, the
//! trailer. The format of the record is that of `github.com/vbatts/tar-split` (`tar/storage`): a
//! JSON object per line, gzip-compressed.
//!
//! - `{"type":2,"payload":BASE64,"position":N}` is a segment: literal bytes of the tar.
//! - `{"type":1,"name":PATH,"size":N,"payload":BASE64,"position":N}` is the content of a file, to
//!   be read from `PATH` below the folder of the layer. The payload is its CRC-64 (ISO polynomial,
//!   as Go's `hash/crc64` computes it), in big-endian order. A path that is not UTF-8 stands in
//!   `name_raw`, in base64. An entry of size 0 adds no bytes.
//!
//! A CRC does not protect against a forger, but it identifies the file that changed, which the
//! digest of the whole layer can't; the caller verifies that digest. This crate does not depend on
//! the place where an engine keeps its records.

#![deny(missing_docs)]

mod assemble;
mod files;
mod record;

use std::sync::Arc;

use imgconv_fs::Directory;
use imgconv_model::{Code, Error, Limits, Notes, Open, Reader, Result};
use imgconv_stream::Decoder;

use crate::{assemble::Assembly, record::Record};
pub use crate::{files::Files, record::MAX_LINE};

/// A layer that is restored whenever it is read. Only the CRC of each file is verified.
#[derive(Debug)]
pub struct Layer {
    /// The record, compressed as the engine stores it.
    pub record: Arc<dyn Open>,
    /// The contents of the files.
    pub files: Arc<dyn Files>,
    /// The bounds on the record.
    pub limits: Limits,
    /// The name of the record in messages.
    pub what: String,
}

impl Layer {
    /// Makes the layer of a record that is a file at `path` below the data of an engine; `None` if
    /// there is no such file. `files` is the folder that the layer was extracted to.
    ///
    /// # Errors
    /// The errors of [`Directory::file`].
    pub fn find(
        root: &Arc<Directory>,
        path: String,
        files: &Arc<Directory>,
        limits: &Limits,
    ) -> Result<Option<Self>> {
        if root.file(&path)?.is_none() {
            return Ok(None);
        }
        let files: Arc<dyn Files> = Arc::<Directory>::clone(files);
        Ok(Some(Self {
            what: format!("file {path}"),
            record: Arc::new(RecordFile {
                root: Arc::clone(root),
                path,
            }),
            files,
            limits: *limits,
        }))
    }
}

/// The stored record of an engine.
#[derive(Debug)]
struct RecordFile {
    root: Arc<Directory>,
    path: String,
}

impl Open for RecordFile {
    fn open(&self) -> Result<Reader> {
        match self.root.file(&self.path)? {
            Some((file, _)) => Ok(Box::new(file)),
            None => {
                let message = format!("the file {} is there no more", self.path);
                Err(Error::new(Code::Missing, message))
            }
        }
    }
}

impl Open for Layer {
    fn open(&self) -> Result<Reader> {
        let at = |error: Error| error.at(self.what.clone());
        let source = self.record.open().map_err(at)?;
        let plain =
            Decoder::new(source, &self.limits, &Notes::default(), &self.what).map_err(at)?;
        let record = Record::new(Box::new(plain), self.what.clone());
        Ok(Box::new(Assembly::new(record, Arc::clone(&self.files))))
    }
}
