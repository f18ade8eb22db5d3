//! The entry points that an `index.json` lists, with duplicate and ambiguous entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imgconv_model::{Child, Code, Digest, Error, Platform, RootEntry};
use serde_json::{Map, Value};

use crate::{
    index::{INDEX_FILE, Index, Item},
    naming::Names,
};

/// The name texts of an item.
type Key<'i> = (Option<&'i str>, Option<&'i str>);

fn key(names: &Names) -> Key<'_> {
    (names.reference.as_deref(), names.containerd.as_deref())
}

impl Index {
    /// Lists the entry points at their positions in the index. The same image under the same name
    /// is listed once (robustness C8c). Two images of one name are both listed: only the name is
    /// ambiguous (C8a).
    pub fn roots(&self) -> Vec<RootEntry> {
        let mut seen: BTreeSet<(Key<'_>, Digest)> = BTreeSet::new();
        let mut first = |entry: &RootEntry| match &self.items[entry.position] {
            Item::Listed(listed) => seen.insert((key(&listed.names), listed.child.digest)),
            Item::Unreadable(_) => true,
        };
        let mut roots = self.entries();
        roots.retain(|entry| first(entry));
        roots
    }

    /// Lists every item, also images that are listed again under the same name.
    pub fn entries(&self) -> Vec<RootEntry> {
        let mut ambiguous = self.ambiguous();
        let entry = |(position, item): (usize, &Item)| RootEntry {
            position,
            name: item.names().name.clone(),
            texts: item.names().texts(),
            child: item.child().cloned(),
            error: match item {
                Item::Listed(_) => None,
                Item::Unreadable(unreadable) => Some(Arc::clone(&unreadable.error)),
            },
            ambiguous: ambiguous.remove(&position),
        };
        self.items.iter().enumerate().map(entry).collect()
    }

    /// The positions of images whose name another image has too, while no other property (such as
    /// the platform) distinguishes them. All images of one name have one error.
    fn ambiguous(&self) -> BTreeMap<usize, Arc<Error>> {
        let mut groups: BTreeMap<Key<'_>, Vec<(usize, &Child)>> = BTreeMap::new();
        for (position, item) in self.items.iter().enumerate() {
            if let (Some(child), false) = (item.child(), item.names().is_empty()) {
                let group = groups.entry(key(item.names())).or_default();
                group.push((position, child));
            }
        }
        let mut found = BTreeMap::new();
        for group in groups.into_values() {
            let Some((position, other)) = clash(&group) else {
                continue;
            };
            let message = format!(
                "two images have the name {}: #{} {} and #{position} {}",
                self.items[position].names().show(),
                group[0].0,
                group[0].1.digest,
                other.digest
            );
            let error = Error::new(Code::Ambiguous, message).at(format!("file {INDEX_FILE}"));
            let error = Arc::new(error);
            found.extend(group.iter().map(|(at, _)| (*at, Arc::clone(&error))));
        }
        found
    }

    /// Names the fields that differ where the index lists an image again under the same name, such
    /// as `manifests[3].annotations.KEY`, by the position of the entry that counts: the first.
    pub fn duplicate_listings(&self) -> BTreeMap<usize, Vec<String>> {
        let mut first: BTreeMap<(Key<'_>, Digest), usize> = BTreeMap::new();
        let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let mut known: Option<(usize, Map<String, Value>)> = None;
        for (position, item) in self.items.iter().enumerate() {
            let Item::Listed(listed) = item else { continue };
            let own = (key(&listed.names), listed.child.digest);
            let at = *first.entry(own).or_insert(position);
            if at == position || self.items[at].raw() == listed.child.raw {
                continue;
            }
            if known.as_ref().is_none_or(|(of, _)| *of != at) {
                known = Some((at, members(self.items[at].raw())));
            }
            let first = known.as_ref().map(|(_, members)| members);
            let differs = members(&listed.child.raw)
                .into_iter()
                .filter(|(key, value)| first.and_then(|first| first.get(key)) != Some(value))
                .map(|(key, _)| format!("manifests[{position}].{key}"));
            found.entry(at).or_default().extend(differs);
        }
        found.retain(|_, fields| !fields.is_empty());
        found
    }
}

/// Returns another image of a name than the first, if platforms do not distinguish all of them.
fn clash<'c>(group: &[(usize, &'c Child)]) -> Option<(usize, &'c Child)> {
    let first = group[0].1.digest;
    let (other, child) = group.iter().find(|(_, child)| child.digest != first)?;
    let mut platforms: BTreeMap<Option<&Platform>, Digest> = BTreeMap::new();
    let apart = group.iter().all(|(_, child)| {
        let known = platforms.entry(child.platform.as_ref());
        child.platform.is_some() && *known.or_insert(child.digest) == child.digest
    });
    (!apart).then_some((*other, child))
}

/// The properties of a descriptor, and each of its annotations as a property.
fn members(raw: &str) -> Map<String, Value> {
    let mut all = Map::new();
    // The text was read, or made, as an object.
    if let Ok(Value::Object(object)) = serde_json::from_str(raw) {
        for (key, value) in object {
            match value {
                Value::Object(annotations) if key == "annotations" => {
                    let own = annotations.into_iter();
                    all.extend(own.map(|(name, text)| (format!("annotations.{name}"), text)));
                }
                value => drop(all.insert(key, value)),
            }
        }
    }
    all
}
