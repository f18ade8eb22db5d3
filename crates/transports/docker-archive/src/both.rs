//! Archives with `manifest.json`, `repositories` and directories of v1 images, which may differ.
//!
//! Docker 1.10 to 24 and many builders wrote all three, for the same images. A tool that supported
//! only the older ones, or only the newer one, left an archive whose `manifest.json` lists only a
//! part of the images (robustness K24, K25, K28). Docker 1.10 and later read only `manifest.json`,
//! older versions only `repositories`, and the intended list can't be known: so every image of both
//! is an image of the archive, `manifest.json` has priority for a name in both, and every
//! difference is reported.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_json::{Map, Value};
use imgconv_manifest::v1_image::{Images as _, is_id};
use imgconv_model::{Limits, Name, Notes, Result, RootEntry, quote};

use crate::{
    directories::{LAYER, V1, is_empty_layer},
    files::{MANIFEST_FILE, REPOSITORIES_FILE},
    legacy::{self, Head},
    manifest::Item,
    members::{Found, plain_name},
};

/// The most entries with the layers of an image that are compared, where the name does not decide.
const CANDIDATES: usize = 16;

/// The entry points that `repositories` adds to those of `manifest.json`.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Further images.
    pub(crate) heads: Vec<Head>,
    /// Further names of the images of `manifest.json`: the text, the name, the position of the
    /// image.
    pub(crate) names: Vec<(String, Name, usize)>,
    /// The names of `manifest.json` that mean an image of `heads` instead.
    pub(crate) replaced: BTreeSet<Name>,
}

/// The layers of an image that have entries, each by the offset of its bytes; `None` if one is
/// missing.
type Layers = Option<Vec<u64>>;

/// Compares the lists. `roots` are the entry points found so far.
pub(crate) fn compare(
    v1: V1<'_>,
    items: &[Item],
    roots: &[RootEntry],
    limits: &Limits,
    notes: &Notes,
) -> Result<More> {
    let mut known = Known::new(v1, items, limits);
    let named = legacy::repositories(v1.members, limits).unwrap_or_else(|error| {
        let message = format!("the file can't be read, so only {MANIFEST_FILE} is used: {error}");
        let place = format!("file {REPOSITORIES_FILE}");
        notes.warn("repositories-unreadable", place, message);
        Vec::new()
    });
    let names = roots.iter().filter_map(|root| root.name.as_ref());
    let listed: BTreeSet<Name> = names.map(Name::qualified).collect();
    let bad = items.iter().flat_map(|item| &item.bad_names);
    let bad: BTreeSet<&str> = bad.map(String::as_str).collect();
    let mut more = More::default();
    let mut heads: Vec<(Option<String>, Option<Name>, String)> = Vec::new();
    for (text, name, id) in named {
        let place = format!("file {REPOSITORIES_FILE} › {}", quote(&text));
        let is_listed = match &name {
            Some(name) => listed.contains(&name.qualified()),
            None => bad.contains(&*text),
        };
        if !known.is_there(&id) {
            // Newer writers put a digest in the place of the id, so only the name can be compared.
            if !is_listed {
                let message = format!(
                    "the archive has no image {}, and {MANIFEST_FILE} does not list that name",
                    quote(&id)
                );
                notes.warn("repositories-image-missing", place, message);
            }
            continue;
        }
        let own = name.as_ref().and_then(|name| known.named(name));
        let same = known.same_image(&id, own)?;
        match (same, &name) {
            (Some(i), Some(name)) if !is_listed => {
                more.names.push((text, name.clone(), i));
                continue;
            }
            (Some(_), _) => continue,
            (None, _) => {}
        }
        // An image that `manifest.json` does not list.
        let broken = own.is_some_and(|i| known.items[i].is_none());
        let is_whole = known.image(&id)?.layers.is_some();
        let (code, message, text, name) = match name {
            Some(name) if is_listed && broken && is_whole => {
                more.replaced.insert(name.qualified());
                let message = format!(
                    "the image of that name in {MANIFEST_FILE} has files that the archive does not \
                     have; the image {id}, which has that name in {REPOSITORIES_FILE}, is complete \
                     and is used"
                );
                ("docker-archive-fallback", message, Some(text), Some(name))
            }
            Some(_) if is_listed => {
                let message = format!(
                    "{MANIFEST_FILE} has another image of that name, which keeps the name; the \
                     image of that name in {REPOSITORIES_FILE} can be selected by its ID, {id}"
                );
                ("repositories-differs", message, None, None)
            }
            name => {
                let message = format!(
                    "{MANIFEST_FILE} does not list the image {id}, which {REPOSITORIES_FILE} names; \
                     it is read from its own directories"
                );
                ("repositories-image", message, Some(text), name)
            }
        };
        notes.warn(code, place, message);
        heads.push((text, name, id));
    }
    let after = roots.iter().map(|root| root.position + 1).max();
    let first = after.unwrap_or(0).max(items.len());
    more.heads = legacy::list(v1, heads, first, limits)?;
    warn_unused(&mut known, &more.heads, notes)?;
    Ok(more)
}

/// Warns about every directory that is no part of a listed image.
fn warn_unused(known: &mut Known<'_>, heads: &[Head], notes: &Notes) -> Result<()> {
    let V1 {
        members,
        directories,
    } = known.v1;
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for id in heads.iter().map(|head| &*head.id).collect::<BTreeSet<_>>() {
        let chain = known.image(id)?.ids.iter().map(String::as_str);
        let of = |id| directories.of(id).iter().map(String::as_str);
        used.extend(chain.chain([id]).flat_map(of));
    }
    let odd: BTreeMap<&str, &str> = directories.odd().collect();
    let why = format!("neither {MANIFEST_FILE} nor {REPOSITORIES_FILE} leads to the directory");
    for directory in directories.every() {
        members.check_cancelled()?;
        let is_used = match members.found(&format!("{directory}{LAYER}")) {
            Some(layer) => known.used.contains(&layer.offset) || known.is_empty(&layer),
            // A broken link may be a layer all the same; its list entry has this name.
            None => known.names.contains(&format!("{directory}{LAYER}")),
        };
        if !is_used && !used.contains(directory) {
            let why = odd.get(directory).copied().unwrap_or(&why);
            legacy::warn_unused(notes, directory, why);
        }
    }
    Ok(())
}

/// An image that `repositories` names.
#[derive(Debug, Default)]
struct Image {
    /// The chain, base first; empty if it can't be read.
    ids: Vec<String>,
    layers: Layers,
    /// The offset of the bytes of the image's own layer.
    top: Option<u64>,
}

/// The facts about the images; each image is read once.
struct Known<'a> {
    v1: V1<'a>,
    limits: &'a Limits,
    list: &'a [Item],
    /// The layers of each entry of `manifest.json`.
    items: Vec<Layers>,
    /// The entry of a name; `None` for a name that two images have.
    by_name: BTreeMap<Name, Option<usize>>,
    /// Entries by their topmost layer: by the offset of its bytes, and by its name.
    by_top: BTreeMap<u64, Vec<usize>>,
    by_top_name: BTreeMap<String, Vec<usize>>,
    by_layers: BTreeMap<Vec<u64>, Vec<usize>>,
    /// The offset of every layer that `manifest.json` names.
    used: BTreeSet<u64>,
    /// The names of these layers in `manifest.json`.
    names: BTreeSet<String>,
    empty: BTreeMap<u64, bool>,
    images: BTreeMap<String, Image>,
    /// Whether the configuration of an image is that of an entry.
    configs: BTreeMap<(String, usize), bool>,
    walked: u64,
}

impl<'a> Known<'a> {
    fn new(v1: V1<'a>, list: &'a [Item], limits: &'a Limits) -> Self {
        let mut known = Self {
            v1,
            limits,
            list,
            items: Vec::with_capacity(list.len()),
            by_name: BTreeMap::new(),
            by_top: BTreeMap::new(),
            by_top_name: BTreeMap::new(),
            by_layers: BTreeMap::new(),
            used: BTreeSet::new(),
            names: BTreeSet::new(),
            empty: BTreeMap::new(),
            images: BTreeMap::new(),
            configs: BTreeMap::new(),
            walked: 0,
        };
        for (i, item) in list.iter().enumerate() {
            for (_, name) in &item.names {
                let own = known.by_name.entry(name.qualified()).or_insert(Some(i));
                *own = own.filter(|first| list[*first].same(item));
            }
            let layers = known.layers_of(item);
            if let Some(layers) = &layers {
                known.by_layers.entry(layers.clone()).or_default().push(i);
            }
            let top = item.layers.last().and_then(|name| v1.members.found(name));
            if let Some(top) = top.filter(|top| top.size > 0) {
                known.by_top.entry(top.offset).or_default().push(i);
            }
            if let Some(top) = item.layers.last().and_then(|name| plain_name(name)) {
                known.by_top_name.entry(top).or_default().push(i);
            }
            known.items.push(layers);
        }
        known
    }

    fn layers_of(&mut self, item: &Item) -> Layers {
        let members = self.v1.members;
        let mut whole = members.found(&item.config).is_some();
        let mut layers = Vec::with_capacity(item.layers.len());
        for name in &item.layers {
            self.names.extend(plain_name(name));
            match members.found(name) {
                Some(found) => layers.push(found),
                None => whole = false,
            }
        }
        self.used.extend(layers.iter().map(|layer| layer.offset));
        let layers = self.without_empty(layers);
        whole.then_some(layers)
    }

    fn named(&self, name: &Name) -> Option<usize> {
        self.by_name.get(&name.qualified()).copied().flatten()
    }

    /// Says whether the archive has any part of an image.
    fn is_there(&self, id: &str) -> bool {
        let V1 {
            members,
            directories,
        } = self.v1;
        !directories.of(id).is_empty() || is_id(id) && members.has(&format!("{id}{LAYER}"))
    }

    /// Reads the chain of an image.
    fn image(&mut self, id: &str) -> Result<&Image> {
        if !self.images.contains_key(id) {
            let V1 {
                members,
                directories,
            } = self.v1;
            let chain = legacy::chain(self.v1, id, self.limits, &mut self.walked);
            let most = self.limits.graph_nodes;
            if self.walked > most {
                let what = "the number of layers of all images";
                return Err(Limits::exceeded("graph_nodes", most, what));
            }
            let ids = chain.map_or_else(|_| Vec::new(), |chain| chain.ids);
            let layer = |id: &String| directories.layer(members, id);
            let found: Option<Vec<Found>> = ids.iter().map(layer).collect();
            let layers = found.filter(|found| !found.is_empty());
            let top = directories.layer(members, id).filter(|top| top.size > 0);
            let image = Image {
                layers: layers.map(|layers| self.without_empty(layers)),
                top: top.map(|layer| layer.offset),
                ids,
            };
            self.images.insert(id.to_owned(), image);
        }
        Ok(&self.images[id])
    }

    /// Returns the entry for the same image: the entry with the image's name, or any other. The
    /// same image has the same topmost layer; or the same layers with entries and the same config,
    /// where builders put steps without a layer on top.
    fn same_image(&mut self, id: &str, own: Option<usize>) -> Result<Option<usize>> {
        let V1 { directories, .. } = self.v1;
        let directory = directories.of(id).first().map_or(id, String::as_str);
        let name = format!("{directory}{LAYER}");
        let Image { layers, top, .. } = self.image(id)?;
        let (layers, top) = (layers.clone(), *top);
        // The lists are sorted.
        let own_of = |list: &Vec<usize>, most: usize| -> Vec<usize> {
            match own {
                Some(own) => list.binary_search(&own).map(|_| own).into_iter().collect(),
                None => list.iter().copied().take(most).collect(),
            }
        };
        let by_top = top.iter().filter_map(|top| self.by_top.get(top));
        let mut by_top = by_top.chain(self.by_top_name.get(&name));
        if let Some(i) = by_top.find_map(|list| own_of(list, 1).first().copied()) {
            return Ok(Some(i));
        }
        let equal = layers.and_then(|layers| self.by_layers.get(&layers));
        let equal = equal.map_or_else(Vec::new, |list| own_of(list, CANDIDATES));
        Ok(equal.into_iter().find(|i| self.has_config_of(id, *i)))
    }

    /// Says whether the run configuration of an image equals the config of an entry, or is empty:
    /// an image on top of another one may differ in nothing but that.
    fn has_config_of(&mut self, id: &str, i: usize) -> bool {
        let key = (id.to_owned(), i);
        if let Some(known) = self.configs.get(&key) {
            return *known;
        }
        let limits = self.limits;
        let parsed = |bytes: Vec<u8>| imgconv_json::parse(&bytes, limits, "config").ok();
        let own = self.v1.json(id, limits).ok().flatten().and_then(parsed);
        let own = own
            .as_ref()
            .and_then(|value| value.get("config"))
            .and_then(said);
        let limit = ("config", limits.config);
        let config = self.v1.members.read_name(&self.list[i].config, limit).ok();
        let config = config.and_then(parsed);
        let config = config
            .as_ref()
            .and_then(|value| value.get("config"))
            .and_then(said);
        let same = own.is_none() || own == config;
        self.configs.insert(key, same);
        same
    }

    /// Says whether a layer has no entry.
    fn is_empty(&mut self, layer: &Found) -> bool {
        let members = self.v1.members;
        // Files without bytes have no offset of their own.
        let look = || is_empty_layer(members, layer);
        layer.size == 0 || *self.empty.entry(layer.offset).or_insert_with(look)
    }

    fn without_empty(&mut self, layers: Vec<Found>) -> Vec<u64> {
        let mut kept = Vec::with_capacity(layers.len());
        for layer in layers {
            if !self.is_empty(&layer) {
                kept.push(layer.offset);
            }
        }
        kept
    }
}

/// Returns the members of an object that have a value: writers differ in whether they write members
/// without a value.
fn said(value: &Value) -> Option<Map<String, Value>> {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Bool(true) => true,
        Value::Number(number) => number.as_u64() != Some(0),
    };
    let Value::Object(object) = value else {
        return None;
    };
    let said = object.iter().filter(|(_, value)| says(value));
    let said: Map<String, Value> = said
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!said.is_empty()).then_some(said)
}
