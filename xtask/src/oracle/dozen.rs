//! The images that every engine gets, and the check that a copy of them is what they were: the same
//! names, the same diff IDs, the same trees.
//!
//! The originals are a layout that neither imgconv nor an engine wrote. Diff IDs are read from the
//! JSON of layouts, and trees are those that umoci unpacks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use imgconv_testkit::{build, docker, dozen};
use serde_json::{Value, json};

use super::checks::Oracle;
use super::docker::layers;
use super::layers::{by_imgconv, by_umoci, compare};
use super::registry_server::Registry;
use crate::process::Result;

/// The layout of the originals.
const ORIGINALS: &str = "engines/originals";
/// An archive of docker with those that every engine keeps, and one with the image that some don't.
const ARCHIVE: &str = "engines/originals.tar";
pub(super) const SPARSE_ARCHIVE: &str = "engines/sparse.tar";
pub(super) const SPARSE: &str = "example.com/sparse:1";
/// The image whose programs run in a container, its archive and its name.
const RUNNABLE: &str = "oci:docker-base:example.com/layers/second:1";
const RUNNABLE_ARCHIVE: &str = "engines/in.tar";
pub(super) const NAME: &str = "example.com/engine/x:1";
/// The original for several platforms.
const PLATFORMS: &str = "example.com/platforms:1";
/// The repositories of the registry.
const SCHEMA1: &str = "schema1";
const INDEX: &str = "platforms";

/// The manifests of an image by their architectures: the digest of the config, and the diff IDs.
type Manifests = BTreeMap<String, (String, Vec<String>)>;

/// The original images.
pub(super) struct Originals {
    /// The registry, for images that no archive of docker holds.
    pub(super) registry: Registry,
    manifests: BTreeMap<String, Manifests>,
    /// The trees by name and architecture.
    trees: BTreeMap<(String, String), Vec<String>>,
}

/// Which of the images a store has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The image whose programs run.
    pub(super) runnable: bool,
    /// The image with a sparse file.
    pub(super) sparse: bool,
    /// The image that a registry serves as schema 1.
    pub(super) schema1: bool,
    /// The architectures of the image for several platforms.
    pub(super) platforms: &'static [&'static str],
    /// True if the store has the index of that image, and not all that the index lists: `verify` names
    /// what is missing.
    pub(super) partial: bool,
}

impl Held {
    /// The images of a store that no engine wrote.
    pub(super) const ARCHIVED: Self = Self {
        runnable: false,
        sparse: false,
        schema1: false,
        platforms: &[],
        partial: false,
    };
}

/// An image that a store has: its name there, its original, and the architectures.
struct Expected {
    name: String,
    original: String,
    architectures: Vec<String>,
}

impl Originals {
    /// Makes the originals, and a registry that serves two of them.
    pub(super) fn make(oracle: &Oracle) -> Result<Self> {
        layers(oracle)?;
        let images = dozen::images();
        let sparse = vec![dozen::sparse()];
        let all = [images.clone(), dozen::platforms(), sparse.clone()].concat();
        let layout = oracle.path(ORIGINALS);
        build::layout_of_tars(&all, &layout).map_err(|e| e.to_string())?;
        for (path, images) in [(ARCHIVE, &images), (SPARSE_ARCHIVE, &sparse)] {
            let archive = docker::archive_of_tars(images).map_err(|e| e.to_string())?;
            fs::write(oracle.path(path), archive).map_err(|e| e.to_string())?;
        }
        let registry = Registry::start(oracle, "engines/registry")?;
        let copy = |words: &[&str]| {
            let all = [&["--insecure-policy", "copy", "-q"], words].concat();
            oracle.peer("skopeo", &all).map(drop)
        };
        copy(&[RUNNABLE, &format!("oci:{ORIGINALS}:{NAME}")])?;
        copy(&[
            RUNNABLE,
            &format!("docker-archive:{RUNNABLE_ARCHIVE}:{NAME}"),
        ])?;
        let remote = |name: &str| format!("docker://{}", registry.image(name));
        let plain = "--dest-tls-verify=false";
        copy(&[plain, "--format", "v2s1", RUNNABLE, &remote(SCHEMA1)])?;
        let index = format!("oci:{ORIGINALS}:{PLATFORMS}");
        copy(&[plain, "--all", &index, &remote(INDEX)])?;
        let manifests = manifests(&layout)?;
        let mut trees = BTreeMap::new();
        for (name, architectures) in &manifests {
            for architecture in architectures.keys() {
                let tree = tree(oracle, ORIGINALS, name, architecture)?;
                trees.insert((name.clone(), architecture.clone()), tree);
            }
        }
        Ok(Self {
            registry,
            manifests,
            trees,
        })
    }

    /// The images of a store, with as many names.
    fn expected(&self, held: Held) -> Vec<Expected> {
        let one = |name: &str, original: &str, architectures: &[&str]| Expected {
            name: name.to_owned(),
            original: original.to_owned(),
            architectures: architectures.iter().map(|&one| one.to_owned()).collect(),
        };
        let mut all: Vec<Expected> = self
            .manifests
            .keys()
            .filter(|name| !matches!(name.as_str(), NAME | PLATFORMS | SPARSE))
            .map(|name| one(name, name, &["amd64"]))
            .collect();
        if held.runnable {
            all.push(one(NAME, NAME, &["amd64"]));
        }
        if held.sparse {
            all.push(one(SPARSE, SPARSE, &["amd64"]));
        }
        if held.schema1 {
            all.push(one(&self.registry.image(SCHEMA1), NAME, &["amd64"]));
        }
        if !held.platforms.is_empty() {
            let name = self.registry.image(INDEX);
            all.push(one(&name, PLATFORMS, held.platforms));
        }
        all
    }

    /// The archives that a store gets.
    pub(super) fn loaded(held: Held) -> Vec<&'static str> {
        let sparse = held.sparse.then_some(SPARSE_ARCHIVE);
        [ARCHIVE, RUNNABLE_ARCHIVE]
            .into_iter()
            .chain(sparse)
            .collect()
    }

    /// The images that a store gets from the registry, by the names that engines use.
    pub(super) fn pulled(&self, held: Held) -> Vec<String> {
        let schema1 = held.schema1.then_some(SCHEMA1);
        let index = (!held.platforms.is_empty()).then_some(INDEX);
        let repositories = schema1.into_iter().chain(index);
        repositories.map(|name| self.registry.image(name)).collect()
    }

    /// Says whether an image of the registry is one for several platforms.
    pub(super) fn is_index(&self, name: &str) -> bool {
        name == self.registry.image(INDEX)
    }

    /// Says whether an image of the registry is one of schema 1.
    pub(super) fn is_schema1(&self, name: &str) -> bool {
        name == self.registry.image(SCHEMA1)
    }

    /// Demands that the image of a layout has the tree of the original of the same name.
    pub(super) fn same_image(&self, oracle: &Oracle, layout: &str, name: &str) -> Result {
        let tree = tree(oracle, layout, name, "amd64")?;
        compare(&self.trees[&(name.to_owned(), "amd64".to_owned())], &tree)
    }

    /// Demands that `verify` finds nothing wrong, and warns of the platform that was not fetched.
    fn verify_partial(&self, oracle: &Oracle, place: &str) -> Result {
        let program = oracle.program.display();
        let said = oracle.shell(&format!("'{program}' verify '{place}' 2>&1"))?;
        let of = self.registry.image(INDEX);
        let line = |line: &str| line.starts_with("warning[not-fetched]") && line.contains(&of);
        match said.contains(" checked, nothing wrong")
            && said.lines().filter(|it| line(it)).count() == 1
        {
            true => Ok(()),
            false => Err(format!("expected a warning of one platform:\n{said}")),
        }
    }

    /// Demands that `place` lists all images that the store has and no other, that `verify` finds
    /// nothing, and that all of them, migrated to one new layout, have the diff IDs and the trees of
    /// the originals. Returns the digests of the configs by name.
    pub(super) fn check(
        &self,
        oracle: &Oracle,
        place: &str,
        held: Held,
        layout: &str,
    ) -> Result<BTreeMap<String, String>> {
        let expected = self.expected(held);
        let listed = oracle.imgconv(&["ls", "--json", place])?;
        let listed: Value = serde_json::from_str(&listed).map_err(|e| e.to_string())?;
        let listed = listed["images"].as_array().cloned().unwrap_or_default();
        // `ls` lists a platform that was not fetched as `missing`.
        let is_there = |image: &&Value| !held.partial || image["format"] != "missing";
        let mut found: Vec<String> = listed
            .iter()
            .filter(is_there)
            .map(|image| image["name"].as_str().unwrap_or("no name").to_owned())
            .collect();
        let mut names: Vec<String> = expected.iter().map(|one| one.name.clone()).collect();
        found.sort();
        found.dedup();
        names.sort();
        same("the names", &found, &names)?;
        if let Some(bad) = listed.iter().find(|image| image.get("error").is_some()) {
            return Err(format!("listed with an error: {bad}"));
        }
        match held.partial {
            false => oracle.imgconv(&["verify", place]).map(drop)?,
            true => self.verify_partial(oracle, place)?,
        }
        oracle.imgconv(&["migrate", place, &format!("oci+oci:{layout}")])?;
        oracle.imgconv(&["verify", layout])?;
        let migrated = manifests(&oracle.path(layout))?;
        let migrated_names: Vec<String> = migrated.keys().cloned().collect();
        same("the names in the layout", &migrated_names, &names)?;
        let mut configs = BTreeMap::new();
        for one in expected {
            let own = &migrated[&one.name];
            let architectures: Vec<String> = own.keys().cloned().collect();
            same(&one.name, &architectures, &one.architectures)?;
            for architecture in architectures {
                let (config, diff_ids) = &own[&architecture];
                configs.insert(one.name.clone(), config.clone());
                let (_, original) = &self.manifests[&one.original][&architecture];
                same(&format!("{}: the diff IDs", one.name), diff_ids, original)?;
                let key = (one.original.clone(), architecture);
                // containerd 1.6 makes OCI manifests with layers of docker's type of such an image,
                // which umoci refuses.
                let mixed = self.is_schema1(&one.name) && place.starts_with("containerd:");
                let tree = match mixed {
                    true => by_imgconv(oracle, layout, &one.name)?,
                    false => tree(oracle, layout, &one.name, &key.1)?,
                };
                compare(&self.trees[&key], &tree)
                    .map_err(|error| format!("{}: {error}", one.name))?;
            }
        }
        Ok(configs)
    }
}

fn same(what: &str, found: &[String], expected: &[String]) -> Result {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: found {found:?}, expected {expected:?}")),
    }
}

fn blob(layout: &Path, digest: &Value) -> Result<Value> {
    let text = digest.as_str().unwrap_or_default();
    let path = layout.join("blobs").join(text.replace(':', "/"));
    read(&path)
}

fn read(path: &Path) -> Result<Value> {
    let failed = |e: String| format!("{}: {e}", path.display());
    let bytes = fs::read(path).map_err(|e| failed(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| failed(e.to_string()))
}

/// The name of an entry of `index.json`.
fn name(entry: &Value) -> String {
    let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
    name.as_str().unwrap_or("no name").to_owned()
}

/// The descriptors of the manifests below an entry of a layout, each with its architecture, and their
/// config.
fn below(layout: &Path, entry: &Value) -> Result<Vec<(Value, String, Value)>> {
    let document = blob(layout, &entry["digest"])?;
    if let Some(children) = document["manifests"].as_array() {
        let lists: Result<Vec<_>> = children.iter().map(|child| below(layout, child)).collect();
        return Ok(lists?.concat());
    }
    let digest = document["config"]["digest"].clone();
    let mut config = blob(layout, &digest)?;
    let architecture = config["architecture"].as_str().unwrap_or("").to_owned();
    config["digest"] = digest;
    Ok(vec![(entry.clone(), architecture, config)])
}

fn manifests(layout: &Path) -> Result<BTreeMap<String, Manifests>> {
    let index = read(&layout.join("index.json"))?;
    let mut all: BTreeMap<String, Manifests> = BTreeMap::new();
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let own = all.entry(name(entry)).or_default();
        for (_, architecture, config) in below(layout, entry)? {
            let digest = config["digest"].as_str().unwrap_or_default().to_owned();
            let diff_ids = config["rootfs"]["diff_ids"].as_array();
            let diff_ids = diff_ids.into_iter().flatten();
            let diff_ids = diff_ids.map(|id| id.as_str().unwrap_or_default().to_owned());
            own.insert(architecture, (digest, diff_ids.collect()));
        }
    }
    Ok(all)
}

/// Unpacks one image of a layout by umoci, which knows no index, and lists it.
fn tree(oracle: &Oracle, layout: &str, of: &str, architecture: &str) -> Result<Vec<String>> {
    let path = oracle.path(layout);
    let index = read(&path.join("index.json"))?;
    let entries = index["manifests"].as_array().into_iter().flatten();
    let mut found = None;
    for entry in entries.filter(|entry| name(entry) == of) {
        let mut below = below(&path, entry)?;
        below.retain(|(_, own, _)| own == architecture);
        found = below.pop();
    }
    let (mut entry, ..) = found.ok_or_else(|| format!("{layout} has no {of}"))?;
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "this" });
    let one = format!("{layout}-one");
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    let write = |name: &str, text: &str| {
        let path = oracle.path(&format!("{one}/{name}"));
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    write("index.json", &index.to_string())?;
    write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let link = oracle.path(&format!("{one}/blobs"));
    if !link.exists() {
        std::os::unix::fs::symlink(path.join("blobs"), &link).map_err(|e| e.to_string())?;
    }
    by_umoci(oracle, &one, "this")
}
