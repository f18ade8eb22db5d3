//! A data root as a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use imgconv_containerd::Store;
use imgconv_fs::{Directory, warn_if_held};
use imgconv_manifest::archive_image;
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extracted, Extras, Facts,
    Limits, Name, NamedBlobs, Notes, Open, Result, Root, RootEntry, StoredBlobs, mark_ambiguous,
    quote,
};
use imgconv_tar_split::Layer;

use crate::{
    driver::{self, Files},
    graph::Graph,
    measured::Measured,
    store::{self, Image, LayerPlace},
};

/// The folder of containerd's root directory below a data root.
pub(crate) const DAEMON: &str = "containerd/daemon";
/// The name of the root directory of the system's containerd, beside a data root.
const SYSTEM: &str = "containerd";
/// The files that a running engine locks.
const LOCKED: [&str; 5] = [
    "network/files/local-kv.db",
    "volumes/metadata.db",
    "buildkit/cache.db",
    "buildkit/metadata_v2.db",
    "buildkit/snapshots.db",
];
/// The namespace in which an engine keeps its own images.
const NAMESPACE: &str = "moby/";

/// A data root that is read.
#[derive(Debug)]
pub(crate) struct DataRoot {
    locator: String,
    root: Arc<Directory>,
    images: Vec<Image>,
    /// The images from before Docker 1.10.
    graph: Option<Graph>,
    /// The images of containerd's store.
    daemon: Option<Store>,
    entries: Vec<RootEntry>,
    /// The images by the positions of their entries.
    places: Vec<Where>,
    /// The positions of the images by the digests of the root documents that are made for them.
    documents: BTreeMap<Digest, usize>,
    /// The places in `images` by the IDs.
    ids: BTreeMap<Digest, usize>,
    limits: Limits,
    /// Takes the losses of layers.
    notes: Notes,
}

/// Where an image is.
#[derive(Clone, Debug)]
enum Where {
    /// At that place in the list of images.
    Image(usize),
    /// The version 1 image of that id.
    Graph(String),
    /// An entry of containerd's store.
    Daemon(Box<RootEntry>),
}

impl DataRoot {
    /// Lists the images; of their layers only the folders are checked.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("docker-root:{rest}");
        let root = Directory::open(Path::new(rest)).map_err(|error| error.at(locator.clone()))?;
        let beside = beside(Path::new(rest), env);
        Self::list(root, beside, &locator, env).map_err(|error| error.at(locator.clone()))
    }

    /// `beside` is the store of the system's containerd, if the engine keeps images there.
    fn list(root: Directory, beside: Option<Store>, locator: &str, env: &Env) -> Result<Self> {
        let root = Arc::new(root);
        let drivers = store::drivers(&root)?;
        let graph = Graph::open(&root, &env.limits)?;
        let daemon = match root.directory(DAEMON)? {
            Some(daemon) if Store::is_there(&daemon)? => Some(daemon),
            _ => None,
        };
        if drivers.is_empty() && graph.is_none() && daemon.is_none() && beside.is_none() {
            let message = format!(
                "there are no images in `image/DRIVER`, `graph` or `{DAEMON}`, so this is no data \
                 root of a docker engine"
            );
            return Err(Error::new(Code::Missing, message).hint(
                "name the engine's data root, such as /var/lib/docker; an engine that uses the \
                 containerd of the system has its images there: \
                 `containerd:/var/lib/containerd`",
            ));
        }
        let daemon = match daemon {
            Some(directory) => Some(Store::open(directory, &format!("{locator}/{DAEMON}"), env)?),
            None => beside,
        };
        warn_if_held(&root, &LOCKED, locator, &env.notes);
        let images = match env.places.namespace {
            // Only containerd has namespaces.
            Some(_) if daemon.is_some() => Vec::new(),
            _ => store::images(&root, &drivers, &env.limits)?,
        };
        let mut found = Self {
            locator: locator.to_owned(),
            root,
            images,
            graph: graph.filter(|_| env.places.namespace.is_none()),
            daemon,
            entries: Vec::new(),
            places: Vec::new(),
            documents: BTreeMap::new(),
            ids: BTreeMap::new(),
            limits: env.limits,
            notes: env.notes.clone(),
        };
        let mut daemon = found.daemon_entries()?;
        let held: BTreeMap<Digest, Held> = match &found.daemon {
            Some(store) if !found.images.is_empty() => held(store, &daemon),
            _ => BTreeMap::new(),
        };
        for i in 0..found.images.len() {
            env.check_cancelled()?;
            let id = found.images[i].id;
            let held = held.get(&id);
            if found.list_image(i, held.map(|held| &held.names)) {
                continue;
            }
            for place in held.map(Held::places).unwrap_or_default() {
                daemon[place].texts.extend(id_texts(&id));
            }
        }
        found.list_graph(env)?;
        for mut entry in daemon {
            let place = Where::Daemon(Box::new(entry.clone()));
            entry.position = found.places.len();
            found.places.push(place);
            found.entries.push(entry);
        }
        share_texts(&mut found.entries);
        mark_ambiguous(&mut found.entries, "the lists of names");
        Ok(found)
    }

    /// Returns the entries of containerd's store, those of the engine's own namespace first.
    fn daemon_entries(&self) -> Result<Vec<RootEntry>> {
        let Some(daemon) = &self.daemon else {
            return Ok(Vec::new());
        };
        let mut entries = daemon.roots()?;
        let is_other =
            |entry: &RootEntry| !entry.texts.iter().any(|text| text.starts_with(NAMESPACE));
        entries.sort_by_key(is_other);
        Ok(entries)
    }

    /// Lists an image once for each of its names; an image without a name once. An image whose root
    /// document can't be made has no descriptor, and [`Bundle::root`] returns the error. `held` are
    /// the names under which containerd's store has the same image, if it has. Returns false if all
    /// names of the image are among them, so that nothing is listed.
    fn list_image(&mut self, i: usize, held: Option<&BTreeSet<Name>>) -> bool {
        let image = &self.images[i];
        self.ids.insert(image.id, i);
        let document = store::document(&self.root, image, &self.limits).ok();
        let child = document.map(|document| archive_image::child(&document));
        let ids = id_texts(&image.id);
        let (mut names, others): (Vec<_>, Vec<_>) = image
            .references
            .iter()
            .map(|text| (text.clone(), name(text)))
            .partition(|(_, name)| name.is_some());
        let others = others.into_iter().map(|(text, _)| text);
        let others: Vec<String> = others.chain(ids).collect();
        if let Some(held) = held {
            names.retain(|(_, name)| {
                let name = name.as_ref().map(Name::qualified);
                name.is_some_and(|name| !held.contains(&name))
            });
            if names.is_empty() {
                return false;
            }
        }
        self.push(Where::Image(i), child, names, others);
        true
    }

    fn list_graph(&mut self, env: &Env) -> Result<()> {
        let Some(graph) = self.graph.take() else {
            return Ok(());
        };
        let stored = self.images.iter().map(|image| image.id).collect();
        let mut walked = 0;
        for head in graph.heads(&stored)? {
            env.check_cancelled()?;
            let chain = graph.chain(&head.id, &mut walked);
            if walked > self.limits.graph_nodes {
                let what = "the number of layers of all images";
                return Err(Limits::exceeded(
                    "graph_nodes",
                    self.limits.graph_nodes,
                    what,
                ));
            }
            let child = chain.ok().map(|chain| chain.child());
            let (names, others): (Vec<_>, Vec<_>) =
                head.names.into_iter().partition(|(_, name)| name.is_some());
            let short = head.id.get(..12).unwrap_or(&head.id).to_owned();
            let others = others.into_iter().map(|(text, _)| text);
            let others = others.chain([head.id.clone(), short]).collect();
            self.push(Where::Graph(head.id), child, names, others);
        }
        self.graph = Some(graph);
        Ok(())
    }

    /// Adds an image: an entry for each name, or one without a name. `others` are the texts by which
    /// the image is found besides its names.
    fn push(
        &mut self,
        place: Where,
        child: Option<Child>,
        names: Vec<(String, Option<Name>)>,
        others: Vec<String>,
    ) {
        let position = self.places.len();
        self.places.push(place);
        if let Some(child) = &child {
            self.documents.insert(child.digest, position);
        }
        let entry = |name: Option<Name>, texts: Vec<String>| RootEntry {
            position,
            name,
            texts,
            child: child.clone(),
            error: None,
            ambiguous: None,
        };
        if names.is_empty() {
            self.entries.push(entry(None, others));
            return;
        }
        for (text, name) in names {
            let texts = [text].into_iter().chain(others.iter().cloned());
            self.entries.push(entry(name, texts.collect()));
        }
    }

    /// Makes the root document of an image, or reads it.
    fn document_at(&self, position: usize) -> Result<Document> {
        match (self.places.get(position), &self.graph, &self.daemon) {
            (Some(Where::Image(i)), _, _) => {
                store::document(&self.root, &self.images[*i], &self.limits)
            }
            (Some(Where::Graph(id)), Some(graph), _) => {
                graph.chain(id, &mut 0).map(|chain| chain.document)
            }
            (Some(Where::Daemon(entry)), _, Some(daemon)) => match daemon.root(entry)? {
                Root::Document(document) => Ok(document),
                Root::Stream(_) => Err(Error::new(Code::Unsupported, "the image is a stream")),
            },
            _ => {
                let message = format!("there is no entry #{position}");
                Err(Error::new(Code::Missing, message))
            }
        }
    }

    fn at(&self, error: Error) -> Error {
        error.at(self.locator.clone())
    }

    /// Opens the extracted files of a layer.
    fn files(&self, place: &LayerPlace) -> Result<Files> {
        let cache_id = place.line(&self.root, "cache-id")?;
        let what = format!("layer {}", place.chain_id);
        driver::files(&self.root, &place.driver, &cache_id, &what)
            .map_err(|error| error.at(format!("folder {}", place.folder())))
    }

    fn layer(&self, name: &str) -> Result<Blob> {
        if let Some(graph) = &self.graph
            && let Some(bytes) = graph.layer(name, &self.notes)?
        {
            return Ok(Blob {
                facts: Facts::default(),
                bytes,
            });
        }
        let Some(place) = LayerPlace::parse(name) else {
            let message = format!("there is no layer {}", quote(name));
            return Err(Error::new(Code::Missing, message));
        };
        let folder = place.folder();
        if !self.root.is_directory(&folder)? {
            let message = format!("the engine's data has no layer {}", place.chain_id);
            return Err(Error::new(Code::Missing, message).at(format!("folder {folder}")));
        }
        let files = self.files(&place)?;
        let found = Layer::find(&self.root, place.record(), &files.root, &self.limits)?;
        let bytes: Arc<dyn Open> = match found {
            Some(layer) => Arc::new(layer),
            None => {
                let below = || match place.below(&self.root)? {
                    Some(below) => self.files(&below).map(Some),
                    None => Ok(None),
                };
                let what = format!("layer {}", place.chain_id);
                Arc::new(files.remake(below, self.limits, what, &self.notes)?)
            }
        };
        let measured = Measured {
            bytes,
            root: Arc::clone(&self.root),
            path: format!("{folder}/size"),
        };
        Ok(Blob {
            facts: Facts::default(),
            bytes: Arc::new(measured),
        })
    }
}

/// Opens the store of the system's containerd, which lies beside the data root, if an engine keeps
/// images there: only the namespace of the engine is read, unless the user named another. A store
/// that can't be read belongs to no engine of this root.
fn beside(root: &Path, env: &Env) -> Option<Store> {
    let path = match (root.file_name(), root.parent()) {
        (Some(_), Some(parent)) => parent.join(SYSTEM),
        _ => root.join("..").join(SYSTEM),
    };
    let mut env = env.clone();
    let namespace = NAMESPACE.trim_end_matches('/').to_owned();
    env.places.namespace.get_or_insert(namespace);
    let open = |env: &Env| {
        let directory = Directory::open(&path).ok()?;
        let locator = format!("containerd:{}", path.display());
        Store::open(directory, &locator, env).ok()
    };
    // Warnings about a store without images of the engine are of no interest.
    let store = open(&env.with_notes(&Notes::default()))?;
    let has_images = store.roots().is_ok_and(|roots| !roots.is_empty());
    has_images.then(|| open(&env)).flatten()
}

/// The forms in which docker prints the ID of an image.
fn id_texts(id: &Digest) -> [String; 3] {
    let hex = id.hex();
    [id.to_string(), hex.clone(), hex[..12].to_owned()]
}

/// An image of a graph driver that containerd's store holds whole.
#[derive(Debug, Default)]
struct Held {
    /// The names of the entries that lead to the image.
    names: BTreeSet<Name>,
    /// The places of these entries, each with the number of images that it leads to.
    entries: Vec<(usize, usize)>,
}

impl Held {
    /// Returns the places of the entries that the ID of the image means: those that lead to no other
    /// image, if there are any.
    fn places(&self) -> Vec<usize> {
        let fewest = self.entries.iter().map(|(_, images)| *images).min();
        let alone = |(_, images): &&(usize, usize)| fewest != Some(1) || *images == 1;
        let places = self.entries.iter().filter(alone);
        places.map(|(place, _)| *place).collect()
    }
}

/// Finds the images that containerd's store holds whole, by their IDs.
fn held(store: &Store, entries: &[RootEntry]) -> BTreeMap<Digest, Held> {
    let mut held: BTreeMap<Digest, Held> = BTreeMap::new();
    let mut known: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let Some(child) = &entry.child else { continue };
        let ids = known
            .entry(child.digest)
            .or_insert_with(|| store.image_ids(child));
        for id in ids.iter() {
            let held = held.entry(*id).or_default();
            held.names.extend(entry.name.as_ref().map(Name::qualified));
            held.entries.push((place, ids.len()));
        }
    }
    held
}

/// Gives entries of one name the same texts, so that each spelling of the name finds all of them.
fn share_texts(entries: &mut [RootEntry]) {
    let mut spelled: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for entry in &*entries {
        if let (Some(name), Some(text)) = (&entry.name, entry.texts.first()) {
            let texts = spelled.entry(name.qualified()).or_default();
            if !texts.contains(text) {
                texts.push(text.clone());
            }
        }
    }
    for entry in entries {
        let texts = entry.name.as_ref().map(Name::qualified);
        for text in texts
            .and_then(|name| spelled.get(&name))
            .into_iter()
            .flatten()
        {
            if !entry.texts.contains(text) {
                entry.texts.push(text.clone());
            }
        }
    }
}

/// Reads a reference of `repositories.json`; `None` for a reference by digest, and for invalid
/// text.
fn name(reference: &str) -> Option<Name> {
    if reference.contains('@') {
        return None;
    }
    Name::parse_reference(reference).ok()
}

impl Bundle for DataRoot {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.entries.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        self.document_at(entry.position)
            .map(Root::Document)
            .map_err(|error| self.at(error))
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let position = facts.digest.and_then(|digest| self.documents.get(&digest));
        match (position, &self.daemon) {
            (Some(position), _) => self.document_at(*position).map_err(|error| self.at(error)),
            (None, Some(daemon)) => daemon.document(kind, facts, limit),
            (None, None) => {
                let message = "the data of an engine has no documents but configs";
                Err(self.at(Error::new(Code::Missing, message)))
            }
        }
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        let position = facts.digest.and_then(|digest| self.documents.get(&digest));
        match (position, &self.daemon) {
            (Some(position), _) => {
                let document = self.document_at(*position);
                let document = document.map_err(|error| self.at(error))?;
                Ok(Blob {
                    facts: facts.clone(),
                    bytes: Arc::new(document.bytes),
                })
            }
            (None, Some(daemon)) => daemon.blob(facts),
            (None, None) => {
                let message = "the data of an engine has no blobs, only extracted layers";
                Err(self.at(Error::new(Code::Missing, message)))
            }
        }
    }

    fn extras(&self) -> Extras<'_> {
        let stored = self
            .daemon
            .as_ref()
            .map(|daemon| daemon as &dyn StoredBlobs);
        Extras {
            members: Some(self),
            extracted: self.daemon.as_ref().map(|daemon| daemon as &dyn Extracted),
            stored,
            partial: true,
            ..Extras::default()
        }
    }
}

impl NamedBlobs for DataRoot {
    /// Returns a config, or a layer as a tar.
    fn member(&self, name: &str, _facts: &Facts) -> Result<Blob> {
        let config = name
            .strip_prefix("blobs/sha256/")
            .and_then(|hex| Digest::from_hex(Algorithm::Sha256, hex))
            .and_then(|id| self.ids.get(&id))
            .and_then(|position| self.images.get(*position));
        let found = match config {
            None => self.layer(name),
            Some(image) => store::config(&self.root, image, &self.limits).map(|bytes| Blob {
                facts: Facts {
                    digest: Some(image.id),
                    size: Some(bytes.len() as u64),
                },
                bytes: Arc::new(Arc::<[u8]>::from(bytes)),
            }),
        };
        found.map_err(|error| self.at(error))
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}
