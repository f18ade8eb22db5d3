//! The dependencies of ACIs: finding them, and laying their file systems below the image's own.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_format_aci::{
    Aci, ExpectedImage, Manifest, decode_stream,
    dependency::{Candidate, Rendered, choose, describe, matches, order},
    manifest::{Dependency, Pair},
    resolve_user,
};
use imgconv_layer::{Discard, Semantics, clean};
use imgconv_model::{
    Blob, Bundle, Code, Env, Error, Facts, Format, FormatId, Layer, Open, Outcome, Reader, Result,
    Root, RootEntry, Transport, quote,
};
use imgconv_pipeline::{Budget, Merged, Squash, Tar, merge};
use imgconv_tags::{ImageTags, Labels};
use imgconv_tar::EntryKind;
use imgconv_transport_file::FILE;

use crate::{
    locator::Locator,
    options::Options,
    run::SourceRoot,
    site,
    source::{AciPart, ImageNode, Node, decode_aci},
    tags,
    tree::json_files,
};

/// Gives every ACI that has dependencies or a path whitelist its rendered layers.
///
/// # Errors
/// If a dependency is missing, ambiguous, or not what its manifest says of it.
pub(crate) fn render(roots: &mut [SourceRoot<'_>], options: &Options, env: &Env) -> Result<()> {
    let needed = roots.iter().any(|root| needs_rendering(&root.node));
    if !needed {
        return Ok(());
    }
    let mut candidates = Candidates::default();
    for root in roots.iter() {
        if let Some(aci) = aci_of(&root.node) {
            candidates.add(root.text.clone(), &root.place, aci.clone());
        }
    }
    // What else stands where an image was found: a store has the dependencies of its images.
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
    for root in roots {
        if !needs_rendering(&root.node) {
            continue;
        }
        let node = Arc::get_mut(&mut root.node).expect("a file's node is not shared");
        let Node::Image(node) = node else { continue };
        // What stays of the lower layers is read by the rules of layers.
        let stacked = options.layers.squash != Some(Squash::All);
        render_one(node, &candidates, stacked, env).map_err(|error| error.at(&*root.text))?;
    }
    Ok(())
}

fn aci_of(node: &Node) -> Option<&AciPart> {
    match node {
        Node::Image(image) => image.aci.as_ref(),
        Node::Index { .. } | Node::Opaque { .. } => None,
    }
}

/// Says whether an image is made of others too, or of a part of itself.
pub(crate) fn needs_rendering(node: &Node) -> bool {
    aci_of(node).is_some_and(|aci| {
        !aci.manifest.dependencies.is_empty() || !aci.manifest.path_whitelist.is_empty()
    })
}

/// Every ACI that a dependency may mean.
#[derive(Default)]
struct Candidates {
    all: Vec<Known>,
    /// What looks like an ACI and can't be read.
    damaged: Vec<String>,
    /// Files there that may be image tags, by their names only.
    tag_files: BTreeSet<PathBuf>,
    /// The image tags of the names that were asked for, `None` where there are none.
    tags: RefCell<BTreeMap<String, Option<Arc<ImageTags>>>>,
}

struct Known {
    text: String,
    path: Option<PathBuf>,
    aci: AciPart,
}

impl Candidates {
    fn add(&mut self, text: String, path: &str, aci: AciPart) -> usize {
        let path = std::fs::canonicalize(path)
            .ok()
            .filter(|path| path.is_file());
        let same = |known: &Known| known.path.is_some() && known.path == path;
        if let Some(position) = self.all.iter().position(same) {
            return position;
        }
        self.all.push(Known { text, path, aci });
        self.all.len() - 1
    }

    /// Adds the ACIs of a place: a file, a folder or a store.
    fn search(&mut self, place: &str, env: &Env) -> Result<()> {
        let at = |error: Error| error.at(format!("--deps {place}"));
        let locator = Locator::dependencies(place).map_err(at)?;
        let (transport, location) = (locator.transport, &locator.location);
        if !transport.is_local() {
            let message = "dependencies are looked for in files, folders and stores";
            return Err(at(Error::new(Code::Unsupported, message)));
        }
        if transport.scheme() == FILE.scheme() {
            let Some(aci) = open_aci(location, env).map_err(at)? else {
                let message = "this is neither an ACI nor a place that has ACIs";
                return Err(at(Error::new(Code::Unsupported, message)));
            };
            self.add(location.clone(), location, aci);
            return Ok(());
        }
        if Path::new(location).is_dir() {
            self.tag_files.extend(json_files(Path::new(location)));
        }
        let bundle = transport.open(location, env).map_err(at)?;
        self.take_from(&*bundle, &|_| false, env)
    }

    /// Adds the ACIs of a place, but for those that were given.
    fn take_from(
        &mut self,
        bundle: &dyn Bundle,
        given: &dyn Fn(&RootEntry) -> bool,
        env: &Env,
    ) -> Result<()> {
        for entry in bundle.roots()? {
            env.check_cancelled()?;
            if entry.child.is_some() || given(&entry) {
                continue;
            }
            let text = match (bundle.part(&entry), entry.texts.first()) {
                (Ok(Some((part, _))), _) => part.locator(),
                (_, Some(text)) => format!("{}:{text}", bundle.locator()),
                (_, None) => bundle.locator(),
            };
            match aci_in(bundle, &entry, env) {
                Ok(Some(aci)) => {
                    self.add(text.clone(), &text, aci);
                }
                Ok(None) => {}
                // A damaged image is somebody else's business, unless nothing else fits.
                Err(error) => self.damaged.push(format!("{}: {error}", quote(text))),
            }
        }
        Ok(())
    }

    /// Chooses what a dependency means. Image IDs are computed only where the name and the labels
    /// fit several ACIs.
    fn resolve(&self, dependency: &Dependency, env: &Env) -> Result<usize> {
        let dependency = &self.labelled(dependency, env)?;
        let fitting: Vec<usize> = (0..self.all.len())
            .filter(|i| matches(dependency, &self.all[*i].aci.manifest))
            .collect();
        if fitting.len() > 1 {
            for key in &fitting {
                let known = &self.all[*key];
                known.aci.read_to_end(&known.text, env)?;
            }
        }
        let candidate = |key: &usize| {
            let aci = &self.all[*key].aci;
            let image_id = aci.image_id.get().copied();
            Candidate {
                key: *key,
                manifest: &aci.manifest,
                image_id,
            }
        };
        let candidates: Vec<Candidate<'_, usize>> = fitting.iter().map(candidate).collect();
        choose(dependency, &candidates).map_err(|error| match &self.damaged[..] {
            [] => error,
            damaged => error.hint(format!("these could not be read: {}", damaged.join("; "))),
        })
    }
}

impl Candidates {
    /// Turns the tag of a dependency into labels: by the image tags of its name, if they are there,
    /// else into the label `version`.
    fn labelled(&self, dependency: &Dependency, env: &Env) -> Result<Dependency> {
        let Some(tag) = &dependency.tag else {
            return Ok(dependency.clone());
        };
        let given: Labels = dependency
            .labels
            .iter()
            .map(|Pair { name, value }| (name.clone(), value.clone()))
            .collect();
        let tags = self.image_tags(&dependency.image_name, env)?;
        let labels = imgconv_tags::merge(tags.as_deref(), Some(tag), &given)
            .map_err(|error| error.at(format!("dependency {}", describe(dependency))))?;
        let pairs = labels.into_iter();
        Ok(Dependency {
            labels: pairs.map(|(name, value)| Pair { name, value }).collect(),
            ..dependency.clone()
        })
    }

    /// Finds the image tags of a name: the file that a conversion writes beside the ACIs, or the
    /// one of a published site.
    fn image_tags(&self, name: &str, env: &Env) -> Result<Option<Arc<ImageTags>>> {
        if let Some(known) = self.tags.borrow().get(name) {
            return Ok(known.clone());
        }
        let own = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|file| file == &*tags::file_name(name))
                || path.ends_with(site::tags_path(name))
        };
        let mut found: Option<(&PathBuf, ImageTags)> = None;
        for path in self.tag_files.iter().filter(own) {
            let tags = tags::read(&path.to_string_lossy(), env)?;
            match &found {
                Some((other, known)) if *known != tags => {
                    let message = format!(
                        "two files have image tags of {}: {} and {}",
                        quote(name),
                        other.display(),
                        path.display()
                    );
                    return Err(Error::new(Code::Ambiguous, message)
                        .hint("give `--deps` the directory of one of them"));
                }
                Some(_) => {}
                None => found = Some((path, tags)),
            }
        }
        let tags = found.map(|(_, tags)| Arc::new(tags));
        self.tags.borrow_mut().insert(name.to_owned(), tags.clone());
        Ok(tags)
    }
}

/// Reads a file up to the manifest, if it is an ACI.
pub(crate) fn open_aci(path: &str, env: &Env) -> Result<Option<AciPart>> {
    let bundle = FILE.open(path, env)?;
    match bundle.roots()?.first() {
        Some(entry) => aci_in(&*bundle, entry, env),
        None => Ok(None),
    }
}

/// Reads an entry up to its manifest, if it is an ACI.
fn aci_in(bundle: &dyn Bundle, entry: &RootEntry, env: &Env) -> Result<Option<AciPart>> {
    if let Some((part, inner)) = bundle.part(entry)? {
        return aci_in(&*part, &inner, env);
    }
    let root = bundle.root(entry)?;
    match &root {
        Root::Stream(blob) if Aci.recognise(&root) => {
            Ok(decode_aci(blob, &bundle.locator(), &Aci, env)?.aci)
        }
        Root::Stream(_) | Root::Document(_) => Ok(None),
    }
}

/// Replaces the layer of an ACI by those of all that it depends on and its own, each filtered by
/// the whitelists of all images above it. `stacked` says that they stay several layers.
fn render_one(
    node: &mut ImageNode,
    candidates: &Candidates,
    stacked: bool,
    env: &Env,
) -> Result<()> {
    let aci = node.aci.clone().expect("only an ACI is rendered");
    let root = candidates
        .all
        .iter()
        .position(|known| Arc::ptr_eq(&known.aci.manifest, &aci.manifest))
        // The same file was given twice: the first one stands for both.
        .or_else(|| {
            candidates
                .all
                .iter()
                .position(|known| known.aci.manifest.raw == aci.manifest.raw)
        })
        .expect("every root was added to the candidates");
    let mut manifest = |key: &usize| Ok(Arc::clone(&candidates.all[*key].aci.manifest));
    let mut resolve = |dependency: &Dependency| candidates.resolve(dependency, env);
    let rendered = order(root, &mut manifest, &mut resolve, &env.limits)?;
    let expected = expectations(&rendered, candidates, env)?;
    let env = &Env {
        notes: node.notes.clone(),
        ..env.clone()
    };
    let mut layers = Vec::with_capacity(rendered.len());
    for level in &rendered {
        let known = &candidates.all[level.key];
        let layer = if level.key == root {
            node.image.layers[0].clone()
        } else {
            let expected = expected.get(&level.key).cloned().unwrap_or_default();
            let decoded = decode_stream(&known.aci.blob, &known.text, &expected, env)?;
            decoded.image.layers[0].clone()
        };
        layers.push(match level.paths() {
            None => layer,
            Some(paths) => filtered(layer, paths, env),
        });
    }
    let mut tree = None;
    if stacked && layers.len() > 1 {
        check_stackable(&layers, env)?;
        // What no level shows on its own: hard links that lead nowhere, limits of the whole image.
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
    let id = FormatId("aci");
    if node
        .image
        .extensions
        .remove(&(id, "dependencies".to_owned()))
        .is_some()
    {
        let names: Vec<String> = aci.manifest.dependencies.iter().map(describe).collect();
        let why = format!(
            "{} became {} layers below",
            names.join(", "),
            layers.len() - 1
        );
        node.report.lose("dependencies", Outcome::Approximated, why);
    }
    if node
        .image
        .extensions
        .remove(&(id, "pathWhitelist".to_owned()))
        .is_some()
    {
        let why = "applied: what it does not list is not in the layers";
        node.report
            .lose("pathWhitelist", Outcome::Approximated, why);
    }
    node.image.layers = layers;
    Ok(())
}

/// What the manifests claim of the images that they depend on.
fn expectations(
    rendered: &[Rendered<usize>],
    candidates: &Candidates,
    env: &Env,
) -> Result<BTreeMap<usize, ExpectedImage>> {
    let mut expected: BTreeMap<usize, ExpectedImage> = BTreeMap::new();
    for level in rendered {
        let manifest: &Manifest = &candidates.all[level.key].aci.manifest;
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

/// Refuses what layers can't say: a layer's entry below a path where a lower layer has a symbolic
/// link. appc replaces the link by a directory, layers follow it (robustness F, symlink_parent).
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
                        "{} is below {}, a symbolic link of a dependency that appc would replace",
                        quote(&path),
                        quote(parent)
                    );
                    return Err(Error::new(Code::Unsupported, message)
                        .at(what)
                        .hint("`--squash` makes one layer, in which it can be said"));
                }
            }
            match entry.kind {
                EntryKind::Symlink => {
                    own.insert(path);
                }
                EntryKind::Directory => {
                    directories.insert(path);
                }
                EntryKind::Regular
                | EntryKind::HardLink
                | EntryKind::CharDevice
                | EntryKind::BlockDevice
                | EntryKind::Fifo => {}
            }
        }
        links.retain(|link| !directories.contains(link));
        links.append(&mut own);
    }
    Ok(())
}

/// A layer of which only listed paths exist. Read when it is first opened.
fn filtered(layer: Layer, paths: BTreeSet<Vec<u8>>, env: &Env) -> Layer {
    let filtered = Filtered {
        layer: layer.clone(),
        paths,
        env: env.clone(),
        merged: Mutex::default(),
    };
    Layer {
        blob: Blob {
            facts: Facts::default(),
            bytes: Arc::new(filtered),
        },
        ..layer
    }
}

struct Filtered {
    layer: Layer,
    paths: BTreeSet<Vec<u8>>,
    env: Env,
    merged: Mutex<Option<Merged>>,
}

impl fmt::Debug for Filtered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filtered")
            .field("paths", &self.paths.len())
            .finish_non_exhaustive()
    }
}

impl Open for Filtered {
    fn open(&self) -> Result<Reader> {
        let mut merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        if merged.is_none() {
            let layers = std::slice::from_ref(&self.layer);
            *merged = Some(imgconv_pipeline::squash_listed(
                layers,
                &self.paths,
                &self.env,
            )?);
        }
        merged.as_ref().expect("it was made above").open()
    }
}
