//! An open place that is read: a small core that every place has, and capabilities that some have.

use std::{fmt, sync::Arc};

use crate::{
    Blob, Code, Compression, Digest, Document, Error, Facts, Fetched, FormatId, Limits, Place,
    Platform, Result, Root, RootEntry, Signature, TopLevel, quote,
};

/// A place that is read.
///
/// Every method is required. The capabilities that only some places have are in [`Extras`]; callers
/// use them by the methods of `dyn Bundle`, which define the answer for a place without the
/// capability.
pub trait Bundle: fmt::Debug + Send + Sync {
    /// Returns the locator for messages, without secrets.
    fn locator(&self) -> String;

    /// Lists the entry points, in a fixed order.
    ///
    /// # Errors
    /// If the list itself can't be read.
    fn roots(&self) -> Result<Vec<RootEntry>>;

    /// Reads an entry point's root.
    ///
    /// # Errors
    /// If the root is missing, too large, or differs from its descriptor.
    fn root(&self, entry: &RootEntry) -> Result<Root>;

    /// Reads a whole document of at most `limit` bytes and verifies it.
    ///
    /// # Errors
    /// [`Code::Missing`], [`Code::Mismatch`], [`Code::Limit`] or an I/O error.
    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document>;

    /// Returns a blob that verifies `facts` whenever it is read. `facts.digest` must be present.
    ///
    /// # Errors
    /// [`Code::Missing`] or an I/O error.
    fn blob(&self, facts: &Facts) -> Result<Blob>;

    /// Returns the further capabilities of the place. The call costs nothing.
    fn extras(&self) -> Extras<'_>;
}

/// Capabilities that only some places have; `None` for a place without the capability.
///
/// A place that wraps another place destructures and builds this struct without `..`, so that a new
/// field can be left out only by naming it (robustness F11).
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// Entry points beyond those that the locator selects, and entries without a descriptor.
    pub listing: Option<&'a dyn Listing>,
    /// Blobs by name.
    pub members: Option<&'a dyn NamedBlobs>,
    /// The extracted files of layers whose own bytes are gone.
    pub extracted: Option<&'a dyn Extracted>,
    /// Other places that hold the entries.
    pub parts: Option<&'a dyn Parts>,
    /// The annotations and properties of the list of entry points itself.
    pub top_level: Option<&'a TopLevel>,
    /// Irregularities in the list of entry points.
    pub list_notes: Option<&'a dyn ListNotes>,
    /// States of files, for places where no digest shows whether bytes have changed.
    pub states: Option<&'a dyn States>,
    /// Every blob that is stored.
    pub stored: Option<&'a dyn StoredBlobs>,
    /// A detached signature of the one file that the place is.
    pub signed: Option<&'a dyn Signed>,
    /// The archive that the place is, if the way back to its very bytes can be kept.
    pub whole: Option<&'a dyn Whole>,
    /// The request that the one file of the place was fetched by. An ACI that was fetched needs a
    /// good signature.
    pub fetched: Option<&'a Fetched>,
    /// The kind of place that the copy of a stream is, if this is such a copy.
    pub read_by: Option<&'static Place>,
    /// Short descriptions of the images, which cost less than the images.
    pub summaries: Option<&'a dyn Summaries>,
    /// Documents about the entries that the list of entries does not hold.
    pub referrers: Option<&'a dyn Referrers>,
    /// The repositories of the entries, for places that hold several repositories.
    pub repositories: Option<&'a dyn Repositories>,
    /// True for the store of an engine, which fetches some of the platforms that an index lists: a
    /// document of an index that is not there is no damage.
    pub partial: bool,
}

/// A short description of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The name at the place; `None` for an image without a name.
    pub name: Option<String>,
    /// The platform, if the place says which.
    pub platform: Option<Platform>,
    /// The format in which the place gives the image out.
    pub format: FormatId,
    /// The digest by which the place knows the image.
    pub digest: String,
    /// The bytes that the image takes at the place, as the place says.
    pub size: u64,
}

/// A place that can describe its images without reading them, where reading is dear.
pub trait Summaries: fmt::Debug {
    /// Describes every image that the locator means.
    ///
    /// # Errors
    /// If the place can't be asked.
    fn summaries(&self) -> Result<Vec<Summary>>;
}

/// A place that lists more entry points than its locator selects, such as the tags of a repository.
pub trait Listing: fmt::Debug {
    /// Lists every entry point of the place. An entry may have no descriptor yet.
    ///
    /// # Errors
    /// If the list itself can't be read.
    fn listing(&self) -> Result<Vec<RootEntry>>;

    /// Resolves a listed entry: returns the entry with its descriptor.
    ///
    /// # Errors
    /// If the entry is missing or can't be read.
    fn resolve(&self, entry: &RootEntry) -> Result<RootEntry>;
}

/// A place that keeps referrers apart from its list of entries, such as a registry with the referrers
/// API.
pub trait Referrers: fmt::Debug {
    /// Lists the documents about an entry, about the documents that it lists, and about those
    /// referrers in turn: each once, after its subject, without a name, and with the position of
    /// `entry`.
    ///
    /// # Errors
    /// If the place can't be asked, or lists more than a limit allows.
    fn referrers(&self, entry: &RootEntry) -> Result<Vec<RootEntry>>;
}

/// A place with several repositories, each with documents of its own.
pub trait Repositories: fmt::Debug {
    /// Says whether a repository holds both of two entries: only such documents can be about each other.
    fn share(&self, one: &RootEntry, other: &RootEntry) -> bool;
}

/// A place that names its blobs instead of addressing them by content, such as a docker archive.
pub trait NamedBlobs: fmt::Debug {
    /// Returns a blob by its name. The blob verifies `facts` whenever it is read.
    ///
    /// # Errors
    /// [`Code::Missing`] if there is no such member.
    fn member(&self, name: &str, facts: &Facts) -> Result<Blob>;

    /// Finds a layer by the digest of its uncompressed bytes, for places whose lists may name a
    /// member that is not there; returns the name of the member too. The reader of the layer
    /// verifies the bytes.
    ///
    /// # Errors
    /// If the place can't be read.
    fn layer_of(&self, diff_id: &Digest) -> Result<Option<(String, Blob)>>;
}

/// A place that may have the extracted files of layers whose own bytes are gone, such as the store of an
/// engine.
pub trait Extracted: fmt::Debug {
    /// Makes the tar of a layer anew from its files. `diff_ids` are those of the image from its base
    /// up to the layer, which is the last. The tar has another digest, which the caller reports as a
    /// loss. `None` if the place has no files of the layer, or is not to use them.
    ///
    /// # Errors
    /// If the files can't be read.
    fn remake(&self, diff_ids: &[Digest]) -> Result<Option<Blob>>;
}

/// A place that is made of several others, such as a folder of archives.
pub trait Parts: fmt::Debug {
    /// Returns the place that holds an entry and the entry there; `None` if this place holds the
    /// entry itself. The same place is the same [`Arc`] as long as the entries of that place are
    /// asked for one after another.
    ///
    /// # Errors
    /// If that place can't be opened.
    fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>>;

    /// Returns the annotations and properties of the lists that hold `entries`, each with the
    /// locator of its place.
    fn top_levels(&self, entries: &[RootEntry]) -> Vec<(String, TopLevel)>;
}

/// A place whose list of entry points can be irregular in single entries.
pub trait ListNotes: fmt::Debug {
    /// Returns the error of an entry's name that is not valid here: the image can be read, and
    /// needs another name to be written (robustness A12).
    fn bad_name(&self, entry: &RootEntry) -> Option<Error>;

    /// Names the fields that differ where the list has the same image again under the same name:
    /// only the first entry counts.
    fn duplicate_listings(&self, entry: &RootEntry) -> Vec<String>;

    /// Says whether an item of the list that can't be used says that it is a record of reversal.
    fn is_unusable_record(&self, entry: &RootEntry) -> bool;
}

/// A place whose files can change while no digest shows the change.
pub trait States: fmt::Debug {
    /// Returns a text that changes when the bytes of an entry change: the metadata of the entry's
    /// file. The bytes are not read. `None` if there is no such text, or digests show a change.
    ///
    /// # Errors
    /// If the file is not there.
    fn state(&self, entry: &RootEntry) -> Result<Option<String>>;
}

/// A place that can list its blobs.
pub trait StoredBlobs: fmt::Debug {
    /// Lists every digest that is stored here, in order, and reports files that do not belong to
    /// the place; `None` for a place that has no set of blobs.
    ///
    /// # Errors
    /// If the place can't be listed.
    fn stored(&self) -> Result<Option<Vec<Digest>>>;

    /// Returns the digest under which [`stored`](Self::stored) lists a blob that is found by
    /// `digest`: another digest for a place that stores a blob once and finds it by several
    /// digests.
    fn stored_as(&self, digest: &Digest) -> Digest;
}

/// A place that is one file, perhaps with a detached signature beside it.
pub trait Signed: fmt::Debug {
    /// Returns the detached signature; `None` if there is none.
    ///
    /// # Errors
    /// If there is one and it can't be read.
    fn signature(&self, limits: &Limits) -> Result<Option<Signature>>;
}

/// A place that is one archive of layers that are members of the archive.
pub trait Whole: fmt::Debug {
    /// Returns the archive of an image by the digest of the image's root document; `None` if the archive is of
    /// a kind whose way back is not kept.
    ///
    /// # Errors
    /// If the archive or the image can't be read.
    fn whole(&self, root: &Digest) -> Result<Option<WholeArchive>>;
}

/// The bytes of an archive, and the images in it.
#[derive(Clone, Debug)]
pub struct WholeArchive {
    /// The archive, uncompressed; its size is known.
    pub tar: Blob,
    /// The compression that the file has.
    pub compression: Compression,
    /// The different images that the archive lists, in its order.
    pub images: Vec<WholeImage>,
    /// The ids of listed images that can't be read.
    pub unreadable: Vec<String>,
}

/// An image in an archive that is kept as a whole.
#[derive(Clone, Debug)]
pub struct WholeImage {
    /// The digest of the image's root document.
    pub root: Digest,
    /// Offset and size of each layer of the image as it is stored, the lowest layer first.
    pub layers: Vec<(u64, u64)>,
    /// The names of the image, as the archive's kind spells them.
    pub names: Vec<String>,
}

impl dyn Bundle + '_ {
    /// Returns the archive of an image, see [`Whole::whole`]; `None` if the place is no such archive.
    ///
    /// # Errors
    /// If the archive or the image can't be read.
    pub fn whole(&self, root: &Digest) -> Result<Option<WholeArchive>> {
        let whole = self.extras().whole;
        whole.map_or(Ok(None), |whole| whole.whole(root))
    }

    /// Lists every entry point of the place, also where the locator selects only one of many (a
    /// registry's `latest`). An entry may have no descriptor yet, see [`Listing::resolve`].
    ///
    /// # Errors
    /// If the list itself can't be read.
    pub fn listing(&self) -> Result<Vec<RootEntry>> {
        match self.extras().listing {
            Some(listing) => listing.listing(),
            None => self.roots(),
        }
    }

    /// Resolves a listed entry: returns the entry with its descriptor.
    ///
    /// # Errors
    /// If the entry is missing or can't be read.
    pub fn resolve(&self, entry: &RootEntry) -> Result<RootEntry> {
        match self.extras().listing {
            Some(listing) => listing.resolve(entry),
            None => Ok(entry.clone()),
        }
    }

    /// Lists the referrers of an entry that the list of entries does not hold, see
    /// [`Referrers::referrers`].
    ///
    /// # Errors
    /// If the place can't be asked.
    pub fn referrers(&self, entry: &RootEntry) -> Result<Vec<RootEntry>> {
        let referrers = self.extras().referrers;
        referrers.map_or(Ok(Vec::new()), |referrers| referrers.referrers(entry))
    }

    /// Says whether two entries stand in one repository, see [`Repositories::share`]; true for a place without
    /// repositories.
    pub fn share(&self, one: &RootEntry, other: &RootEntry) -> bool {
        let repositories = self.extras().repositories;
        repositories.is_none_or(|repositories| repositories.share(one, other))
    }

    /// Returns a blob by its name, see [`NamedBlobs::member`].
    ///
    /// # Errors
    /// The errors of [`NamedBlobs::member`]; [`Code::Unsupported`] if the place has no members.
    pub fn member(&self, name: &str, facts: &Facts) -> Result<Blob> {
        match self.extras().members {
            Some(members) => members.member(name, facts),
            None => {
                let message = format!("{} has no members by name", self.locator());
                Err(Error::new(Code::Unsupported, message).at(quote(name)))
            }
        }
    }

    /// Finds a layer by the digest of its uncompressed bytes, see [`NamedBlobs::layer_of`].
    ///
    /// # Errors
    /// If the place can't be read.
    pub fn layer_of(&self, diff_id: &Digest) -> Result<Option<(String, Blob)>> {
        let members = self.extras().members;
        members.map_or(Ok(None), |members| members.layer_of(diff_id))
    }

    /// Makes the tar of a layer anew from extracted files, see [`Extracted::remake`]; `None` if the
    /// place has no such files.
    ///
    /// # Errors
    /// If the files can't be read.
    pub fn remake(&self, diff_ids: &[Digest]) -> Result<Option<Blob>> {
        let extracted = self.extras().extracted;
        extracted.map_or(Ok(None), |extracted| extracted.remake(diff_ids))
    }

    /// Returns the place that holds an entry and the entry there, see [`Parts::part`]; `None` if
    /// this place holds its entries itself.
    ///
    /// # Errors
    /// If that place can't be opened.
    pub fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        let parts = self.extras().parts;
        parts.map_or(Ok(None), |parts| parts.part(entry))
    }

    /// Returns the annotations and properties of the list of entry points itself.
    pub fn top_level(&self) -> TopLevel {
        self.extras().top_level.cloned().unwrap_or_default()
    }

    /// Returns the annotations and properties of the lists that hold `entries`, each with the
    /// locator of its place: one list, unless this place is made of several.
    pub fn top_levels(&self, entries: &[RootEntry]) -> Vec<(String, TopLevel)> {
        match self.extras().parts {
            Some(parts) => parts.top_levels(entries),
            None => vec![(self.locator(), self.top_level())],
        }
    }

    /// Returns the error of an entry's name that is not valid here, see [`ListNotes::bad_name`].
    pub fn bad_name(&self, entry: &RootEntry) -> Option<Error> {
        self.extras().list_notes?.bad_name(entry)
    }

    /// Says whether an item that can't be used says that it is a record, see [`ListNotes::is_unusable_record`].
    pub fn is_unusable_record(&self, entry: &RootEntry) -> bool {
        let notes = self.extras().list_notes;
        notes.is_some_and(|notes| notes.is_unusable_record(entry))
    }

    /// Names the fields in which further listings of an entry differ, see
    /// [`ListNotes::duplicate_listings`].
    pub fn duplicate_listings(&self, entry: &RootEntry) -> Vec<String> {
        let notes = self.extras().list_notes;
        notes.map_or_else(Vec::new, |notes| notes.duplicate_listings(entry))
    }

    /// Returns a text that changes when the bytes of an entry change, see [`States::state`].
    ///
    /// # Errors
    /// If the file is not there.
    pub fn state(&self, entry: &RootEntry) -> Result<Option<String>> {
        let states = self.extras().states;
        states.map_or(Ok(None), |states| states.state(entry))
    }

    /// Lists every digest that is stored here, see [`StoredBlobs::stored`].
    ///
    /// # Errors
    /// If the place can't be listed.
    pub fn stored(&self) -> Result<Option<Vec<Digest>>> {
        self.extras()
            .stored
            .map_or(Ok(None), |blobs| blobs.stored())
    }

    /// Returns the digest under which a blob is listed, see [`StoredBlobs::stored_as`].
    pub fn stored_as(&self, digest: &Digest) -> Digest {
        let blobs = self.extras().stored;
        blobs.map_or(*digest, |blobs| blobs.stored_as(digest))
    }

    /// Returns the detached signature of the one file that the place is, see [`Signed::signature`].
    ///
    /// # Errors
    /// If there is one and it can't be read.
    pub fn signature(&self, limits: &Limits) -> Result<Option<Signature>> {
        let signed = self.extras().signed;
        signed.map_or(Ok(None), |signed| signed.signature(limits))
    }

    /// Describes the images without reading them, see [`Summaries::summaries`]; `None` for a place
    /// whose images have to be read.
    ///
    /// # Errors
    /// If the place can't be asked.
    pub fn summaries(&self) -> Result<Option<Vec<Summary>>> {
        let summaries = self.extras().summaries;
        summaries.map(|summaries| summaries.summaries()).transpose()
    }

    /// Returns the request that the one file of the place was fetched by; `None` for every other
    /// place. An ACI that was fetched needs a good signature.
    pub fn fetched(&self) -> Option<&Fetched> {
        self.extras().fetched
    }

    /// Returns the kind of place that the copy of a stream is, if this is such a copy.
    pub fn read_by(&self) -> Option<&'static Place> {
        self.extras().read_by
    }
}
