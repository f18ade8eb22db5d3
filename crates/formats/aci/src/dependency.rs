//! Dependencies: the image of each dependency, and the order in which images are stacked.
//!
//! This module does no I/O: images are keys, and the caller supplies manifests and candidates. The
//! caller also reads and merges the file systems.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_model::{Code, Digest, Error, Limits, Result, quote};

use crate::manifest::{Dependency, Manifest, Pair};

/// An image that may match a dependency.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a, K> {
    /// The caller's key of the image.
    pub key: K,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The image ID, if it is known before the image is read.
    pub image_id: Option<Digest>,
}

/// Returns true if an image's name and labels match a dependency (aci.md, "Dependency Matching"):
/// the image must have every label of the dependency with the same value.
pub fn matches(dependency: &Dependency, manifest: &Manifest) -> bool {
    let equal = |label: &Pair| manifest.label(&label.name) == Some(&label.value);
    dependency.image_name == manifest.name && dependency.labels.iter().all(equal)
}

/// Chooses the image of a dependency. An image ID that is not known yet is assumed to be right:
/// reading the image verifies it.
///
/// # Errors
/// [`Code::Missing`] if no candidate matches, [`Code::Mismatch`] if the matching candidates have
/// other image IDs, [`Code::Ambiguous`] if several different candidates match.
pub fn choose<K: Clone>(dependency: &Dependency, candidates: &[Candidate<'_, K>]) -> Result<K> {
    let fitting: Vec<&Candidate<'_, K>> = candidates
        .iter()
        .filter(|candidate| matches(dependency, candidate.manifest))
        .collect();
    if fitting.is_empty() {
        let message = format!("there is no image {}", describe(dependency));
        let hint = "`--deps LOCATOR` says where dependencies are, `--deps appc:` discovers them";
        return Err(Error::new(Code::Missing, message).hint(hint));
    }
    let allowed = |candidate: &&&Candidate<'_, K>| match (dependency.image_id, candidate.image_id) {
        (Some(wanted), Some(found)) => wanted == found,
        _ => true,
    };
    let mut chosen: Vec<&Candidate<'_, K>> = fitting.iter().filter(allowed).copied().collect();
    // Of equal images any is right; an image whose image ID is known is preferred.
    if chosen.iter().any(|candidate| candidate.image_id.is_some()) && dependency.image_id.is_some()
    {
        chosen.retain(|candidate| candidate.image_id.is_some());
    }
    let Some(first) = chosen.first() else {
        let found: Vec<String> = fitting
            .iter()
            .map(|candidate| id(candidate.image_id))
            .collect();
        let wanted = id(dependency.image_id);
        let what = format!(
            "image ID of the dependency {}",
            quote(&dependency.image_name)
        );
        return Err(Error::mismatch(what, wanted, found.join(", ")));
    };
    let same =
        |other: &&Candidate<'_, K>| first.image_id.is_some() && other.image_id == first.image_id;
    if chosen.len() > 1 && !chosen.iter().all(same) {
        let found: Vec<String> = chosen
            .iter()
            .map(|candidate| {
                format!(
                    "{} {}",
                    describe_labels(&candidate.manifest.labels),
                    id(candidate.image_id)
                )
            })
            .collect();
        let message = format!(
            "{} images match the dependency {}: {}",
            chosen.len(),
            describe(dependency),
            found.join("; ")
        );
        return Err(Error::new(Code::Ambiguous, message)
            .hint("leave one of them, or pin the dependency with labels or an imageID"));
    }
    Ok(first.key.clone())
}

/// Returns the dependency that docker2aci means with `--nosquash`: its dependencies are named by the layer below, and
/// have the label `layer` of the image itself. `None` if the label says the same as the name, as of other programs.
pub fn by_layer_name(dependency: &Dependency) -> Option<Dependency> {
    let (_, layer) = dependency.image_name.rsplit_once('-')?;
    if layer.len() != 64 || !layer.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut meant = dependency.clone();
    let label = meant
        .labels
        .iter_mut()
        .find(|label| label.name == "layer")?;
    if label.value == layer {
        return None;
    }
    layer.clone_into(&mut label.value);
    Some(meant)
}

fn id(id: Option<Digest>) -> String {
    id.map_or_else(|| "with an unknown image ID".to_owned(), |id| id.image_id())
}

/// Returns a dependency for messages: its name, tag, labels and image ID.
pub fn describe(dependency: &Dependency) -> String {
    let mut text = quote(&dependency.image_name);
    if let Some(tag) = &dependency.tag {
        text = format!("{text} tagged {}", quote(tag));
    }
    if !dependency.labels.is_empty() {
        text = format!("{text} with {}", describe_labels(&dependency.labels));
    }
    if let Some(id) = dependency.image_id {
        text = format!("{text}, image ID {}", id.image_id());
    }
    text
}

fn describe_labels(labels: &[Pair]) -> String {
    let shown: Vec<String> = labels
        .iter()
        .map(|label| format!("{}={}", label.name, quote(&label.value)))
        .collect();
    if shown.is_empty() {
        "no labels".to_owned()
    } else {
        shown.join(" ")
    }
}

/// The paths that a whitelist allows: cleaned, as bytes, with all parent directories.
pub type Whitelist = Arc<BTreeSet<Vec<u8>>>;

/// Returns the paths that a manifest's `pathWhitelist` allows; `None` if it allows all.
pub fn whitelist(manifest: &Manifest) -> Option<Whitelist> {
    if manifest.path_whitelist.is_empty() {
        return None;
    }
    let mut paths = BTreeSet::new();
    for path in &manifest.path_whitelist {
        let mut path = path.as_bytes();
        // A parent that is in the set already has its own parents there.
        while paths.insert(path.to_vec()) {
            let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            path = &path[..end];
        }
    }
    Some(Arc::new(paths))
}

/// One image of the order, and the paths of it that are allowed.
#[derive(Clone, Debug)]
pub struct Rendered<K> {
    /// The image.
    pub key: K,
    /// The whitelists of the image and of the images that depend on it. A path is allowed if it is
    /// in all of them; without a whitelist all paths are allowed.
    pub whitelists: Vec<Whitelist>,
}

impl<K> Rendered<K> {
    /// Returns the paths that all whitelists allow, `None` if all paths are allowed.
    pub fn paths(&self) -> Option<BTreeSet<Vec<u8>>> {
        let (first, others) = self.whitelists.split_first()?;
        let in_all = |path: &&Vec<u8>| others.iter().all(|other| other.contains(*path));
        Some(first.iter().filter(in_all).cloned().collect())
    }
}

/// A visited image: its manifest, and the images of its dependencies once they are resolved.
struct Met<K> {
    key: K,
    manifest: Arc<Manifest>,
    whitelist: Option<Whitelist>,
    dependencies: Vec<Option<usize>>,
}

/// A level of the walk: an image, the images whose whitelists filter it, and the number of its
/// dependencies that are still to be visited.
struct Frame {
    image: usize,
    filters: Vec<usize>,
    left: usize,
}

/// Returns the images in the order in which they are stacked, the lowest first and `root` last:
/// depth-first, as in ace.md, "Filesystem Setup". An image may occur more than once, with different
/// whitelists; of occurrences with the same whitelists only the last is kept, which overwrites all
/// paths of the others.
///
/// The walk goes backwards, from the root and its last dependency down, so the last occurrence is
/// visited first and an equal one is not visited again: the time is linear in the size of the
/// result, so a chain of images that each name the next one twice does not take exponential time
/// (robustness H3b).
///
/// # Errors
/// [`Code::Cycle`] that shows the circle; [`Code::Limit`] for `aci_deps_depth` and
/// `aci_deps_nodes`; and the errors of the two functions.
pub fn order<K: Clone + Ord>(
    root: K,
    manifest: &mut dyn FnMut(&K) -> Result<Arc<Manifest>>,
    resolve: &mut dyn FnMut(&Dependency) -> Result<K>,
    limits: &Limits,
) -> Result<Vec<Rendered<K>>> {
    let mut met = Vec::<Met<K>>::new();
    let mut index = BTreeMap::<K, usize>::new();
    let mut entered = BTreeSet::new();
    let mut backwards = Vec::new();
    let mut stack = Vec::<Frame>::new();
    let mut next = Some(meet(root, &mut met, &mut index, manifest)?);
    loop {
        if let Some(image) = next.take() {
            if let Some(start) = stack.iter().position(|frame| frame.image == image) {
                return Err(cycle(&met, &stack[start..], image));
            }
            let mut filters = stack
                .last()
                .map_or_else(Vec::new, |frame| frame.filters.clone());
            if met[image].whitelist.is_some()
                && let Err(position) = filters.binary_search(&image)
            {
                filters.insert(position, image);
            }
            if entered.insert((image, filters.clone())) {
                let most = limits.aci_deps_nodes;
                if entered.len() as u64 > most {
                    let what = "the number of images in the dependency tree";
                    return Err(Limits::exceeded("aci_deps_nodes", most, what));
                }
                if stack.len() as u64 > limits.aci_deps_depth {
                    let what = "the depth of the dependency tree";
                    return Err(Limits::exceeded(
                        "aci_deps_depth",
                        limits.aci_deps_depth,
                        what,
                    ));
                }
                backwards.push((image, filters.clone()));
                let left = met[image].dependencies.len();
                stack.push(Frame {
                    image,
                    filters,
                    left,
                });
            }
        }
        let Some(frame) = stack.last_mut() else { break };
        if frame.left == 0 {
            stack.pop();
            continue;
        }
        frame.left -= 1;
        let (image, which) = (frame.image, frame.left);
        next = Some(match met[image].dependencies[which] {
            Some(known) => known,
            None => {
                let owner = Arc::clone(&met[image].manifest);
                let place = |error: Error| {
                    error.at(format!("dependency {which} of {}", quote(&owner.name)))
                };
                let key = resolve(&owner.dependencies[which]).map_err(place)?;
                let found = meet(key, &mut met, &mut index, manifest).map_err(place)?;
                met[image].dependencies[which] = Some(found);
                found
            }
        });
    }
    let rendered = backwards
        .into_iter()
        .rev()
        .map(|(image, filters)| Rendered {
            key: met[image].key.clone(),
            whitelists: filters
                .iter()
                .filter_map(|filter| met[*filter].whitelist.clone())
                .collect(),
        });
    Ok(rendered.collect())
}

fn meet<K: Clone + Ord>(
    key: K,
    met: &mut Vec<Met<K>>,
    index: &mut BTreeMap<K, usize>,
    manifest: &mut dyn FnMut(&K) -> Result<Arc<Manifest>>,
) -> Result<usize> {
    if let Some(known) = index.get(&key) {
        return Ok(*known);
    }
    let manifest = manifest(&key)?;
    index.insert(key.clone(), met.len());
    met.push(Met {
        key,
        whitelist: whitelist(&manifest),
        dependencies: vec![None; manifest.dependencies.len()],
        manifest,
    });
    Ok(met.len() - 1)
}

fn cycle<K>(met: &[Met<K>], circle: &[Frame], again: usize) -> Error {
    let names: Vec<&str> = circle
        .iter()
        .map(|frame| frame.image)
        .chain([again])
        .map(|image| &*met[image].manifest.name)
        .collect();
    Error::new(
        Code::Cycle,
        format!("the dependencies go in a circle: {}", names.join(" → ")),
    )
}
