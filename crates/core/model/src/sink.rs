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
///
/// Every method is required. What only some places can do is in [`SinkExtras`], and callers ask by the
/// methods of `dyn BundleSink`, which say what a place without the capability does.
pub trait BundleSink: fmt::Debug + Send + Sync {
    /// Returns the locator for messages, without secrets.
    fn locator(&self) -> String;

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

    /// Returns what the place can do beside that. Costs nothing.
    fn extras(&self) -> SinkExtras<'_>;

    /// Takes the annotations and properties of the new list of entry points; a place without a list
    /// ignores them.
    fn set_top_level(&mut self, top_level: TopLevel);

    /// Makes everything visible at once, and durable. Dropping the sink instead leaves no trace,
    /// except blobs without a name in a place that existed before. Returns the final location of each
    /// publication. A place that writes its root documents itself, as an archive writes its
    /// `manifest.json`, sets the digest and size of the root of each publication.
    ///
    /// # Errors
    /// If it can't; then nothing has become visible.
    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>>;
}

/// What some destinations can do; `None` where a destination does not.
///
/// A sink that shows another one takes this apart and puts it together without `..`, so that a new
/// field can be left out only by naming it (robustness F11).
#[derive(Clone, Copy, Debug, Default)]
pub struct SinkExtras<'a> {
    /// Blobs from other places of the same kind.
    pub transfers: Option<&'a dyn Transfers>,
    /// Blobs that share the bytes of files.
    pub adoption: Option<&'a dyn Adoption>,
    /// Names of roots that only the place itself can refuse.
    pub root_names: Option<&'a dyn RootNames>,
    /// Blobs that have their final place before the end.
    pub early_blobs: Option<&'a dyn EarlyBlobs>,
}

/// A destination that takes blobs over from other places of the same kind, without their bytes.
pub trait Transfers: fmt::Debug {
    /// Tells the locator of a place that blobs will come from.
    fn comes_from(&self, locator: &str);

    /// Takes over a blob that another place of the same kind is known to have; false if it has to be
    /// written.
    ///
    /// # Errors
    /// If that can't be found out.
    fn take_over(&self, digest: &Digest, locator: &str) -> Result<bool>;
}

/// A destination whose blobs can share the bytes of files.
pub trait Adoption: fmt::Debug {
    /// Takes a blob over that is a file already, so that it shares its bytes instead of getting a
    /// copy of them. `file` is absent if the blob is no file of its own. `None` if the bytes have to
    /// be written by a [`writer`](BundleSink::writer).
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) if they have to be shared and can't be.
    fn adopt(&self, file: Option<&File>) -> Result<Option<Box<dyn Adopted>>>;
}

/// A destination that may refuse names of roots.
pub trait RootNames: fmt::Debug {
    /// Gives roots the names that only the place itself can refuse: their digests, where those are not
    /// of the usual algorithm. Everything that the roots refer to was written; no tag is set. Returns
    /// the names that are refused, as losses.
    ///
    /// # Errors
    /// If the place can't be asked.
    fn name_roots(&self, publications: &[Publication]) -> Result<Report>;
}

/// A destination that puts blobs to their final places before the end.
pub trait EarlyBlobs: fmt::Debug {
    /// Makes durable what already has its final place.
    ///
    /// # Errors
    /// If it can't.
    fn settle(&self) -> Result<()>;
}

impl dyn BundleSink + '_ {
    /// Tells the locator of a place that blobs will come from, see [`Transfers::comes_from`].
    pub fn comes_from(&self, locator: &str) {
        if let Some(transfers) = self.extras().transfers {
            transfers.comes_from(locator);
        }
    }

    /// Takes over a blob that another place has, see [`Transfers::take_over`].
    ///
    /// # Errors
    /// If that can't be found out.
    pub fn take_over(&self, digest: &Digest, locator: &str) -> Result<bool> {
        let transfers = self.extras().transfers;
        transfers.map_or(Ok(false), |transfers| transfers.take_over(digest, locator))
    }

    /// Takes a blob over that is a file already, see [`Adoption::adopt`].
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) if bytes have to be shared and can't be.
    pub fn adopt(&self, file: Option<&File>) -> Result<Option<Box<dyn Adopted>>> {
        let adoption = self.extras().adoption;
        adoption.map_or(Ok(None), |adoption| adoption.adopt(file))
    }

    /// Gives roots the names that only the place itself can refuse, see [`RootNames::name_roots`].
    ///
    /// # Errors
    /// If the place can't be asked.
    pub fn name_roots(&self, publications: &[Publication]) -> Result<Report> {
        match self.extras().root_names {
            Some(names) => names.name_roots(publications),
            None => Ok(Report::default()),
        }
    }

    /// Makes durable what already has its final place, see [`EarlyBlobs::settle`].
    ///
    /// # Errors
    /// If it can't.
    pub fn settle(&self) -> Result<()> {
        let blobs = self.extras().early_blobs;
        blobs.map_or(Ok(()), |blobs| blobs.settle())
    }

    /// Makes everything visible as [`BundleSink::finish`], for a caller that does not need the digests
    /// of roots that the place writes itself.
    ///
    /// # Errors
    /// As [`BundleSink::finish`].
    pub fn commit(self: Box<Self>, publications: &[Publication]) -> Result<Vec<String>> {
        self.finish(&mut publications.to_vec())
    }
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
