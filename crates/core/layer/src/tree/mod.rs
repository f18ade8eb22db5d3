//! The merged file system of some layers, as a virtual tree.
//!
//! This module never touches the host's file system: symbolic links are resolved inside the tree.
//! `scan` reads a layer apart from the tree, `apply` has the rules of layers, `resolve` the walk
//! over parents, `arena` the memory, `walk` the order, `changes` the differences from the tree of
//! the lower layers, `partial` the tree of which only these are written. Contents are elsewhere, see
//! [`crate::ContentStore`].

mod apply;
mod arena;
mod changes;
mod partial;
mod resolve;
mod scan;
mod walk;
mod windows;

use std::{collections::BTreeSet, fmt};

use imgconv_model::{Env, Limits};
use imgconv_tar::{EntryKind, Time};

pub use self::{
    apply::Applying,
    changes::Base,
    scan::{Batch, scan},
};
use self::{
    arena::{Arena, Inode, NONE, number_of},
    changes::Changes,
    resolve::Cache,
    windows::Windows,
};
pub(crate) use self::{
    arena::{Id, ROOT},
    walk::Walk,
};

/// The rules by which the entries of one layer are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semantics {
    /// OCI and Docker: whiteouts, opaque directories, AUFS leftovers (image-spec, layer.md);
    /// symbolic links in parent paths are followed inside the root.
    Layer,
    /// Like [`Semantics::Layer`], for an image whose config names Windows: see
    /// [`Tree::windows_conflict`]. Other images for Windows are recognised by their directories.
    Windows,
    /// appc: no whiteouts (a name `.wh.*` is an ordinary name); a later path replaces an earlier
    /// one; a symbolic link where a directory is needed is replaced, not followed.
    Aci,
}

/// The merged file system of one or more layers.
///
/// Memory is 92 bytes, 5 to 10 more in a hash table and the length of its name for each path with
/// an inode of its own. Each entry of a layer over others waits with 64 bytes and the length of its
/// path until its layer was read, see [`Batch`], and is freed where it comes into the tree. Owner
/// names, targets of symbolic links and lists of PAX records are held once for all inodes that have
/// equal ones, and come on top.
#[derive(Clone)]
pub struct Tree {
    arena: Arena,
    env: Env,
    /// The number of layers that were applied.
    layer: u32,
    /// The number of tar entries of these layers.
    entries: u64,
    /// The cache for parents of entries.
    parents: Cache,
    /// The cache for parents of hard links' targets and of whiteouts.
    targets: Cache,
    /// The changes that are written, if not the whole tree is.
    changes: Option<Changes>,
    /// True if directories that no layer named are written only where nothing is below them: a reader
    /// makes the others again, and keeps the attributes of a directory that is there.
    implies: bool,
    /// True if the tree has the files of one image of several that belong together.
    alone: bool,
    /// The paths of the layers, as long as they may be layers of Windows.
    windows: Option<Box<Windows>>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("paths", &self.len())
            .field("layers", &self.layer)
            .finish_non_exhaustive()
    }
}

impl Tree {
    /// Makes an empty tree, which uses the limits, the notes and the cancel flag of `env`.
    pub fn new(env: &Env) -> Self {
        Self {
            arena: Arena::new(env.limits.entries),
            env: env.clone(),
            layer: 0,
            entries: 0,
            parents: Cache::default(),
            targets: Cache::default(),
            changes: None,
            implies: false,
            alone: false,
            windows: Some(Box::default()),
        }
    }

    /// Makes an empty tree for one ACI, without the files of its dependencies: errors about paths that are not
    /// there say so.
    pub fn without_dependencies(env: &Env) -> Self {
        Self {
            alone: true,
            ..Self::new(env)
        }
    }

    /// Returns the reason why layers of Windows can't be merged without loss; `from` is the lowest
    /// merged layer, counted from 0. `None` if they can be merged, or are not layers of Windows.
    /// Layers of an ACI never are.
    pub fn windows_conflict(&self, from: usize) -> Option<String> {
        let windows = self.windows.as_ref()?;
        windows.conflict(from, self.layer as usize)
    }

    /// Keeps only listed paths (cleaned), their parent directories, and the root (appc
    /// `pathWhitelist`; ace.md). A listed directory does not keep its children; a hard link keeps
    /// its content even if other paths of the inode are removed. Paths are taken literally, over no
    /// symbolic link; paths that do not exist have no effect.
    ///
    /// The tar of the tree then has no entry for a directory that no layer named and that has
    /// children: an ACI with a whitelist must not replace the attributes of a directory of its
    /// dependencies.
    pub fn retain(&mut self, paths: &BTreeSet<Vec<u8>>) {
        self.implies = true;
        let ids = self.arena.ids();
        let mut kept = vec![false; ids as usize];
        kept[ROOT as usize] = true;
        for path in paths {
            let Some(mut id) = self.arena.find(path) else {
                continue;
            };
            while !std::mem::replace(&mut kept[id as usize], true) {
                id = self.arena.parent(id);
            }
        }
        for id in 0..ids {
            // Removing the topmost unlisted path removes all paths below it.
            if !kept[id as usize] && self.arena.alive(id) && kept[self.arena.parent(id) as usize] {
                self.arena.remove(id);
            }
        }
    }

    /// Keeps listed paths like [`retain`](Self::retain), and names the listed directories that no layer named, so that
    /// the tar has their entries: such a directory may take the place of something else in a lower tree, of which it
    /// must not get the attributes. A directory whose name begins with `.wh.` still has no entry: nothing but such a
    /// directory can be in its place.
    pub fn retain_changes(&mut self, paths: &BTreeSet<Vec<u8>>) {
        for path in paths {
            let Some(id) = self.arena.find(path) else {
                continue;
            };
            // Only a directory is without a name: no other path leads to its inode.
            let inode = *self.arena.inode(id);
            if !inode.named && !self.arena.name(id).starts_with(b".wh.") {
                let named = Inode {
                    named: true,
                    ..inode
                };
                self.arena.set_inode(self.arena.inode_id(id), named);
            }
        }
        self.retain(paths);
    }

    /// Removes the directories without children that no layer named and that the `lower` tree has too: its attributes
    /// count. Call this method after [`retain`](Self::retain).
    pub fn leave_to(&mut self, lower: &Self) {
        for id in 0..self.arena.ids() {
            let mut id = id;
            while id != ROOT && self.arena.alive(id) && self.is_made(id) {
                let path = self.arena.path(id);
                let below = lower.arena.find(&path);
                if !below.is_some_and(|below| lower.arena.is_directory(below)) {
                    break;
                }
                let parent = self.arena.parent(id);
                self.arena.remove(id);
                id = parent;
            }
        }
    }

    /// Says whether there is a directory without children that no layer named.
    pub fn has_made(&self) -> bool {
        (1..self.arena.ids()).any(|id| self.arena.alive(id) && self.is_made(id))
    }

    fn is_made(&self, id: Id) -> bool {
        self.arena.is_directory(id)
            && !self.arena.inode(id).named
            && self.arena.children(id).next().is_none()
    }

    /// The number of paths that [`iter`](Self::iter) yields.
    pub fn len(&self) -> usize {
        self.arena.len() + usize::from(self.arena.inode(ROOT).named)
    }

    /// Returns true if there is no path at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every path with its inode, in byte order of the names as a tar spells them, a directory's
    /// with a final slash: `a-b`, `a/`, `a/b`. So parents come before their children, and all paths
    /// below a directory follow it without a gap. The root, the empty path, comes first if a layer
    /// named it.
    ///
    /// Memory is the siblings of the current path and of its parents.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Node<'_>)> + '_> {
        let root = self
            .arena
            .inode(ROOT)
            .named
            .then(|| (Vec::new(), self.node(ROOT)));
        let mut walk = Walk::new(&self.arena);
        Box::new(root.into_iter().chain(std::iter::from_fn(move || {
            let id = walk.next(&self.arena)?;
            Some((walk.path().to_vec(), self.node(id)))
        })))
    }

    /// Returns the node at a path (cleaned), over no symbolic link; the root only if a layer named
    /// it.
    pub fn get(&self, path: &[u8]) -> Option<Node<'_>> {
        let id = self.arena.find(path)?;
        (id != ROOT || self.arena.inode(ROOT).named).then(|| self.node(id))
    }

    /// Starts to walk over all paths but the root, for a caller that keeps the tree alive itself.
    pub(crate) fn walk(&self) -> Walk {
        Walk::new(&self.arena)
    }

    /// Advances a walk over this tree.
    pub(crate) fn step(&self, walk: &mut Walk) -> Option<Id> {
        walk.next(&self.arena)
    }

    /// The limits of the tree.
    pub(crate) fn limits(&self) -> &Limits {
        &self.env.limits
    }

    /// The whole path of an id.
    pub(crate) fn path(&self, id: Id) -> Vec<u8> {
        self.arena.path(id)
    }

    /// Returns true for the path of a directory.
    pub(crate) fn is_directory(&self, id: Id) -> bool {
        self.arena.is_directory(id)
    }

    /// The node at an id.
    pub(crate) fn node(&self, id: Id) -> Node<'_> {
        let inode = self.arena.inode(id);
        let device = matches!(inode.kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        Node {
            kind: inode.kind,
            inode: u64::from(self.arena.inode_id(id)),
            links: inode.links(),
            mode: u32::from(inode.mode),
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.time(),
            uname: self.arena.bytes.get(inode.uname),
            gname: self.arena.bytes.get(inode.gname),
            size: inode.size,
            link: match inode.kind {
                EntryKind::Symlink => self.arena.target(id),
                _ => &[],
            },
            device: match device {
                true => (
                    number_of(inode.data >> 32),
                    number_of(inode.data & u64::from(NONE)),
                ),
                false => (0, 0),
            },
            pax: self.arena.pax.get(inode.pax),
            content: match inode.kind {
                EntryKind::Regular => inode.data,
                _ => 0,
            },
            named: inode.named,
        }
    }
}

/// One path of a tree. Paths with the same `inode` are hard links of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// The kind of the node; never a hard link.
    pub kind: EntryKind,
    /// The number of the inode, unique in the tree at one moment. The number has no meaning
    /// elsewhere, and differs in a tree that was made in another way.
    pub inode: u64,
    /// The number of paths that share the inode.
    pub links: u32,
    /// Permission bits, 0o7777. A symbolic link has 0o777, whatever the mode of its entry.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The time of the last change.
    pub mtime: Time,
    /// The owner's name, empty if the entry had none.
    pub uname: &'a [u8],
    /// The group's name, empty if the entry had none.
    pub gname: &'a [u8],
    /// Bytes of a regular file, else 0.
    pub size: u64,
    /// The target of a symbolic link, else empty.
    pub link: &'a [u8],
    /// Major and minor number of a device, else 0, 0.
    pub device: (u32, u32),
    /// PAX records: xattrs and the like, in their order, values verbatim.
    pub pax: &'a [(Vec<u8>, Vec<u8>)],
    /// The key that the content store gave for the body of a regular file; 0 if its size is 0.
    pub content: u64,
    /// False for a directory that no layer named (made for its children: 0755, 0:0, time 0).
    pub named: bool,
}
