//! An open place that is read: its entry points, documents and blobs.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use crate::{
    Blob, Child, Code, Digest, Document, Error, Facts, Limits, Name, Place, Result, quote,
};

/// A root of a bundle: a document that refers to others, or a stream that is the whole image.
#[derive(Clone, Debug)]
pub enum Root {
    /// A document.
    Document(Document),
    /// A stream, perhaps compressed; and a short name for messages.
    Stream(Blob),
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
        Err(Error::new(Code::Unsupported, message).at(quote(name)))
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

    /// Returns the kind of place that the copy of a stream is, if this is such a copy.
    fn read_by(&self) -> Option<&'static Place> {
        None
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
