//! The changes that some layers make to the tree below them, so that they can be written as one
//! layer over it.
//!
//! The changes are found by comparing the new tree with the old tree, not by keeping the layers'
//! own markers: a marker that hides only squashed files is dropped, and whiteouts are written for
//! the files below that are hidden.

use std::collections::BTreeMap;

use super::arena::{Arena, Id, ROOT};

/// The name of an opaque whiteout (image-spec, layer.md, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The lower layers' tree, which the next ones change; see [`Tree::base`](super::Tree::base).
///
/// Memory is that of the tree: the old tree is kept beside the new tree.
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

/// The differences between a tree and its base. Ids are those of the tree.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    /// For each path: true if the path is written.
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
