//! An open place that is written.

use std::{fmt, fs::File, io::Write};

use crate::{Child, Digest, Name, Reader, Report, Result, TopLevel};

/// One image (or index, or artifact) that becomes visible at the destination.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The root: its descriptor, or the digest and size of the stream.
    pub root: Child,
    /// Its name.
    pub name: Option<Name>,
    /// The reference as it shall be written, if the user gave one.
    pub reference: Option<String>,
    /// The name of the file, for places that hold one file for each image. Such a file is a list that
    /// holds the content of the one before, which it may replace.
    pub file_name: Option<String>,
}

/// A place that is written. All methods may be called from several threads.
pub trait BundleSink: fmt::Debug + Send + Sync {
    /// Returns the locator for messages, without secrets.
    fn locator(&self) -> String;

    /// Tells the locator of a place that blobs will come from, so that one of the same kind can
    /// take them over without their bytes.
    fn comes_from(&self, _locator: &str) {}

    /// Takes over a blob that another place of the same kind is known to have; false if it has to be
    /// written.
    ///
    /// # Errors
    /// If that can't be found out.
    fn take_over(&self, _digest: &Digest, _locator: &str) -> Result<bool> {
        Ok(false)
    }

    /// Says whether verified bytes of that digest and size are there already.
    ///
    /// # Errors
    /// If that can't be found out.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool>;

    /// Starts a new blob.
    ///
    /// # Errors
    /// If nothing can be written.
    fn writer(&self) -> Result<Box<dyn BlobWriter>>;

    /// Takes a blob over that is a file already, so that it shares its bytes instead of getting a
    /// copy of them. `file` is absent if the blob is no file of its own. `None` if the bytes have to
    /// be written by a [`writer`](Self::writer).
    ///
    /// # Errors
    /// [`Code::Unsupported`] if they have to be shared and can't be.
    fn adopt(&self, _file: Option<&File>) -> Result<Option<Box<dyn Adopted>>> {
        Ok(None)
    }

    /// Gives roots the names that only the place itself can refuse: their digests, where those are not
    /// of the usual algorithm. Everything that the roots refer to was written; no tag is set. Returns
    /// the names that are refused, as losses.
    ///
    /// # Errors
    /// If the place can't be asked.
    fn name_roots(&self, _publications: &[Publication]) -> Result<Report> {
        Ok(Report::default())
    }

    /// Makes durable what already has its final place, for sinks that put blobs there before the
    /// commit.
    ///
    /// # Errors
    /// If it can't.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Takes what the new list of entry points shall say of itself; a place without one ignores it.
    fn set_top_level(&mut self, _top_level: TopLevel) {}

    /// Says by which digest a place that writes its root documents itself, as an archive writes its
    /// `manifest.json`, lists each publication: changes `publications` accordingly, and commits.
    ///
    /// # Errors
    /// As [`BundleSink::commit`].
    fn commit_noting(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        self.commit(publications)
    }

    /// Makes everything visible at once, and durable. Dropping the sink instead leaves no trace,
    /// except blobs without a name in a place that existed before.
    ///
    /// # Errors
    /// If it can't; then nothing has become visible. Returns the final location of each
    /// publication.
    fn commit(self: Box<Self>, publications: &[Publication]) -> Result<Vec<String>>;
}

/// A blob that was taken over. Dropping it leaves no trace.
pub trait Adopted: Send {
    /// Opens the bytes from the start, as they will stand at the destination.
    ///
    /// # Errors
    /// If they can't be read.
    fn open(&self) -> Result<Reader>;

    /// Ends the blob, which the caller has read from [`open`](Self::open) and hashed.
    ///
    /// # Errors
    /// If it can't be completed.
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()>;
}

/// A blob that is being written. Dropping it leaves no trace.
pub trait BlobWriter: Write + Send {
    /// Ends the blob, whose bytes the caller has hashed while writing them.
    ///
    /// # Errors
    /// If it can't be completed.
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()>;
}
