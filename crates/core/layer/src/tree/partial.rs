//! A tree of which only the changes of its upper layers are written: a partial squash.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_tar::EntryKind;

use super::{
    Tree,
    arena::Id,
    changes::{Base, Changes},
};

impl Tree {
    /// Marks the end of the lower layers: later layers are changes to them, see
    /// [`only_changes`](Self::only_changes).
    pub fn base(&mut self) -> Base {
        self.arena.hold_all();
        Base::new(self.arena.clone())
    }

    /// Makes [`into_tar`](Self::into_tar) write only what the layers since [`base`](Self::base)
    /// changed: a layer that, applied over the lower ones, gives this tree in every attribute.
    ///
    /// Every path that was named anew is written with all its hard links, those in lower layers
    /// too, and with its parent directories. What vanished from a directory that is still there is
    /// written as explicit whiteouts, never as the name of something that is written. Only a name
    /// that itself begins with `.wh.`, for which no whiteout can be spelled, makes the whiteout
    /// opaque. A path that no lower layer has gets no whiteout.
    ///
    /// The tree itself stays whole: [`iter`](Self::iter) and [`get`](Self::get) do not change. No
    /// layer can be applied afterwards.
    pub fn only_changes(&mut self, base: Base) {
        self.changes = Some(Changes::of(base.tree(), &self.arena));
        self.arena.release_all(base.tree());
    }

    /// Returns the keys of the contents that [`into_tar`](Self::into_tar) reads; some more than once.
    pub fn contents(&self) -> impl Iterator<Item = u64> + '_ {
        let ids = (0..self.arena.ids()).filter(|id| self.arena.alive(*id) && self.writes(*id));
        let inodes = ids.map(|id| self.arena.inode(id));
        inodes
            .filter(|inode| inode.kind == EntryKind::Regular && inode.size > 0)
            .map(|inode| inode.data)
    }

    /// Returns the number of bytes of the files that [`into_tar`](Self::into_tar) writes.
    pub fn content_bytes(&self) -> u64 {
        let mut linked = BTreeSet::new();
        let ids = (0..self.arena.ids()).filter(|id| self.arena.alive(*id) && self.writes(*id));
        let sizes = ids.map(|id| {
            let inode = self.arena.inode(id);
            let is_counted = inode.kind == EntryKind::Regular
                && (inode.links() < 2 || linked.insert(self.arena.inode_id(id)));
            if is_counted { inode.size } else { 0 }
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Gives contents new keys, those that another store gave them.
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

    /// Says whether a path is written. A directory that no layer named is not if its name begins
    /// with `.wh.`: it would be read as a whiteout; nor if readers make it for its children, see
    /// [`retain`](Self::retain).
    pub(crate) fn writes(&self, id: Id) -> bool {
        let changes = self.changes.as_ref();
        let spelled = self.arena.inode(id).named || !self.arena.name(id).starts_with(b".wh.");
        let implied = || self.arena.children(id).next().is_some() && !self.arena.inode(id).named;
        spelled
            && !(self.implies && implied())
            && changes.is_none_or(|changes| changes.is_written(id))
    }

    /// Returns the names of the whiteouts in a directory, in byte order.
    pub(crate) fn markers(&self, directory: Id) -> &[Box<[u8]>] {
        let changes = self.changes.as_ref();
        let markers = changes.map(|changes| changes.markers(directory));
        markers.unwrap_or(&[])
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
