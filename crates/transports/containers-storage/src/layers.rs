//! The layers of a store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_folder::{Folder, Marks};
use imgconv_fs::Directory;
use imgconv_json::{Object, Value, parse};
use imgconv_model::{Code, Digest, Error, Limits, Notes, Result, quote};
use imgconv_tar_split::Layer;

/// The graph drivers whose layers are folders.
pub(crate) const DRIVERS: [&str; 2] = ["overlay", "vfs"];

/// A layer as `layers.json` lists it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The root of the store that has the layer.
    pub(crate) root: Arc<Directory>,
    pub(crate) driver: &'static str,
    pub(crate) id: String,
    parent: Option<String>,
    /// The digest of the tar; absent for the writable layer of a container.
    pub(crate) diff_id: Option<Digest>,
    /// The bytes of the tar.
    pub(crate) size: Option<u64>,
}

/// The layers of a driver, by their ids.
pub(crate) type Layers = BTreeMap<String, Stored>;

/// Reads `layers.json` of a driver; no layers if there is none.
pub(crate) fn read(root: &Arc<Directory>, driver: &'static str, limits: &Limits) -> Result<Layers> {
    let path = format!("{driver}-layers/layers.json");
    let limit = ("root_index", limits.root_index);
    let Some(bytes) = root.read(&path, limit)? else {
        return Ok(Layers::new());
    };
    let place = format!("file {path}");
    let value = parse(&bytes, limits, &place)?;
    let Value::Array(items) = &value else {
        return Err(Error::new(Code::BadManifest, "expected a list of layers").at(place));
    };
    let mut layers = Layers::new();
    for (i, item) in items.iter().enumerate() {
        let stored = layer(item, i, driver, root).map_err(|error| error.at(place.clone()))?;
        layers.insert(stored.id.clone(), stored);
    }
    Ok(layers)
}

fn layer(item: &Value, i: usize, driver: &'static str, root: &Arc<Directory>) -> Result<Stored> {
    let object = Object::new(item, format!("[{i}]"))?;
    let id = object.string("id")?;
    if !is_id(id) {
        return Err(object.bad("id", format!("{} is no id of a layer", quote(id))));
    }
    let size = object.get("diff-size").and_then(Value::as_u64);
    let diff_id = object.opt_string("diff-digest")?.map(Digest::parse);
    Ok(Stored {
        root: Arc::clone(root),
        driver,
        id: id.to_owned(),
        parent: object.opt_string("parent")?.map(str::to_owned),
        diff_id: diff_id.transpose()?,
        size,
    })
}

/// Says whether a text is an id of the store, which becomes a part of paths.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain)
}

/// Returns the layers of an image, base first, from the id of the topmost one.
pub(crate) fn chain<'a>(layers: &'a Layers, top: &str, limits: &Limits) -> Result<Vec<&'a Stored>> {
    let mut chain = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(top);
    while let Some(id) = next.filter(|id| !id.is_empty()) {
        if !seen.insert(id) {
            let message = format!("the chain of parents comes back to the layer {}", quote(id));
            return Err(Error::new(Code::Cycle, message));
        }
        if seen.len() as u64 > limits.layers {
            let what = format!("the chain of parents of the layer {}", quote(top));
            return Err(Limits::exceeded("layers", limits.layers, what));
        }
        let Some(layer) = layers.get(id) else {
            let message = format!("there is no layer {}", quote(id));
            return Err(Error::new(Code::Missing, message));
        };
        chain.push(layer);
        next = layer.parent.as_deref();
    }
    chain.reverse();
    Ok(chain)
}

impl Stored {
    /// Opens the folder with the files of the layer.
    fn files(&self) -> Result<Arc<Directory>> {
        let folder = match self.driver {
            "vfs" => format!("vfs/dir/{}", self.id),
            driver => format!("{driver}/{}/diff", self.id),
        };
        let files = self.root.directory(&folder)?;
        files.map(Arc::new).ok_or_else(|| {
            let message = format!("the files of the layer {} are missing", self.id);
            Error::new(Code::Missing, message).at(format!("folder {folder}"))
        })
    }

    /// Returns the path of the record.
    fn record(&self) -> String {
        format!("{}-layers/{}.tar-split.gz", self.driver, self.id)
    }

    /// Returns the tar of the layer, which is assembled when it is read.
    pub(crate) fn tar(&self, limits: &Limits) -> Result<Layer> {
        let (files, path) = (self.files()?, self.record());
        // A missing record is detected before any bytes of the layer are read.
        Layer::find(&self.root, path.clone(), &files, limits)?.ok_or_else(|| {
            let message = format!("the layer has no file {path}");
            Error::new(Code::Missing, message)
        })
    }

    /// Makes the tar of the layer anew from its files; `None` if the record is there.
    pub(crate) fn remake(
        &self,
        layers: &Layers,
        limits: &Limits,
        notes: &Notes,
    ) -> Result<Option<Folder>> {
        if self.root.file(&self.record())?.is_some() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&*self.root).map_err(|error| Error::from_io(error.into()))?;
        if stat.st_uid != 0 {
            let message = format!(
                "the layer {} has no file {}, and the owners of the files in the store of a user are \
                 shifted by the user's namespace",
                self.id,
                self.record()
            );
            return Err(Error::new(Code::Unsupported, message)
                .hint("run the command in that namespace: `podman unshare imgconv …`"));
        }
        let parent = self.parent.as_deref().filter(|id| !id.is_empty());
        let below = match (self.driver, parent) {
            ("vfs", Some(id)) => {
                let parent = layers.get(id).ok_or_else(|| {
                    let message = format!("there is no layer {}", quote(id));
                    Error::new(Code::Missing, message)
                })?;
                Some(parent.files()?)
            }
            _ => None,
        };
        let folder = Folder {
            root: self.files()?,
            marks: match self.driver {
                "vfs" => Marks::None,
                _ => Marks::Overlay,
            },
            below,
            names_root: false,
            limits: *limits,
            what: format!("layer {}", self.id),
        };
        folder.report_left_out(notes);
        Ok(Some(folder))
    }
}
