//! The images of the graph drivers: their names, their configs and their layers.

use std::collections::BTreeMap;

use imgconv_fs::Directory;
use imgconv_json::{Object, parse};
use imgconv_manifest::archive_image;
use imgconv_model::{Algorithm, Code, Digest, Document, Error, Limits, Result, quote};
use imgconv_stream::digest;

/// The folder that holds a folder for each graph driver.
const IMAGE: &str = "image";

/// The most bytes of a file that holds one digest or one name.
const SMALL: (&str, u64) = ("layout_file", 4096);

/// Lists the graph drivers that have images here, in order; `overlay2` first, since engines have
/// preferred it since Docker 17.06.
pub(crate) fn drivers(root: &Directory) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for driver in root.directories(IMAGE)? {
        let has = |name: &str| root.is_directory(&format!("{IMAGE}/{driver}/{name}"));
        if has("imagedb")? || has("layerdb")? {
            found.push(driver);
        }
    }
    found.sort_by_key(|driver| (driver != "overlay2", driver.clone()));
    Ok(found)
}

/// An image: its ID, the drivers that have its config, and its references.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) id: Digest,
    pub(crate) drivers: Vec<String>,
    pub(crate) references: Vec<String>,
}

/// Lists the images of all drivers. Images with a reference come first, sorted by it, then the
/// others, sorted by their IDs.
pub(crate) fn images(root: &Directory, drivers: &[String], limits: &Limits) -> Result<Vec<Image>> {
    let mut found: BTreeMap<Digest, Image> = BTreeMap::new();
    let mut entry = |id: Digest, driver: &str| {
        let image = found.entry(id).or_insert_with(|| Image {
            id,
            drivers: Vec::new(),
            references: Vec::new(),
        });
        if !image.drivers.iter().any(|known| known == driver) {
            image.drivers.push(driver.to_owned());
        }
        image.id
    };
    let mut named: Vec<(String, Digest)> = Vec::new();
    for driver in drivers {
        let folder = format!("{IMAGE}/{driver}/imagedb/content/sha256");
        for hex in root.names(&folder)? {
            // Any other file there is a temporary file of the engine.
            if let Some(id) = Digest::from_hex(Algorithm::Sha256, &hex) {
                entry(id, driver);
            }
        }
        for (reference, id) in references(root, driver, limits)? {
            entry(id, driver);
            named.push((reference, id));
        }
    }
    named.sort();
    named.dedup();
    for (reference, id) in named {
        if let Some(image) = found.get_mut(&id) {
            image.references.push(reference);
        }
    }
    let mut images: Vec<Image> = found.into_values().collect();
    images.sort_by(|a, b| {
        let key = |image: &Image| {
            (
                image.references.is_empty(),
                image.references.first().cloned(),
                image.id,
            )
        };
        key(a).cmp(&key(b))
    });
    Ok(images)
}

/// Reads `repositories.json` of a driver: every reference with its image ID.
fn references(root: &Directory, driver: &str, limits: &Limits) -> Result<Vec<(String, Digest)>> {
    let path = format!("{IMAGE}/{driver}/repositories.json");
    let limit = ("archive_json", limits.archive_json);
    let Some(bytes) = root.read(&path, limit)? else {
        return Ok(Vec::new());
    };
    let at = |error: Error| error.at(format!("file {path}"));
    let value = parse(&bytes, limits, &format!("file {path}"))?;
    let top = Object::new(&value, "").map_err(at)?;
    let mut found = Vec::new();
    let Some(repositories) = top.opt_object("Repositories").map_err(at)? else {
        return Ok(found);
    };
    for name in repositories.map().keys() {
        let Some(repository) = repositories.opt_object(name).map_err(at)? else {
            continue;
        };
        for reference in repository.map().keys() {
            let id = repository
                .string(reference)
                .and_then(Digest::parse)
                .map_err(at)?;
            found.push((reference.clone(), id));
        }
    }
    Ok(found)
}

/// Returns the path of the config of an image.
pub(crate) fn config_path(driver: &str, id: &Digest) -> String {
    format!("{IMAGE}/{driver}/imagedb/content/sha256/{}", id.hex())
}

/// A layer where a driver keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerPlace {
    pub(crate) driver: String,
    pub(crate) chain_id: Digest,
}

impl LayerPlace {
    /// Returns the name by which the format requests the layer.
    pub(crate) fn member(&self) -> String {
        format!("layerdb/{}/{}", self.driver, self.chain_id.hex())
    }

    /// Reads [`LayerPlace::member`].
    pub(crate) fn parse(member: &str) -> Option<Self> {
        let (driver, hex) = member.strip_prefix("layerdb/")?.split_once('/')?;
        Some(Self {
            driver: driver.to_owned(),
            chain_id: Digest::from_hex(Algorithm::Sha256, hex)?,
        })
    }

    /// Returns the folder of the layer's facts.
    pub(crate) fn folder(&self) -> String {
        format!(
            "{IMAGE}/{}/layerdb/sha256/{}",
            self.driver,
            self.chain_id.hex()
        )
    }

    /// Returns the path of the layer's tar-split record.
    pub(crate) fn record(&self) -> String {
        format!("{}/tar-split.json.gz", self.folder())
    }

    /// Returns the place of the layer below; `None` for the lowest layer, whose chain ID is its diff ID.
    pub(crate) fn below(&self, root: &Directory) -> Result<Option<Self>> {
        if self.line(root, "diff")? == self.chain_id.to_string() {
            return Ok(None);
        }
        let chain_id = Digest::parse(&self.line(root, "parent")?)
            .map_err(|error| error.at(format!("file {}/parent", self.folder())))?;
        Ok(Some(Self {
            driver: self.driver.clone(),
            chain_id,
        }))
    }

    /// Reads a file of the layer's facts that holds one line.
    pub(crate) fn line(&self, root: &Directory, name: &str) -> Result<String> {
        let path = format!("{}/{name}", self.folder());
        let Some(bytes) = root.read(&path, SMALL)? else {
            let message = format!("the engine's data has no file {path}");
            return Err(Error::new(Code::Missing, message));
        };
        String::from_utf8(bytes)
            .map(|text| text.trim_ascii().to_owned())
            .map_err(|_| Error::new(Code::BadManifest, "the file is not text").at(quote(path)))
    }
}

/// Makes the root document of an image: its config, and the places of its layers. The first driver
/// with all layers is taken; if none has all, the first one, and reading its layers gives the
/// error.
pub(crate) fn document(root: &Directory, image: &Image, limits: &Limits) -> Result<Document> {
    let diff_ids = diff_ids(root, image, limits)?;
    let chain = chain_ids(&diff_ids);
    let places = |driver: &String| -> Vec<LayerPlace> {
        let place = |chain_id: &Digest| LayerPlace {
            driver: driver.clone(),
            chain_id: *chain_id,
        };
        chain.iter().map(place).collect()
    };
    let mut layers = image.drivers.first().map(places).unwrap_or_default();
    for places in image.drivers.iter().map(places) {
        if is_whole(root, &places)? {
            layers = places;
            break;
        }
    }
    let members: Vec<String> = layers.iter().map(LayerPlace::member).collect();
    let mut remade = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        if root.is_directory(&layer.folder())? && root.file(&layer.record())?.is_none() {
            remade.push(i);
        }
    }
    let config = format!("blobs/sha256/{}", image.id.hex());
    Ok(archive_image::document(&config, &members, &remade))
}

/// Says whether a driver has all layers of an image.
fn is_whole(root: &Directory, layers: &[LayerPlace]) -> Result<bool> {
    for layer in layers {
        if !root.is_directory(&layer.folder())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the diff IDs of an image's config. The format interprets the rest of the config.
fn diff_ids(root: &Directory, image: &Image, limits: &Limits) -> Result<Vec<Digest>> {
    let bytes = config(root, image, limits)?;
    let at = |error: Error| error.at(format!("config {}", image.id));
    let value = parse(&bytes, limits, &format!("config {}", image.id))?;
    let top = Object::new(&value, "").map_err(at)?;
    let Some(rootfs) = top.opt_object("rootfs").map_err(at)? else {
        return Ok(Vec::new());
    };
    let listed = rootfs.string_list("diff_ids").map_err(at)?;
    if listed.len() as u64 > limits.layers {
        let what = format!("the list of {} layers", listed.len());
        return Err(at(Limits::exceeded("layers", limits.layers, what)));
    }
    let parsed = listed.iter().map(|text| Digest::parse(text).map_err(at));
    parsed.collect()
}

/// Reads the config of an image from the first driver that has it, and verifies it.
pub(crate) fn config(root: &Directory, image: &Image, limits: &Limits) -> Result<Vec<u8>> {
    for driver in &image.drivers {
        let path = config_path(driver, &image.id);
        let Some(bytes) = root.read(&path, ("config", limits.config))? else {
            continue;
        };
        let found = digest(Algorithm::Sha256, &bytes);
        if found != image.id {
            return Err(Error::mismatch("the digest of the config", image.id, found)
                .at(format!("file {path}")));
        }
        return Ok(bytes);
    }
    let message = format!(
        "`repositories.json` names the image {}, and it has no config",
        image.id
    );
    Err(Error::new(Code::Missing, message))
}

/// Computes the chain IDs of a list of diff IDs (OCI image-spec, config.md, "Layer ChainID").
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => *diff_id,
            Some(parent) => digest(Algorithm::Sha256, format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}
