//! The images of the sources, by repository and tag, with their documents and blobs.
//!
//! Everything here blocks, and several threads may call everything. No name of a request is a path: each
//! is looked up in a list.

mod cache;
mod contents;
mod making;
mod names;
mod proven;
mod v1;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use imgconv_convert::read::{
    cosign::Signed,
    node::{Node, walk},
    root::SourceRoot,
    source::Source,
};
use imgconv_format_docker_v2s1::SigningKey;
use imgconv_locate::locator::Locator;
use imgconv_manifest::{Part, media_type, references};
use imgconv_model::{
    Blob, Bundle, Child, Code, Digest, Document, Env, Error, Facts, FormatId, PlatformSpec, Reader,
    Result, RootEntry,
};
use imgconv_pipeline::Done;
use imgconv_stream::Pool;

use self::{
    cache::Cache,
    contents::{At, Complete, Contents, Found, Held, find, look},
    making::{Slot, Want},
    names::{Served, served},
    proven::Proven,
};
pub use self::{contents::Manifest, proven::Stamped, v1::V1Image};
use crate::options::{ServeOptions, Watcher};

/// The parts of places that stay open after they were used.
const OPEN_PARTS: usize = 16;

/// The images of all sources.
pub struct Stock {
    sources: Vec<Source>,
    items: Vec<Item>,
    repositories: Vec<Repository>,
    /// The listed names of repositories.
    listed: BTreeMap<String, usize>,
    /// The names with their hosts.
    full: BTreeMap<String, usize>,
    cache: Arc<Cache>,
    layers: Arc<Done>,
    pool: Pool,
    key: SigningKey,
    platform: PlatformSpec,
    env: Env,
    parts: Mutex<VecDeque<(usize, usize, Arc<dyn Bundle>)>>,
    proven: Proven,
    /// The v1 images that were asked for, by id.
    v1: RwLock<BTreeMap<String, Arc<V1Image>>>,
    /// The sizes of blobs whose documents do not state them.
    sizes: Mutex<BTreeMap<Digest, u64>>,
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stock")
            .field("listed", &self.listed)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// A repository.
#[derive(Debug)]
pub struct Repository {
    /// The position in the list.
    number: usize,
    host: String,
    path: String,
    /// The name in lists.
    name: String,
    tags: BTreeMap<String, usize>,
    items: Vec<usize>,
    contents: RwLock<Contents>,
}

/// An image with all names that it has in one repository, or a document without a name.
#[derive(Debug)]
struct Item {
    source: usize,
    entries: Vec<RootEntry>,
    tag: Option<String>,
    /// The image for messages.
    text: String,
    /// The digest of the root, if it is served as it is stored.
    stored: Option<Digest>,
    forms: Mutex<BTreeMap<Want, Arc<Slot>>>,
}

/// An image on its way to its repository.
struct Placed {
    served: Served,
    item: Item,
    node: Arc<Node>,
    /// The document that the image is about, if nothing else names it.
    about: Option<Digest>,
}

/// The types that a client accepts: documents of other types are not for it.
pub trait Accepts {
    /// Says whether the client takes documents of that type.
    fn accepts(&self, kind: &str) -> bool;
}

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

/// The answer to a request for a tag.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The document.
    Found(Arc<Manifest>),
    /// The document has to be made first.
    NotReady,
    /// No type that the client accepts can hold the image.
    Unacceptable,
}

impl Repository {
    /// Returns the name in lists.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lists the tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(|tag| &**tag)
    }

    /// Finds a tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.contains_key(tag)
    }

    /// Returns a document that is there.
    pub fn manifest(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        self.contents().manifests.get(digest).map(Arc::clone)
    }

    /// Lists the documents about a document.
    pub fn referrers(&self, subject: &Digest) -> Vec<Arc<Manifest>> {
        self.contents().referrers(subject)
    }

    /// Returns the bytes of a document and of everything below it, as far as it is there; `None` if a
    /// size is not known. Each blob counts once.
    pub fn size(&self, root: &Manifest) -> Option<u64> {
        self.contents().size(root)
    }

    /// Returns the size of a blob, if it is known.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.contents().blobs.get(digest)?.size
    }

    /// Says whether a blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        let contents = self.contents();
        contents.blobs.contains_key(digest) || contents.manifests.contains_key(digest)
    }

    fn contents(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, complete: Complete) {
        let mut contents = self
            .contents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        contents.add(complete);
    }
}

impl Stock {
    /// Opens the sources and lists their images. An image that can't be read is left out, with a message.
    ///
    /// # Errors
    /// If a source or the cache can't be opened.
    pub fn open(
        locators: &[Locator],
        options: &ServeOptions,
        watcher: &dyn Watcher,
        env: &Env,
    ) -> Result<Self> {
        let mut stock = Self {
            sources: Vec::new(),
            items: Vec::new(),
            repositories: Vec::new(),
            listed: BTreeMap::new(),
            full: BTreeMap::new(),
            cache: Cache::open(options.cache.as_deref(), env)?,
            layers: Arc::default(),
            pool: Pool::new(env.jobs)?,
            key: SigningKey::fresh()?,
            platform: options.platform.clone(),
            env: env.clone(),
            parts: Mutex::default(),
            proven: Proven::default(),
            v1: RwLock::default(),
            sizes: Mutex::default(),
        };
        let mut placed = Vec::new();
        for (at, locator) in locators.iter().enumerate() {
            let source = Source::open_store(locator, env)?;
            stock.place(at, &source, &mut placed, watcher)?;
            stock.sources.push(source);
        }
        stock.arrange(placed, watcher)?;
        Ok(stock)
    }

    /// Finds out where the images of a source are served.
    fn place(
        &self,
        at: usize,
        source: &Source,
        placed: &mut Vec<Placed>,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let only = source.entries.len() == 1;
        let mut signed = Signed::default();
        for (entry, node) in source.decode_each(&self.env) {
            let node = match node {
                Ok(node) => node,
                Err(error) if error.code() == Code::Cancelled => return Err(error),
                Err(error) => {
                    watcher.left_out(&error);
                    continue;
                }
            };
            let mut root = SourceRoot::new(source, entry, Arc::clone(&node));
            let found = root.find_signed(&mut signed, &self.env);
            let name = found
                .and_then(|()| root.known_name(true))
                .unwrap_or_else(|error| {
                    watcher.left_out(&error);
                    None
                });
            let about = match &name {
                None => root.signed.or_else(|| node.subject()),
                Some(_) => None,
            };
            let file = source
                .held_by(entry)?
                .unwrap_or_else(|| source.text.clone());
            let digest = node.root_digest();
            let served = served(
                name.as_ref(),
                &file,
                only,
                (entry.position, digest.as_ref()),
            );
            placed.push(Placed {
                item: Item {
                    source: at,
                    entries: vec![entry.clone()],
                    tag: served.tag.clone(),
                    text: root.text.clone(),
                    stored: None,
                    forms: Mutex::default(),
                },
                served,
                node,
                about,
            });
        }
        Ok(())
    }

    /// Puts images into their repositories: those with names first, then documents about them.
    fn arrange(&mut self, placed: Vec<Placed>, watcher: &dyn Watcher) -> Result<()> {
        let (about, named): (Vec<_>, Vec<_>) = placed
            .into_iter()
            .partition(|placed| placed.about.is_some());
        for placed in named {
            let at = self.repository(&placed.served);
            self.put(at, placed, watcher)?;
        }
        // A document may be about another document without a name.
        let mut left = about;
        loop {
            let mut next = Vec::new();
            let before = left.len();
            for placed in left {
                let about = placed.about;
                let known = |repository: &Repository| {
                    about.is_some_and(|subject| repository.manifest(&subject).is_some())
                };
                let all = self.repositories.iter().enumerate();
                let into: Vec<usize> = all.filter(|(_, it)| known(it)).map(|(at, _)| at).collect();
                match into.is_empty() {
                    true => next.push(placed),
                    false => self.put_into(&into, placed, watcher)?,
                }
            }
            left = next;
            if left.len() == before || left.is_empty() {
                break;
            }
        }
        for placed in left {
            let at = self.repository(&placed.served);
            self.put_into(&[at], placed, watcher)?;
        }
        self.list(watcher);
        Ok(())
    }

    /// Puts a document without a name into repositories.
    fn put_into(&mut self, into: &[usize], placed: Placed, watcher: &dyn Watcher) -> Result<()> {
        for at in into {
            let Placed {
                served,
                item,
                node,
                about,
            } = &placed;
            let copy = Placed {
                served: Served {
                    tag: None,
                    ..served.clone()
                },
                item: Item {
                    source: item.source,
                    entries: item.entries.clone(),
                    tag: None,
                    text: item.text.clone(),
                    stored: None,
                    forms: Mutex::default(),
                },
                node: Arc::clone(node),
                about: *about,
            };
            self.put(*at, copy, watcher)?;
        }
        Ok(())
    }

    /// Finds or makes a repository.
    fn repository(&mut self, served: &Served) -> usize {
        let full = format!("{}/{}", served.host, served.path);
        if let Some(at) = self.full.get(&full) {
            return *at;
        }
        let at = self.repositories.len();
        self.repositories.push(Repository {
            number: at,
            host: served.host.clone(),
            path: served.path.clone(),
            name: full.clone(),
            tags: BTreeMap::new(),
            items: Vec::new(),
            contents: RwLock::default(),
        });
        self.full.insert(full, at);
        at
    }

    /// Puts an image into a repository.
    fn put(&mut self, at: usize, placed: Placed, watcher: &dyn Watcher) -> Result<()> {
        let Placed {
            mut item,
            node,
            served,
            ..
        } = placed;
        let repository = &self.repositories[at];
        if let Some(known) = served.tag.as_ref().and_then(|tag| repository.tags.get(tag)) {
            let known = &mut self.items[*known];
            let stream = |entries: &[RootEntry]| entries.iter().all(|entry| entry.child.is_none());
            // ACIs of one name are one image for several platforms.
            if known.source == item.source && stream(&known.entries) && stream(&item.entries) {
                known.entries.extend(item.entries);
                return Ok(());
            }
            let same = known.stored.is_some() && known.stored == node.root_digest();
            if same {
                return Ok(());
            }
            let message = format!(
                "another image has the name {}/{}:{} too, and is served by it: {}",
                served.host,
                served.path,
                item.tag.as_deref().unwrap_or_default(),
                known.text
            );
            watcher.left_out(&Error::new(Code::Ambiguous, message).at(&*item.text));
            item.tag = None;
        }
        let number = self.items.len();
        match self.register(at, number, &item, &node) {
            Ok(stored) => item.stored = stored,
            Err(error) if error.code() == Code::Cancelled => return Err(error),
            Err(error) => {
                watcher.left_out(&error.at(&*item.text));
                return Ok(());
            }
        }
        let repository = &mut self.repositories[at];
        if let Some(tag) = &item.tag {
            repository.tags.insert(tag.clone(), number);
        }
        repository.items.push(number);
        self.items.push(item);
        Ok(())
    }

    /// Registers what can be served as it is stored; returns the digest of the root if the whole image
    /// can.
    fn register(
        &self,
        at: usize,
        number: usize,
        item: &Item,
        node: &Node,
    ) -> Result<Option<Digest>> {
        let source = &self.sources[item.source];
        let part = self.part(item.source, &item.entries[0])?;
        let bundle = part.as_deref().unwrap_or(&*source.bundle);
        let blob = |facts: &Facts| find(bundle, facts);
        let held = At::Source(number);
        let mut whole = true;
        let mut failed = None;
        walk(node, None, &mut |node, _| {
            let document = match node {
                Node::Image(image) => image.original("manifest"),
                Node::Index { index, .. } => Some(&index.document),
                Node::Opaque { opaque, .. } => opaque.document.as_ref(),
            };
            let image = matches!(node, Node::Image(_));
            let Some(document) = document.filter(|_| node.root_digest().is_some()) else {
                match node {
                    Node::Opaque { opaque, .. } => {
                        self.add_blobs(at, &opaque.blobs, &held, bundle);
                    }
                    _ => whole = false,
                }
                return;
            };
            match look(document, &node.digests(), &held, &blob, &self.env.limits) {
                Ok(Found::Complete(complete)) => self.repositories[at].add(complete),
                Ok(Found::Incomplete) => whole &= !image,
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let root = node.root_digest().filter(|_| whole);
        Ok(root.filter(|root| self.repositories[at].manifest(root).is_some()))
    }

    /// Registers blobs of a type that no format knows.
    fn add_blobs(&self, at: usize, blobs: &[Child], held: &At, bundle: &dyn Bundle) {
        for child in blobs {
            if let Ok(Some(_)) = find(bundle, &child.facts()) {
                let contents = &self.repositories[at].contents;
                let mut contents = contents.write().unwrap_or_else(PoisonError::into_inner);
                let held = Held {
                    at: held.clone(),
                    size: Some(child.size),
                };
                contents.add_blob(child.digest, held);
            }
        }
    }

    /// Names the repositories: without the host, unless another repository has that name already.
    fn list(&mut self, watcher: &dyn Watcher) {
        for at in 0..self.repositories.len() {
            let repository = &self.repositories[at];
            if repository.items.is_empty() {
                continue;
            }
            let (path, full) = (repository.path.clone(), repository.name.clone());
            let name = match self.listed.get(&path) {
                None => path,
                Some(other) => {
                    let other = &self.repositories[*other];
                    let other = format!("{}/{}", other.host, other.path);
                    let message = format!(
                        "without its host the repository would be {path}, which is {other}; it is \
                         served as {full}"
                    );
                    watcher.left_out(&Error::new(Code::Ambiguous, message).at(&*full));
                    full
                }
            };
            self.repositories[at].name.clone_from(&name);
            self.listed.insert(name, at);
        }
    }

    /// Lists the names of all repositories, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.listed.keys().map(|name| &**name)
    }

    /// Returns the number of images.
    pub fn images(&self) -> usize {
        self.items.len()
    }

    /// Finds a repository by its name in lists, by its name with its host, or without `library/`.
    /// `host` is the host that a client says the name belongs to, as containerd does for mirrors.
    pub fn find(&self, name: &str, host: Option<&str>) -> Option<&Repository> {
        let full = host.and_then(|host| self.full.get(&format!("{host}/{name}")));
        let at = full
            .or_else(|| self.listed.get(name))
            .or_else(|| self.full.get(name))
            .or_else(|| self.listed.get(&format!("library/{name}")));
        self.repositories.get(*at?)
    }

    /// Makes every image in its usual form, for clients that accept everything. An image that can't be
    /// made is a message.
    ///
    /// # Errors
    /// If the work was cancelled.
    pub fn warm(&self, watcher: &dyn Watcher) -> Result<()> {
        for repository in &self.repositories {
            for item in &repository.items {
                let made = self.form(repository, *item, Want::USUAL, true);
                self.env.check_cancelled()?;
                if let Err(error) = made {
                    watcher.left_out(&error);
                }
            }
        }
        Ok(())
    }

    /// Finds the document of a tag in a form that the client accepts. Without `make` only a document that
    /// is there already is found.
    ///
    /// # Errors
    /// If the image can't be read or made.
    pub fn tagged(
        &self,
        repository: &Repository,
        tag: &str,
        client: &dyn Accepts,
        make: bool,
    ) -> Result<Answer> {
        let Some(item) = repository.tags.get(tag) else {
            return Err(Error::new(Code::Missing, "the repository has no such tag"));
        };
        let form = |want: Want| self.form(repository, *item, want, make);
        let Some(usual) = form(Want::USUAL)? else {
            return Ok(Answer::NotReady);
        };
        if client.accepts(usual.kind) {
            return Ok(Answer::Found(usual));
        }
        let accepts = |kinds: &[(&str, FormatId)]| {
            let found = kinds.iter().find(|(kind, _)| client.accepts(kind));
            found.map(|(_, format)| *format)
        };
        let index = accepts(INDEXES).filter(|_| usual.is_index());
        let want = match index {
            Some(format) => Want {
                format: Some(format),
                one: false,
            },
            None => {
                let one = usual.is_index();
                if one {
                    // The stored image of one platform may do.
                    let want = Want { format: None, one };
                    match form(want)? {
                        None => return Ok(Answer::NotReady),
                        Some(found) if client.accepts(found.kind) => {
                            return Ok(Answer::Found(found));
                        }
                        Some(_) => {}
                    }
                }
                let Some(format) = accepts(MANIFESTS) else {
                    return Ok(Answer::Unacceptable);
                };
                Want {
                    format: Some(format),
                    one,
                }
            }
        };
        Ok(match form(want)? {
            None => Answer::NotReady,
            Some(found) if client.accepts(found.kind) => Answer::Found(found),
            Some(_) => Answer::Unacceptable,
        })
    }

    /// Returns the document of a tag in its usual form, if it is there.
    pub fn usual(&self, repository: &Repository, tag: &str) -> Option<Arc<Manifest>> {
        let item = repository.tags.get(tag)?;
        self.form(repository, *item, Want::USUAL, false).ok()?
    }

    /// Finds a document by its digest; makes the images of the repository for that, if `make` is set and
    /// some are not made yet.
    pub fn by_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
        watcher: &dyn Watcher,
    ) -> Option<Arc<Manifest>> {
        for item in &repository.items {
            if let Some(found) = repository.manifest(digest) {
                return Some(found);
            }
            if let Err(error) = self.form(repository, *item, Want::USUAL, true) {
                watcher.failed(&self.items[*item].text, &error);
            }
        }
        repository.manifest(digest)
    }

    /// Says whether an image of the repository was not made yet.
    pub fn is_unmade(&self, repository: &Repository) -> bool {
        repository
            .items
            .iter()
            .any(|item| self.items[*item].stored.is_none())
    }

    /// Returns an image in a form; `None` without `make` if it has to be made.
    fn form(
        &self,
        repository: &Repository,
        at: usize,
        want: Want,
        make: bool,
    ) -> Result<Option<Arc<Manifest>>> {
        let item = &self.items[at];
        let found = |digest: &Digest| {
            repository.manifest(digest).ok_or_else(|| {
                let message = format!("{digest} was made and is gone");
                Error::new(Code::Missing, message).at(&*item.text)
            })
        };
        if let Some(digest) = item.stored.filter(|_| want == Want::USUAL) {
            return found(&digest).map(Some);
        }
        let slot = {
            let mut forms = item.forms.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(forms.entry(want).or_default())
        };
        if let Some(digest) = slot.ready() {
            return found(&digest).map(Some);
        }
        if !make {
            return Ok(None);
        }
        let digest = slot.once(|| {
            let root = self.convert(repository, item, want)?;
            self.register_made(repository, &root)
        });
        let digest = digest.map_err(|error| error.at(&*item.text))?;
        found(&digest).map(Some)
    }

    /// Registers a document that was made, and everything that it refers to; returns its digest.
    fn register_made(&self, repository: &Repository, root: &Child) -> Result<Digest> {
        let limit = ("manifest", self.env.limits.manifest);
        let mut own = None;
        let mut open = vec![root.clone()];
        let mut seen = BTreeSet::new();
        while let Some(child) = open.pop() {
            if !seen.insert(child.digest) {
                continue;
            }
            let known = repository.manifest(&child.digest);
            let document = match (&known, self.cache.blob(&child.digest, Some(child.size))?) {
                (Some(known), _) => Document {
                    kind: known.kind.to_owned(),
                    bytes: Arc::clone(&known.bytes),
                },
                (None, Some(blob)) => {
                    let what = child.digest.to_string();
                    let bytes = imgconv_stream::read_to_limit(blob.open()?, limit, &what)?;
                    Document {
                        kind: child.kind.clone(),
                        bytes: bytes.into(),
                    }
                }
                // An index lists documents that are not stored.
                (None, None) if own.is_some() => continue,
                (None, None) => {
                    let message = format!("{} was made and is gone", child.digest);
                    return Err(Error::new(Code::Missing, message));
                }
            };
            let list = references(&document.kind, &document.bytes, &self.env.limits)?;
            for reference in list.into_iter().flat_map(|read| read.list) {
                if reference.part == Part::Entry {
                    let size = reference.size.unwrap_or_default();
                    open.push(Child::new(reference.kind, reference.digest, size));
                }
            }
            if let Some(known) = known {
                own.get_or_insert(known.digest);
                continue;
            }
            let blob = |facts: &Facts| {
                let Some(digest) = facts.digest else {
                    return Ok(None);
                };
                if let Some(held) = repository.contents().blobs.get(&digest) {
                    return Ok(Some(held.size));
                }
                let found = self.cache.blob(&digest, facts.size)?;
                Ok(found.map(|blob| blob.facts.size))
            };
            match look(
                &document,
                &[child.digest],
                &At::Cache,
                &blob,
                &self.env.limits,
            )? {
                Found::Complete(complete) => {
                    own.get_or_insert(complete.manifest.digest);
                    repository.add(complete);
                }
                Found::Incomplete => {
                    let message = format!("{} was made and is not complete", child.digest);
                    return Err(Error::new(Code::Missing, message));
                }
            }
        }
        own.ok_or_else(|| Error::new(Code::Missing, "nothing was made"))
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// [`Code::Missing`] if the repository has no such blob, and the errors of the source.
    pub fn open_blob(&self, repository: &Repository, digest: &Digest) -> Result<Opened> {
        if let Some(file) = self
            .proven
            .get(digest)
            .filter(|_| repository.has_blob(digest))
        {
            let size = file.size();
            let bytes = Bytes::Proven(file);
            return Ok(Opened { size, bytes });
        }
        let blob = self.blob(repository, digest)?;
        let file = |blob: &Blob| blob.bytes.file().ok().flatten().and_then(Stamped::of);
        let (before, reader, after) = (file(&blob), blob.open()?, file(&blob));
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
    fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Blob> {
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
                .map(|found| of_memory(Arc::clone(&found.bytes)))
                .ok_or_else(missing);
        };
        let size = size.or_else(|| self.known_size(digest));
        let facts = Facts {
            digest: Some(*digest),
            size,
        };
        let mut blob = match at {
            At::Document(bytes) => return Ok(of_memory(bytes)),
            At::Cache => self.cache.blob(digest, size)?.ok_or_else(missing)?,
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
        Ok(blob)
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

    /// Returns the innermost place that holds an entry; `None` if the source itself does. The last ones
    /// stay open.
    fn part(&self, at: usize, entry: &RootEntry) -> Result<Option<Arc<dyn Bundle>>> {
        let source = &self.sources[at];
        if source.bundle.extras().parts.is_none() {
            return Ok(None);
        }
        let lock = || self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(source, position, _): &(usize, usize, _)| {
            (*source, *position) == (at, entry.position)
        };
        if let Some((_, _, part)) = lock().iter().find(|known| same(known)) {
            return Ok(Some(Arc::clone(part)));
        }
        let mut found = source.bundle.part(entry)?;
        while let Some((part, inner)) = &found {
            match part.part(inner)? {
                Some(deeper) => found = Some(deeper),
                None => break,
            }
        }
        let part = found.map(|(part, _)| part);
        if let Some(part) = &part {
            let mut parts = lock();
            parts.push_front((at, entry.position, Arc::clone(part)));
            parts.truncate(OPEN_PARTS);
        }
        Ok(part)
    }
}

/// The types of indexes, in the order in which they are tried, with the formats that have them.
const INDEXES: &[(&str, FormatId)] = &[
    (media_type::OCI_INDEX, FormatId::OCI),
    (media_type::DOCKER_LIST, FormatId::DOCKER_V2S2),
];

/// The types of manifests, in the order in which they are tried, with the formats that have them.
const MANIFESTS: &[(&str, FormatId)] = &[
    (media_type::OCI_MANIFEST, FormatId::OCI),
    (media_type::DOCKER_MANIFEST, FormatId::DOCKER_V2S2),
    (media_type::DOCKER_SCHEMA1_SIGNED, FormatId::DOCKER_V2S1),
    (media_type::DOCKER_SCHEMA1, FormatId::DOCKER_V2S1),
];
