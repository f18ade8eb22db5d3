//! What the model believes of the place where a chain stands.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::facts::{self, Facts};
use crate::place::{self, Family, text};
use crate::tree::Tree;
use crate::{Failure, Result};

/// The kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An OCI layout, a directory.
    Layout,
    /// A tar of an OCI layout.
    LayoutArchive,
    /// A `docker save` file.
    DockerArchive,
    /// A directory of `docker save` files.
    DockerArchives,
    /// An image as plain files.
    Dir,
    /// A repository of a registry.
    Registry,
    /// A directory of ACIs.
    Acis,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The configuration.
    pub facts: Facts,
    /// While the image is an ACI that was made of documents: the facts of these, which come back.
    pub kept: Option<Facts>,
    /// While the image is OCI's and was made of an ACI: the facts and the kept facts of the ACI,
    /// whose manifest comes back. Its documents come back with it, also if the OCI image has others
    /// since (SHORTCOMINGS.md).
    pub aci: Option<Box<(Facts, Option<Facts>)>>,
    /// The tree of an ACI with its dependencies, by its whitelist, if it has any.
    pub rendered: Option<Tree>,
    /// The files.
    pub tree: Tree,
    /// The kind of the documents.
    pub family: Family,
    /// The digest of the root document.
    pub digest: String,
    /// The config document.
    pub config: Value,
    /// The digests of the tars of the layers.
    pub diff_ids: Vec<String>,
    /// True if umoci can read the layers: it knows no zstd.
    pub old_codecs: bool,
    /// True if every name in the layers is UTF-8 and no file has holes, as a table of contents needs.
    pub is_text: bool,
    /// True if a layer has got the files of eStargz.
    pub stargz: bool,
    /// True if the image was an ACI without a version, which its documents still say.
    pub untagged: bool,
    /// The image ID of the ACI that a record beside the image gives back, and what the ACI was.
    pub exact: Option<Box<Exact>>,
}

/// An ACI that comes back byte for byte.
#[derive(Clone, Debug)]
pub struct Exact {
    /// The digest of the artifact that holds the record.
    pub record: String,
    /// The full name of the ACI, which comes back with it.
    pub name: String,
    /// The image.
    pub image: Image,
}

/// A named image or index.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The full name; empty if there is none.
    pub name: String,
    /// The images.
    pub images: Vec<Image>,
    /// True for an index.
    pub is_index: bool,
    /// The digest of the root document.
    pub digest: String,
    /// The digests of documents that the index lists and that are no images.
    pub inside: Vec<String>,
    /// The digests of documents about the entry.
    pub about: Vec<String>,
}

/// A place in the middle of a chain.
#[derive(Clone, Debug)]
pub struct Here {
    /// The kind.
    pub kind: Kind,
    /// The place as the program takes it.
    pub locator: String,
    /// The path of the file or directory.
    pub path: PathBuf,
    /// What is there.
    pub entries: Vec<Entry>,
}

impl Image {
    /// What the model believes after an image was read.
    pub fn of(read: &place::Image) -> Self {
        Self {
            facts: facts::of(read),
            kept: None,
            aci: None,
            rendered: None,
            tree: read.tree.clone(),
            family: read.family,
            digest: read.digest.clone(),
            config: read.config.clone(),
            diff_ids: read
                .layers
                .iter()
                .map(|layer| layer.diff_id.clone())
                .collect(),
            old_codecs: read.layers.iter().all(|layer| layer.compression != "zstd"),
            is_text: read.is_text,
            stargz: false,
            untagged: false,
            exact: None,
        }
    }

    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub fn platform(&self) -> String {
        platform(&self.facts)
    }
}

impl Entry {
    /// The name in a place of that kind: an ACI that comes back from a record has its own name again, whatever the
    /// image was called since.
    pub fn name_in(&self, kind: Kind, restores: bool) -> &str {
        let mut records = self.images.iter().filter_map(|image| image.exact.as_ref());
        match records.next() {
            Some(exact) if restores && kind == Kind::Acis => &exact.name,
            _ => &self.name,
        }
    }
}

/// `OS/ARCHITECTURE[/VARIANT]`.
pub fn platform(facts: &Facts) -> String {
    let part = |key: &str| facts.get(key).map(text).unwrap_or_default();
    let (os, architecture, variant) = (part("os"), part("architecture"), part("variant"));
    let slash = if variant.is_empty() { "" } else { "/" };
    format!("{os}/{architecture}{slash}{variant}")
}

/// Reads a place that is on the disk.
///
/// # Errors
/// If the place is damaged.
pub fn read(kind: Kind, path: &Path) -> Result<Vec<place::Entry>> {
    match kind {
        Kind::Layout => place::layout(path),
        Kind::LayoutArchive => place::layout_archive(path),
        Kind::DockerArchive => place::docker_archive(path),
        Kind::DockerArchives => {
            let files = files(path, ".tar")?;
            let read = files.iter().map(|file| place::docker_archive(file));
            Ok(read.collect::<Result<Vec<_>>>()?.concat())
        }
        Kind::Dir => place::dir(path),
        Kind::Registry => Err(Failure::new("a registry is not read by a path")),
        Kind::Acis => {
            let files = files(path, ".aci")?;
            files.iter().map(|file| place::aci(file)).collect()
        }
    }
}

fn files(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| Failure::io(folder, &error))? {
        let path = entry.map_err(|error| Failure::io(folder, &error))?.path();
        if path.to_string_lossy().ends_with(end) {
            out.push(path);
        }
    }
    out.sort();
    Ok(out)
}

/// A reference with its host and its tag, as docker fills in what is left out.
pub fn full_name(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let last = name.rsplit('/').next().unwrap_or_default();
    let name = match last.contains(':') {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    };
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name,
        Some(_) => format!("docker.io/{name}"),
    }
}

/// The platform of a report, without the version and the features of the system.
pub fn plain_platform(report: &Value) -> String {
    let platform = text(&report["platform"]);
    match (platform.find('('), platform.rfind(')')) {
        (Some(from), Some(to)) => format!("{}{}", &platform[..from], &platform[to + 1..]),
        _ => platform,
    }
}
