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
        let mut merging = Merging {
            limits,
            items: Vec::with_capacity(self.items.len() + published.len()),
            named: ByName::default(),
            unnamed: BTreeMap::new(),
            left: BTreeMap::new(),
            merged: Merged::default(),
        };
        for new in published {
            *merging.left.entry(new.child.digest).or_default() += 1;
        }
        for item in std::mem::take(&mut self.items) {
            if let Some(digest) = item.digest() {
                *merging.left.entry(digest).or_default() += 1;
            }
            merging.note(item.names(), item.digest(), merging.items.len());
            merging.items.push(Some(item));
        }
        for new in published {
            merging.publish(new)?;
        }
        self.items = merging.items.into_iter().flatten().collect();
        Ok(merging.merged)
    }
}

/// The state of a merge.
struct Merging<'a> {
    limits: &'a Limits,
    /// The items of the new index; removed ones are `None`.
    items: Vec<Option<Item>>,
    /// The positions of items with names.
    named: ByName,
    /// The positions of items without names, by the image.
    unnamed: BTreeMap<Digest, Vec<usize>>,
    /// The number of descriptors of each image, with those that are still to be published.
    left: BTreeMap<Digest, usize>,
    merged: Merged,
}

/// The effect of a new descriptor on an item that has the same name.
enum Effect {
    /// The new descriptor takes its place.
    Replaced,
    /// The item is the same image with a fuller name, and says all that the new descriptor says.
    Suffices,
    /// The item lost the name.
    Moved,
}

impl Merging<'_> {
    /// Records where the descriptor of a name or image is.
    fn note(&mut self, names: &Names, digest: Option<Digest>, at: usize) {
        match (names.is_empty(), digest) {
            (false, _) => self.named.add(names, at),
            (true, Some(digest)) => self.unnamed.entry(digest).or_default().push(at),
            (true, None) => {}
        }
    }

    fn publish(&mut self, new: &Listed) -> Result<()> {
        let digest = new.child.digest;
        let same = self.same(new);
        // Descriptors of the very name are replaced.
        for at in &same {
            if let Some(Item::Listed(old)) = &self.items[*at]
                && old.names.full() == new.names.full()
            {
                let of_image = self.left.entry(old.child.digest).or_default();
                *of_image = of_image.saturating_sub(1);
            }
        }
        let (mut suffices, mut replaced) = (false, Vec::new());
        for at in same {
            match self.effect(at, new)? {
                Effect::Replaced => replaced.push(at),
                Effect::Suffices => suffices = true,
                Effect::Moved => {}
            }
        }
        let place = match suffices {
            true => None,
            false => replaced.first().copied(),
        };
        for at in replaced.into_iter().filter(|at| Some(*at) != place) {
            self.items[at] = None;
            self.merged.changed = true;
        }
        if suffices {
            return Ok(());
        }
        let at = place.unwrap_or(self.items.len());
        match self.items.get_mut(at) {
            Some(Some(Item::Listed(old)))
                if old.child.digest == digest && old.names.same_texts(&new.names) =>
            {
                self.merged.changed |= annotate(&mut old.child, &new.child);
            }
            Some(item) => {
                *item = Some(Item::Listed(new.clone()));
                self.merged.changed = true;
            }
            None => {
                self.items.push(Some(Item::Listed(new.clone())));
                self.merged.changed = true;
            }
        }
        self.note(&new.names, Some(digest), at);
        Ok(())
    }

    /// The items with the name of a new descriptor; of a descriptor without a name, those of the same image.
    fn same(&mut self, new: &Listed) -> Vec<usize> {
        if new.names.is_empty() {
            let same = self.unnamed.remove(&new.child.digest);
            return same.unwrap_or_default();
        }
        let mut same = self.named.take(&new.names);
        // An item that was removed or replaced meanwhile may have another name or no name.
        same.retain(|at| {
            let item = self.items[*at].as_ref();
            item.is_some_and(|item| item.names().same(&new.names))
        });
        same
    }

    /// Applies the name of a new descriptor to an item that has it too.
    fn effect(&mut self, at: usize, new: &Listed) -> Result<Effect> {
        let Some(Item::Listed(old)) = &mut self.items[at] else {
            return Ok(Effect::Replaced);
        };
        let digest = old.child.digest;
        let rest = old.names.after(&new.names);
        let shares_text = old.names.full() != new.names.full();
        if digest == new.child.digest {
            if !shares_text || rest.is_empty() {
                return Ok(Effect::Replaced);
            }
            self.merged.changed |= annotate(&mut old.child, &new.child);
            let names = old.names.clone();
            self.note(&names, Some(digest), at);
            return Ok(Effect::Suffices);
        }
        let of_image = self.left.entry(digest).or_default();
        let kept = shares_text && rest.is_empty() && *of_image == 1;
        self.merged.moved.push(Moved {
            names: old.names.lost(&rest),
            digest,
            kept,
        });
        if !shares_text {
            return Ok(Effect::Replaced);
        }
        self.merged.changed = true;
        if kept || !rest.is_empty() {
            *old = renamed(old, &rest, self.limits)?;
            if kept {
                self.note(&rest, Some(digest), at);
            }
        } else {
            // Another descriptor lists the image.
            *of_image = of_image.saturating_sub(1);
            self.items[at] = None;
        }
        Ok(Effect::Moved)
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
