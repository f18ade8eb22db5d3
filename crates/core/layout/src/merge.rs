//! Merging descriptors into an index, in time that is linear in the names of both: an image may
//! have tens of thousands of names (robustness K40).

use std::{collections::BTreeMap, fmt};

use imgconv_manifest::is_listed_record;
use imgconv_model::{Child, Digest, Limits, Result};

use crate::{
    edit::{Moved, renamed},
    index::{Index, Item, Listed, annotate},
    naming::Names,
};

/// The effect of a merge.
#[derive(Debug, Default)]
pub struct Merged {
    /// True if the index is another one now.
    pub changed: bool,
    /// The images that lost a name to other images. One whose descriptor had only this name is no longer listed by it.
    pub moved: Vec<Moved>,
}

impl Index {
    /// Merges descriptors: one whose full name is in the index replaces the old descriptor, others go to
    /// the end. A descriptor that has only the text of a new name loses this text, and stays. All other
    /// items stay. The time is linear in both.
    ///
    /// # Errors
    /// [`Code::BadJson`](imgconv_model::Code::BadJson) if the text of a descriptor is malformed.
    pub fn merge(&mut self, published: &[Listed], limits: &Limits) -> Result<Merged> {
        let mut merged = Merged::default();
        let old = std::mem::take(&mut self.items);
        let mut named = ByName::default();
        let mut unnamed: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        let mut items: Vec<Option<Item>> = Vec::with_capacity(old.len() + published.len());
        // The number of descriptors of each image.
        let mut left: BTreeMap<Digest, usize> = BTreeMap::new();
        for new in published {
            *left.entry(new.child.digest).or_default() += 1;
        }
        for item in old {
            let at = items.len();
            if let Some(digest) = item.digest() {
                *left.entry(digest).or_default() += 1;
            }
            match (item.names().is_empty(), item.digest()) {
                (false, _) => named.add(item.names(), at),
                (true, Some(digest)) => unnamed.entry(digest).or_default().push(at),
                (true, None) => {}
            }
            items.push(Some(item));
        }
        for new in published {
            let is_named = !new.names.is_empty();
            let mut same = match is_named {
                true => named.take(&new.names),
                false => unnamed.remove(&new.child.digest).unwrap_or_default(),
            };
            // An item that was removed or replaced meanwhile may have another name or no name.
            same.retain(|at| {
                let item = items[*at].as_ref();
                item.is_some_and(|item| !is_named || item.names().same(&new.names))
            });
            // Descriptors of the very name are replaced.
            let full = new.names.full();
            for at in &same {
                if let Some(Item::Listed(old)) = &items[*at]
                    && old.names.full() == full
                    && let Some(count) = left.get_mut(&old.child.digest)
                {
                    *count = count.saturating_sub(1);
                }
            }
            let mut there = false;
            let mut replaced = Vec::new();
            for at in same {
                let Some(Item::Listed(old)) = &mut items[at] else {
                    replaced.push(at);
                    continue;
                };
                let is_new = old.child.digest != new.child.digest;
                let rest = old.names.after(&new.names);
                let shares_text = is_named && old.names.full() != full;
                let digest = old.child.digest;
                let count = left.entry(digest).or_default();
                let kept = shares_text && rest.is_empty() && *count == 1;
                if is_new && is_named {
                    let names = old.names.lost(&rest);
                    merged.moved.push(Moved {
                        names,
                        digest,
                        kept,
                    });
                }
                if is_new && shares_text && (kept || !rest.is_empty()) {
                    *old = renamed(old, &rest, limits)?;
                    merged.changed = true;
                    if kept {
                        unnamed.entry(digest).or_default().push(at);
                    }
                } else if is_new && shares_text {
                    // Another descriptor lists the image.
                    *count = count.saturating_sub(1);
                    items[at] = None;
                    merged.changed = true;
                } else if !is_new && shares_text && !rest.is_empty() {
                    merged.changed |= annotate(&mut old.child, &new.child);
                    named.add(&old.names, at);
                    there = true;
                } else {
                    replaced.push(at);
                }
            }
            if there {
                for at in replaced {
                    items[at] = None;
                    merged.changed = true;
                }
                continue;
            }
            let Some((&first, others)) = replaced.split_first() else {
                let at = items.len();
                match is_named {
                    true => named.add(&new.names, at),
                    false => unnamed.entry(new.child.digest).or_default().push(at),
                }
                items.push(Some(Item::Listed(new.clone())));
                merged.changed = true;
                continue;
            };
            for at in others {
                items[*at] = None;
                merged.changed = true;
            }
            match &mut items[first] {
                Some(Item::Listed(old))
                    if old.child.digest == new.child.digest && old.names.same_texts(&new.names) =>
                {
                    merged.changed |= annotate(&mut old.child, &new.child);
                }
                place => {
                    *place = Some(Item::Listed(new.clone()));
                    merged.changed = true;
                }
            }
            match is_named {
                true => named.add(&new.names, first),
                false => unnamed.entry(new.child.digest).or_default().push(first),
            }
        }
        self.items = items.into_iter().flatten().collect();
        Ok(merged)
    }
}

impl Index {
    /// Puts records of reversal that were listed again behind the other records of the same image, in their own order:
    /// readers take the last record of an image. The records of an image keep their places as a whole, and so does
    /// everything else. `subject` finds the image of a record; a record whose image is not found stays where it is.
    /// Returns true if the index changed.
    pub fn renew_records(
        &mut self,
        published: &[Listed],
        subject: &mut dyn FnMut(&Child) -> Option<Digest>,
    ) -> bool {
        let all = published.iter().filter(|new| is_record(new)).enumerate();
        let ranks: BTreeMap<Digest, usize> = all.map(|(i, new)| (new.child.digest, i)).collect();
        // Old records rank before all others.
        let rank = |digest: &Digest| ranks.get(digest).map_or(0, |rank| rank + 1);
        let places = self.items.iter().enumerate();
        let places = places.filter_map(|(at, item)| match item {
            Item::Listed(listed) if is_record(listed) => Some((at, &listed.child)),
            Item::Listed(_) | Item::Unreadable(_) => None,
        });
        let places: Vec<(usize, &Child)> = places.collect();
        // The documents of the records are read only if the order of the records is wrong.
        if places.is_sorted_by_key(|(_, child)| rank(&child.digest)) {
            return false;
        }
        let mut images: BTreeMap<Digest, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, child) in places {
            if let Some(subject) = subject(child) {
                let of_image = images.entry(subject).or_default();
                of_image.push((at, rank(&child.digest)));
            }
        }
        let mut changed = false;
        for of_image in images.into_values() {
            let mut ordered = of_image.clone();
            ordered.sort_by_key(|(_, rank)| *rank);
            let items: Vec<Item> = ordered
                .iter()
                .map(|(at, _)| self.items[*at].clone())
                .collect();
            for (((at, _), (from, _)), item) in of_image.iter().zip(&ordered).zip(items) {
                changed |= at != from;
                self.items[*at] = item;
            }
        }
        changed
    }
}

/// Says whether an entry without a name is a record of reversal.
fn is_record(listed: &Listed) -> bool {
    listed.names.is_empty() && is_listed_record(&listed.child)
}

/// The positions of names by their texts, so that equal names ([`Names::same`]) are found in
/// constant time.
#[derive(Default)]
struct ByName {
    /// The positions of full names, by the full name.
    full: BTreeMap<String, Vec<usize>>,
    /// The positions by reference: first of all names, then of names that are not full.
    reference: BTreeMap<String, Vec<usize>>,
    short: BTreeMap<String, Vec<usize>>,
}

impl ByName {
    fn add(&mut self, names: &Names, at: usize) {
        let full = names.full();
        if let Some(reference) = &names.reference {
            let by = |map: &mut BTreeMap<String, Vec<usize>>| {
                map.entry(reference.clone()).or_default().push(at);
            };
            by(&mut self.reference);
            if full.is_none() {
                by(&mut self.short);
            }
        }
        if let Some(full) = full {
            self.full.entry(full).or_default().push(at);
        }
    }

    /// Removes and returns the positions of the same names, in order.
    fn take(&mut self, names: &Names) -> Vec<usize> {
        let mut found = Vec::new();
        let full = names.full();
        if let Some(reference) = &names.reference {
            let by = match full {
                Some(_) => &mut self.short,
                None => &mut self.reference,
            };
            found.extend(by.remove(reference).into_iter().flatten());
        }
        if let Some(full) = full {
            found.extend(self.full.remove(&full).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The new names of images: the same name for two different images is found at once.
#[derive(Default)]
pub struct Taken {
    named: ByName,
    digests: Vec<Digest>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("digests", &self.digests)
            .finish_non_exhaustive()
    }
}

impl Taken {
    /// Gives an image names. Returns another image that has one of them; after that, that image has
    /// no name here.
    pub fn give(&mut self, names: &Names, digest: Digest) -> Option<Digest> {
        let same = self.named.take(names);
        let other = same
            .iter()
            .map(|at| self.digests[*at])
            .find(|one| *one != digest);
        // The first entry represents all entries of the same name and image.
        let at = same.first().copied().unwrap_or(self.digests.len());
        if at == self.digests.len() {
            self.digests.push(digest);
        }
        self.named.add(names, at);
        other
    }
}
