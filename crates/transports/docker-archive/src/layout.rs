//! Archives of Docker 25 and later: an OCI layout with a `manifest.json` beside it.
//!
//! Both describe the same images, and readers differ in which of them they use. The layout is used
//! if both agree on the config of each image; the config's digest then fixes everything else. If
//! they do not agree, the archive is refused (there is no option to choose).

use std::collections::BTreeMap;

use imgconv_json::{Object, Value};
use imgconv_layout::{INDEX_FILE, Index, MARKER_FILE, check_marker};
use imgconv_manifest::{descriptor, embedded};
use imgconv_model::{
    Algorithm, Child, Code, Digest, Env, Error, Facts, Limits, Name, Result, RootEntry, quote,
};
use imgconv_stream::{Verified, digest, read_to_limit};

use crate::{
    files::MANIFEST_FILE,
    manifest::{Item, entries},
    members::{Members, blob_digest, blob_name, limit},
};

/// The compared facts of an image of the layout.
struct Described {
    /// The digest of the config in the image manifest.
    named: Digest,
    /// The SHA-256 digest of the same config, and its size.
    config: (Digest, u64),
    layers: Vec<(Digest, u64)>,
}

/// Says whether the archive is a layout too. Without the marker file an `index.json` does not
/// count.
pub(crate) fn is_layout(members: &Members) -> bool {
    members.has(MARKER_FILE) && members.has(INDEX_FILE)
}

/// Reads the index of the layout.
pub(crate) fn index(members: &Members, limits: &Limits) -> Result<Index> {
    let read = |name: &str| {
        let most = limit(name, limits).unwrap_or(("manifest", limits.manifest));
        members.read_name(name, most)
    };
    check_marker(&read(MARKER_FILE)?, limits)?;
    Index::parse(&read(INDEX_FILE)?, limits)
}

/// Lists the entry points: the descriptors of the layout, each with the position in `items` that is
/// used instead if the layout is wrong about it.
pub(crate) fn roots(
    members: &Members,
    index: &Index,
    items: &[Item],
    env: &Env,
) -> Result<Vec<(RootEntry, Option<usize>)>> {
    let limits = &env.limits;
    let listed = index.roots();
    if listed.is_empty() {
        if !items.is_empty() {
            let message = format!("the index lists no image; {MANIFEST_FILE} is used");
            let place = format!("file {INDEX_FILE}");
            env.notes.warn("docker-archive-fallback", place, message);
        }
        let every = entries(items);
        return Ok(every
            .into_iter()
            .map(|(entry, i)| (entry, Some(i)))
            .collect());
    }
    let mut checker = Checker {
        members,
        limits,
        listed: Vec::with_capacity(listed.len()),
        seen: BTreeMap::new(),
        by_name: BTreeMap::new(),
        by_text: BTreeMap::new(),
        by_config: BTreeMap::new(),
    };
    for entry in listed {
        checker.list(entry);
    }
    for (i, item) in items.iter().enumerate() {
        checker
            .compare(i, item, env)
            .map_err(|error| error.at(format!("file {MANIFEST_FILE} › [{i}]")))?;
    }
    Ok(checker.listed)
}

struct Checker<'a> {
    members: &'a Members,
    limits: &'a Limits,
    /// The entries of the layout, each with the position of its replacement.
    listed: Vec<(RootEntry, Option<usize>)>,
    /// The images below each root; empty if they can't be read, which the format will report.
    seen: BTreeMap<Digest, Vec<Described>>,
    /// The positions of every name; several if they are for different platforms.
    by_name: BTreeMap<Name, Vec<usize>>,
    /// The positions of every text that is no name.
    by_text: BTreeMap<String, Vec<usize>>,
    /// The first position that leads to a config.
    by_config: BTreeMap<Digest, usize>,
}

impl Checker<'_> {
    fn list(&mut self, mut entry: RootEntry) {
        let place = self.listed.len();
        if let Some(child) = &entry.child
            && !self.seen.contains_key(&child.digest)
        {
            let mut found = self.describe(child);
            for one in &mut found {
                one.named = one.config.0;
                one.config.0 = self.usual(&one.config.0);
            }
            for one in &found {
                self.by_config.entry(one.config.0).or_insert(place);
            }
            self.seen.insert(child.digest, found);
        }
        // A text that is a name is found by the name.
        for text in entry.texts.iter().filter(|_| entry.name.is_none()) {
            self.by_text.entry(text.clone()).or_default().push(place);
        }
        if let Some(name) = &entry.name {
            self.by_name
                .entry(name.qualified())
                .or_default()
                .push(place);
        }
        // Docker knows an image by the digest of its config.
        if let [image] = self.of(&entry)
            && image.config.0.algorithm() == Algorithm::Sha256
        {
            let id = image.config.0.hex();
            entry.texts.push(id);
        }
        self.listed.push((entry, None));
    }

    fn of(&self, entry: &RootEntry) -> &[Described] {
        let child = entry.child.as_ref();
        child
            .and_then(|child| self.seen.get(&child.digest))
            .map_or(&[], Vec::as_slice)
    }

    /// Compares one entry of `manifest.json` with the layout (robustness A13).
    fn compare(&mut self, i: usize, item: &Item, env: &Env) -> Result<()> {
        let config = self.config(item)?;
        let mut matched: Vec<usize> = Vec::new();
        let mut unlisted: Vec<(&String, Option<&Name>)> = Vec::new();
        for (text, name) in &item.names {
            let Some(places) = self.by_name.get(&name.qualified()) else {
                unlisted.push((text, Some(name)));
                continue;
            };
            let has = |place: &&usize| {
                let described = self.of(&self.listed[**place].0);
                described.iter().any(|one| one.config.0 == config)
            };
            let before = matched.len();
            matched.extend(places.iter().filter(has));
            // An unusable descriptor is replaced by the entry of `manifest.json`.
            let unusable = |place: &&usize| self.listed[**place].0.error.is_some() && !has(place);
            matched.extend(places.iter().filter(unusable));
            let described = places.iter().flat_map(|i| self.of(&self.listed[*i].0));
            let others: Vec<Digest> = described.take(8).map(|one| one.config.0).collect();
            if matched.len() == before && !others.is_empty() {
                return Err(disagree(text, &config, &others));
            }
        }
        for text in &item.bad_names {
            let places = self.by_text.get(text).into_iter().flatten().copied();
            let mut same = places.filter(|place| {
                let described = self.of(&self.listed[*place].0);
                described.iter().any(|one| one.config.0 == config)
            });
            match same.next() {
                Some(place) => matched.push(place),
                None => unlisted.push((text, None)),
            }
        }
        if item.names.is_empty() && matched.is_empty() || !unlisted.is_empty() {
            let Some(&place) = self.by_config.get(&config) else {
                let unreadable = |(entry, _): &(RootEntry, _)| self.of(entry).is_empty();
                if unlisted.is_empty() && self.listed.iter().any(unreadable) {
                    return Ok(());
                }
                let what = unlisted.first().map_or("an image", |(text, _)| *text);
                let message = format!(
                    "{} with the config {config} is not in {INDEX_FILE}, which lists other images",
                    quote(what)
                );
                return Err(Error::new(Code::Ambiguous, message));
            };
            matched.push(place);
            // A name in only one of the two lists is a name of that image.
            for (text, name) in unlisted {
                matched.push(self.listed.len());
                self.list(RootEntry {
                    name: name.cloned(),
                    texts: vec![text.clone()],
                    ambiguous: None,
                    ..self.listed[place].0.clone()
                });
            }
        }
        for place in matched {
            let entry = &self.listed[place].0;
            let why = match &entry.error {
                Some(error) => Some(format!(
                    "the descriptor of the image can't be used: {error}"
                )),
                None => self.wrong(entry, item, &config),
            };
            let Some(why) = why else { continue };
            let (entry, instead) = &mut self.listed[place];
            let digest = entry.child.as_ref().map(|child| child.digest);
            let message = format!("{why}; {MANIFEST_FILE} is used, which has the same config");
            let place = digest.map_or(String::new(), |digest| format!("manifest {digest}"));
            env.notes.warn("docker-archive-fallback", place, message);
            *instead = Some(i);
            entry.child = Some(item.child());
            entry.error = None;
        }
        Ok(())
    }

    /// Returns the fault in the layers of the single image that a root of the layout describes, if
    /// the entry of `manifest.json` can be right (robustness A13c).
    fn wrong(&self, entry: &RootEntry, item: &Item, config: &Digest) -> Option<String> {
        let [one] = self.of(entry) else {
            return None;
        };
        let wrong = self.difference(one, item)?;
        let bytes = self
            .members
            .read_name(&item.config, ("config", self.limits.config));
        let value = imgconv_json::parse(&bytes.ok()?, self.limits, "config").ok()?;
        let rootfs = Object::new(&value, "").ok()?.opt_object("rootfs").ok()??;
        let fits =
            one.config.0 == *config && rootfs.list("diff_ids").ok()?.len() == item.layers.len();
        fits.then_some(wrong)
    }

    fn difference(&self, one: &Described, item: &Item) -> Option<String> {
        let (found, expected) = (one.layers.len(), item.layers.len());
        if found != expected {
            let message =
                format!("the image manifest lists {found} layers and {MANIFEST_FILE} {expected}");
            return Some(message);
        }
        let other = |((digest, _), name): &(&(Digest, u64), &String)| {
            blob_digest(name).is_some_and(|named| named != *digest)
        };
        if one.layers.iter().zip(&item.layers).any(|pair| other(&pair)) {
            let message = format!("the image manifest lists other layers than {MANIFEST_FILE}");
            return Some(message);
        }
        let config = (one.named, one.config.1);
        let blobs = one.layers.iter().chain([&config]);
        for (digest, size) in blobs {
            let found = self.members.resolve(&blob_name(digest), false);
            if let Ok(found) = found
                && found.size != *size
            {
                return Some(format!(
                    "the image manifest gives {digest} the size {size}, but the blob has {} bytes",
                    found.size
                ));
            }
        }
        None
    }

    /// Returns the digest by which a config is compared: `manifest.json` and the layout may name a
    /// config by digests of two algorithms. A config that can't be read keeps the given digest.
    fn usual(&self, called: &Digest) -> Digest {
        if called.algorithm() == Algorithm::Sha256 {
            return *called;
        }
        let read = || {
            let found = self.members.resolve(&blob_name(called), false).ok()?;
            let bytes = self
                .members
                .read(&found, ("config", self.limits.config))
                .ok()?;
            let is_it = digest(called.algorithm(), &bytes) == *called;
            is_it.then(|| digest(Algorithm::Sha256, &bytes))
        };
        read().unwrap_or(*called)
    }

    /// Returns the digest of the config that `manifest.json` names.
    fn config(&self, item: &Item) -> Result<Digest> {
        let limit = ("config", self.limits.config);
        let found = self.members.resolve(&item.config, false)?;
        match blob_digest(&item.config) {
            // The bytes are verified when the config is read.
            Some(named) => Ok(self.usual(&named)),
            None => Ok(digest(
                Algorithm::Sha256,
                &self.members.read(&found, limit)?,
            )),
        }
    }

    /// Reads the images below a descriptor; missing children of an index are passed over, as docker
    /// leaves them out (robustness D11b).
    fn describe(&self, child: &Child) -> Vec<Described> {
        let Some(value) = self.read(child) else {
            return Vec::new();
        };
        let Ok(object) = Object::new(&value, "") else {
            return Vec::new();
        };
        let manifests = object.objects("manifests").unwrap_or_default();
        if manifests.is_empty() {
            return image(&object).into_iter().collect();
        }
        let below = |listed: &Value| {
            let child = descriptor(listed, "manifests", self.limits).ok()?.child;
            let value = self.read(&child)?;
            image(&Object::new(&value, "").ok()?)
        };
        let listed = object.list("manifests").unwrap_or_default();
        listed.iter().filter_map(below).collect()
    }

    /// Reads a document, the stored or the embedded one.
    fn read(&self, child: &Child) -> Option<Value> {
        let embedded = || self.parse(&embedded(child, self.limits).ok()??);
        let stored = self.document(&child.digest, child.size);
        stored.or_else(embedded)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Value> {
        imgconv_json::parse(bytes, self.limits, "manifest").ok()
    }

    fn document(&self, digest: &Digest, size: u64) -> Option<Value> {
        let found = self.members.resolve(&blob_name(digest), false).ok()?;
        let facts = Facts {
            digest: Some(*digest),
            size: Some(size),
        };
        let limit = ("manifest", self.limits.manifest);
        let reader = Verified::new(self.members.bytes(&found), &facts, "manifest");
        let bytes = read_to_limit(reader, limit, "manifest").ok()?;
        self.parse(&bytes)
    }
}

fn image(object: &Object<'_>) -> Option<Described> {
    let config = object.opt_object("config").ok()??;
    let layers = object.objects("layers").ok()?;
    let config = reference(&config)?;
    Some(Described {
        named: config.0,
        config,
        layers: layers.iter().map(reference).collect::<Option<_>>()?,
    })
}

fn reference(object: &Object<'_>) -> Option<(Digest, u64)> {
    Some((object.digest("digest").ok()?, object.size("size").ok()?))
}

fn disagree(name: &str, config: &Digest, others: &[Digest]) -> Error {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let message = format!(
        "{} is two images: {MANIFEST_FILE} has the config {config}, {INDEX_FILE} leads to {}",
        quote(name),
        others.join(", ")
    );
    Error::new(Code::Ambiguous, message)
}
