//! An open place for writing.

use std::{collections::BTreeMap, fmt, fs::File, io::Write};

use crate::{Child, Digest, Document, Name, Reader, Report, Result, TopLevel};

/// One image (or index, or artifact) that becomes visible at the destination.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The root: its descriptor, or the digest and size of the stream.
    pub root: Child,
    /// The name of the image.
    pub name: Option<Name>,
    /// The reference to be written, if the user gave one.
    pub reference: Option<String>,
    /// The name of the file, for places that hold one file for each image. Such a file is a list
    /// that holds the content of the file that it may replace.
    pub file_name: Option<String>,
}

impl Publication {
    /// A root without a name.
    pub fn of(root: Child) -> Self {
        Self {
            root,
            name: None,
            reference: None,
            file_name: None,
        }
    }
}

/// A place for writing. Several threads may call all methods.
///
/// Every method is required. The capabilities that only some places have are in [`SinkExtras`];
/// callers use them by the methods of `dyn BundleSink`, which define the result for a place without
/// the capability.
pub trait BundleSink: fmt::Debug + Send + Sync {
    /// Returns the locator for messages, without secrets.
    fn locator(&self) -> String;

    /// Returns true if verified bytes of that digest and size are already stored.
    ///
    /// # Errors
    /// If the place can't be asked.
    fn has(&self, digest: &Digest, size: u64) -> Result<bool>;

    /// Starts a new blob.
    ///
    /// # Errors
    /// If nothing can be written.
    fn writer(&self) -> Result<Box<dyn BlobWriter>>;

    /// Returns the further capabilities of the place. The call costs nothing.
    fn extras(&self) -> SinkExtras<'_>;

    /// Takes the annotations and properties of the new list of entry points; a place without a list
    /// ignores them.
    fn set_top_level(&mut self, top_level: TopLevel);

    /// Makes everything visible at once, and durable. Dropping the sink instead leaves no trace,
    /// except blobs without a name in a place that existed before. Returns the final location of
    /// each publication. A place that writes its root documents itself, as an archive writes its
    /// `manifest.json`, sets the digest and size of the root of each publication.
    ///
    /// # Errors
    /// If an image can't be published; then no publication has become visible.
    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>>;
}

/// Capabilities that only some destinations have; `None` for a destination without the capability.
///
/// A sink that wraps another sink destructures and builds this struct without `..`, so that a new
/// field can be left out only by naming it (robustness F11).
#[derive(Clone, Copy, Debug, Default)]
pub struct SinkExtras<'a> {
    /// Blobs from other places of the same kind.
    pub transfers: Option<&'a dyn Transfers>,
    /// Blobs that share the bytes of files.
    pub adoption: Option<&'a dyn Adoption>,
    /// Names of roots that only the place itself can refuse.
    pub root_names: Option<&'a dyn RootNames>,
    /// Blobs that are at their final place before the end.
    pub early_blobs: Option<&'a dyn EarlyBlobs>,
    /// True if a document is written without a look whether the place has it: the place does not find
    /// manifests by [`BundleSink::has`], and the question costs as much as a small blob.
    pub documents_unasked: bool,
    /// Places for blobs that are expected.
    pub places: Option<&'a dyn ExpectedBlobs>,
    /// Small files beside the file of an image.
    pub beside: Option<&'a dyn Beside>,
}

/// A destination whose images are files that small files can stand beside, such as a signature.
pub trait Beside: fmt::Debug {
    /// Takes the content of a file that gets the name of an image's file and `suffix` behind it. `of` is the
    /// digest of the image's file, which is written to this sink.
    ///
    /// # Errors
    /// If the content can't be written.
    fn put_beside(&self, of: &Digest, suffix: &str, content: &[u8]) -> Result<()>;
}

/// A destination that takes blobs over from other places of the same kind, without their bytes.
pub trait Transfers: fmt::Debug {
    /// Announces the locator of a place that blobs will come from.
    fn comes_from(&self, locator: &str);

    /// Takes over a blob that another place of the same kind has; false if the blob has to be
    /// written.
    ///
    /// # Errors
    /// If the place can't be asked.
    fn take_over(&self, digest: &Digest, locator: &str) -> Result<bool>;
}

/// A destination whose blobs can share the bytes of files.
pub trait Adoption: fmt::Debug {
    /// Takes over a blob that is a file already, so that the new blob shares the bytes of the file
    /// instead of a copy. `file` is absent if the blob has no file of its own. `None` if the bytes
    /// have to be written by a [`writer`](BundleSink::writer).
    ///
    /// # Errors
    /// [`Code::Unsupported`](crate::Code::Unsupported) if the bytes must be shared and can't be.
    fn adopt(&self, file: Option<&File>) -> Result<Option<Box<dyn Adopted>>>;
}

/// A destination that may refuse names of roots.
pub trait RootNames: fmt::Debug {
    /// Gives roots the names that only the place itself can refuse: their digests, if those are not
    /// of the usual algorithm. All documents and blobs that the roots refer to must be written
    /// before; no tag is set. Returns the refused names, as losses.
    ///
    /// # Errors
    /// If the place can't be asked.
    fn name_roots(&self, publications: &[Publication]) -> Result<Report>;
}

/// A destination that puts blobs to their final places before the end.
pub trait EarlyBlobs: fmt::Debug {
    /// Makes the blobs durable that are at their final place already.
    ///
    /// # Errors
    /// If the blobs can't be made durable.
    fn settle(&self) -> Result<()>;
}

/// A destination that prepares the places of blobs, if their digests are known before their bytes.
pub trait ExpectedBlobs: fmt::Debug {
    /// Announces the documents that are going to be written, roots included, and the blobs that they
    /// refer to, each with its expected size; `None` is an unknown size. Nothing has to come true:
    /// a blob that is not written, or has another size, costs time and nothing else.
    ///
    /// # Errors
    /// If the places can't be prepared.
    fn expect(&self, documents: &[Document], blobs: &BTreeMap<Digest, Option<u64>>) -> Result<()>;

    /// Starts a new blob that must have that digest, see [`BundleSink::writer`].
    ///
    /// # Errors
    /// If nothing can be written.
    fn writer_of(&self, digest: &Digest) -> Result<Box<dyn BlobWriter>>;
}

impl dyn BundleSink + '_ {
    /// Starts a new blob that must have that digest, see [`ExpectedBlobs::writer_of`].
    ///
    /// # Errors
    /// If nothing can be written.
    pub fn writer_of(&self, digest: &Digest) -> Result<Box<dyn BlobWriter>> {
        match self.extras().places {
            Some(places) => places.writer_of(digest),
            None => self.writer(),
        }
    }

    /// Takes a small file that stands beside the file of an image, see [`Beside::put_beside`]; false if the
    /// destination has no place for the small file.
    ///
    /// # Errors
    /// If the content can't be written.
    pub fn put_beside(&self, of: &Digest, suffix: &str, content: &[u8]) -> Result<bool> {
        match self.extras().beside {
            Some(beside) => beside.put_beside(of, suffix, content).map(|()| true),
            None => Ok(false),
        }
    }

    /// Announces the locator of a place that blobs will come from, see [`Transfers::comes_from`].
    pub fn comes_from(&self, locator: &str) {
        if let Some(transfers) = self.extras().transfers {
            transfers.comes_from(locator);
        }
    }

    /// Takes over a blob that another place has, see [`Transfers::take_over`].
    ///
    /// # Errors
    /// If the place can't be asked.
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

    /// Makes the blobs durable that are at their final place already, see [`EarlyBlobs::settle`].
    ///
    /// # Errors
    /// If the blobs can't be made durable.
    pub fn settle(&self) -> Result<()> {
        let blobs = self.extras().early_blobs;
        blobs.map_or(Ok(()), |blobs| blobs.settle())
    }

    /// Makes everything visible as [`BundleSink::finish`], for a caller that does not need the
    /// digests of roots that the place writes itself.
    ///
    /// # Errors
    /// The errors of [`BundleSink::finish`].
    pub fn commit(self: Box<Self>, publications: &[Publication]) -> Result<Vec<String>> {
        self.finish(&mut publications.to_vec())
    }
}

/// A blob that was taken over. Dropping it leaves no trace.
pub trait Adopted: Send {
    /// Opens the bytes from the start, as the destination will store them.
    ///
    /// # Errors
    /// If the bytes can't be read.
    fn open(&self) -> Result<Reader>;

    /// Completes the blob; the caller has read the bytes from [`open`](Self::open) and hashed them.
    ///
    /// # Errors
    /// If the blob can't be completed.
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()>;
}

/// A blob that is being written. Dropping it leaves no trace.
pub trait BlobWriter: Write + Send {
    /// Completes the blob; the caller has hashed the bytes while writing them.
    ///
    /// # Errors
    /// If the blob can't be completed.
    fn finish(self: Box<Self>, digest: &Digest, size: u64) -> Result<()>;
}
