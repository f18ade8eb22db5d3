//! A store as a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_containers_conf::Registries;
use imgconv_fs::{Directory, warn_if_held};
use imgconv_manifest::media_type::DOCKER_SCHEMA1_SIGNED;
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extracted, Extras, Facts,
    Limits, Name, Notes, Open, Reader, Result, Root, RootEntry, mark_ambiguous, quote,
};
use imgconv_stream::{Verified, digest, read_to_limit};

use crate::{
    config::{self, Stores},
    image::{self, Image, MANIFEST, Manifest},
    layers::{self, DRIVERS, Layers, Stored},
    spec::{self, Spec},
};

/// The place of a stored manifest: the position of its image, and its name there.
type At = (usize, String);

/// A store that is read.
#[derive(Debug)]
pub(crate) struct Store {
    locator: String,
    images: Vec<Image>,
    layers: BTreeMap<&'static str, Layers>,
    /// The layers of all drivers by the digests of their tars.
    tars: BTreeMap<Digest, Stored>,
    entries: Vec<RootEntry>,
    /// The places of the stored manifests by their digests in the lists of images.
    stored: BTreeMap<Digest, At>,
    /// The places of the manifests by the digests of the documents that they are read as. A manifest
    /// that an index lists and that can't be read has its stored digest here, so that reading it gives
    /// the error.
    manifests: BTreeMap<Digest, At>,
    /// The descriptors of manifests that are read instead of stored ones, by the digests of those.
    replaced: BTreeMap<Digest, Child>,
    /// The places of the images by the digests of their configs, in the spelling of the manifests.
    configs: BTreeMap<String, usize>,
    limits: Limits,
    /// Takes the irregularities of images, and the losses of layers.
    notes: Notes,
}

impl Store {
    /// Lists the images; their layers are not read.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("containers-storage:{rest}");
        Self::at_location(rest, &locator, env).map_err(|error| error.at(locator.clone()))
    }

    /// Opens the roots of the stores that a location means. Additional stores may be missing, as they
    /// may for podman.
    fn at_location(rest: &str, locator: &str, env: &Env) -> Result<Self> {
        let (stores, is_default) = match spec::read(rest) {
            Spec::Root(driver, root) => {
                let driver = driver.map(str::to_owned);
                let roots = vec![root.into()];
                (Stores { driver, roots }, false)
            }
            Spec::Default => (config::stores(&env.places.storage)?, true),
        };
        let mut roots = Vec::new();
        for (i, path) in stores.roots.iter().enumerate() {
            match Directory::open(path) {
                Ok(root) => roots.push(Arc::new(root)),
                Err(error) if i > 0 && error.code() == Code::Missing => {}
                Err(error) if is_default => {
                    return Err(error.hint(
                        "this is the default store; name another one by its path, as in \
                         `containers-storage:/var/lib/containers/storage:NAME` or \
                         `containers-storage:[overlay@/var/lib/containers/storage]NAME`",
                    ));
                }
                Err(error) => {
                    return Err(error.hint(
                        "name the store's directory and then the image, as in \
                         `containers-storage:/var/lib/containers/storage:NAME`",
                    ));
                }
            }
        }
        Self::list(&roots, stores.driver.as_deref(), locator, env)
    }

    fn list(
        roots: &[Arc<Directory>],
        wanted: Option<&str>,
        locator: &str,
        env: &Env,
    ) -> Result<Self> {
        let mut store = Self {
            locator: locator.to_owned(),
            images: Vec::new(),
            layers: BTreeMap::new(),
            tars: BTreeMap::new(),
            entries: Vec::new(),
            stored: BTreeMap::new(),
            manifests: BTreeMap::new(),
            replaced: BTreeMap::new(),
            configs: BTreeMap::new(),
            limits: env.limits,
            notes: env.notes.clone(),
        };
        if let Some(wanted) = wanted.filter(|wanted| !DRIVERS.contains(wanted)) {
            let message = format!(
                "the images of the graph driver {} can't be read",
                quote(wanted)
            );
            return Err(Error::new(Code::Unsupported, message)
                .hint("`overlay` and `vfs` keep layers as files"));
        }
        let mut any = false;
        let mut seen = BTreeSet::new();
        for root in roots {
            let is_wanted = |driver: &&str| wanted.is_none_or(|wanted| wanted == *driver);
            for driver in DRIVERS.into_iter().filter(is_wanted) {
                if !image::is_there(root, driver)? {
                    continue;
                }
                any = true;
                let locks = [
                    "storage.lock".to_owned(),
                    format!("{driver}-layers/layers.lock"),
                    format!("{driver}-images/images.lock"),
                ];
                warn_if_held(
                    root,
                    &locks.each_ref().map(|path| &**path),
                    locator,
                    &env.notes,
                );
                store.add(root, driver, &mut seen)?;
            }
        }
        if !any {
            let drivers = wanted.map_or(DRIVERS.to_vec(), |wanted| vec![wanted]);
            let file = |driver: &&str| format!("`{driver}-images/images.json`");
            let files: Vec<String> = drivers.iter().map(file).collect();
            let message = format!("there is no file {}", files.join(" or "));
            return Err(Error::new(Code::Missing, message)
                .hint("name the store's root, such as /var/lib/containers/storage"));
        }
        for (position, image) in store.images.iter().enumerate() {
            for (digest, name) in &image.manifests {
                let at = || (position, name.clone());
                store.stored.entry(*digest).or_insert_with(at);
            }
        }
        let mut children = vec![None; store.images.len()];
        // The manifests of images are read first: the digests that an index gets depend on them.
        for of_indexes in [false, true] {
            for (position, child) in children.iter_mut().enumerate() {
                env.check_cancelled()?;
                if child.is_none() {
                    *child = store.list_manifest(position, of_indexes);
                }
            }
        }
        for (position, child) in children.iter().enumerate() {
            store.list_image(position, child.as_ref());
        }
        let registries = Registries::of(&env.network)?;
        name_shortly(&mut store.entries, &registries);
        mark_ambiguous(&mut store.entries, "images.json");
        Ok(store)
    }

    /// Adds the layers and images of a driver. What an earlier store has too is taken from there.
    /// `seen` are the drivers, ids and names of the images so far.
    fn add(
        &mut self,
        root: &Arc<Directory>,
        driver: &'static str,
        seen: &mut BTreeSet<(&'static str, String, Vec<String>)>,
    ) -> Result<()> {
        let known = self.layers.entry(driver).or_default();
        for (id, layer) in layers::read(root, driver, &self.limits)? {
            if let Some(diff_id) = layer.diff_id {
                self.tars.entry(diff_id).or_insert_with(|| layer.clone());
            }
            known.entry(id).or_insert(layer);
        }
        for image in image::read(root, driver, &self.limits)? {
            if seen.insert((driver, image.id.clone(), image.names.clone())) {
                self.images.push(image);
            }
        }
        Ok(())
    }

    /// Lists an image once for each of its names; an image without a name once.
    fn list_image(&mut self, position: usize, child: Option<&Child>) {
        let image = &self.images[position];
        let short = image.id.get(..12).map(str::to_owned);
        let stored = image.digest.map(|digest| digest.to_string());
        let ids = [image.id.clone(), format!("sha256:{}", image.id)];
        let ids: Vec<String> = ids.into_iter().chain(short).chain(stored).collect();
        let mut names: BTreeSet<&String> = image.names.iter().collect();
        names.retain(|text| !text.contains('@'));
        let others = image.names.iter().filter(|text| text.contains('@'));
        let of_image: Vec<String> = others.cloned().chain(ids).collect();
        let entry = |name: Option<Name>, texts: Vec<String>| RootEntry {
            position,
            name,
            texts,
            child: child.cloned(),
            error: None,
            ambiguous: None,
        };
        if names.is_empty() {
            self.entries.push(entry(None, of_image));
            return;
        }
        for text in names {
            let name = Name::parse_reference(text).ok();
            // The store may have no name by the digest of its own manifest.
            let by_digest = name.as_ref().and_then(|name| name.repository.as_ref());
            let by_digest = by_digest.zip(image.digest);
            let by_digest = by_digest.map(|(name, digest)| format!("{name}@{digest}"));
            let texts = [text.clone()].into_iter().chain(of_image.iter().cloned());
            let texts = texts.chain(by_digest);
            self.entries.push(entry(name, texts.collect()));
        }
    }

    /// Reads the manifest of an image, or an index after the manifests that it lists, and remembers
    /// where they are. Returns `None` if the manifest can't be read, or is of the other kind.
    fn list_manifest(&mut self, position: usize, is_index: bool) -> Option<Child> {
        let at = (position, MANIFEST.to_owned());
        let manifest = self.stored_manifest(&at).ok()?;
        if manifest.is_index() != is_index {
            return None;
        }
        for digest in manifest.listed() {
            if self.manifests.contains_key(&digest) || self.replaced.contains_key(&digest) {
                continue;
            }
            let Some(at) = self.stored.get(&digest).cloned() else {
                continue;
            };
            let listed = match self.stored_manifest(&at) {
                // Podman adds the images of a list to another list, and not the list itself.
                Ok(listed) if listed.is_index() => continue,
                Ok(listed) => self.list_document(&at, listed),
                Err(error) => Err(error),
            };
            if listed.is_err() {
                self.manifests.insert(digest, at);
            }
        }
        self.list_document(&at, manifest).ok()
    }

    /// Remembers where the document is that a manifest is read as.
    fn list_document(&mut self, at: &At, manifest: Manifest) -> Result<Child> {
        let is_index = manifest.is_index();
        let document = self.readable(at, manifest)?;
        let own = digest(Algorithm::Sha256, &document.bytes);
        self.manifests.insert(own, at.clone());
        if let Some(config) = image::config(&document.bytes, &self.limits) {
            self.configs.insert(config, at.0);
        }
        let child = Child::new(document.kind, own, document.bytes.len() as u64);
        if let Some(stored) = self.images[at.0].digest_of(&at.1).filter(|_| !is_index) {
            if digest(stored.algorithm(), &document.bytes) == stored {
                self.manifests.insert(stored, at.clone());
            } else {
                self.replaced.insert(stored, child.clone());
            }
        }
        Ok(child)
    }

    fn stored_manifest(&self, (position, name): &At) -> Result<Manifest> {
        let image = &self.images[*position];
        let manifest = image.stored_manifest(name, &self.limits);
        manifest.map_err(|error| error.at(format!("image {}", image.id)))
    }

    /// Returns the document that a manifest is read as.
    fn readable(&self, (position, name): &At, manifest: Manifest) -> Result<Document> {
        if manifest.is_index() {
            return Ok(manifest.index_of(&self.replaced));
        }
        let image = &self.images[*position];
        let none = Layers::new();
        let layers = self.layers.get(image.driver).unwrap_or(&none);
        let document = image.plain(name, manifest, layers, &self.limits);
        document.map_err(|error| error.at(format!("image {}", image.id)))
    }

    /// Reads a manifest, and warns of what is not read of the image.
    fn manifest(&self, at: &At) -> Result<Document> {
        let manifest = self.stored_manifest(at)?;
        let is_index = manifest.is_index();
        let document = self.readable(at, manifest)?;
        let image = &self.images[at.0];
        let place = format!("image {}", image.id);
        let is_other = |stored: &Digest| {
            // An index has another digest only because of its images, which have the warning. The
            // digest of a signed manifest of schema 1 does not cover the signatures.
            !is_index
                && document.kind != DOCKER_SCHEMA1_SIGNED
                && digest(stored.algorithm(), &document.bytes) != *stored
        };
        if let Some(stored) = image.digest_of(&at.1).filter(is_other) {
            let message = format!(
                "the store does not keep the compressed layers of the manifest {stored}; the image \
                 is read with the manifest {}, which has the same layers as plain tars",
                digest(Algorithm::Sha256, &document.bytes)
            );
            self.notes.warn("other-digest", &*place, message);
        }
        if image.signatures > 0 {
            let message = match image.signatures {
                1 => "1 signature in the store is not read and not carried over".to_owned(),
                count => {
                    format!("{count} signatures in the store are not read and not carried over")
                }
            };
            self.notes.warn("signatures-ignored", place, message);
        }
        Ok(document)
    }

    fn at(&self, error: Error) -> Error {
        error.at(self.locator.clone())
    }

    /// Finds a config: a document whose name is its digest.
    fn config(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let name = digest.to_string();
        let Some(image) = self.configs.get(&name).and_then(|at| self.images.get(*at)) else {
            return Ok(None);
        };
        let limit = ("config", self.limits.config);
        image.root.read(&image.document_path(&name), limit)
    }

    fn find(&self, digest: &Digest) -> Result<Arc<dyn Open>> {
        if let Some(layer) = self.tars.get(digest) {
            return Ok(Arc::new(layer.tar(&self.limits)?));
        }
        if let Some(bytes) = self.config(digest)? {
            return Ok(Arc::new(Arc::<[u8]>::from(bytes)));
        }
        let message = format!("neither a layer nor a config has the digest {digest}");
        Err(Error::new(Code::Missing, message))
    }
}

/// Adds the short forms of names: podman finds `localhost/NAME`, `docker.io/library/NAME`, the alias `NAME`
/// and `NAME` at the registries that it searches by `NAME`. Podman takes the first of them that the store
/// has. Here a short form for several images is ambiguous, and the message lists them.
fn name_shortly(entries: &mut [RootEntry], registries: &Registries) {
    for entry in entries {
        let Some(name) = &entry.name else { continue };
        let repository = name.repository.as_deref().unwrap_or_default();
        let mut shorts: BTreeSet<String> = registries.short_names(repository).into_iter().collect();
        let usual = ["localhost/", "docker.io/library/"]
            .into_iter()
            .find_map(|prefix| repository.strip_prefix(prefix));
        shorts.extend(usual.map(str::to_owned));
        for short in shorts {
            match name.tag.as_deref() {
                Some("latest") => {
                    entry.texts.push(format!("{short}:latest"));
                    entry.texts.push(short);
                }
                Some(tag) => entry.texts.push(format!("{short}:{tag}")),
                None => {}
            }
        }
    }
}

impl Bundle for Store {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.entries.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        if entry.position >= self.images.len() {
            let message = format!("there is no entry #{}", entry.position);
            return Err(self.at(Error::new(Code::Missing, message)));
        }
        let document = self.manifest(&(entry.position, MANIFEST.to_owned()));
        let document = document.map_err(|error| self.at(error))?;
        Ok(Root::Document(document))
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let at = facts.digest.and_then(|digest| self.manifests.get(&digest));
        if let Some(at) = at {
            return self.manifest(at).map_err(|error| self.at(error));
        }
        let blob = self.blob(facts)?;
        let what = match &facts.digest {
            Some(digest) => format!("document {digest}"),
            None => "document".to_owned(),
        };
        let bytes = read_to_limit(blob.open()?, limit, &what).map_err(|error| self.at(error))?;
        Ok(Document {
            kind: kind.to_owned(),
            bytes: bytes.into(),
        })
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        let Some(digest) = facts.digest else {
            let message = "a blob of a store is found by its digest, and none is known";
            return Err(self.at(Error::new(Code::Missing, message)));
        };
        let bytes = self.find(&digest).map_err(|error| self.at(error))?;
        Ok(Blob {
            facts: facts.clone(),
            bytes: Arc::new(Checked {
                bytes,
                facts: facts.clone(),
                what: format!("blob {digest} of {}", self.locator),
            }),
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            extracted: Some(self),
            // An image of a list need not have been pulled.
            partial: true,
            ..Extras::default()
        }
    }
}

impl Extracted for Store {
    /// Finds the layer whose record is missing by its own diff ID: a store has a layer once for each
    /// chain, and the layers of a chain differ.
    fn remake(&self, diff_ids: &[Digest]) -> Result<Option<Blob>> {
        let Some(layer) = diff_ids.last().and_then(|id| self.tars.get(id)) else {
            return Ok(None);
        };
        let none = Layers::new();
        let layers = self.layers.get(layer.driver).unwrap_or(&none);
        let folder = layer.remake(layers, &self.limits, &self.notes);
        let folder = folder.map_err(|error| self.at(error))?;
        Ok(folder.map(|folder| Blob {
            facts: Facts::default(),
            bytes: Arc::new(folder),
        }))
    }
}

/// Bytes that are verified whenever they are read.
#[derive(Debug)]
struct Checked {
    bytes: Arc<dyn Open>,
    facts: Facts,
    what: String,
}

impl Open for Checked {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(Verified::new(
            self.bytes.open()?,
            &self.facts,
            &*self.what,
        )))
    }
}
