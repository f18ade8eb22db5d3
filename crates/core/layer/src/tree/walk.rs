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

fn sorted(arena: &Arena, directory: Id) -> vec::IntoIter<Id> {
    let mut items: Vec<Id> = arena.children(directory).collect();
    items.sort_unstable_by(|a, b| order(arena, *a, *b));
    items.into_iter()
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
