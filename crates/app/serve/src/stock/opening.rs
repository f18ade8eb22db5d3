//! Opening the sources, and putting their images into repositories. Nothing is made here.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use imgconv_convert::read::{
    cosign::Signed,
    node::{Node, platform_of},
    reversal::is_named,
    root::SourceRoot,
    source::Source,
};
use imgconv_format_docker_v2s1::SigningKey;
use imgconv_locate::locator::Locator;
use imgconv_model::{
    Bundle, Child, Code, Digest, Env, Error, Facts, PlatformSpec, Result, RootEntry,
};
use imgconv_pipeline::Done;
use imgconv_stream::Pool;

use super::{
    acis::{Acis, Appc},
    cache::Cache,
    contents::{At, Found, Held, V1Image, find, look},
    forms::Slot,
    names::{Served, full_names, served},
    proven::Proven,
    repository::{Item, Repository},
};
use crate::options::{ServeOptions, Watcher};

/// The parts of places that stay open after they were used.
const OPEN_PARTS: usize = 16;

/// An open part of a source: the number of the source, the position of an entry, and the part.
type OpenPart = (usize, usize, Arc<dyn Bundle>);

/// The images of all sources.
pub struct Stock {
    pub(super) sources: Vec<Source>,
    pub(super) items: Vec<Item>,
    pub(super) repositories: Vec<Repository>,
    /// The listed names of repositories.
    pub(super) listed: BTreeMap<String, usize>,
    /// The names with their hosts.
    pub(super) full: BTreeMap<String, usize>,
    pub(super) cache: Arc<Cache>,
    pub(super) layers: Arc<Done>,
    pub(super) pool: Pool,
    pub(super) key: SigningKey,
    pub(super) platform: PlatformSpec,
    pub(super) env: Env,
    pub(super) watcher: Arc<dyn Watcher>,
    parts: Mutex<VecDeque<OpenPart>>,
    pub(super) proven: Proven,
    /// The v1 images that were asked for, by id.
    pub(super) v1: RwLock<BTreeMap<String, Arc<V1Image>>>,
    /// The list of ACIs, once a client has asked for one, and what they are made with.
    pub(super) acis: Slot<Arc<Acis>>,
    pub(super) appc: Appc,
    /// The artifacts of reversal, by the number of their source and the image that they are about.
    pub(super) records: BTreeMap<(usize, Digest), Vec<RootEntry>>,
    /// The sizes of blobs whose documents do not state them.
    pub(super) sizes: Mutex<BTreeMap<Digest, u64>>,
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stock")
            .field("listed", &self.listed)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// An image on its way to its repository.
struct Placed {
    pub(super) served: Served,
    pub(super) item: Item,
    pub(super) node: Arc<Node>,
    /// The document that the image is about, if nothing else names it.
    pub(super) about: Option<Digest>,
}

impl Stock {
    /// Opens the sources and lists their images. An image that can't be read is left out, with a message.
    ///
    /// # Errors
    /// If a source or the cache can't be opened.
    pub fn open(
        locators: &[Locator],
        options: &ServeOptions,
        watcher: &Arc<dyn Watcher>,
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
            watcher: Arc::clone(watcher),
            parts: Mutex::default(),
            proven: Proven::default(),
            v1: RwLock::default(),
            acis: Slot::default(),
            appc: Appc::open(locators, options)?,
            records: BTreeMap::new(),
            sizes: Mutex::default(),
        };
        let mut placed = Vec::new();
        for (at, locator) in locators.iter().enumerate() {
            let source = Source::open_store(locator, env)?;
            stock.place(at, &source, &mut placed, &**watcher)?;
            stock.sources.push(source);
        }
        for placed in &placed {
            if let Node::Opaque { opaque, .. } = &*placed.node
                && is_named(opaque)
                && let Some(subject) = opaque.subject
            {
                let key = (placed.item.source, subject);
                let records = stock.records.entry(key).or_default();
                records.extend_from_slice(&placed.item.entries);
            }
        }
        stock.arrange(placed, &**watcher)?;
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
                    acis: Vec::new(),
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
                    acis: Vec::new(),
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
        if let Some(image) = node.as_image().filter(|image| image.aci.is_some()) {
            let name = image.image.name.as_ref().map(ToString::to_string);
            item.acis = vec![(name, platform_of(image, None).to_string())];
        }
        let repository = &self.repositories[at];
        if let Some(known) = served.tag.as_ref().and_then(|tag| repository.tags.get(tag)) {
            let known = &mut self.items[*known];
            let stream = |entries: &[RootEntry]| entries.iter().all(|entry| entry.child.is_none());
            // ACIs of one name are one image for several platforms. The tag may stand for several names, because
            // what a tag can't hold is replaced.
            let fits = |(name, platform): &(Option<String>, String)| {
                let mut all = known.acis.iter();
                all.all(|(other, known)| other == name && known != platform)
            };
            if known.source == item.source
                && stream(&known.entries)
                && stream(&item.entries)
                && item.acis.iter().all(fits)
            {
                known.entries.extend(item.entries);
                known.acis.extend(item.acis);
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
        for (node, _) in node.walk() {
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
                continue;
            };
            match look(document, &node.digests(), &held, &blob, &self.env.limits)? {
                Found::Complete(complete) => {
                    self.repositories[at].add(complete);
                    // The blobs of the manifests and indexes among the blobs are served too.
                    if let Node::Opaque { opaque, .. } = node {
                        self.add_blobs(at, &opaque.blobs, &held, bundle);
                    }
                }
                Found::Incomplete => whole &= !image,
            }
        }
        let root = node.root_digest().filter(|_| whole);
        Ok(root.filter(|root| self.repositories[at].manifest(root).is_some()))
    }

    /// Registers the blobs of an artifact.
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
    /// `host` is the host that a client says the name belongs to, as containerd does for mirrors: then no
    /// repository of another host is found.
    pub fn find(&self, name: &str, host: Option<&str>) -> Option<&Repository> {
        let at = match host {
            Some(host) => full_names(host, name)
                .iter()
                .find_map(|full| self.full.get(full)),
            None => self
                .listed
                .get(name)
                .or_else(|| self.full.get(name))
                .or_else(|| self.listed.get(&format!("library/{name}"))),
        };
        self.repositories.get(*at?)
    }

    /// Returns the innermost place that holds an entry; `None` if the source itself does. The last ones
    /// stay open.
    pub(super) fn part(&self, at: usize, entry: &RootEntry) -> Result<Option<Arc<dyn Bundle>>> {
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
