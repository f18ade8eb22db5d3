//! The dependencies of ACIs: their file systems become layers below the image's own layer. The
//! module `candidates` finds the ACI for each dependency.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_format_aci::{
    Decoded, ExpectedImage, Manifest, decode_stream,
    dependency::{Rendered, describe, order},
    manifest::Dependency,
    resolve_user,
};
use imgconv_layer::{Discard, Semantics, clean};
use imgconv_model::{Bundle, Code, Env, Error, FormatId, Layer, Outcome, Result, RootEntry, quote};
use imgconv_pipeline::{Budget, Squash, Tar, listed, merge};
use imgconv_tar::EntryKind;

use super::candidates::{Candidates, DISCOVERY};
use crate::{
    options::Options,
    read::{
        node::{ImageNode, Node},
        root::SourceRoot,
    },
};
use imgconv_locate::locator::Locator;

/// Refuses a malformed place of dependencies, even if no dependency is looked up.
///
/// # Errors
/// As [`Locator::dependencies`].
pub fn check(deps: &[String]) -> Result<()> {
    for place in deps.iter().filter(|place| **place != DISCOVERY) {
        Locator::dependencies(place).map_err(|error| error.at(format!("--deps {place}")))?;
    }
    Ok(())
}

/// Gives every ACI that has dependencies or a path whitelist its rendered layers. `merges` is true if the destination
/// merges all layers.
///
/// # Errors
/// If a dependency is missing, ambiguous, or does not match its manifest's claims.
pub fn render(
    roots: &mut [SourceRoot<'_>],
    options: &Options,
    merges: bool,
    env: &Env,
) -> Result<()> {
    if !needed(roots) {
        return Ok(());
    }
    let mut candidates = Candidates::default();
    for root in roots.iter() {
        if let Some(aci) = root.node.aci() {
            candidates.add(root.text.clone(), &root.place, aci.clone());
        }
    }
    // The places of the sources are searched too: a store holds the dependencies of its images.
    let mut places: Vec<&dyn Bundle> = Vec::new();
    for root in roots.iter() {
        let known = places
            .iter()
            .any(|place| std::ptr::addr_eq(*place, root.bundle));
        if !known {
            places.push(root.bundle);
            let given = |entry: &RootEntry| {
                roots.iter().any(|other| {
                    std::ptr::addr_eq(other.bundle, root.bundle)
                        && other.entry.position == entry.position
                })
            };
            candidates.take_from(root.bundle, &given, env)?;
        }
    }
    for place in &options.deps {
        candidates.search(place, env)?;
    }
    render_by(roots, &mut candidates, options, merges, env)
}

/// Gives every ACI of a store its rendered layers, as [`render`] does. The candidates are searched
/// when they are first needed, and are those of the whole store.
///
/// # Errors
/// As [`render`].
pub fn render_in_store(
    roots: &mut [SourceRoot<'_>],
    store: &dyn Bundle,
    found: &mut Option<Candidates>,
    options: &Options,
    env: &Env,
) -> Result<()> {
    if !needed(roots) {
        return Ok(());
    }
    let candidates = match found {
        Some(candidates) => candidates,
        None => {
            let mut all = Candidates::default();
            all.take_from(store, &|_| false, env)?;
            for place in &options.deps {
                all.search(place, env)?;
            }
            found.insert(all)
        }
    };
    for root in roots.iter() {
        if let Some(aci) = root.node.aci()
            && candidates.key_of(aci).is_none()
        {
            candidates.add(root.text.clone(), &root.place, aci.clone());
        }
    }
    render_by(roots, candidates, options, false, env)
}

fn needed(roots: &[SourceRoot<'_>]) -> bool {
    roots.iter().any(|root| needs_rendering(&root.node))
}

fn render_by(
    roots: &mut [SourceRoot<'_>],
    candidates: &mut Candidates,
    options: &Options,
    merges: bool,
    env: &Env,
) -> Result<()> {
    for root in roots {
        if !needs_rendering(&root.node) {
            continue;
        }
        let node = Arc::get_mut(&mut root.node).expect("a file's node is not shared");
        let Node::Image(node) = node else { continue };
        // Unless all layers are merged, the lower layers are read by the rules of layers.
        let stacked = options.layers.squash != Some(Squash::All) && !merges;
        render_one(node, candidates, stacked, env).map_err(|error| error.at(&*root.text))?;
    }
    Ok(())
}

/// Says whether an image has dependencies or a path whitelist.
pub fn needs_rendering(node: &Node) -> bool {
    node.aci().is_some_and(|aci| {
        !aci.manifest.dependencies.is_empty() || !aci.manifest.path_whitelist.is_empty()
    })
}

/// Replaces the layer of an ACI by the layers of its dependencies and its own, each filtered by the
/// whitelists of all images above it. `stacked` is true if they stay several layers.
fn render_one(
    node: &mut ImageNode,
    candidates: &mut Candidates,
    stacked: bool,
    env: &Env,
) -> Result<()> {
    let aci = node.aci.clone().expect("only an ACI is rendered");
    let root = candidates
        .key_of(&aci)
        .expect("every root was added to the candidates");
    let env = &env.with_notes(&node.notes);
    candidates.complete(root, env)?;
    let candidates = &*candidates;
    let mut manifest = |key: &usize| Ok(Arc::clone(&candidates.get(*key).aci.manifest));
    let mut resolve = |dependency: &Dependency| candidates.resolve(dependency, env);
    let rendered = order(root, &mut manifest, &mut resolve, &env.limits)?;
    let expected = expectations(&rendered, candidates, env)?;
    let mut levels = Vec::with_capacity(rendered.len());
    for level in &rendered {
        let known = candidates.get(level.key);
        let layer: Layer = if level.key == root {
            node.image.layers[0].clone()
        } else {
            known.verify(env)?;
            let expected = expected.get(&level.key).cloned().unwrap_or_default();
            let decoded = decode_stream(&known.aci.blob, &known.text, &expected, env)?;
            decoded.image.layers[0].clone()
        };
        levels.push((layer, level.paths()));
    }
    let layers = listed(levels, env);
    let mut tree = None;
    if stacked && layers.len() > 1 {
        check_stackable(&layers, env)?;
        // Some errors show only in the merged tree: hard links without a target, limits of the
        // whole image.
        tree = Some(merge(&layers, Semantics::Aci, &mut Discard, env)?);
    }
    if node.image.config.user.is_none() {
        let mut owner = |path: &str| {
            if tree.is_none() {
                tree = Some(merge(&layers, Semantics::Aci, &mut Discard, env)?);
            }
            let path = clean(path.as_bytes(), &env.limits)?;
            let found = tree.as_ref().and_then(|tree| tree.get(&path));
            Ok(found.map(|file| (file.uid, file.gid)))
        };
        resolve_user(&mut node.image, &aci.manifest, &mut owner)?;
    }
    let extensions = &mut node.image.extensions;
    let mut had = |field: &str| {
        extensions
            .remove(&(FormatId::ACI, field.to_owned()))
            .is_some()
    };
    if had("dependencies") {
        let names: Vec<String> = aci.manifest.dependencies.iter().map(describe).collect();
        let why = format!(
            "the dependencies {} became {} layers below the layer of the image",
            names.join(", "),
            layers.len() - 1
        );
        node.report.lose("dependencies", Outcome::Approximated, why);
    }
    if had("pathWhitelist") {
        let why = "the whitelist was applied: the layers hold only the listed paths";
        node.report
            .lose("pathWhitelist", Outcome::Approximated, why);
    }
    node.image.layers = layers;
    Ok(())
}

/// Returns an ACI's own layer as rendering makes it above the layers of its dependencies: without the files that its
/// path whitelist does not list.
///
/// # Errors
/// If the whitelist is malformed.
pub(crate) fn own_layer(decoded: &Decoded, below: &[Layer], env: &Env) -> Result<Layer> {
    let layer = decoded.image.layers[0].clone();
    let alone = Arc::new(Manifest {
        dependencies: Vec::new(),
        ..decoded.manifest.clone()
    });
    let mut manifest = |(): &()| Ok(Arc::clone(&alone));
    let mut resolve = |_: &Dependency| Ok(());
    let rendered = order((), &mut manifest, &mut resolve, &env.limits)?;
    let paths = rendered.last().and_then(Rendered::paths);
    let below = below.iter().map(|below| (below.clone(), None));
    let levels = below.chain([(layer.clone(), paths)]).collect();
    Ok(listed(levels, env).pop().unwrap_or(layer))
}

/// The properties that the manifests claim of their dependencies.
fn expectations(
    rendered: &[Rendered<usize>],
    candidates: &Candidates,
    env: &Env,
) -> Result<BTreeMap<usize, ExpectedImage>> {
    let mut expected: BTreeMap<usize, ExpectedImage> = BTreeMap::new();
    for level in rendered {
        let manifest: &Manifest = &candidates.get(level.key).aci.manifest;
        for dependency in &manifest.dependencies {
            let key = candidates.resolve(dependency, env)?;
            let known = expected.entry(key).or_default();
            let what = format!(
                "{} of {}",
                quote(&dependency.image_name),
                quote(&manifest.name)
            );
            if let Some(id) = dependency.image_id {
                if let Some(other) = known.id.filter(|other| *other != id) {
                    let what = format!("the image ID of the dependency {what}");
                    return Err(Error::mismatch(what, id.image_id(), other.image_id()));
                }
                known.id = Some(id);
            }
            if let Some(size) = dependency.size {
                if let Some(other) = known.size.filter(|other| *other != size) {
                    let what = format!("the size of the dependency {what}");
                    return Err(Error::mismatch(what, size, other));
                }
                known.size = Some(size);
            }
        }
    }
    Ok(expected)
}

/// Refuses trees that layers can't express: an entry below a path where a lower layer has a
/// symbolic link. appc replaces the link by a directory, layers follow it
/// (robustness F, symlink_parent).
fn check_stackable(layers: &[Layer], env: &Env) -> Result<()> {
    let mut links: BTreeSet<Vec<u8>> = BTreeSet::new();
    let budget = Budget::default();
    for (i, layer) in layers.iter().enumerate() {
        let what = format!("layer {i}");
        let place = |error: Error| error.at(what.clone());
        let source = Tar::open(layer, &budget, env, &what).map_err(place)?;
        let mut reader = imgconv_tar::Reader::new(source, &env.limits, &env.notes, &what);
        let mut directories = BTreeSet::new();
        let mut own = BTreeSet::new();
        while let Some(entry) = reader.next_entry().map_err(place)? {
            let path = clean(&entry.path, &env.limits).map_err(place)?;
            let mut parent = &path[..];
            while let Some(end) = parent.iter().rposition(|byte| *byte == b'/') {
                parent = &path[..end];
                if links.contains(parent) && !directories.contains(parent) {
                    let message = format!(
                        "{} is below {}, a symbolic link of a dependency; appc replaces the link \
                         by a directory, which layers can't do",
                        quote(&path),
                        quote(parent)
                    );
                    return Err(Error::new(Code::Unsupported, message).at(what).hint(
                        "`--squash` makes one layer, which has the directory instead of the link",
                    ));
                }
            }
            if entry.kind == EntryKind::Symlink {
                own.insert(path);
            } else if entry.kind == EntryKind::Directory {
                directories.insert(path);
            }
        }
        links.retain(|link| !directories.contains(link));
        links.append(&mut own);
    }
    Ok(())
}
