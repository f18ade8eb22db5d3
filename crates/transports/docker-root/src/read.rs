//! A data root as a bundle.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use imgconv_folder::Folder;
use imgconv_fs::Directory;
use imgconv_manifest::archive_image;
use imgconv_model::{
    Algorithm, Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, Limits, Name,
    NamedBlobs, Notes, Open, Result, Root, RootEntry, mark_ambiguous, quote,
};
use imgconv_tar_split::Layer;

use crate::{
    driver,
    store::{self, Image, LayerPlace},
};

/// A data root that is read.
#[derive(Debug)]
pub(crate) struct DataRoot {
    locator: String,
    root: Arc<Directory>,
    images: Vec<Image>,
    entries: Vec<RootEntry>,
    /// The places of the images by the digests of their root documents.
    documents: BTreeMap<Digest, usize>,
    /// The places of the images by their IDs.
    ids: BTreeMap<Digest, usize>,
    limits: Limits,
    /// Takes the losses of layers.
    notes: Notes,
}

impl DataRoot {
    /// Lists the images; of their layers only the folders are checked.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("docker-root:{rest}");
        let root = Directory::open(Path::new(rest)).map_err(|error| error.at(locator.clone()))?;
        Self::list(root, &locator, env).map_err(|error| error.at(locator.clone()))
    }

    fn list(root: Directory, locator: &str, env: &Env) -> Result<Self> {
        let drivers = store::drivers(&root)?;
        if drivers.is_empty() {
            let message = "there is no folder `image/DRIVER` with images, so this is no data root \
                           of a docker engine";
            return Err(Error::new(Code::Missing, message)
                .hint("name the engine's data root, such as /var/lib/docker"));
        }
        let images = store::images(&root, &drivers, &env.limits)?;
        let mut found = Self {
            locator: locator.to_owned(),
            root: Arc::new(root),
            images,
            entries: Vec::new(),
            documents: BTreeMap::new(),
            ids: BTreeMap::new(),
            limits: env.limits,
            notes: env.notes.clone(),
        };
        for position in 0..found.images.len() {
            env.check_cancelled()?;
            found.list_image(position);
        }
        mark_ambiguous(&mut found.entries, "repositories.json");
        Ok(found)
    }

    /// Lists an image once for each of its names; an image without a name once. An image whose root
    /// document can't be made has no descriptor, and [`Bundle::root`] returns the error.
    fn list_image(&mut self, position: usize) {
        let image = &self.images[position];
        self.ids.insert(image.id, position);
        let document = store::document(&self.root, image, &self.limits).ok();
        let child = document.map(|document| archive_image::child(&document));
        if let Some(child) = &child {
            self.documents.insert(child.digest, position);
        }
        let hex = image.id.hex();
        let ids = [image.id.to_string(), hex.clone(), hex[..12].to_owned()];
        let (names, others): (Vec<_>, Vec<_>) = image
            .references
            .iter()
            .map(|text| (text, name(text)))
            .partition(|(_, name)| name.is_some());
        let entry = |name: Option<Name>, texts: Vec<String>| RootEntry {
            position,
            name,
            texts,
            child: child.clone(),
            error: None,
            ambiguous: None,
        };
        let of_image = others.into_iter().map(|(text, _)| text.clone()).chain(ids);
        let of_image: Vec<String> = of_image.collect();
        if names.is_empty() {
            self.entries.push(entry(None, of_image));
            return;
        }
        for (text, name) in names {
            let texts = [text.clone()].into_iter().chain(of_image.clone());
            self.entries.push(entry(name, texts.collect()));
        }
    }

    fn image(&self, position: usize) -> Result<&Image> {
        self.images.get(position).ok_or_else(|| {
            let message = format!("there is no entry #{position}");
            Error::new(Code::Missing, message)
        })
    }

    fn at(&self, error: Error) -> Error {
        error.at(self.locator.clone())
    }

    fn layer(&self, name: &str) -> Result<Blob> {
        let Some(place) = LayerPlace::parse(name) else {
            let message = format!("there is no layer {}", quote(name));
            return Err(Error::new(Code::Missing, message));
        };
        let folder = place.folder();
        if !self.root.is_directory(&folder) {
            let message = format!("the engine's data has no layer {}", place.chain_id);
            return Err(Error::new(Code::Missing, message).at(format!("folder {folder}")));
        }
        let cache_id = place.line(&self.root, "cache-id")?;
        let files = driver::folder(&place.driver, &cache_id)
            .map_err(|error| error.at(format!("folder {folder}")))?;
        let Some(files) = self.root.directory(&files)? else {
            let message = format!("the files of layer {} are missing", place.chain_id);
            return Err(Error::new(Code::Missing, message).at(format!("folder {files}")));
        };
        let files = Arc::new(files);
        let found = Layer::find(&self.root, place.record(), &files, &self.limits)?;
        let bytes: Arc<dyn Open> = match found {
            Some(layer) => Arc::new(layer),
            None => {
                let marks = driver::marks(&place.driver);
                let folder = Folder {
                    root: files,
                    names_root: false,
                    marks: marks.map_err(|error| error.at(format!("file {}", place.record())))?,
                    limits: self.limits,
                    what: format!("layer {}", place.chain_id),
                };
                folder.report_sockets(&self.notes);
                Arc::new(folder)
            }
        };
        Ok(Blob {
            facts: Facts::default(),
            bytes,
        })
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
        let image = self.image(entry.position).map_err(|error| self.at(error))?;
        store::document(&self.root, image, &self.limits)
            .map(Root::Document)
            .map_err(|error| self.at(error))
    }

    fn document(&self, _: &str, facts: &Facts, _: (&'static str, u64)) -> Result<Document> {
        let position = facts.digest.and_then(|digest| self.documents.get(&digest));
        let Some(position) = position else {
            let message = "the data of an engine has no documents but configs";
            return Err(self.at(Error::new(Code::Missing, message)));
        };
        let document = self
            .image(*position)
            .and_then(|image| store::document(&self.root, image, &self.limits));
        document.map_err(|error| self.at(error))
    }

    fn blob(&self, _: &Facts) -> Result<Blob> {
        let message = "the data of an engine has no blobs, only extracted layers";
        Err(self.at(Error::new(Code::Missing, message)))
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            members: Some(self),
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
