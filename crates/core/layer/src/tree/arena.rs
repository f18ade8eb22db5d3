//! The memory of a tree: paths and inodes in arrays, found by parent and name.
//!
//! The arena has directories, names and links, but not the rules of layers. A path costs [`Dentry`]
//! (36 bytes), mostly an [`Inode`] (56 bytes), its name and a slot of 5 bytes in a hash table that
//! is half to seven eighths full; the arrays grow by doubling. Names and values that repeat are
//! held once.
//!
//! Ids are positions in the arrays and are used again after a removal.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;
use imgconv_model::{Limits, Result};
use imgconv_tar::{EntryKind, Time};

/// The position of a path or an inode.
pub(crate) type Id = u32;

/// No path, no inode.
pub(super) const NONE: Id = Id::MAX;

/// The path of the root. It is always there.
pub(crate) const ROOT: Id = 0;

/// One PAX record.
pub(super) type Record = (Vec<u8>, Vec<u8>);

/// One path: a name in a directory, and its inode.
#[derive(Clone, Debug)]
pub(super) struct Dentry {
    parent: Id,
    /// [`NONE`] if the place is free.
    inode: Id,
    child: Id,
    next: Id,
    previous: Id,
    /// The last layer that named the path, from 1; 0 if no layer did.
    layer: u32,
    name: Name,
}

/// The object that one or more paths lead to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    pub(super) kind: EntryKind,
    /// False for a directory that was made for its children.
    pub(super) named: bool,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) seconds: i64,
    pub(super) nanos: u32,
    /// Positions in `Arena::bytes`.
    pub(super) uname: u32,
    pub(super) gname: u32,
    /// A position in `Arena::pax`.
    pub(super) pax: u32,
    pub(super) size: u64,
    /// The content's key, the position of the link's target in `Arena::bytes`, or the device's
    /// major and minor number.
    pub(super) data: u64,
    pub(super) links: u32,
}

impl Inode {
    /// Makes an inode of a kind, with owner 0:0 and time 0.
    pub(super) fn new(kind: EntryKind, mode: u16) -> Self {
        Self {
            kind,
            named: true,
            mode,
            uid: 0,
            gid: 0,
            seconds: 0,
            nanos: 0,
            uname: 0,
            gname: 0,
            pax: 0,
            size: 0,
            data: 0,
            links: 0,
        }
    }

    /// Makes a directory that no layer named.
    pub(super) fn implied() -> Self {
        Self {
            named: false,
            ..Self::new(EntryKind::Directory, 0o755)
        }
    }

    pub(super) fn time(&self) -> Time {
        Time {
            seconds: self.seconds,
            nanos: self.nanos,
        }
    }

    pub(super) fn links(&self) -> u32 {
        self.links
    }

    /// Returns true if another inode is the same in all but the number of its paths.
    pub(super) fn same(&self, other: &Self) -> bool {
        let key = |one: &Self| {
            let owner = (one.uid, one.gid, one.uname, one.gname);
            let times = (one.seconds, one.nanos);
            (one.mode, owner, times, one.pax, one.size, one.data)
        };
        self.kind == other.kind && key(self) == key(other)
    }
}

/// All paths and inodes of a tree.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    dentries: Vec<Dentry>,
    inodes: Vec<Inode>,
    free_dentries: Vec<Id>,
    free_inodes: Vec<Id>,
    names: Names,
    /// Paths by parent and name.
    table: HashTable<Id>,
    state: RandomState,
    /// The limit of the number of paths.
    most: usize,
    /// Owner names and targets of symbolic links; the first is empty.
    pub(super) bytes: Pool<[u8]>,
    /// PAX records; the first list is empty.
    pub(super) pax: Pool<[Record]>,
    /// Raised whenever a directory or symbolic link is removed or replaced: an earlier walk over
    /// these paths may lead elsewhere now.
    pub(super) generation: u64,
}

impl Arena {
    /// Makes an arena with the root alone, for at most `most` paths.
    pub(super) fn new(most: u64) -> Self {
        // At most four values of an entry get numbers, so these numbers fit too.
        let most = usize::try_from(most.min(u64::from(u32::MAX / 4))).unwrap_or(usize::MAX);
        let mut arena = Self {
            dentries: Vec::new(),
            inodes: Vec::new(),
            free_dentries: Vec::new(),
            free_inodes: Vec::new(),
            names: Names::default(),
            table: HashTable::new(),
            state: RandomState::new(),
            most,
            bytes: Pool::default(),
            pax: Pool::default(),
            generation: 0,
        };
        arena.bytes.add(&[]);
        arena.pax.add(&[]);
        let inode = arena.add_inode(Inode::implied());
        arena.inodes[inode as usize].links = 1;
        arena.dentries.push(Dentry {
            parent: ROOT,
            inode,
            child: NONE,
            next: NONE,
            previous: NONE,
            layer: 0,
            name: arena.names.add(b""),
        });
        arena
    }

    /// The number of paths below the root.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// One more than the highest id of a path.
    pub(super) fn ids(&self) -> Id {
        number(self.dentries.len())
    }

    /// One more than the highest id of an inode.
    pub(super) fn inode_ids(&self) -> Id {
        number(self.inodes.len())
    }

    pub(super) fn alive(&self, id: Id) -> bool {
        self.dentries[id as usize].inode != NONE
    }

    pub(super) fn name(&self, id: Id) -> &[u8] {
        self.names.get(self.dentries[id as usize].name)
    }

    pub(super) fn parent(&self, id: Id) -> Id {
        self.dentries[id as usize].parent
    }

    pub(super) fn layer(&self, id: Id) -> u32 {
        self.dentries[id as usize].layer
    }

    pub(super) fn set_layer(&mut self, id: Id, layer: u32) {
        self.dentries[id as usize].layer = layer;
    }

    /// The inode that a path leads to.
    pub(super) fn inode_id(&self, id: Id) -> Id {
        self.dentries[id as usize].inode
    }

    /// The inode that a path leads to.
    pub(super) fn inode(&self, id: Id) -> &Inode {
        &self.inodes[self.inode_id(id) as usize]
    }

    /// All inodes, those too that no path leads to any more.
    pub(super) fn inodes_mut(&mut self) -> &mut [Inode] {
        &mut self.inodes
    }

    /// An inode by its own id.
    pub(super) fn inode_at(&self, inode: Id) -> &Inode {
        &self.inodes[inode as usize]
    }

    pub(super) fn kind(&self, id: Id) -> EntryKind {
        self.inode(id).kind
    }

    pub(super) fn is_directory(&self, id: Id) -> bool {
        self.kind(id) == EntryKind::Directory
    }

    /// The whole path, without a slash at its ends.
    pub(super) fn path(&self, id: Id) -> Vec<u8> {
        let mut ids = Vec::new();
        let mut at = id;
        while at != ROOT {
            ids.push(at);
            at = self.parent(at);
        }
        let mut path = Vec::new();
        for id in ids.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(self.name(id));
        }
        path
    }

    /// The length of the whole path.
    pub(super) fn path_length(&self, id: Id) -> u64 {
        let (mut at, mut length) = (id, 0);
        while at != ROOT {
            length += self.name(at).len() as u64 + 1;
            at = self.parent(at);
        }
        length.saturating_sub(1)
    }

    /// The children of a directory, in no useful order.
    pub(super) fn children(&self, id: Id) -> impl Iterator<Item = Id> {
        let first = self.dentries[id as usize].child;
        std::iter::successors((first != NONE).then_some(first), |id| {
            count();
            let next = self.dentries[*id as usize].next;
            (next != NONE).then_some(next)
        })
    }

    pub(super) fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        count();
        let hash = hash(&self.state, parent, name);
        let same = |id: &Id| self.parent(*id) == parent && self.name(*id) == name;
        self.table.find(hash, same).copied()
    }

    /// Follows a cleaned path name by name, over no symbolic link.
    pub(super) fn find(&self, path: &[u8]) -> Option<Id> {
        if path.is_empty() {
            return Some(ROOT);
        }
        path.split(|byte| *byte == b'/')
            .try_fold(ROOT, |at, name| self.child(at, name))
    }

    /// Adds a path that is not there.
    pub(super) fn insert(&mut self, parent: Id, name: &[u8], inode: Id, layer: u32) -> Result<Id> {
        if self.table.len() >= self.most {
            let what = "the number of paths";
            return Err(Limits::exceeded("entries", self.most as u64, what));
        }
        let sibling = self.dentries[parent as usize].child;
        let dentry = Dentry {
            parent,
            inode,
            child: NONE,
            next: sibling,
            previous: NONE,
            layer,
            name: self.names.add(name),
        };
        let id = match self.free_dentries.pop() {
            Some(id) => {
                self.dentries[id as usize] = dentry;
                id
            }
            None => {
                self.dentries.push(dentry);
                number(self.dentries.len() - 1)
            }
        };
        if sibling != NONE {
            self.dentries[sibling as usize].previous = id;
        }
        self.dentries[parent as usize].child = id;
        self.inodes[inode as usize].links += 1;
        if self.table.len() == self.table.capacity() {
            self.grow();
        } else {
            let hash = hash(&self.state, parent, name);
            self.index(id, hash);
        }
        Ok(id)
    }

    /// Adds a path to the table, which has room.
    fn index(&mut self, id: Id, hash: u64) {
        let (dentries, names, state) = (&self.dentries, &self.names, &self.state);
        let rehash = |id: &Id| {
            let dentry = &dentries[*id as usize];
            self::hash(state, dentry.parent, names.get(dentry.name))
        };
        self.table.insert_unique(hash, id, rehash);
    }

    /// Makes a table of twice the size, of all paths. The names are read in the order of their ids,
    /// which is that of the memory: the table itself would read them in the order of their hashes.
    fn grow(&mut self) {
        // Room for one more path is room for twice as many: the size is a power of two.
        let least = self.table.len() + 1;
        self.table = HashTable::new();
        self.table = HashTable::with_capacity(least);
        for id in 1..self.ids() {
            if self.alive(id) {
                let hash = hash(&self.state, self.parent(id), self.name(id));
                self.index(id, hash);
            }
        }
    }

    /// Gives a path another inode. A directory that becomes another kind loses its children.
    pub(super) fn replace(&mut self, id: Id, inode: Id) {
        let before = self.inode_id(id);
        self.inodes[inode as usize].links += 1;
        let (old, new) = (
            self.inodes[before as usize].kind,
            self.inodes[inode as usize].kind,
        );
        if old == EntryKind::Directory && new != EntryKind::Directory {
            self.clear(id);
        }
        if old == EntryKind::Symlink || (old == EntryKind::Directory && new != old) {
            self.generation += 1;
        }
        self.dentries[id as usize].inode = inode;
        self.release(before);
    }

    /// Removes all children of a directory.
    pub(super) fn clear(&mut self, id: Id) {
        let first = std::mem::replace(&mut self.dentries[id as usize].child, NONE);
        self.remove_siblings(first);
    }

    /// Removes a path with everything below it.
    pub(super) fn remove(&mut self, id: Id) {
        let Dentry {
            parent,
            next,
            previous,
            ..
        } = self.dentries[id as usize];
        if previous == NONE {
            self.dentries[parent as usize].child = next;
        } else {
            self.dentries[previous as usize].next = next;
        }
        if next != NONE {
            self.dentries[next as usize].previous = previous;
        }
        self.dentries[id as usize].next = NONE;
        self.remove_siblings(id);
    }

    /// Removes a path, the siblings after it, and everything below them; no path leads there
    /// afterwards.
    fn remove_siblings(&mut self, first: Id) {
        let mut lists = vec![first];
        while let Some(id) = lists.pop() {
            count();
            if id == NONE {
                continue;
            }
            let (kind, hash) = (
                self.kind(id),
                hash(&self.state, self.parent(id), self.name(id)),
            );
            if let Ok(found) = self.table.find_entry(hash, |other| *other == id) {
                found.remove();
            }
            if matches!(kind, EntryKind::Directory | EntryKind::Symlink) {
                self.generation += 1;
            }
            let dentry = &mut self.dentries[id as usize];
            let inode = std::mem::replace(&mut dentry.inode, NONE);
            lists.push(dentry.next);
            lists.push(dentry.child);
            self.free_dentries.push(id);
            self.release(inode);
        }
    }

    /// Adds an inode that no path leads to yet.
    pub(super) fn add_inode(&mut self, inode: Inode) -> Id {
        match self.free_inodes.pop() {
            Some(id) => {
                self.inodes[id as usize] = inode;
                id
            }
            None => {
                self.inodes.push(inode);
                number(self.inodes.len() - 1)
            }
        }
    }

    /// Changes an inode; the paths that lead to it stay.
    pub(super) fn set_inode(&mut self, id: Id, inode: Inode) {
        let links = self.inodes[id as usize].links;
        self.inodes[id as usize] = Inode { links, ..inode };
    }

    /// Keeps an inode although no path may lead to it.
    pub(super) fn hold(&mut self, inode: Id) {
        self.inodes[inode as usize].links += 1;
    }

    /// Holds every inode that a path leads to, once for each path.
    pub(super) fn hold_all(&mut self) {
        for id in 0..self.ids() {
            if self.alive(id) {
                self.hold(self.inode_id(id));
            }
        }
    }

    /// Ends a [`hold_all`](Self::hold_all) after which `then` was cloned from this arena.
    pub(super) fn release_all(&mut self, then: &Self) {
        for id in 0..then.ids() {
            if then.alive(id) {
                self.release(then.inode_id(id));
            }
        }
    }

    /// Ends a [`hold`](Self::hold), or the hold of a path.
    pub(super) fn release(&mut self, inode: Id) {
        let links = &mut self.inodes[inode as usize].links;
        *links -= 1;
        if *links == 0 {
            self.free_inodes.push(inode);
        }
    }

    /// The target of the symbolic link at a path.
    pub(super) fn target(&self, id: Id) -> &Arc<[u8]> {
        self.bytes.get(number_of(self.inode(id).data))
    }
}

/// Narrows the position that an inode's `data` holds.
pub(super) fn number_of(data: u64) -> u32 {
    u32::try_from(data).expect("it was a u32 when it was stored")
}

fn number(position: usize) -> u32 {
    u32::try_from(position).expect("the number of paths is bounded")
}

fn hash(state: &RandomState, parent: Id, name: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u32(parent);
    hasher.write(name);
    hasher.finish()
}

/// The position of a name in [`Names`].
#[derive(Clone, Copy, Debug)]
struct Name {
    chunk: u32,
    start: u32,
    len: u32,
}

/// The bytes of all names, one after the other in chunks. The bytes of a removed name stay until
/// the tree is dropped: they were read before, so the input bounds them.
#[derive(Clone, Debug, Default)]
struct Names {
    chunks: Vec<Vec<u8>>,
}

impl Names {
    const CHUNK: usize = 1 << 20;

    fn add(&mut self, name: &[u8]) -> Name {
        let full = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() < name.len();
        if self.chunks.last().is_none_or(full) {
            let first = self.chunks.is_empty() && name.len() < Self::CHUNK / 256;
            let size = if first {
                Self::CHUNK / 256
            } else {
                Self::CHUNK.max(name.len())
            };
            self.chunks.push(Vec::with_capacity(size));
        }
        let chunk = self.chunks.last_mut().expect("one was pushed above");
        let start = number(chunk.len());
        chunk.extend_from_slice(name);
        Name {
            chunk: number(self.chunks.len() - 1),
            start,
            len: number(name.len()),
        }
    }

    fn get(&self, name: Name) -> &[u8] {
        let start = name.start as usize;
        &self.chunks[name.chunk as usize][start..start + name.len as usize]
    }
}

/// Values that are held once, even if they occur often.
#[derive(Debug)]
pub(super) struct Pool<T: ?Sized + Eq + Hash> {
    items: Vec<Arc<T>>,
    index: HashMap<Arc<T>, u32>,
    /// The number that was returned last: most entries have the values of the entry before.
    last: u32,
}

// The implementation is not derived: a derived one would require `T: Clone`.
impl<T: ?Sized + Eq + Hash> Clone for Pool<T> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
            index: self.index.clone(),
            last: self.last,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Default for Pool<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            index: HashMap::new(),
            last: 0,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    /// The number of different values.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns the values in the order of their numbers.
    pub(super) fn into_items(self) -> Vec<Arc<T>> {
        self.items
    }

    /// Returns the number of a value, which is added if it is new.
    pub(super) fn add<'a>(&mut self, value: &'a T) -> u32
    where
        Arc<T>: Borrow<T> + From<&'a T>,
    {
        if let Some(item) = self.items.get(self.last as usize)
            && **item == *value
        {
            return self.last;
        }
        self.last = match self.index.get(value) {
            Some(number) => *number,
            None => {
                let item = Arc::from(value);
                self.items.push(Arc::clone(&item));
                let number = number(self.items.len() - 1);
                self.index.insert(item, number);
                number
            }
        };
        self.last
    }

    pub(super) fn get(&self, number: u32) -> &Arc<T> {
        &self.items[number as usize]
    }
}

#[cfg(test)]
thread_local! {
    /// The number of times that this thread looked up, listed or removed a path.
    pub(super) static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one operation, in this crate's own tests.
fn count() {
    #[cfg(test)]
    COUNT.with(|count| count.set(count.get() + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness E11: the figures in the documentation of this file and of `Tree`
    #[test]
    fn e11_bytes_of_a_path() {
        assert_eq!((size_of::<Dentry>(), size_of::<Inode>()), (36, 56));
    }

    #[test]
    fn ids_are_used_again_and_counts_hold() {
        let mut arena = Arena::new(10);
        for _ in 0..1000 {
            let directory = arena.add_inode(Inode::implied());
            let d = arena.insert(ROOT, b"d", directory, 1).unwrap();
            let file = arena.add_inode(Inode::new(EntryKind::Regular, 0o644));
            arena.insert(d, b"a", file, 1).unwrap();
            arena.insert(d, b"b", file, 1).unwrap();
            let c = arena.insert(ROOT, b"c", file, 1).unwrap();
            assert_eq!((arena.len(), arena.inode(c).links()), (4, 3));
            arena.remove(d);
            assert_eq!((arena.len(), arena.inode(c).links()), (1, 1));
            assert_eq!(arena.path(arena.find(b"c").unwrap()), b"c");
            arena.clear(ROOT);
            assert_eq!((arena.len(), arena.find(b"c")), (0, None));
        }
        assert_eq!((arena.dentries.len(), arena.inodes.len()), (5, 3));
    }
}
