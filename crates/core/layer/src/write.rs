//! A tree as one canonical tar, which is generated while it is read.
//!
//! Members come in byte order of their names, a directory's with its slash; `imgconv_tar::head`
//! defines the bytes of a header.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::Arc,
};

use imgconv_model::{Limits, Reader, Result, quote};
use imgconv_tar::{Entry, EntryKind, head};

use crate::{
    FrozenSpool, Tree,
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
            contents,
            prefix: prefix.to_vec(),
            walk,
            begun: false,
            directory: None,
            first: HashMap::new(),
            body: Box::new(io::empty()),
        }))
    }
}

struct Paths {
    tree: Arc<Tree>,
    contents: Arc<FrozenSpool>,
    prefix: Vec<u8>,
    walk: Walk,
    /// True once the root was visited.
    begun: bool,
    /// The directory that was visited last, and the number of its whiteouts that were written.
    directory: Option<(Id, usize)>,
    /// The path that has the content of an inode with several paths.
    first: HashMap<u64, Id>,
    body: Reader,
}

/// The next member of the tar; names are without the prefix.
enum Next {
    Path(Id, Vec<u8>),
    Whiteout(Vec<u8>),
}

impl Paths {
    /// Advances to the next member.
    fn advance(&mut self) -> Option<Next> {
        if !self.begun {
            self.begun = true;
            self.directory = Some((ROOT, 0));
            if !self.prefix.is_empty() {
                return Some(Next::Path(ROOT, Vec::new()));
            }
            if self.tree.node(ROOT).named && self.tree.writes(ROOT) {
                return Some(Next::Path(ROOT, b"./".to_vec()));
            }
        }
        loop {
            if let Some((id, done)) = &mut self.directory {
                if let Some(name) = self.tree.markers(*id).get(*done) {
                    *done += 1;
                    let parent = self.walk.path();
                    let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
                    return Some(Next::Whiteout([parent, slash, &name[..]].concat()));
                }
                self.directory = None;
            }
            let id = self.tree.step(&mut self.walk)?;
            if self.tree.node(id).kind == EntryKind::Directory {
                self.directory = Some((id, 0));
            }
            if self.tree.writes(id) {
                return Some(Next::Path(id, self.walk.path().to_vec()));
            }
        }
    }

    /// Puts the prefix before a path. The result must be short enough to be read again.
    fn name(&self, path: &[u8]) -> Result<Vec<u8>> {
        let name = [&self.prefix[..], path].concat();
        let most = self.tree.limits().path;
        if name.len() as u64 > most {
            let what = format!("path {} of {} bytes", quote(&name), name.len());
            return Err(Limits::exceeded("path", most, what));
        }
        Ok(name)
    }
}

impl Members for Paths {
    fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let (id, path) = match self.advance() {
            None => return Ok(None),
            Some(Next::Path(id, path)) => (id, path),
            Some(Next::Whiteout(path)) => {
                return Ok(Some((head(&whiteout(self.name(&path)?))?, 0)));
            }
        };
        let tree = Arc::clone(&self.tree);
        let node = tree.node(id);
        let mut entry = Entry {
            path: self.name(&path)?,
            kind: node.kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            uname: node.uname.to_vec(),
            gname: node.gname.to_vec(),
            mtime: node.mtime,
            size: node.size,
            link: node.link.to_vec(),
            device: node.device,
            pax: node.pax.to_vec(),
            offset: 0,
        };
        if node.kind == EntryKind::Directory {
            if !entry.path.ends_with(b"/") {
                entry.path.push(b'/');
            }
        } else if node.links > 1 {
            match self.first.get(&node.inode) {
                Some(first) => {
                    entry.kind = EntryKind::HardLink;
                    entry.link = self.name(&tree.path(*first))?;
                    entry.size = 0;
                    entry.device = (0, 0);
                }
                None => {
                    self.first.insert(node.inode, id);
                }
            }
        }
        if entry.size > 0 {
            self.body = self.contents.open(node.content, node.size);
        }
        let size = entry.size;
        Ok(Some((head(&entry)?, size)))
    }

    fn body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.body.read(buf)
    }
}

/// Makes the entry of a whiteout: only the name has a meaning.
fn whiteout(path: Vec<u8>) -> Entry {
    Entry::new(path, EntryKind::Regular)
}
