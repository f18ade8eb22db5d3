//! Version 1, docker-registry's `docker_registry/core/driver.py`: `images/ID/{json,layer,ancestry,
//! _checksum}` for each layer, and `repositories/NAMESPACE/NAME/tag_TAG`, a file with an id.
//!
//! An id is no digest. The only known fact about the bytes is `_checksum`: the SHA-256 of the
//! `json`, a newline and the layer, which the registry computed when it received the layer; older
//! registries wrote also, or only, a sum over the members of the tar, which is not checked.
//! `_inprogress` marks images that were never completed.

use std::{collections::BTreeSet, sync::Arc};

use imgconv_fs::{Directory, or_other_kind};
use imgconv_manifest::{
    v1_image::{self, Chain, Images, check_id, is_id},
    v1_layer,
};
use imgconv_model::{Code, Digest, Env, Error, Limits, Open, Reader, Result, quote};

use crate::head::{Head, Source, name};

const IMAGES: &str = "images";
const REPOSITORIES: &str = "repositories";

/// Says whether there is such a storage: a directory of repositories, and an image.
pub(crate) fn is_there(directory: &Directory) -> Result<bool> {
    if !directory.is_directory(REPOSITORIES)? {
        return Ok(false);
    }
    for id in or_other_kind(directory.directories(IMAGES))? {
        if is_id(&id) && directory.is_file(&file(&id, "json"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn file(id: &str, name: &str) -> String {
    format!("{IMAGES}/{id}/{name}")
}

/// Lists the entry points: every tag, then every image that nothing else refers to.
pub(crate) fn heads(directory: &Directory, host: Option<&str>, env: &Env) -> Result<Vec<Head>> {
    let limits = &env.limits;
    let mut heads = tags(directory, host, limits)?;
    let mut reached: BTreeSet<String> = BTreeSet::new();
    for head in &mut heads {
        env.check_cancelled()?;
        if let Source::Image(id) = &head.source {
            let id = id.clone();
            describe(directory, &id, head, &mut reached, limits);
        }
    }
    let ids: Vec<String> = directory
        .directories(IMAGES)?
        .into_iter()
        .filter(|id| is_id(id) && !reached.contains(id))
        .collect();
    let mut parents = BTreeSet::new();
    for id in &ids {
        env.check_cancelled()?;
        let parent = v1_image::parent(&Stored(directory), id, limits);
        parents.extend(parent.ok().flatten());
    }
    // Images at the top come first; the remaining images form circles of parents.
    let (below, tops): (Vec<String>, Vec<String>) =
        ids.into_iter().partition(|id| parents.contains(id));
    for id in tops.into_iter().chain(below) {
        if reached.contains(&id) {
            continue;
        }
        let mut head = Head {
            name: None,
            texts: vec![id.clone()],
            child: None,
            source: Source::Image(id.clone()),
            repositories: Vec::new(),
        };
        describe(directory, &id, &mut head, &mut reached, limits);
        heads.push(head);
    }
    Ok(heads)
}

/// Makes the descriptor of an image, and records the layers of its chain. Errors of the image are
/// reported when it is read.
fn describe(
    directory: &Directory,
    id: &str,
    head: &mut Head,
    reached: &mut BTreeSet<String>,
    limits: &Limits,
) {
    reached.insert(id.to_owned());
    if let Ok(chain) = chain(directory, id, limits) {
        head.child = Some(chain.child());
        reached.extend(chain.ids);
    }
}

fn tags(directory: &Directory, host: Option<&str>, limits: &Limits) -> Result<Vec<Head>> {
    let mut heads = Vec::new();
    // No registry makes a folder of another name, but file systems and file servers do, such as
    // `lost+found` and `@eaDir`; some of these can't be listed.
    let list = |folder: &str, name: &str| match is_name(name) {
        true => directory.names(folder),
        false => Ok(directory.names(folder).unwrap_or_default()),
    };
    let folders = |folder: &str, name: &str| match is_name(name) {
        true => directory.directories(folder),
        false => Ok(directory.directories(folder).unwrap_or_default()),
    };
    for namespace in directory.directories(REPOSITORIES)? {
        let outer = format!("{REPOSITORIES}/{namespace}");
        for repository in folders(&outer, &namespace)? {
            let folder = format!("{outer}/{repository}");
            for file in list(&folder, &repository)? {
                let Some(tag) = file.strip_prefix("tag_") else {
                    continue;
                };
                let path = format!("{folder}/{file}");
                let full = format!("{namespace}/{repository}");
                let mut texts = vec![format!("{full}:{tag}")];
                if namespace == "library" {
                    texts.push(format!("{repository}:{tag}"));
                }
                let source = match read_tag(directory, &path, limits) {
                    Ok(id) => Source::Image(id),
                    Err(error) => Source::Broken(Arc::new(error)),
                };
                heads.push(Head {
                    name: Some(name(host, &full, tag)),
                    texts,
                    child: None,
                    source,
                    repositories: Vec::new(),
                });
            }
        }
    }
    Ok(heads)
}

/// Says whether a text can be a namespace or a repository: registries of version 1 accepted
/// capitals too.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.bytes().all(fits) && !text.starts_with('.')
}

/// Reads a file that holds an id.
fn read_tag(directory: &Directory, path: &str, limits: &Limits) -> Result<String> {
    let place = || format!("file {}", quote(path));
    let bytes = directory.read(path, ("layout_file", limits.layout_file))?;
    let bytes =
        bytes.ok_or_else(|| Error::new(Code::Missing, "the tag was removed").at(place()))?;
    let id = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    check_id(id).map_err(|error| error.at(place()))?;
    Ok(id.to_owned())
}

/// Walks the chain of an image, and compares it with the list of ancestors that the registry sent
/// to its clients: all readers must see the same image.
pub(crate) fn chain(directory: &Directory, id: &str, limits: &Limits) -> Result<Chain> {
    let chain = v1_image::chain(&Stored(directory), id, limits, &mut 0)?;
    let path = file(id, "ancestry");
    let Some(bytes) = directory.read(&path, ("config", limits.config))? else {
        return Ok(chain);
    };
    let place = format!("file {path}");
    let listed = v1_image::ancestry(&bytes, id, limits, &place)?;
    chain.check_ancestry(&listed, &place)?;
    Ok(chain)
}

/// The images of a storage.
struct Stored<'a>(&'a Directory);

impl Images for Stored<'_> {
    fn json(&self, id: &str, limits: &Limits) -> Result<Option<Vec<u8>>> {
        if self.0.file(&file(id, "_inprogress"))?.is_some() {
            let message = format!("the upload of the image {id} was never finished");
            return Err(Error::new(Code::Missing, message));
        }
        self.0.read(&file(id, "json"), ("config", limits.config))
    }

    fn json_name(&self, id: &str) -> String {
        format!("file {}", file(id, "json"))
    }

    fn layer_name(&self, id: &str) -> String {
        file(id, "layer")
    }

    fn is_remade(&self, _: &str) -> Result<bool> {
        Ok(false)
    }
}

/// The layer of an image.
#[derive(Debug)]
pub(crate) struct Layer {
    directory: Arc<Directory>,
    id: String,
    limits: Limits,
}

impl Layer {
    /// Finds a layer by the name that [`Images::layer_name`] gave it; also returns its size.
    pub(crate) fn find(
        directory: Arc<Directory>,
        name: &str,
        limits: &Limits,
    ) -> Result<(Self, u64)> {
        let id = name
            .strip_prefix("images/")
            .and_then(|rest| rest.strip_suffix("/layer"))
            .filter(|id| is_id(id));
        let Some(id) = id else {
            let message = format!("{} is not the layer of an image", quote(name));
            return Err(Error::new(Code::BadName, message));
        };
        let layer = Self {
            directory,
            id: id.to_owned(),
            limits: *limits,
        };
        let (_, size) = layer.file()?;
        Ok((layer, size))
    }

    fn file(&self) -> Result<(std::fs::File, u64)> {
        let path = file(&self.id, "layer");
        self.directory.file(&path)?.ok_or_else(|| {
            let message = format!("the image {} has no layer", self.id);
            Error::new(Code::Missing, message).at(format!("file {path}"))
        })
    }

    /// Returns the one checksum that covers the bytes, if there is one.
    fn checksum(&self) -> Result<Option<Digest>> {
        let path = file(&self.id, "_checksum");
        let limit = ("config", self.limits.config);
        let Some(bytes) = self.directory.read(&path, limit)? else {
            return Ok(None);
        };
        let texts = v1_layer::checksums(&bytes, &self.limits);
        Ok(v1_layer::checksum(texts.iter().map(String::as_str)))
    }
}

impl Open for Layer {
    fn identity(&self) -> Option<String> {
        let (file, _) = self.file().ok()?;
        let state = imgconv_fs::file_state(&file.metadata().ok()?);
        Some(format!("{} {state}", self.what()))
    }

    fn open(&self) -> Result<Reader> {
        let (layer, size) = self.file()?;
        let sum = match self.checksum()? {
            Some(digest) => {
                let json = Stored(&self.directory).json(&self.id, &self.limits)?;
                Some((digest, json.unwrap_or_default()))
            }
            None => None,
        };
        v1_layer::verified(layer, Some(size), sum, self.what())
    }
}

impl Layer {
    fn what(&self) -> String {
        format!("json and layer of the image {}", self.id)
    }
}
