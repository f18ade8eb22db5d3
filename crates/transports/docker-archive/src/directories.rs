//! The directories of v1 images, and the image in each of them.
//!
//! An image is identified by the `id` in its `json`, whatever the name of its directory: up to
//! Docker 1.1 the directory of the saved image had the name that `docker save` was given, or a
//! short id, and only the directories of its parents had their full ids (robustness K24). Docker
//! loads such an archive by the ids too. Other modules choose the images and their names.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use imgconv_json::Object;
use imgconv_manifest::v1_image::{Images, is_id};
use imgconv_model::{Code, Error, Limits, Name, Result, quote};

use crate::{
    members::{Found, Members},
    naming,
};

/// The only version of the directory of a layer.
const VERSION: &str = "1.0";
/// The file that describes an image.
const JSON: &str = "/json";
/// The file with the layer of an image.
pub(crate) const LAYER: &str = "/layer.tar";
/// The largest file that is examined as a possible layer without any entry.
const EMPTY: u64 = 32 << 10;

/// The directories of an archive that hold a v1 image, or a part of one.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    /// The directories of each image by its id; a directory with the id as its name comes first.
    by_id: BTreeMap<String, Vec<String>>,
    /// The images whose directories have different contents.
    ambiguous: BTreeSet<String>,
    /// The directories that are no image, each with the reason.
    odd: BTreeMap<String, String>,
}

impl Directories {
    /// Finds the directories by their contents.
    ///
    /// # Errors
    /// If the work is cancelled.
    pub(crate) fn find(members: &Members, limits: &Limits) -> Result<Self> {
        let mut found = Self::default();
        let directory = |name: &str| {
            let name = name.strip_suffix(JSON).or(name.strip_suffix(LAYER))?;
            Some(name.to_owned())
        };
        let every: BTreeSet<String> = members.names().filter_map(directory).collect();
        for directory in every {
            members.check_cancelled()?;
            match id_of(members, &directory, limits) {
                Ok(id) => {
                    let known = found.by_id.entry(id.clone()).or_default();
                    match directory == id {
                        true => known.insert(0, directory),
                        false => known.push(directory),
                    }
                }
                Err(why) => drop(found.odd.insert(directory, why)),
            }
        }
        for (id, directories) in &found.by_id {
            let (first, others) = directories.split_at(1);
            for other in others {
                if !same_image(members, &first[0], other)? {
                    found.ambiguous.insert(id.clone());
                }
            }
        }
        Ok(found)
    }

    /// Says whether there is no directory of an image.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Lists the ids of all images, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(String::as_str)
    }

    /// Lists the directories of an image.
    pub(crate) fn of(&self, id: &str) -> &[String] {
        self.by_id.get(id).map_or(&[], Vec::as_slice)
    }

    /// Lists the directories that are no image, each with the reason.
    pub(crate) fn odd(&self) -> impl Iterator<Item = (&str, &str)> {
        self.odd.iter().map(|(name, why)| (&**name, &**why))
    }

    /// Lists every directory.
    pub(crate) fn every(&self) -> impl Iterator<Item = &str> {
        let good = self.by_id.values().flatten().chain(self.odd.keys());
        good.map(String::as_str)
    }

    /// Returns the names of the directories of an image that are image names.
    pub(crate) fn names(&self, id: &str) -> Vec<(String, Name)> {
        let name = |directory: &String| {
            let name = naming::read(directory).ok()?;
            // Without a tag the text may be any word.
            name.tag.is_some().then(|| (directory.clone(), name))
        };
        self.of(id).iter().filter_map(name).collect()
    }

    /// Returns the layer file of an image.
    pub(crate) fn layer(&self, members: &Members, id: &str) -> Option<Found> {
        let directory = self.of(id).first().map_or(id, String::as_str);
        members.found(&format!("{directory}{LAYER}"))
    }
}

/// Says whether a file is a layer without any entry: no bytes, or only NULs, perhaps compressed.
/// Builders stored such files for steps that changed nothing.
pub(crate) fn is_empty_layer(members: &Members, layer: &Found) -> bool {
    if layer.size > EMPTY {
        return false;
    }
    let mut bytes = Vec::new();
    let read = members
        .decoded(layer)
        .and_then(|reader| {
            let read = reader.take(EMPTY + 1).read_to_end(&mut bytes);
            read.map_err(Error::from_io)
        })
        .is_ok();
    read && bytes.len() as u64 <= EMPTY && bytes.iter().all(|byte| *byte == 0)
}

/// Returns the id of the image in a directory; `Err` has the reason if there is no image.
fn id_of(members: &Members, directory: &str, limits: &Limits) -> Result<String, String> {
    let name = format!("{directory}{JSON}");
    if is_id(directory) && members.has(&name) {
        // Errors of such a file are reported for this image.
        return Ok(directory.to_owned());
    }
    if !members.has(&name) {
        return Err("the directory has no `json`, so it is not an image".to_owned());
    }
    let read = || -> Result<Option<String>> {
        let bytes = members.read_name(&name, ("config", limits.config))?;
        let value = imgconv_json::parse(&bytes, limits, "json")?;
        let id = Object::new(&value, "")?
            .opt_string("id")?
            .map(str::to_owned);
        Ok(id)
    };
    match read() {
        Ok(Some(id)) if is_id(&id) => Ok(id),
        Ok(Some(id)) => Err(format!(
            "the `json` has the id {}, which is not 64 lower-case hex digits",
            quote(&id)
        )),
        Ok(None) => Err("the `json` has no `id`, so the directory is not an image".to_owned()),
        Err(error) => Err(format!("the `json` can't be read: {error}")),
    }
}

/// Says whether two directories hold the same image, byte for byte.
fn same_image(members: &Members, one: &str, other: &str) -> Result<bool> {
    for file in [JSON, LAYER] {
        let find = |directory: &str| members.found(&format!("{directory}{file}"));
        let same = match (find(one), find(other)) {
            (None, None) => true,
            (Some(one), Some(other)) => members.same(&one, &other)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The images of an archive, for walking their chains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct V1<'a> {
    pub(crate) members: &'a Members,
    pub(crate) directories: &'a Directories,
}

impl Images for V1<'_> {
    fn json(&self, id: &str, limits: &Limits) -> Result<Option<Vec<u8>>> {
        let Some(directory) = self.directories.of(id).first() else {
            return Ok(None);
        };
        if self.directories.ambiguous.contains(id) {
            let message = format!(
                "the directories {} have the id {id} in `json`, but hold different files",
                self.directories
                    .of(id)
                    .iter()
                    .map(quote)
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            return Err(Error::new(Code::Ambiguous, message));
        }
        check_version(self.members, directory, limits)?;
        let name = format!("{directory}{JSON}");
        let limit = ("config", limits.config);
        self.members.read_name(&name, limit).map(Some)
    }

    fn json_name(&self, id: &str) -> String {
        let directory = self.directories.of(id).first().map_or(id, String::as_str);
        format!("entry {}", quote(format!("{directory}{JSON}")))
    }

    fn layer_name(&self, id: &str) -> String {
        let directory = self.directories.of(id).first().map_or(id, String::as_str);
        format!("{directory}{LAYER}")
    }

    fn is_remade(&self, _: &str) -> Result<bool> {
        Ok(false)
    }
}

fn check_version(members: &Members, directory: &str, limits: &Limits) -> Result<()> {
    let name = format!("{directory}/VERSION");
    if !members.has(&name) {
        return Ok(());
    }
    let bytes = members.read_name(&name, ("layout_file", limits.layout_file))?;
    if bytes.trim_ascii() == VERSION.as_bytes() {
        return Ok(());
    }
    let message = format!("version {} is not supported, only {VERSION}", quote(&bytes));
    Err(Error::new(Code::Unsupported, message).at(format!("entry {}", quote(&name))))
}
