//! The file of a database, and its pages.

use std::{cell::Cell, fs::File, os::unix::fs::FileExt};

use imgconv_model::{Error, Limits, Result};

use crate::{damage::damaged, meta::Meta, page::Page};

/// Bytes of the header of a page.
const HEADER: usize = 16;

/// The most bytes of one page, with the further pages that it covers.
pub const MAX_PAGE: u64 = 64 << 20;

/// How many times the bytes of the file all walks together may read. Buckets of a hostile file can
/// share pages, which those of a real one never do.
pub const MAX_READS: u64 = 16;

/// An open database.
#[derive(Debug)]
pub struct Database {
    file: File,
    size: u64,
    meta: Meta,
    /// Bytes of pages that were read.
    read: Cell<u64>,
}

impl Database {
    /// Reads the meta pages of a file.
    ///
    /// # Errors
    /// [`Code::BadManifest`](imgconv_model::Code::BadManifest) if neither meta page is valid,
    /// [`Code::Io`](imgconv_model::Code::Io) if the file can't be read.
    pub fn open(file: File) -> Result<Self> {
        let size = file.metadata().map_err(Error::from_io)?.len();
        let meta = Meta::find(&file, size)?;
        let read = Cell::new(0);
        Ok(Self {
            file,
            size,
            meta,
            read,
        })
    }

    /// Returns the number of the page on which the root bucket begins.
    pub(crate) fn root_page(&self) -> u64 {
        self.meta.root
    }

    /// Reads a page, with the further pages that it covers.
    pub(crate) fn page(&self, number: u64) -> Result<Page> {
        let offset = number
            .checked_mul(self.meta.page_size)
            .filter(|offset| *offset < self.size)
            .ok_or_else(|| damaged(format!("page {number} is behind the end of the file")))?;
        let mut header = [0; HEADER];
        let at = |error| Error::io(error, format!("page {number}"));
        self.file.read_exact_at(&mut header, offset).map_err(at)?;
        if Page::number(&header) != Some(number) {
            return Err(damaged(format!(
                "page {number} has another number in its header"
            )));
        }
        let covered = u64::from(Page::overflow(&header).unwrap_or(0)) + 1;
        let length = covered.saturating_mul(self.meta.page_size);
        if length > self.size - offset {
            return Err(damaged(format!("page {number} is longer than the file")));
        }
        if length > MAX_PAGE {
            let what = format!("page {number} of {length} bytes");
            return Err(Limits::exceeded("bolt_page", MAX_PAGE, what));
        }
        let most = self.size.saturating_mul(MAX_READS);
        self.read.set(self.read.get().saturating_add(length));
        if self.read.get() > most {
            return Err(Limits::exceeded(
                "bolt_reads",
                most,
                "what is read of the database",
            ));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, offset).map_err(at)?;
        Page::new(bytes).map_err(|error| error.at(format!("page {number}")))
    }
}
