//! Which ACI a dependency refers to: one of the sources, one in the places that the user named for
//! dependencies, or, if the user allowed it, one found by appc discovery.
//!
//! Only manifests are read, unless several ACIs match; rendering reads the contents.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_format_aci::{
    Aci, Manifest,
    dependency::{Candidate, by_layer_name, choose, describe, matches},
    manifest::{Dependency, Pair, to_map},
    platform,
};
use imgconv_fs::is_directory;
use imgconv_model::{
    Bundle, Code, Env, Error, Limits, Platform, Result, Root, RootEntry, Signature,
    StreamFormat as _, Transport as _, quote,
};
use imgconv_tags::ImageTags;
use imgconv_transport_appc::{APPC, AppImage};
use imgconv_transport_file::FILE;

use crate::{
    read::{
        node::{AciPart, decode_stream},
        source::Source,
    },
    tags,
};
use imgconv_locate::{
    fetched::{check_signature, signature_to_check},
    locator::Locator,
    tree::json_files,
};

/// The place that stands for discovery.
pub(crate) const DISCOVERY: &str = "appc:";

/// Every ACI that a dependency may refer to.
#[derive(Debug, Default)]
pub struct Candidates {
    all: Vec<Known>,
    /// The files that look like an ACI and can't be read.
    damaged: Vec<String>,
    /// The files in the searched places that may be image tags, judged by their names only.
    tag_files: BTreeSet<PathBuf>,
    /// The image tags of the names looked up so far; `None` for a name without image tags.
    tags: RefCell<BTreeMap<String, Option<Arc<ImageTags>>>>,
    /// True if a dependency that no place has is discovered.
    discovers: bool,
    /// The discovered ACIs, by the requested image and platform.
    discovered: BTreeMap<(AppImage, Platform), usize>,
    /// The resolved dependencies, by their addresses in their manifests.
    settled: BTreeMap<*const Dependency, usize>,
}

/// An ACI that a dependency may refer to.
#[derive(Debug)]
pub(crate) struct Known {
    /// The name of the ACI for messages.
    pub text: String,
    path: Option<PathBuf>,
    pub aci: AciPart,
    /// True if the ACI was found by discovery: then it serves only the request that found it.
    discovered: bool,
    /// The signature that the file must fit; `None` if the signature is not verified, or was verified already.
    signature: Option<Signature>,
    /// Set when the file fits its signature.
    verified: OnceCell<()>,
}

impl Known {
    /// Verifies the signature of a file that was found beside the sources or in a place of dependencies.
    ///
    /// # Errors
    /// The errors of [`check_signature`].
    pub(crate) fn verify(&self, env: &Env) -> Result<()> {
        let Some(signature) = &self.signature else {
            return Ok(());
        };
        if self.verified.get().is_none() {
            let AciPart { blob, manifest, .. } = &self.aci;
            let verified = check_signature(signature, blob, &manifest.name, env);
            let verified = verified.map_err(|error| error.at(&*self.text))?;
            for warning in verified.warnings {
                env.notes.warn("weak-key", &*self.text, warning);
            }
            let _ = self.verified.set(());
        }
        Ok(())
    }
}

/// An ACI of a place, up to its manifest, and the signature that its file must fit.
pub(crate) type Found = (AciPart, Option<Signature>);

impl Candidates {
    /// The ACI of that key.
    pub(crate) fn get(&self, key: usize) -> &Known {
        &self.all[key]
    }

    /// The key of an ACI that was added.
    pub(crate) fn key_of(&self, aci: &AciPart) -> Option<usize> {
        let all = || self.all.iter();
        all()
            .position(|known| Arc::ptr_eq(&known.aci.manifest, &aci.manifest))
            // The same file was given twice: the first one is used for both.
            .or_else(|| all().position(|known| known.aci.manifest.raw == aci.manifest.raw))
    }

    /// Adds an ACI whose signature is not to be verified, or was verified.
    pub(crate) fn add(&mut self, text: String, path: &str, aci: AciPart) -> usize {
        self.add_found(text, path, (aci, None))
    }

    fn add_found(&mut self, text: String, path: &str, (aci, signature): Found) -> usize {
        let path = std::fs::canonicalize(path)
            .ok()
            .filter(|path| path.is_file());
        let same = |known: &Known| known.path.is_some() && known.path == path;
        if let Some(position) = self.all.iter().position(same) {
            return position;
        }
        self.all.push(Known {
            text,
            path,
            aci,
            discovered: false,
            signature,
            verified: OnceCell::new(),
        });
        self.all.len() - 1
    }

    /// Adds the ACIs of a place (a file, a folder or a store), or turns discovery on.
    pub(crate) fn search(&mut self, place: &str, env: &Env) -> Result<()> {
        if place == DISCOVERY {
            self.discovers = true;
            return Ok(());
        }
        let at = |error: Error| error.at(format!("--deps {place}"));
        let locator = Locator::dependencies(place).map_err(at)?;
        let (transport, location) = (locator.transport, &locator.location);
        if !transport.place().is_local() {
            let message = "dependencies are looked for in files, folders and stores";
            return Err(at(Error::new(Code::Unsupported, message))
                .hint("`--deps appc:` fetches the dependencies that no place has"));
        }
        if transport.place().any_file {
            let Some(found) = find_aci(location, env).map_err(at)? else {
                let message = "this is neither an ACI nor a place with ACIs";
                return Err(at(Error::new(Code::Unsupported, message)));
            };
            self.add_found(location.clone(), location, found);
            return Ok(());
        }
        if is_directory(Path::new(location)).map_err(at)? {
            self.tag_files.extend(json_files(Path::new(location)));
        }
        let bundle = transport.open(location, env).map_err(at)?;
        self.take_from(&*bundle, &|_| false, env)
    }

    /// Adds the ACIs of a place, except those that are sources.
    pub(crate) fn take_from(
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
                Ok(Some(found)) => {
                    self.add_found(text.clone(), &text, found);
                }
                Ok(None) => {}
                // A damaged ACI is reported only if no other ACI matches.
                Err(error) => self.damaged.push(format!("{}: {error}", quote(text))),
            }
        }
        Ok(())
    }

    /// Returns the ACI that a dependency refers to.
    pub(crate) fn resolve(&self, dependency: &Dependency, env: &Env) -> Result<usize> {
        match self.settled.get(&std::ptr::from_ref(dependency)) {
            Some(key) => Ok(*key),
            None => self.choose(&self.labelled(dependency, env)?, env),
        }
    }

    /// Chooses the ACI for a dependency with labels, among those that were not discovered. Image
    /// IDs are computed only where the name and the labels fit several ACIs.
    fn choose(&self, dependency: &Dependency, env: &Env) -> Result<usize> {
        let mut fitting = self.fitting(dependency);
        let meant = by_layer_name(dependency).filter(|_| fitting.is_empty());
        let mut dependency = dependency;
        if let Some(meant) = &meant {
            fitting = self.fitting(meant);
            if !fitting.is_empty() {
                let message = format!(
                    "no image has the label `layer` of the dependency {}, which docker2aci takes from the wrong image; the \
                     name decides",
                    describe(dependency)
                );
                env.notes.warn("dependency-label", "dependencies", message);
                dependency = meant;
            }
        }
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

    /// The ACIs that were not discovered and match a dependency.
    fn fitting(&self, dependency: &Dependency) -> Vec<usize> {
        let fits = |known: &Known| !known.discovered && matches(dependency, &known.aci.manifest);
        let all = self.all.iter().enumerate();
        all.filter(|(_, known)| fits(known))
            .map(|(i, _)| i)
            .collect()
    }

    /// Resolves the dependencies of an image, and the dependencies of those in turn. A dependency
    /// that no place has is discovered, if the user allowed it; otherwise this function does
    /// nothing.
    ///
    /// # Errors
    /// [`Code::Limit`] for `aci_deps_nodes`, and the errors of discovery.
    pub(crate) fn complete(&mut self, root: usize, env: &Env) -> Result<()> {
        let (mut pending, mut met) = (vec![root], BTreeSet::from([root]));
        while self.discovers
            && let Some(key) = pending.pop()
        {
            let manifest = Arc::clone(&self.all[key].aci.manifest);
            for (i, dependency) in manifest.dependencies.iter().enumerate() {
                env.check_cancelled()?;
                let place =
                    |error: Error| error.at(format!("dependency {i} of {}", quote(&manifest.name)));
                let found = self.settle(dependency, &manifest, env).map_err(place)?;
                if !met.insert(found) {
                    continue;
                }
                let most = ("aci_deps_nodes", env.limits.aci_deps_nodes);
                let what = "the number of images in the dependency tree";
                Limits::check(met.len() as u64, most, what)?;
                pending.push(found);
            }
        }
        Ok(())
    }

    /// Resolves a dependency of an image, by discovery if need be.
    fn settle(&mut self, dependency: &Dependency, of: &Manifest, env: &Env) -> Result<usize> {
        let known = self.settled.get(&std::ptr::from_ref(dependency));
        if let Some(key) = known {
            return Ok(*key);
        }
        let labelled = self.labelled(dependency, env)?;
        let key = match self.choose(&labelled, env) {
            Err(error) if error.code() == Code::Missing => {
                // Without local image tags, the site resolves the tag.
                let has_tags = self.image_tags(&dependency.image_name, env)?.is_some();
                let asked = if has_tags { &labelled } else { dependency };
                self.discover(asked, of, env)?
            }
            found => found?,
        };
        self.settled.insert(std::ptr::from_ref(dependency), key);
        Ok(key)
    }

    /// Fetches a dependency. A dependency without a platform gets the platform of the image.
    fn discover(&mut self, dependency: &Dependency, of: &Manifest, env: &Env) -> Result<usize> {
        let image = AppImage {
            name: dependency.image_name.clone(),
            tag: dependency.tag.clone(),
            labels: to_map(&dependency.labels),
        };
        image.check()?;
        let own = platform::from_labels(of.label("os"), of.label("arch"));
        let host = match own.os.is_empty() || own.architecture.is_empty() {
            true => env.host.clone(),
            false => own,
        };
        let asked = (image, host);
        if let Some(key) = self.discovered.get(&asked) {
            return Ok(*key);
        }
        let env = &Env {
            host: asked.1.clone(),
            ..env.clone()
        };
        let locator = Locator::source(&format!("{}:{}", APPC.place().scheme, asked.0))?;
        let source = Source::open(&locator, env)?;
        let text = source.text.clone();
        let decoded = source.decode(env)?;
        let not_an_aci = || Error::new(Code::Unsupported, "the file is not an ACI").at(&*text);
        let node = decoded.first().and_then(|(_, node)| node.as_image());
        let node = node.ok_or_else(not_an_aci)?;
        env.notes.take_warnings(&node.report);
        let same = |known: &Known| known.discovered && known.text == text;
        let key = match self.all.iter().position(same) {
            Some(key) => key,
            None => {
                let aci = node.aci.clone().ok_or_else(not_an_aci)?;
                self.all.push(Known {
                    text,
                    path: None,
                    aci,
                    discovered: true,
                    signature: None,
                    verified: OnceCell::new(),
                });
                self.all.len() - 1
            }
        };
        self.discovered.insert(asked, key);
        Ok(key)
    }

    /// Turns the tag of a dependency into labels: by the image tags of its name, if they are there,
    /// else into the label `version`.
    fn labelled(&self, dependency: &Dependency, env: &Env) -> Result<Dependency> {
        let Some(tag) = &dependency.tag else {
            return Ok(dependency.clone());
        };
        let given = to_map(&dependency.labels);
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
    /// file of a published site.
    fn image_tags(&self, name: &str, env: &Env) -> Result<Option<Arc<ImageTags>>> {
        if let Some(known) = self.tags.borrow().get(name) {
            return Ok(known.clone());
        }
        let own = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|file| file == &*tags::file_name(name))
                || path.ends_with(tags::site_path(name))
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
///
/// # Errors
/// If the file can't be read, or is a damaged ACI.
pub fn open_aci(path: &str, env: &Env) -> Result<Option<AciPart>> {
    Ok(find_aci(path, env)?.map(|(aci, _)| aci))
}

fn find_aci(path: &str, env: &Env) -> Result<Option<Found>> {
    let bundle = FILE.open(path, env)?;
    match bundle.roots()?.first() {
        Some(entry) => aci_in(&*bundle, entry, env),
        None => Ok(None),
    }
}

/// Reads an entry up to its manifest, if it is an ACI.
fn aci_in(bundle: &dyn Bundle, entry: &RootEntry, env: &Env) -> Result<Option<Found>> {
    if let Some((part, inner)) = bundle.part(entry)? {
        return aci_in(&*part, &inner, env);
    }
    let root = bundle.root(entry)?;
    match &root {
        Root::Stream(stream) if Aci.recognise(stream) => {
            let Some(aci) = decode_stream(stream, &bundle.locator(), &Aci, env)?.aci else {
                return Ok(None);
            };
            let signature = signature_to_check(bundle, &aci.manifest.name, env)?;
            Ok(Some((aci, signature)))
        }
        Root::Stream(_) | Root::Document(_) => Ok(None),
    }
}
