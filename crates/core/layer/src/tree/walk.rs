//! The one order of a tree: byte order of the names as a tar spells them, a directory's with its
//! final slash: `a-b`, `a/`, `a/b`.
//!
//! So parents come before children, and all paths below a directory follow it without a gap:
//! readers that set a directory's times when they leave it (GNU tar) set them correctly.

use std::{cmp::Ordering, vec};

use super::arena::{Arena, Id, ROOT};

/// Walks over all paths but the root.
#[derive(Debug)]
pub(crate) struct Walk {
    levels: Vec<Level>,
    path: Vec<u8>,
    /// The directory that [`next`](Walk::next) returned last: its children come next.
    entered: Option<Id>,
}

#[derive(Debug)]
struct Level {
    /// Bytes of the directory's path.
    path: usize,
    items: vec::IntoIter<Id>,
}

impl Walk {
    /// Starts before the first path.
    pub(super) fn new(arena: &Arena) -> Self {
        Self {
            levels: vec![Level {
                path: 0,
                items: sorted(arena, ROOT),
            }],
            path: Vec::new(),
            entered: None,
        }
    }

    /// Advances to the next path of the same tree.
    pub(super) fn next(&mut self, arena: &Arena) -> Option<Id> {
        if let Some(directory) = self.entered.take() {
            self.levels.push(Level {
                path: self.path.len(),
                items: sorted(arena, directory),
            });
        }
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path);
            let Some(id) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(arena.name(id));
            if arena.is_directory(id) {
                self.entered = Some(id);
            }
            return Some(id);
        }
    }

    /// The path that [`next`](Self::next) returned last.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }
}

/// Returns the children of a directory in their order. Children are listed in the reverse of the
/// order in which they were added, which is mostly the right order already: so a sort that finds
/// runs, over the first bytes of the names, seldom looks at a name twice.
fn sorted(arena: &Arena, directory: Id) -> vec::IntoIter<Id> {
    let children = arena.children(directory);
    let mut items: Vec<(u64, Id)> = children.map(|id| (begin(arena, id), id)).collect();
    items.reverse();
    items.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| order(arena, a.1, b.1)));
    let ids: Vec<Id> = items.into_iter().map(|(_, id)| id).collect();
    ids.into_iter()
}

/// Returns the first eight bytes of a name as a number: numbers that differ are in the order of the
/// names, since no name has a NUL.
fn begin(arena: &Arena, id: Id) -> u64 {
    let name = arena.name(id);
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    bytes[..length].copy_from_slice(&name[..length]);
    if length < 8 && arena.is_directory(id) {
        bytes[length] = b'/';
    }
    u64::from_be_bytes(bytes)
}

fn order(arena: &Arena, a: Id, b: Id) -> Ordering {
    let (x, y) = (arena.name(a), arena.name(b));
    let both = x.len().min(y.len());
    let after = |id: Id, name: &[u8]| {
        let slash = arena.is_directory(id).then_some(b'/');
        name.get(both).copied().or(slash)
    };
    x[..both]
        .cmp(&y[..both])
        .then_with(|| after(a, x).cmp(&after(b, y)))
}
