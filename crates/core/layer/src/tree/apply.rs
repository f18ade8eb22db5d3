//! Applying one layer: its markers to the layers below, then its entries in their order.
//!
//! A marker hides only what lower layers made, wherever it stands in its layer (image-spec,
//! layer.md, "Whiteouts"). So a layer over others is read as a whole before the tree changes, with
//! its bodies going to the store on the way. Over an empty tree there is nothing to hide, and
//! entries are applied as they are read.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
    io::Read,
};

use imgconv_model::{Code, Error, Limits, Result, quote};
use imgconv_tar::{Entry, EntryKind, Reader};

use super::{
    Semantics, Tree,
    arena::{Id, Inode, ROOT},
    resolve::{Intent, directory},
};
use crate::{
    ContentStore,
    marker::{Marker, marker},
    path::{clean, split},
};

/// The number of waiting entries in a batch; a batch is freed as soon as it is applied.
const BATCH: usize = 4096;

/// An entry that was read and waits for the end of its layer.
struct Pending {
    /// The cleaned path; for a hard link followed by a NUL and the cleaned path of the target.
    text: Box<[u8]>,
    /// The inode of the path; for a hard link the fields of its own header.
    inode: Id,
    link: bool,
    /// True for metadata of AUFS, which is kept only for hard links that lead to it.
    aufs: bool,
}

impl Pending {
    fn path(&self) -> &[u8] {
        match self.link {
            true => self.text.split(|byte| *byte == 0).next().unwrap_or(&[]),
            false => &self.text,
        }
    }

    /// The target of a hard link.
    fn target(&self) -> &[u8] {
        &self.text[self.path().len() + 1..]
    }
}

/// The body of the current entry, and its offset if it stands whole in the tar.
struct Body<'a> {
    offset: Option<u64>,
    bytes: &'a mut dyn Read,
}

/// The state of the layer that is being applied.
struct Layer<'a> {
    what: &'a str,
    semantics: Semantics,
    /// True if no marker can hide anything: entries are applied at once.
    direct: bool,
    markers: Vec<Marker>,
    batches: Vec<Vec<Pending>>,
    /// Members of AUFS that hard links may lead to.
    aufs: HashMap<Box<[u8]>, Id>,
    /// The inodes of these members, held until the layer ends.
    held: Vec<Id>,
    /// The number of entries that were metadata of AUFS, and the path of the first.
    aufs_found: Option<(u64, Vec<u8>)>,
    /// The number of hard links whose own header differs from their target's.
    differing: u64,
}

impl Tree {
    /// Applies the next layer up: `source` is the **uncompressed** tar, which is read to its last
    /// byte. `what` names the tar in warnings; errors name the entry, and the caller adds the
    /// layer.
    ///
    /// Bodies of all regular files go to `store`, those that a later entry replaces too. Entries
    /// are applied in their order. Parents that are missing are made (0755, 0:0, time 0). A hard
    /// link shares the inode that its target has at that moment; replacing a path changes no other
    /// path of the old inode. Mode, owner, time and extended attributes in a hard link's own header
    /// count for all names of the file, as for Docker, podman and containerd (see `header`). Paths
    /// of entries, of whiteouts and of hard links' targets lead over symbolic links in their
    /// parents, inside the root; but a whiteout does not go through a link that its own layer
    /// covers with a directory or removes.
    ///
    /// Warnings: `duplicate-entry` (the last one wins), `aufs-metadata` (dropped), `link-header`
    /// (of a hard link, differs from its target's) and `overlay-marker` (kept as data).
    ///
    /// # Errors
    /// If the tar is malformed, or [`Code::BadTar`] (a hard link to nothing, to a directory or to
    /// itself; a root that is not a directory; an odd whiteout), [`Code::Escape`], [`Code::Cycle`],
    /// [`Code::Limit`]. The tree must not be used afterwards.
    pub fn apply(
        &mut self,
        source: &mut dyn Read,
        semantics: Semantics,
        store: &mut dyn ContentStore,
        what: &str,
    ) -> Result<()> {
        self.layer += 1;
        match (semantics, &mut self.windows) {
            (Semantics::Aci, windows) => *windows = None,
            (Semantics::Windows, Some(windows)) => windows.certain = true,
            (Semantics::Windows | Semantics::Layer, _) => {}
        }
        let mut layer = Layer {
            what,
            semantics,
            direct: semantics == Semantics::Aci || self.arena.len() == 0,
            markers: Vec::new(),
            batches: Vec::new(),
            aufs: HashMap::new(),
            held: Vec::new(),
            aufs_found: None,
            differing: 0,
        };
        let mut tar = Reader::new(source, &self.env.limits, &self.env.notes, what);
        while let Some(mut entry) = tar.next_entry()? {
            self.env.check_cancelled()?;
            self.entries += 1;
            if self.entries > self.env.limits.entries {
                let what = "the number of tar entries";
                return Err(Limits::exceeded("entries", self.env.limits.entries, what));
            }
            let mut body = Body {
                offset: tar.body_offset(),
                bytes: &mut tar,
            };
            self.read(&mut layer, &mut entry, &mut body, store)
                .map_err(|error| error.at(format!("entry {}", quote(&entry.path))))?;
        }
        self.hide(&layer)?;
        for batch in std::mem::take(&mut layer.batches) {
            self.env.check_cancelled()?;
            for pending in batch {
                self.place(&mut layer, &pending)
                    .map_err(|error| error.at(format!("entry {}", quote(pending.path()))))?;
            }
        }
        for inode in layer.held {
            self.arena.release(inode);
        }
        if layer.differing > TOLD {
            let message = format!(
                "{} hard links in all have headers that differ from their targets'",
                layer.differing
            );
            self.env.notes.warn("link-header", what, message);
        }
        if let Some((count, first)) = layer.aufs_found {
            let message = format!("AUFS metadata was dropped: {count} entries, this is the first");
            let at = format!("{what} › entry {}", quote(first));
            self.env.notes.warn("aufs-metadata", at, message);
        }
        Ok(())
    }

    /// Reads one entry: its body goes to the store, the entry to the waiting entries or to the
    /// tree.
    fn read(
        &mut self,
        layer: &mut Layer<'_>,
        entry: &mut Entry,
        body: &mut Body<'_>,
        store: &mut dyn ContentStore,
    ) -> Result<()> {
        let path = clean(&entry.path, &self.env.limits)?;
        self.note_of_windows(&path)?;
        let mut aufs = false;
        if layer.semantics != Semantics::Aci {
            match marker(&path)? {
                Marker::None => {}
                Marker::Aufs => {
                    aufs = true;
                    let found = layer.aufs_found.get_or_insert_with(|| (0, path.clone()));
                    found.0 += 1;
                    if entry.kind == EntryKind::Directory {
                        return Ok(());
                    }
                }
                found => {
                    if !layer.direct {
                        layer.markers.push(found);
                    }
                    return Ok(());
                }
            }
        }
        if path.is_empty() && entry.kind != EntryKind::Directory {
            let message = format!(
                "the type of root is {}, it can only be a directory",
                entry.kind.describe()
            );
            return Err(Error::new(Code::BadTar, message));
        }
        let pending = if entry.kind == EntryKind::HardLink {
            let target = clean(&entry.link, &self.env.limits)
                .map_err(|error| error.at(format!("hard link to {}", quote(&entry.link))))?;
            let header = self.inode(entry, body, store)?;
            Pending {
                text: [&path[..], b"\0", &target].concat().into(),
                inode: self.arena.add_inode(header),
                link: true,
                aufs,
            }
        } else {
            self.warn_of_overlay(layer, entry);
            let inode = self.inode(entry, body, store)?;
            Pending {
                text: path.into(),
                inode: self.arena.add_inode(inode),
                link: false,
                aufs,
            }
        };
        if layer.direct {
            return self.place(layer, &pending);
        }
        match layer.batches.last_mut() {
            Some(batch) if batch.len() < BATCH => batch.push(pending),
            _ => layer.batches.push(vec![pending]),
        }
        Ok(())
    }

    /// Notes the path of an entry, or the path that the entry whites out, as long as these may be
    /// layers of Windows.
    fn note_of_windows(&mut self, path: &[u8]) -> Result<()> {
        let layer = self.layer;
        if let Some(windows) = &mut self.windows {
            let is_windows = match marker(path)? {
                Marker::None => windows.note(path, layer),
                Marker::Whiteout(path) | Marker::Opaque(path) => windows.note(&path, layer),
                Marker::Aufs => true,
            };
            if !is_windows {
                self.windows = None;
            }
        }
        Ok(())
    }

    /// Makes the inode of an entry; the inode of a hard link has no content.
    fn inode(
        &mut self,
        entry: &mut Entry,
        body: &mut Body<'_>,
        store: &mut dyn ContentStore,
    ) -> Result<Inode> {
        let permissions = u16::try_from(entry.mode & 0o7777).expect("it is masked");
        let mut inode = Inode::new(entry.kind, permissions);
        match entry.kind {
            EntryKind::Regular => {
                inode.size = entry.size;
                if entry.size > 0 {
                    inode.data = match body.offset {
                        Some(offset) => store.put_at(offset, body.bytes, entry.size)?,
                        None => store.put(body.bytes, entry.size)?,
                    };
                }
            }
            EntryKind::Symlink => {
                inode.mode = 0o777;
                inode.data = u64::from(self.arena.bytes.add(&entry.link));
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                let (major, minor) = entry.device;
                inode.data = u64::from(major) << 32 | u64::from(minor);
            }
            EntryKind::Directory | EntryKind::Fifo | EntryKind::HardLink => {}
        }
        (inode.uid, inode.gid) = (entry.uid, entry.gid);
        (inode.seconds, inode.nanos) = (entry.mtime.seconds, entry.mtime.nanos);
        inode.uname = self.arena.bytes.add(&entry.uname);
        inode.gname = self.arena.bytes.add(&entry.gname);
        inode.pax = self.arena.pax.add(&entry.pax);
        Ok(inode)
    }

    /// Warns of entries that overlayfs would read as a deletion. Only overlayfs reads them so, so
    /// they are kept as data.
    fn warn_of_overlay(&self, layer: &Layer<'_>, entry: &Entry) {
        let device = entry.kind == EntryKind::CharDevice && entry.device == (0, 0);
        let xattr = entry.pax.iter().map(|(key, _)| key).find(|key| {
            let name = key
                .strip_prefix(b"SCHILY.xattr.")
                .or_else(|| key.strip_prefix(b"LIBARCHIVE.xattr."));
            name.is_some_and(|name| {
                name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
            })
        });
        let what = match xattr {
            Some(key) => format!("the record {} is of overlayfs", quote(key)),
            None if device => "the character device 0:0 is a whiteout of overlayfs".to_owned(),
            None => return,
        };
        let at = format!("{} › entry {}", layer.what, quote(&entry.path));
        let message = format!("{what}; it is kept as data and deletes nothing");
        self.env.notes.warn("overlay-marker", at, message);
    }

    /// Removes the paths that the markers of a layer hide. All of these paths are found before one
    /// is removed, so the order of the markers does not matter.
    fn hide(&mut self, layer: &Layer<'_>) -> Result<()> {
        if layer.markers.is_empty() {
            return Ok(());
        }
        self.targets.clear();
        let covered = OnceCell::new();
        let (mut whiteouts, mut opaque) = (Vec::new(), Vec::new());
        for marker in &layer.markers {
            match marker {
                Marker::Whiteout(path) => {
                    let (parent, name) = split(path);
                    let id = self
                        .lower(layer, &covered, parent)
                        .map_err(|error| error.at(format!("whiteout of {}", quote(path))))?
                        .and_then(|parent| self.arena.child(parent, name));
                    whiteouts.extend(id);
                }
                Marker::Opaque(path) => {
                    let id = self
                        .lower(layer, &covered, path)
                        .map_err(|error| error.at(format!("opaque whiteout in {}", quote(path))))?;
                    opaque.extend(id);
                }
                Marker::None | Marker::Aufs => {}
            }
        }
        self.targets.clear();
        for id in opaque {
            if self.arena.alive(id) {
                self.arena.clear(id);
            }
        }
        for id in whiteouts {
            if self.arena.alive(id) {
                self.arena.remove(id);
            }
        }
        Ok(())
    }

    /// Finds a directory of the lower layers for a marker.
    fn lower<'a>(
        &mut self,
        layer: &'a Layer<'_>,
        covered: &OnceCell<HashSet<&'a [u8]>>,
        path: &[u8],
    ) -> Result<Option<Id>> {
        let covered = covered.get_or_init(|| {
            let pending = layer.batches.iter().flatten();
            let directories = pending.filter(|pending| {
                !pending.link && self.arena.inode_at(pending.inode).kind == EntryKind::Directory
            });
            let whiteouts = layer.markers.iter().filter_map(|marker| match marker {
                Marker::Whiteout(path) => Some(&path[..]),
                _ => None,
            });
            directories.map(Pending::path).chain(whiteouts).collect()
        });
        let intent = Intent::FindBelow(covered);
        directory(
            &mut self.arena,
            &mut self.targets,
            path,
            intent,
            &self.env.limits,
        )
    }

    /// Puts one entry in the tree.
    fn place(&mut self, layer: &mut Layer<'_>, pending: &Pending) -> Result<()> {
        let path = pending.path();
        let (inode, target) = if pending.link {
            let (inode, target) = self.link(layer, pending.target())?;
            let header = self.arena.take_inode(pending.inode);
            self.header(layer, pending, &header, inode);
            (inode, target)
        } else {
            (pending.inode, None)
        };
        // The inode is held, since making the parents may remove the target's own path.
        self.arena.hold(inode);
        if pending.aufs {
            layer.aufs.insert(path.into(), inode);
            layer.held.push(inode);
            return Ok(());
        }
        let existing = if path.is_empty() {
            Ok(ROOT)
        } else {
            let (parent, name) = split(path);
            let intent = Intent::Make {
                follow: layer.semantics != Semantics::Aci,
            };
            let limits = &self.env.limits;
            let parent = directory(&mut self.arena, &mut self.parents, parent, intent, limits)?
                .expect("a directory that is to be made is there");
            if self.parents.linked() {
                // A symbolic link may lead deeper than the longest name of an entry.
                let length = self.arena.path_length(parent) + 1 + name.len() as u64;
                if length > limits.path {
                    let what = format!("path {}, of {length} bytes behind its links,", quote(path));
                    return Err(Limits::exceeded("path", limits.path, what));
                }
            }
            self.arena.child(parent, name).ok_or((parent, name))
        };
        match existing {
            Err((parent, name)) => {
                self.arena.insert(parent, name, inode, self.layer)?;
            }
            Ok(id) if Some(id) == target => {
                let message = "the hard link leads to itself";
                let place = format!("hard link to {}", quote(pending.target()));
                return Err(Error::new(Code::BadTar, message).at(place));
            }
            Ok(id) => {
                if self.arena.layer(id) == self.layer {
                    let at = format!("{} › entry {}", layer.what, quote(path));
                    let message = "the layer has the path more than once; the last one counts";
                    self.env.notes.warn("duplicate-entry", at, message);
                }
                self.arena.replace(id, inode);
                self.arena.set_layer(id, self.layer);
            }
        }
        self.arena.release(inode);
        Ok(())
    }

    /// Applies the header of a hard link to the file that it leads to: mode, owner and time as in
    /// the header, and the extended attributes if they are at least those of the file. A symbolic
    /// link takes the owner only, as in the engines. Every difference is reported.
    fn header(&mut self, layer: &mut Layer<'_>, pending: &Pending, own: &Inode, inode: Id) {
        let mut file = *self.arena.inode_at(inode);
        let mut told: Vec<String> = Vec::new();
        let mut kept = "";
        if (own.uid, own.gid) != (file.uid, file.gid) {
            told.push(format!(
                "owner {}:{} for {}:{}",
                own.uid, own.gid, file.uid, file.gid
            ));
            (file.uid, file.gid) = (own.uid, own.gid);
            (file.uname, file.gname) = (own.uname, own.gname);
        }
        if file.kind != EntryKind::Symlink {
            if own.mode != file.mode {
                told.push(format!("mode {:04o} for {:04o}", own.mode, file.mode));
                file.mode = own.mode;
            }
            // Some writers store the fraction of the time of an inode only once.
            if own.seconds != file.seconds || (own.nanos != 0 && own.nanos != file.nanos) {
                told.push(format!(
                    "time {}.{:09} for {}.{:09}",
                    own.seconds, own.nanos, file.seconds, file.nanos
                ));
                (file.seconds, file.nanos) = (own.seconds, own.nanos);
            }
        }
        if own.pax != file.pax {
            let (records, known) = (self.arena.pax.get(own.pax), self.arena.pax.get(file.pax));
            if !records.iter().any(|(key, _)| is_attribute(key)) {
                // The header of the link has none of these attributes.
            } else if !covers(records, known) {
                told.push("other extended attributes".to_owned());
                kept = ", except the extended attributes: those of the file stay";
            } else if attributes(records) != attributes(known) {
                told.push("other extended attributes".to_owned());
                file.pax = own.pax;
            }
        }
        if told.is_empty() {
            return;
        }
        self.arena.set_inode(inode, file);
        layer.differing += 1;
        if layer.differing <= TOLD {
            let at = format!("{} › entry {}", layer.what, quote(pending.path()));
            let message = format!(
                "the header of the hard link differs from that of its target {}: {}; as for \
                 container engines, the header of the link is used for every name of the \
                 file{kept}",
                quote(pending.target()),
                told.join(", ")
            );
            self.env.notes.warn("link-header", at, message);
        }
    }

    /// Finds the inode that a hard link leads to, and the path in the tree that has the inode.
    fn link(&mut self, layer: &Layer<'_>, target: &[u8]) -> Result<(Id, Option<Id>)> {
        if let Some(inode) = layer.aufs.get(target) {
            return Ok((*inode, None));
        }
        let place = || format!("hard link to {}", quote(target));
        let (parent, name) = split(target);
        let limits = &self.env.limits;
        let found = directory(
            &mut self.arena,
            &mut self.targets,
            parent,
            Intent::Find,
            limits,
        )
        .map_err(|error| error.at(place()))?
        .and_then(|parent| match name {
            b"" => Some(parent),
            _ => self.arena.child(parent, name),
        });
        let Some(id) = found else {
            let message = "the path exists neither earlier in the layer nor in the layers below";
            return Err(Error::new(Code::BadTar, message).at(place()));
        };
        if self.arena.is_directory(id) {
            let message = "a directory can't be the target of a hard link";
            return Err(Error::new(Code::BadTar, message).at(place()));
        }
        Ok((self.arena.inode_id(id), Some(id)))
    }
}

/// The number of hard links per layer that warnings name because their headers differ from their
/// targets'.
const TOLD: u64 = 8;

/// Returns true if a PAX record is an extended attribute of the file.
fn is_attribute(key: &[u8]) -> bool {
    [&b"SCHILY.xattr."[..], b"LIBARCHIVE.xattr.", b"SCHILY.acl."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
        || key == b"RHT.security.selinux"
}

/// Returns true if the records of a hard link's header are all extended attributes of its target,
/// or more. The work depends on the header alone: a target with many records may have many links.
fn covers(own: &[(Vec<u8>, Vec<u8>)], target: &[(Vec<u8>, Vec<u8>)]) -> bool {
    if target.len() > own.len() + 16 {
        return false;
    }
    let own: HashSet<&[u8]> = own.iter().map(|(key, _)| &key[..]).collect();
    let mut keys = target.iter().map(|(key, _)| &key[..]);
    keys.all(|key| !is_attribute(key) || own.contains(key))
}

/// The extended attributes among some records, in the order of their keys.
fn attributes(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<&(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<_> = records
        .iter()
        .filter(|(key, _)| is_attribute(key))
        .collect();
    found.sort_unstable();
    found
}
