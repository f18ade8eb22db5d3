//! A store as a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_containers_conf::Registries;
use imgconv_fs::{Directory, warn_if_held};
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extracted, Extras, Facts,
    Limits, Name, Notes, Open, Reader, Result, Root, RootEntry, mark_ambiguous, quote,
};
use imgconv_stream::{Verified, digest, read_to_limit};

use crate::{
    config::{self, Stores},
    image::{self, Image},
    layers::{self, DRIVERS, Layers, Stored},
    spec::{self, Spec},
};

/// A store that is read.
#[derive(Debug)]
pub(crate) struct Store {
    locator: String,
    images: Vec<Image>,
    layers: BTreeMap<&'static str, Layers>,
    /// The layers of all drivers by the digests of their tars.
    tars: BTreeMap<Digest, Stored>,
    entries: Vec<RootEntry>,
    /// The places of the images by the digests of their manifests.
    manifests: BTreeMap<Digest, usize>,
    /// The places of the images by the digests of their configs, in the spelling of the manifests.
    configs: BTreeMap<String, usize>,
    limits: Limits,
    /// Takes the losses of layers.
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
            manifests: BTreeMap::new(),
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
        for position in 0..store.images.len() {
            env.check_cancelled()?;
            store.list_image(position);
            store.warn_of_digest(position, env);
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
    fn list_image(&mut self, position: usize) {
        let image = &self.images[position];
        let document = self.manifest(image).ok();
        let config = document
            .as_ref()
            .and_then(|one| image::config(&one.bytes, &self.limits));
        let child = document.map(|document| {
            let bytes = &document.bytes;
            Child::new(
                document.kind.clone(),
                digest(Algorithm::Sha256, bytes),
                bytes.len() as u64,
            )
        });
        if let Some(child) = &child {
            self.manifests.insert(child.digest, position);
        }
        if let Some(config) = config {
            self.configs.insert(config, position);
        }
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
            child: child.clone(),
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

    /// Warns that an image is read by another manifest than the stored one.
    fn warn_of_digest(&self, position: usize, env: &Env) {
        let image = &self.images[position];
        let child = self
            .entries
            .iter()
            .rev()
            .find(|entry| entry.position == position);
        let child = child.and_then(|entry| entry.child.as_ref());
        let (Some(stored), Some(child)) = (image.digest, child) else {
            return;
        };
        if stored != child.digest {
            let message = format!(
                "the store does not keep the compressed layers of the manifest {stored}; the image \
                 is read with the manifest {}, which has the same layers as plain tars",
                child.digest
            );
            env.notes
                .warn("other-digest", format!("image {}", image.id), message);
        }
    }

    fn manifest(&self, image: &Image) -> Result<Document> {
        let none = Layers::new();
        let layers = self.layers.get(image.driver).unwrap_or(&none);
        let document = image.manifest(layers, &self.limits);
        document.map_err(|error| error.at(format!("image {}", image.id)))
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
        let image = self.images.get(entry.position).ok_or_else(|| {
            let message = format!("there is no entry #{}", entry.position);
            self.at(Error::new(Code::Missing, message))
        })?;
        let document = self.manifest(image).map_err(|error| self.at(error))?;
        Ok(Root::Document(document))
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let position = facts.digest.and_then(|digest| self.manifests.get(&digest));
        if let Some(image) = position.and_then(|position| self.images.get(*position)) {
            return self.manifest(image).map_err(|error| self.at(error));
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
