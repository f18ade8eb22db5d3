//! The one order of a tree: byte order of whole paths.
//!
//! Byte order is not what a plain walk gives, because `/` sorts after bytes that names may hold:
//! `a`, `a-b`, `a/b`. So a directory stands twice among its siblings, once as its name, for itself,
//! and once as its name and `/`, for what is below it. Whole paths are then in byte order, and only
//! one list of siblings for each level is in memory.

use std::{cmp::Ordering, vec};

use super::arena::{Arena, Id, ROOT};

/// Walks over all paths but the root.
#[derive(Debug)]
pub(crate) struct Walk {
    levels: Vec<Level>,
    path: Vec<u8>,
}

#[derive(Debug)]
struct Level {
    /// Bytes of the directory's path.
    path: usize,
    items: vec::IntoIter<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    id: Id,
    /// Stands for what is below the path, not for the path.
    below: bool,
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
        }
    }

    /// Goes on to the next path of the same tree; the first that is equal to or greater than the
    /// path before it.
    pub(super) fn next(&mut self, arena: &Arena) -> Option<Id> {
        loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path);
            let Some(item) = level.items.next() else {
                self.levels.pop();
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(arena.name(item.id));
            if !item.below {
                return Some(item.id);
            }
            self.levels.push(Level {
                path: self.path.len(),
                items: sorted(arena, item.id),
            });
        }
    }

    /// The path that [`next`](Self::next) came to.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }
}

fn sorted(arena: &Arena, directory: Id) -> vec::IntoIter<Item> {
    let mut items = Vec::new();
    for id in arena.children(directory) {
        items.push(Item { id, below: false });
        if arena.children(id).next().is_some() {
            items.push(Item { id, below: true });
        }
    }
    items.sort_unstable_by(|a, b| order(arena, *a, *b));
    items.into_iter()
}

fn order(arena: &Arena, a: Item, b: Item) -> Ordering {
    let (x, y) = (arena.name(a.id), arena.name(b.id));
    let both = x.len().min(y.len());
    let after = |name: &[u8], below: bool| {
        let slash = below.then_some(b'/');
        name.get(both).copied().or(slash)
    };
    x[..both]
        .cmp(&y[..both])
        .then_with(|| after(x, a.below).cmp(&after(y, b.below)))
}
