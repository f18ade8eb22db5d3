//! A store as a bundle.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use imgconv_fs::Directory;
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extras, Facts, Limits,
    Name, Open, Reader, Result, Root, RootEntry, mark_ambiguous,
};
use imgconv_stream::{Verified, digest, read_to_limit};

use crate::{
    image::{self, Image},
    layers::{self, DRIVERS, Layers, Stored},
};

/// A store that is read.
#[derive(Debug)]
pub(crate) struct Store {
    locator: String,
    root: Arc<Directory>,
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
}

impl Store {
    /// Lists the images; their layers are not read.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("containers-storage:{rest}");
        let list = || {
            let root = Directory::open(Path::new(rest)).map_err(|error| {
                error.hint(
                    "name the store's directory and then the image, as in \
                     `containers-storage:/var/lib/containers/storage:NAME`",
                )
            })?;
            Self::list(root, &locator, env)
        };
        list().map_err(|error: Error| error.at(locator.clone()))
    }

    fn list(root: Directory, locator: &str, env: &Env) -> Result<Self> {
        let mut store = Self {
            locator: locator.to_owned(),
            root: Arc::new(root),
            images: Vec::new(),
            layers: BTreeMap::new(),
            tars: BTreeMap::new(),
            entries: Vec::new(),
            manifests: BTreeMap::new(),
            configs: BTreeMap::new(),
            limits: env.limits,
        };
        let there = |driver: &&str| image::is_there(&store.root, driver);
        let drivers: Vec<&'static str> = DRIVERS.into_iter().filter(there).collect();
        if drivers.is_empty() {
            let message = "there is no file `overlay-images/images.json` or \
                           `vfs-images/images.json`";
            return Err(Error::new(Code::Missing, message)
                .hint("name the store's root, such as /var/lib/containers/storage"));
        }
        for driver in drivers {
            let layers = layers::read(&store.root, driver, &store.limits)?;
            for layer in layers.values() {
                if let Some(diff_id) = layer.diff_id {
                    store.tars.entry(diff_id).or_insert_with(|| layer.clone());
                }
            }
            store.layers.insert(driver, layers);
            let images = image::read(&store.root, driver, &store.limits)?;
            store.images.extend(images);
        }
        for position in 0..store.images.len() {
            env.check_cancelled()?;
            store.list_image(position);
            store.warn_of_digest(position, env);
        }
        mark_ambiguous(&mut store.entries, "images.json");
        Ok(store)
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
            let texts = [text.clone()].into_iter().chain(of_image.iter().cloned());
            self.entries
                .push(entry(Name::parse_reference(text).ok(), texts.collect()));
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
        let document = image.manifest(&self.root, layers, &self.limits);
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
        self.root.read(&image.document_path(&name), limit)
    }

    fn find(&self, digest: &Digest) -> Result<Arc<dyn Open>> {
        if let Some(layer) = self.tars.get(digest) {
            return Ok(Arc::new(layer.tar(&self.root, &self.limits)?));
        }
        if let Some(bytes) = self.config(digest)? {
            return Ok(Arc::new(Arc::<[u8]>::from(bytes)));
        }
        let message = format!("neither a layer nor a config has the digest {digest}");
        Err(Error::new(Code::Missing, message))
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
        Extras::default()
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
