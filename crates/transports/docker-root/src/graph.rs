//! The images of a root from before Docker 1.10: a chain of version 1 images.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_fs::{Directory, or_other_kind};
use imgconv_json::{Object, Value, canonical, parse};
use imgconv_manifest::v1_image::{self, Chain, Images, is_id};
use imgconv_model::{Code, Digest, Error, Limits, Name, Notes, Open, Result, quote};
use imgconv_tar_split::Layer;

use crate::{
    driver::{self, DRIVERS, Files},
    measured::Measured,
};

/// The folder that holds a folder for each image.
const GRAPH: &str = "graph";
/// The prefix of the file with the names of a graph driver's images.
const REPOSITORIES: &str = "repositories-";
/// The images that a newer engine copied to its own store, by their old ids.
const MIGRATED: &str = ".migration-v1-images.json";
/// The most bytes of a file that holds one id.
const SMALL: (&str, u64) = ("layout_file", 4096);

/// An image that is listed.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: String,
    /// The names, each as text; first those by tag.
    pub(crate) names: Vec<(String, Option<Name>)>,
}

/// The graph of a root.
#[derive(Debug)]
pub(crate) struct Graph {
    root: Arc<Directory>,
    /// The ids of all images, sorted.
    ids: Vec<String>,
    /// The graph drivers, those with names first.
    drivers: Vec<String>,
    limits: Limits,
}

/// Says whether a root has a graph.
pub(crate) fn is_there(root: &Directory) -> Result<bool> {
    let names = or_other_kind(root.directories(GRAPH))?;
    Ok(names.iter().any(|name| is_id(name)))
}

impl Graph {
    /// Lists the folders of the images; `None` if there are none.
    pub(crate) fn open(root: &Arc<Directory>, limits: &Limits) -> Result<Option<Self>> {
        let mut ids = root.directories(GRAPH)?;
        ids.retain(|id| is_id(id));
        if ids.is_empty() {
            return Ok(None);
        }
        if ids.len() as u64 > limits.graph_nodes {
            let what = format!("the number of images in `{GRAPH}`");
            return Err(Limits::exceeded("graph_nodes", limits.graph_nodes, what));
        }
        let mut drivers: Vec<String> = root
            .names("")?
            .iter()
            .filter_map(|name| name.strip_prefix(REPOSITORIES))
            .map(str::to_owned)
            .collect();
        for driver in DRIVERS {
            if !drivers.iter().any(|known| known == driver) {
                drivers.push(driver.to_owned());
            }
        }
        Ok(Some(Self {
            root: Arc::clone(root),
            ids,
            drivers,
            limits: *limits,
        }))
    }

    /// Lists the images: those with names, then those that are no parent of another. Images that a
    /// newer engine copied to its own store, where `stored` has them, are left out with their names.
    pub(crate) fn heads(&self, stored: &BTreeSet<Digest>) -> Result<Vec<Head>> {
        let migrated = self.migrated(stored)?;
        let mut named: BTreeMap<String, Head> = BTreeMap::new();
        for driver in &self.drivers {
            for (text, name, id) in self.names(driver)? {
                if migrated.contains(&id) {
                    continue;
                }
                let head = named.entry(id.clone()).or_insert_with(|| Head {
                    id,
                    names: Vec::new(),
                });
                if !head.names.iter().any(|(known, _)| *known == text) {
                    head.names.push((text, name));
                }
            }
        }
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        let known: Vec<&str> = named.keys().map(String::as_str).collect();
        let mut unnamed = v1_image::unnamed(self, &ids, &known, &self.limits);
        unnamed.retain(|id| !migrated.contains(id));
        let mut heads: Vec<Head> = named.into_values().collect();
        for head in &mut heads {
            head.names
                .sort_by(|(a, x), (b, y)| (x.is_none(), a).cmp(&(y.is_none(), b)));
        }
        heads.sort_by(|a, b| (&a.names[0].0, &a.id).cmp(&(&b.names[0].0, &b.id)));
        heads.extend(unnamed.into_iter().map(|id| Head {
            id,
            names: Vec::new(),
        }));
        Ok(heads)
    }

    /// Reads the names of a driver: text, name (`None` for a digest or no name), id.
    fn names(&self, driver: &str) -> Result<Vec<(String, Option<Name>, String)>> {
        let path = format!("{REPOSITORIES}{driver}");
        let limit = ("archive_json", self.limits.archive_json);
        let Some(bytes) = self.root.read(&path, limit)? else {
            return Ok(Vec::new());
        };
        let at = |error: Error| error.at(format!("file {path}"));
        let value = parse(&bytes, &self.limits, &format!("file {path}"))?;
        let top = Object::new(&value, "").map_err(at)?;
        let mut found = Vec::new();
        let Some(repositories) = top.opt_object("Repositories").map_err(at)? else {
            return Ok(found);
        };
        for repository in repositories.map().keys() {
            for (tag, id) in repositories.string_map(repository).map_err(at)? {
                let by_digest = Digest::parse(&tag).is_ok();
                let text = match by_digest {
                    true => format!("{repository}@{tag}"),
                    false => format!("{repository}:{tag}"),
                };
                let name = Name::parse_reference(&text).ok().filter(|_| !by_digest);
                found.push((text, name, id));
            }
        }
        Ok(found)
    }

    /// Returns the ids of the images that a newer engine copied and still has.
    fn migrated(&self, stored: &BTreeSet<Digest>) -> Result<BTreeSet<String>> {
        let limit = ("archive_json", self.limits.archive_json);
        let Some(bytes) = self.root.read(MIGRATED, limit)? else {
            return Ok(BTreeSet::new());
        };
        let value = parse(&bytes, &self.limits, &format!("file {MIGRATED}"))?;
        let at = |error: Error| error.at(format!("file {MIGRATED}"));
        let top = Object::new(&value, "").map_err(at)?;
        let mut found = BTreeSet::new();
        for id in top.map().keys() {
            let new = top.string(id).and_then(Digest::parse).map_err(at)?;
            if stored.contains(&new) {
                found.insert(id.clone());
            }
        }
        Ok(found)
    }

    /// Walks the chain of an image; counts its steps, also if it fails.
    pub(crate) fn chain(&self, id: &str, walked: &mut u64) -> Result<Chain> {
        v1_image::check_id(id).map_err(|error| error.at("file repositories"))?;
        v1_image::chain(self, id, &self.limits, walked)
    }

    /// Opens the layer that [`Images::layer_name`] named; `None` for another name.
    pub(crate) fn layer(&self, name: &str, notes: &Notes) -> Result<Option<Arc<dyn Open>>> {
        let id = name.strip_prefix("graph/").filter(|id| is_id(id));
        let Some(id) = id else {
            return Ok(None);
        };
        let what = format!("image {id}");
        let files = self.files(id)?;
        if let Some(path) = self.record(id)? {
            let found = Layer::find(&self.root, path, &files.root, &self.limits)?;
            if let Some(layer) = found {
                return Ok(Some(self.measured(id, Arc::new(layer))));
            }
        }
        let below = || match v1_image::parent(self, id, &self.limits)? {
            Some(parent) => self.files(&parent).map(Some),
            None => Ok(None),
        };
        let folder = files.remake(below, self.limits, what, notes)?;
        Ok(Some(self.measured(id, Arc::new(folder))))
    }

    fn measured(&self, id: &str, bytes: Arc<dyn Open>) -> Arc<dyn Open> {
        Arc::new(Measured {
            bytes,
            root: Arc::clone(&self.root),
            path: format!("{GRAPH}/{id}/layersize"),
        })
    }

    /// Returns the path of the record of a layer. A newer engine that began to copy the images may
    /// have made the record that an older one did not.
    fn record(&self, id: &str) -> Result<Option<String>> {
        for name in ["tar-data.json.gz", ".migration-tardata"] {
            let path = format!("{GRAPH}/{id}/{name}");
            if self.root.file(&path)?.is_some_and(|(_, size)| size > 0) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Opens the folder of a layer, which any of the drivers may have.
    fn files(&self, id: &str) -> Result<Files> {
        let mut unreadable = None;
        for driver in &self.drivers {
            let has_folder = self.root.is_directory(driver)?;
            match driver::find(&self.root, driver, id) {
                Ok(Some(files)) => return Ok(files),
                Ok(None) => {}
                Err(error) if error.code() == Code::Unsupported => {
                    unreadable = unreadable.or(Some(error).filter(|_| has_folder));
                }
                Err(error) => return Err(error),
            }
        }
        Err(unreadable.unwrap_or_else(|| {
            let message = format!("no graph driver has the files of the image {id}");
            Error::new(Code::Missing, message)
        }))
    }

    /// Reads the `json` of an image. Docker 1.9 left the id out, and had the parent elsewhere.
    fn completed(&self, id: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let place = self.json_name(id);
        let Value::Object(mut map) = parse(&bytes, &self.limits, &place)? else {
            return Ok(bytes);
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let own = text(map.get("parent")).filter(|parent| !parent.is_empty());
        let by_digest = text(map.get("parent_id"))
            .and_then(|parent| Digest::parse(&parent).ok())
            .map(|parent| parent.hex());
        let path = format!("{GRAPH}/{id}/parent");
        let in_file = match self.root.read(&path, SMALL)? {
            Some(bytes) => String::from_utf8(bytes).ok(),
            None => None,
        };
        let in_file = in_file
            .map(|text| text.trim_ascii().to_owned())
            .filter(|text| !text.is_empty());
        let parent = in_file.or_else(|| own.clone()).or(by_digest);
        if map.contains_key("id") && own == parent {
            return Ok(bytes);
        }
        map.entry("id").or_insert_with(|| Value::from(id));
        if let Some(parent) = parent {
            map.insert("parent".into(), Value::from(parent));
        }
        Ok(canonical(&Value::Object(map)))
    }
}

impl Images for Graph {
    fn json(&self, id: &str, limits: &Limits) -> Result<Option<Vec<u8>>> {
        let path = format!("{GRAPH}/{id}/json");
        match self.root.read(&path, ("config", limits.config))? {
            Some(bytes) => self.completed(id, bytes).map(Some),
            None if self.ids.iter().any(|known| known == id) => {
                let message = format!("the image {} has no `json`", quote(id));
                Err(Error::new(Code::Missing, message).at(format!("file {path}")))
            }
            None => Ok(None),
        }
    }

    fn json_name(&self, id: &str) -> String {
        format!("file {GRAPH}/{id}/json")
    }

    fn layer_name(&self, id: &str) -> String {
        format!("graph/{id}")
    }

    fn is_remade(&self, id: &str) -> Result<bool> {
        Ok(self.record(id)?.is_none())
    }
}
