//! What some layers change in the tree below them, so that it can be written as one layer over it.
//!
//! Found by comparing the tree with the one it was, never by keeping the layers' own markers: so
//! what hides only what was squashed is gone, and what hides something below is said in whiteouts.

use std::collections::BTreeMap;

use super::arena::{Arena, Id, ROOT};

/// The name of an opaque whiteout (image-spec, layer.md, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The lower layers' tree, which the next ones change; see [`Tree::base`](super::Tree::base).
///
/// Memory is that of the tree: what it was, beside what it becomes.
#[derive(Debug)]
pub struct Base(Arena);

impl Base {
    pub(super) fn new(tree: Arena) -> Self {
        Self(tree)
    }

    /// Returns the tree of the lower layers as it was.
    pub(super) fn tree(&self) -> &Arena {
        &self.0
    }
}

/// The names of the whiteouts in each directory, in byte order.
type Markers = BTreeMap<Id, Vec<Box<[u8]>>>;

/// What differs between a tree and its base. Ids are the tree's.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// For each path whether it is written.
    written: Vec<bool>,
    markers: Markers,
}

impl Changes {
    /// Says whether a path is written.
    pub(super) fn is_written(&self, id: Id) -> bool {
        self.written[id as usize]
    }

    /// Returns the names of the whiteouts in a directory, in byte order.
    pub(super) fn markers(&self, directory: Id) -> &[Box<[u8]>] {
        self.markers.get(&directory).map_or(&[], Vec::as_slice)
    }

    /// Compares two states of a tree.
    pub(super) fn of(old: &Arena, new: &Arena) -> Self {
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

/// Finds the inodes that the lower layers do not have at all of their paths, and what vanished.
///
/// A path is the same if it leads to the same inode; the base holds its own, so that no id of them
/// means another one. An inode is written at all of its paths or at none, which keeps groups of
/// hard links whole: a link to a file of a lower layer brings that file along.
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
                // The whiteout of such a name would be read as metadata of AUFS. An opaque one
                // hides it with all its siblings, and those that are left are written again.
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
            // A hard link that leads to a lower file may have changed what is said of it.
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
