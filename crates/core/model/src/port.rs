//! The traits by which formats and transports plug in.
//!
//! Transports find bytes and own names; formats own meaning and do no I/O of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::Write,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    Artifact, Blob, Child, Code, Compression, Digest, Document, Error, Facts, Image, Limits, Name,
    Network, Notes, Open, Platform, Progress, Reader, Report, Result, SealedLayer, Secrets, Silent,
    quote,
};

/// The identity of a format, such as `oci`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatId(pub &'static str);

impl fmt::Display for FormatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Everything that comes from outside an operation and is the same for all its parts.
#[derive(Clone, Debug)]
pub struct Env {
    /// How many threads work.
    pub jobs: usize,
    /// Where temporary files go.
    pub tmpdir: PathBuf,
    /// The bounds on input.
    pub limits: Limits,
    /// `SOURCE_DATE_EPOCH`: generated times are this, seconds since 1970.
    pub epoch: Option<i64>,
    /// The platform that is assumed where the source names none.
    pub host: Platform,
    /// Follow symbolic links of a layout's blobs (robustness D1b).
    pub follow_blob_links: bool,
    /// The registry that a registry's storage belonged to, `HOST[:PORT]`: the storage itself does
    /// not say.
    pub registry_host: Option<String>,
    /// Refuse to replace a file that is there already, unless it is one to which is added.
    pub keep_files: bool,
    /// The namespace of containerd whose images are meant; all if none is given.
    pub namespace: Option<String>,
    /// What the user said about the network.
    pub network: Arc<Network>,
    /// Set to end the work early.
    pub cancel: Arc<AtomicBool>,
    /// Takes events.
    pub progress: Arc<dyn Progress>,
    /// The next number of a piece of work.
    pub next_id: Arc<AtomicU64>,
    /// Copies of what came out of pipes, by what the user calls them: it comes only once.
    pub copies: Arc<Mutex<BTreeMap<String, Arc<File>>>>,
    /// Takes what is found while bytes stream by; every image has its own.
    pub notes: Notes,
    /// The directories in which leftovers of killed processes were looked for in this run.
    pub swept: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// What no message may show.
    pub secrets: Secrets,
}

impl Env {
    /// Makes an environment with the default limits, one thread, and no progress.
    pub fn new(tmpdir: impl Into<PathBuf>, host: Platform) -> Self {
        Self {
            jobs: 1,
            tmpdir: tmpdir.into(),
            limits: Limits::default(),
            epoch: None,
            host,
            follow_blob_links: false,
            registry_host: None,
            keep_files: false,
            namespace: None,
            network: Arc::default(),
            cancel: Arc::default(),
            progress: Arc::new(Silent),
            next_id: Arc::default(),
            copies: Arc::default(),
            notes: Notes::default(),
            swept: Arc::default(),
            secrets: Secrets::default(),
        }
    }

    /// Fails if the work was cancelled.
    ///
    /// # Errors
    /// [`Code::Cancelled`].
    pub fn check_cancelled(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Cancelled, "interrupted"));
        }
        Ok(())
    }
}

/// A format: what bytes mean.
pub trait Format: fmt::Debug + Send + Sync {
    /// Returns the format's identity.
    fn id(&self) -> FormatId;

    /// Says in one line what it is.
    fn about(&self) -> &'static str;

    /// Returns what the format can hold.
    fn capabilities(&self) -> Capabilities;

    /// Says whether a root is of this format. Looks at a bounded prefix only. Of all formats at
    /// most one says yes.
    fn recognise(&self, root: &Root) -> bool;

    /// Reads a root. Blobs are not opened, except the one that is the root itself.
    ///
    /// # Errors
    /// If the root is malformed or refers to documents that are missing.
    fn decode(
        &self,
        root: &Root,
        bundle: &dyn Bundle,
        env: &Env,
        report: &mut Report,
    ) -> Result<Artifact>;

    /// Writes an image: documents if the format names its layers by digest (`layers` then has one
    /// sealed layer for each of the image's), one stream that holds the layers otherwise (`layers`
    /// is then empty and the layers of `image` are read as the stream is). Does no I/O itself.
    ///
    /// # Errors
    /// If the image cannot be expressed at all.
    fn encode(
        &self,
        image: &Image,
        layers: &[SealedLayer],
        env: &Env,
        report: &mut Report,
    ) -> Result<Encoded>;

    /// Writes an index over documents that were published. `original` is the source's index.
    ///
    /// # Errors
    /// [`Code::Unsupported`] if the format has none.
    fn encode_index(&self, children: &[Child], original: Option<&crate::Index>)
    -> Result<Document>;
}

/// What a format can hold.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// True if an image is one stream that holds its layers, as an ACI.
    pub stream: bool,
    /// How many layers an image can have.
    pub max_layers: Option<usize>,
    /// The compressions of a layer (of the stream, if it is one), the default first.
    pub compressions: &'static [Compression],
    /// True if the descriptor of a layer can have annotations, as a table of contents needs them.
    pub annotations: bool,
    /// True if several platforms can stand under one name.
    pub index: bool,
    /// True if foreign documents can be carried byte for byte.
    pub opaque: bool,
    /// True if the root's kind may be copied to a sink that takes this format's roots.
    pub root_kinds: &'static [&'static str],
}

/// A root of a bundle: a document that refers to others, or a stream that is the whole image.
#[derive(Clone, Debug)]
pub enum Root {
    /// A document.
    Document(Document),
    /// A stream, perhaps compressed; and a short name for messages.
    Stream(Blob),
}

/// What [`Format::encode`] makes.
#[derive(Debug)]
pub enum Encoded {
    /// Documents to be stored, the root last.
    Documents {
        /// The documents that the root refers to, such as the config.
        documents: Vec<Document>,
        /// The root document.
        root: Document,
    },
    /// One uncompressed stream; the sink's side compresses it.
    Stream(Arc<dyn Open>),
}

/// A way to find bytes: a kind of place that has names.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Returns the scheme, such as `oci`.
    fn scheme(&self) -> &'static str;

    /// Returns the locator's syntax, such as `oci:PATH[:REF]`.
    fn syntax(&self) -> &'static str;

    /// Says in one line what it is.
    fn about(&self) -> &'static str;

    /// Says whether its places are in the local file system.
    fn is_local(&self) -> bool {
        true
    }

    /// Says whether a local path is such a place, by its bytes.
    fn recognise(&self, path: &std::path::Path) -> bool;

    /// Opens a place for reading. `rest` is the locator after the scheme, without a `REF`.
    ///
    /// # Errors
    /// If it is not there or not such a place.
    fn open(&self, rest: &str, env: &Env) -> Result<Box<dyn Bundle>>;

    /// Opens a place for writing; nothing is visible there before [`BundleSink::commit`]. A place
    /// that is only ever read, such as the store of an engine, need not have this.
    ///
    /// # Errors
    /// If it can't be written, or [`Code::Unsupported`] if it is read-only by nature.
    fn create(&self, rest: &str, _env: &Env) -> Result<Box<dyn BundleSink>> {
        let message = format!("`{}:` is read, and never written", self.scheme());
        Err(Error::new(Code::Unsupported, message)
            .at(crate::quote(rest))
            .hint("write to a layout, an archive or ACIs: `oci:`, `docker-archive:`, `aci:`"))
    }
}

/// One entry point of a bundle.
#[derive(Clone, Debug)]
pub struct RootEntry {
    /// Its position, from 0.
    pub position: usize,
    /// Its name in the neutral form, if it has one.
    pub name: Option<Name>,
    /// Every text by which it may be addressed exactly.
    pub texts: Vec<String>,
    /// Its descriptor, where the place is content-addressed.
    pub child: Option<Child>,
    /// Why the list's own word of it can't be used, if so. It is listed all the same, and nothing of
    /// it is read.
    pub error: Option<Arc<Error>>,
    /// Why its name does not tell which image is meant, if so: another image there has it too. Only
    /// a digest or a position does then.
    pub ambiguous: Option<Arc<Error>>,
}

impl RootEntry {
    /// Makes the one entry of a place that holds one image without a name.
    pub fn only(child: Option<Child>) -> Self {
        Self {
            position: 0,
            name: None,
            texts: Vec::new(),
            child,
            error: None,
            ambiguous: None,
        }
    }

    /// Fails if the list's own word of it can't be used.
    ///
    /// # Errors
    /// The error of the entry.
    pub fn check(&self) -> Result<()> {
        self.error
            .as_ref()
            .map_or(Ok(()), |error| Err(error.again()))
    }
}

/// Says of the entries of one name that are different images that the name does not tell which is
/// meant. `list` names the list of entries in messages.
pub fn mark_ambiguous(roots: &mut [RootEntry], list: &str) {
    let mut by_name: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
    for (at, entry) in roots.iter().enumerate() {
        if let Some(name) = &entry.name {
            by_name.entry(name.qualified()).or_default().push(at);
        }
    }
    for (name, group) in by_name {
        let digest = |at: usize| roots[at].child.as_ref().map(|child| child.digest);
        let first = group[0];
        let Some(other) = group
            .iter()
            .copied()
            .find(|at| digest(*at) != digest(first))
        else {
            continue;
        };
        let show = |at: usize| {
            let digest = digest(at).map_or_else(String::new, |digest| format!(" {digest}"));
            format!("#{}{digest}", roots[at].position)
        };
        let name = quote(name.to_string());
        let message = format!(
            "two images have the name {name}: {} and {}",
            show(first),
            show(other)
        );
        let error = Arc::new(Error::new(Code::Ambiguous, message).at(list));
        for at in group {
            roots[at].ambiguous = Some(Arc::clone(&error));
        }
    }
}

/// What a place's list of entry points says of itself, and of none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopLevel {
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its other properties, as JSON text.
    pub properties: BTreeMap<String, String>,
}

/// What is known of a place that is one file fetched from a server, beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The local copy, which is there as long as the bundle: its bytes say what reads it.
    pub path: PathBuf,
    /// The ACI's name that was asked for, if one was. The image must have it.
    pub name: Option<String>,
    /// The labels that were asked for. The image must have them, with these values.
    pub labels: BTreeMap<String, String>,
    /// Labels that were assumed. If the image has them, it must be with these values.
    pub assumed: BTreeMap<String, String>,
    /// The tag that was asked for and led to the labels, if one was: what the image is called where
    /// it has no version of its own.
    pub tag: Option<String>,
}

/// A detached OpenPGP signature, and the keys that its place offers for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The ASCII-armoured signature.
    pub bytes: Vec<u8>,
    /// Public keys that were fetched from the place itself, which the user agreed to.
    pub keys: Vec<Vec<u8>>,
    /// Where public keys could be fetched, if the user agreed.
    pub offered: Vec<String>,
}

/// A place that is read.
pub trait Bundle: fmt::Debug + Send + Sync {
    /// Returns the locator for messages, without secrets.
    fn locator(&self) -> String;

    /// Lists the entry points, in a fixed order.
    ///
    /// # Errors
    /// If the list itself can't be read.
    fn roots(&self) -> Result<Vec<RootEntry>>;

    /// Lists every entry point of the place, also where the locator means only one of many (a
    /// registry's `latest`). An entry may have no descriptor yet, see [`Bundle::resolve`].
    ///
    /// # Errors
    /// If the list itself can't be read.
    fn listing(&self) -> Result<Vec<RootEntry>> {
        self.roots()
    }

    /// Finds out what a listed entry stands for: returns it with its descriptor.
    ///
    /// # Errors
    /// If it is missing or can't be read.
    fn resolve(&self, entry: &RootEntry) -> Result<RootEntry> {
        Ok(entry.clone())
    }

    /// Reads an entry point's root.
    ///
    /// # Errors
    /// If it is missing, too large, or not what its descriptor says.
    fn root(&self, entry: &RootEntry) -> Result<Root>;

    /// Reads a whole document of at most `limit` bytes and verifies it.
    ///
    /// # Errors
    /// [`Code::Missing`], [`Code::Mismatch`], [`Code::Limit`] or an I/O error.
    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document>;

    /// Returns a blob that verifies what `facts` claim whenever it is read. `facts.digest` is
    /// there.
    ///
    /// # Errors
    /// [`Code::Missing`] or an I/O error.
    fn blob(&self, facts: &Facts) -> Result<Blob>;

    /// Returns a blob by its name, for places that name their blobs instead of addressing them by
    /// content (a docker archive). It verifies what `facts` claim whenever it is read.
    ///
    /// # Errors
    /// [`Code::Missing`] if there is no such member, [`Code::Unsupported`] if the place is
    /// content-addressed.
    fn member(&self, name: &str, _facts: &Facts) -> Result<Blob> {
        let message = format!("{} has no members by name", self.locator());
        Err(Error::new(Code::Unsupported, message).at(crate::quote(name)))
    }

    /// Finds a layer by the digest of its uncompressed bytes, for places whose lists may name a
    /// member that is not there; also says what the member is called. Who reads the layer verifies it.
    ///
    /// # Errors
    /// If the place can't be read.
    fn layer_of(&self, _diff_id: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }

    /// Returns what the list of entry points says of itself.
    fn top_level(&self) -> TopLevel {
        TopLevel::default()
    }

    /// Returns what the lists that hold `entries` say of themselves, each with its place: one list,
    /// unless this place is made of several.
    fn top_levels(&self, _entries: &[RootEntry]) -> Vec<(String, TopLevel)> {
        vec![(self.locator(), self.top_level())]
    }

    /// Says why the name that an entry has here is none, if so: its image can be read, and needs
    /// another name to be written (robustness A12).
    fn bad_name(&self, _entry: &RootEntry) -> Option<Error> {
        None
    }

    /// Names what the list of entry points says of an entry otherwise where it lists the same image
    /// again under the same name: only the first one counts.
    fn said_again(&self, _entry: &RootEntry) -> Vec<String> {
        Vec::new()
    }

    /// Returns the place that holds an entry and the entry there, if this place is made of several,
    /// such as a folder of archives; `None` if it holds its entries itself. The same place is the
    /// same [`Arc`] as long as its entries are asked for one after another.
    ///
    /// # Errors
    /// If that place can't be opened.
    fn part(&self, _entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        Ok(None)
    }

    /// Returns what changes when the bytes of an entry do, where no digest says it: what the file
    /// system says of its file. Nothing is read. `None` if nothing says it, or the digests do.
    ///
    /// # Errors
    /// If the file is not there.
    fn state(&self, _entry: &RootEntry) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns what is known of the one file that was fetched from a server; `None` for every other
    /// place. An ACI that was fetched needs a good signature.
    fn fetched(&self) -> Option<&Fetched> {
        None
    }

    /// Returns the detached signature that stands beside the one file that the place is.
    ///
    /// # Errors
    /// If there is one and it can't be read.
    fn signature(&self, _limits: &Limits) -> Result<Option<Signature>> {
        Ok(None)
    }

    /// Lists every digest that is stored here, in order, and names files that should not be;
    /// `None` where that makes no sense. For `verify`.
    ///
    /// # Errors
    /// If the place can't be listed.
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        Ok(None)
    }

    /// Returns the digest under which [`Bundle::stored`] lists a blob that is found by `digest`:
    /// another one where a place stores a blob once and knows it by several digests.
    fn stored_as(&self, digest: &Digest) -> Digest {
        *digest
    }
}

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

    /// Returns the format identities whose roots it takes, the preferred first.
    fn accepts(&self) -> &'static [FormatId];

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
    fn name_roots(&self, _publications: &[Publication]) -> Result<crate::Report> {
        Ok(crate::Report::default())
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
