//! A tree as one canonical tar, which is generated while it is read.
//!
//! Members come in byte order of their names, a directory's with its slash; `imgconv_tar::head`
//! defines the bytes of a header.

use std::{collections::HashMap, io, sync::Arc};

use imgconv_model::{Limits, Reader, Result, quote};
use imgconv_tar::{Entry, EntryKind, put_head};

use crate::{
    FrozenSpool, Tree,
    contents::Contents,
    emit::{Emit, Members},
    tree::{Id, ROOT, Walk},
};

impl Tree {
    /// One canonical tar of the whole tree, generated while it is read; `prefix` (`b"rootfs/"` or
    /// empty) goes before every name and every hard link's target. Memory is one header, the
    /// siblings of the current path and of its parents, and 8 bytes for each inode that has several
    /// paths.
    ///
    /// Members are in the order of [`iter`](Self::iter). The first path of an inode has the
    /// content, the others are hard links to it; these repeat its metadata and PAX records, because
    /// readers that set the owner again through a link thereby clear file capabilities. Directories
    /// that no layer named are written too, except those whose name begins with `.wh.`, which would
    /// be read as whiteouts.
    ///
    /// After [`only_changes`](Self::only_changes) the tar has only those changes: in each directory
    /// the whiteouts come first. They are empty files, 0644 0:0 time 0.
    ///
    /// With a prefix, the entry of the root is the prefix itself (made, 0755 0:0 time 0, if no
    /// layer named the root); without a prefix the entry is `./`, and exists only if a layer named
    /// the root.
    pub fn into_tar(self: Arc<Self>, prefix: &[u8], contents: Arc<FrozenSpool>) -> Reader {
        let walk = self.walk();
        Box::new(Emit::new(Paths {
            tree: self,
            contents: Contents::new(contents),
            prefix: prefix.to_vec(),
            walk,
            begun: false,
            directory: None,
            first: HashMap::new(),
            entry: Entry::new(Vec::new(), EntryKind::Regular),
        }))
    }
}

struct Paths {
    tree: Arc<Tree>,
    contents: Contents,
    prefix: Vec<u8>,
    walk: Walk,
    /// True once the root was visited.
    begun: bool,
    /// The directory that was visited last, and the number of its whiteouts that were written.
    directory: Option<(Id, usize)>,
    /// The path that has the content of an inode with several paths.
    first: HashMap<u64, Id>,
    /// The entry of the last member, whose memory is used again.
    entry: Entry,
}

/// The next member of the tar.
enum Next {
    /// A path of the tree, that of the walk or the root.
    Path(Id),
    /// The whiteout of that name in the directory of the walk.
    Whiteout(usize),
}

impl Paths {
    /// Advances to the next member.
    fn advance(&mut self) -> Option<Next> {
        if !self.begun {
            self.begun = true;
            self.directory = Some((ROOT, 0));
            let named = self.tree.node(ROOT).named && self.tree.writes(ROOT);
            if named || !self.prefix.is_empty() {
                return Some(Next::Path(ROOT));
            }
        }
        loop {
            if let Some((id, done)) = &mut self.directory {
                if *done < self.tree.markers(*id).len() {
                    *done += 1;
                    return Some(Next::Whiteout(*done - 1));
                }
                self.directory = None;
            }
            let id = self.tree.step(&mut self.walk)?;
            if self.tree.is_directory(id) {
                self.directory = Some((id, 0));
            }
            if self.tree.writes(id) {
                return Some(Next::Path(id));
            }
        }
    }

    /// Makes the entry of a whiteout: only the name has a meaning.
    fn whiteout(&self, position: usize) -> Result<Entry> {
        let directory = self.directory.map_or(ROOT, |(id, _)| id);
        let name = &self.tree.markers(directory)[position];
        let parent = self.walk.path();
        let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
        let path = [&self.prefix[..], parent, slash, &name[..]].concat();
        self.check(&path)?;
        Ok(Entry::new(path, EntryKind::Regular))
    }

    /// Checks that a name is short enough to be read again.
    fn check(&self, name: &[u8]) -> Result<()> {
        let most = self.tree.limits().path;
        if name.len() as u64 > most {
            let what = format!("path {} of {} bytes", quote(name), name.len());
            return Err(Limits::exceeded("path", most, what));
        }
        Ok(())
    }

    /// Makes the entry of a path, without its name.
    fn fill(&mut self, id: Id) -> Result<()> {
        let tree = Arc::clone(&self.tree);
        let node = tree.node(id);
        let entry = &mut self.entry;
        (entry.kind, entry.mode) = (node.kind, node.mode);
        (entry.uid, entry.gid) = (node.uid, node.gid);
        (entry.mtime, entry.size, entry.device) = (node.mtime, node.size, node.device);
        set(&mut entry.uname, node.uname);
        set(&mut entry.gname, node.gname);
        set(&mut entry.link, node.link);
        if entry.pax != node.pax {
            entry.pax = node.pax.to_vec();
        }
        if node.kind == EntryKind::Directory {
            if !entry.path.ends_with(b"/") {
                entry.path.push(b'/');
            }
        } else if node.links > 1 {
            match self.first.get(&node.inode) {
                Some(first) => {
                    let link = [&self.prefix[..], &tree.path(*first)].concat();
                    entry.kind = EntryKind::HardLink;
                    (entry.size, entry.device) = (0, (0, 0));
                    self.check(&link)?;
                    self.entry.link = link;
                }
                None => {
                    self.first.insert(node.inode, id);
                }
            }
        }
        if self.entry.size > 0 {
            self.contents.start(node.content, node.size);
        }
        Ok(())
    }
}

/// Gives a buffer other bytes; its memory is used again.
fn set(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(bytes);
}

impl Members for Paths {
    fn next(&mut self, head: &mut Vec<u8>) -> Result<Option<u64>> {
        let id = match self.advance() {
            None => return Ok(None),
            Some(Next::Path(id)) => id,
            Some(Next::Whiteout(position)) => {
                put_head(&self.whiteout(position)?, head)?;
                return Ok(Some(0));
            }
        };
        set(&mut self.entry.path, &self.prefix);
        if id != ROOT {
            self.entry.path.extend_from_slice(self.walk.path());
        } else if self.prefix.is_empty() {
            self.entry.path.extend_from_slice(b"./");
        }
        self.check(&self.entry.path)?;
        self.fill(id)?;
        put_head(&self.entry, head)?;
        Ok(Some(self.entry.size))
    }

    fn body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.contents.read(buf)
    }
}
