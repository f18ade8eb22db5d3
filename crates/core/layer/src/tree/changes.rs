//! The changes that some layers make to the tree below them, so that they can be written as one
//! layer over it.
//!
//! The changes are found by comparing the new tree with the old tree, not by keeping the layers'
//! own markers: a marker that hides only squashed files is dropped, and whiteouts are written for
//! the files below that are hidden.

use std::collections::BTreeMap;

use imgconv_tar::EntryKind;

use super::{
    Tree,
    arena::{Arena, Id, ROOT},
};

/// The name of an opaque whiteout (image-spec, layer.md, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The tree of the lower layers, which the next layers change; see [`Tree::base`].
///
/// Memory is that of the tree: the old tree is kept beside the new tree.
#[derive(Debug)]
pub struct Base(Arena);

/// The names of the whiteouts in each directory, in byte order.
type Markers = BTreeMap<Id, Vec<Box<[u8]>>>;

/// The differences between a tree and its base. Ids are those of the tree.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// For each path: true if the path is written.
    written: Vec<bool>,
    markers: Markers,
}

impl Changes {
    fn of(old: &Arena, new: &Arena) -> Self {
        let (changed, markers) = compare(old, new);
        let mut written = vec![false; new.ids() as usize];
        written[ROOT as usize] = changed[new.inode_id(ROOT) as usize];
        let changed = |id: &Id| new.alive(*id) && changed[new.inode_id(*id) as usize];
        for mut id in (0..new.ids())
            .filter(changed)
            .chain(markers.keys().copied())
        {
            while id != ROOT && !std::mem::replace(&mut written[id as usize], true) {
                id = new.parent(id);
            }
        }
        Self { written, markers }
    }
}

/// Finds the inodes that the lower layers do not have at all of their paths, and the paths that
/// vanished.
///
/// A path is the same if it leads to the same inode; the base holds its own inodes, so that their
/// ids are not used again for others. An inode is written at all of its paths or at none, which
/// keeps groups of hard links whole: a link to a file of a lower layer is written with that file.
fn compare(old: &Arena, new: &Arena) -> (Vec<bool>, Markers) {
    let mut changed = vec![false; new.inode_ids() as usize];
    let mut markers: Markers = BTreeMap::new();
    let root = new.inode_id(ROOT);
    changed[root as usize] = root != old.inode_id(ROOT);
    let mut open = vec![(ROOT, Some(ROOT))];
    while let Some((directory, mut below)) = open.pop() {
        if let Some(lower) = below {
            let vanished = old.children(lower).map(|id| old.name(id));
            let mut names: Vec<Box<[u8]>> = vanished
                .filter(|name| new.child(directory, name).is_none())
                .map(|name| [b".wh.", name].concat().into())
                .collect();
            if names.iter().any(|name| name.starts_with(b".wh..wh.")) {
                // The whiteout of such a name would be read as metadata of AUFS. An opaque whiteout
                // hides it with all its siblings, and the remaining siblings are written again.
                names = vec![OPAQUE.into()];
                below = None;
            }
            if !names.is_empty() {
                names.sort_unstable();
                markers.insert(directory, names);
            }
        }
        for id in new.children(directory) {
            let lower = below.and_then(|lower| old.child(lower, new.name(id)));
            let inode = new.inode_id(id);
            // A hard link that leads to a lower file may have changed the metadata of the file.
            let same = |lower| old.inode_id(lower) == inode && old.inode(lower).same(new.inode(id));
            if !lower.is_some_and(same) {
                changed[inode as usize] = true;
            }
            if new.is_directory(id) {
                open.push((id, lower.filter(|lower| old.is_directory(*lower))));
            }
        }
    }
    (changed, markers)
}

impl Tree {
    /// Marks the end of the lower layers: layers that are applied from now on are changes to them,
    /// see [`only_changes`](Self::only_changes).
    pub fn base(&mut self) -> Base {
        self.arena.hold_all();
        Base(self.arena.clone())
    }

    /// Makes [`into_tar`](Self::into_tar) write only the changes of the layers since
    /// [`base`](Self::base): a layer that, applied over the lower layers, gives this tree in every
    /// attribute.
    ///
    /// Every path that was named anew is written with all its hard links, those in lower layers
    /// too, and with its parent directories. A path that vanished from a directory that still
    /// exists gets an explicit whiteout; the name of a written member never stands for it. Only a
    /// name that begins with `.wh.`, of which no whiteout can be spelled, needs an opaque whiteout.
    /// A path that is in no lower layer gets no whiteout.
    ///
    /// The tree itself stays whole: [`iter`](Self::iter) and [`get`](Self::get) do not change. No
    /// layer can be applied afterwards.
    pub fn only_changes(&mut self, base: Base) {
        self.changes = Some(Changes::of(&base.0, &self.arena));
        self.arena.release_all(&base.0);
    }

    /// The keys of the contents that [`into_tar`](Self::into_tar) reads; a key may occur more than
    /// once.
    pub fn contents(&self) -> impl Iterator<Item = u64> + '_ {
        let ids = (0..self.arena.ids()).filter(|id| self.arena.alive(*id) && self.writes(*id));
        let inodes = ids.map(|id| self.arena.inode(id));
        inodes
            .filter(|inode| inode.kind == EntryKind::Regular && inode.size > 0)
            .map(|inode| inode.data)
    }

    /// Replaces keys of contents by the keys of another store.
    pub fn move_contents(&mut self, moved: &BTreeMap<u64, u64>) {
        for inode in self.arena.inodes_mut() {
            if inode.kind == EntryKind::Regular
                && inode.size > 0
                && let Some(key) = moved.get(&inode.data)
            {
                inode.data = *key;
            }
        }
    }

    /// Returns true if a path is written. A directory that no layer named is not written if its
    /// name begins with `.wh.`: it would be read as a whiteout.
    pub(crate) fn writes(&self, id: Id) -> bool {
        let changes = self.changes.as_ref();
        let spelled = self.arena.inode(id).named || !self.arena.name(id).starts_with(b".wh.");
        spelled && changes.is_none_or(|changes| changes.written[id as usize])
    }

    /// The names of the whiteouts in a directory, in byte order.
    pub(crate) fn markers(&self, directory: Id) -> &[Box<[u8]>] {
        let changes = self.changes.as_ref();
        let markers = changes.and_then(|changes| changes.markers.get(&directory));
        markers.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, sync::Arc};

    use imgconv_model::{Env, Platform};
    use imgconv_tar::{END, Entry, head};

    use super::{super::arena::COUNT, *};
    use crate::{Discard, Semantics, Spool};

    fn tar(names: impl Iterator<Item = String>) -> Vec<u8> {
        let entry = |name: String| Entry::new(name, EntryKind::Regular);
        let mut tar: Vec<u8> = names.flat_map(|name| head(&entry(name)).unwrap()).collect();
        tar.extend_from_slice(&END);
        tar
    }

    /// Applies two layers and writes the upper one, or all; returns how many operations it took.
    fn operations(lower: &[u8], upper: &[u8], partial: bool) -> u64 {
        let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        let before = COUNT.get();
        let mut tree = Tree::new(&env);
        let apply = |tree: &mut Tree, mut tar: &[u8]| {
            tree.apply(&mut tar, Semantics::Layer, &mut Discard, "layer")
                .unwrap();
        };
        apply(&mut tree, lower);
        let base = partial.then(|| tree.base());
        apply(&mut tree, upper);
        if let Some(base) = base {
            tree.only_changes(base);
        }
        let contents = Spool::new(&env).unwrap().freeze().unwrap();
        let mut written = Vec::new();
        let mut reader = Arc::new(tree).into_tar(b"", contents);
        reader.read_to_end(&mut written).unwrap();
        COUNT.get() - before
    }

    // robustness F11: twice the whiteouts are twice the work, in numbers and not in seconds
    #[test]
    fn f11_operations_grow_with_the_whiteouts() {
        for partial in [false, true] {
            let [one, two] = [20_000, 40_000].map(|n| {
                let files = tar((0..n).map(|i| format!("d/f{i}")));
                let whiteouts = tar((0..n).map(|i| format!("d/.wh.f{i}")));
                operations(&files, &whiteouts, partial)
            });
            assert!(one > 20_000, "{one}");
            assert!(2 * two < 5 * one, "{one} operations, then {two}");
        }
    }

    #[test]
    fn f11_operations_grow_with_nested_opaque_directories() {
        for partial in [false, true] {
            let [one, two] = [500, 1000].map(|n| {
                let path = |depth: usize| vec!["d"; depth].join("/");
                let lower = tar((1..=n).map(|i| format!("{}/f", path(i))));
                let upper = tar((1..=n).map(|i| format!("{}/.wh..wh..opq", path(i))));
                operations(&lower, &upper, partial)
            });
            // Each name is as deep as it is long: work may grow with the bytes, four times.
            assert!(two < 5 * one, "{one} operations, then {two}");
        }
    }
}
