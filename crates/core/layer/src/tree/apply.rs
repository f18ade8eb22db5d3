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
use imgconv_tar::EntryKind;

use super::{
    Semantics, Tree,
    arena::{Id, Inode, ROOT},
    resolve::{Intent, directory},
    scan::{Batch, Item, Role, scan},
};
use crate::{ContentStore, path::split};

/// A layer that is being applied to a tree, see [`Tree::begin`].
#[derive(Debug)]
pub struct Applying {
    what: String,
    semantics: Semantics,
    /// True if no marker can hide anything: entries are applied at once.
    direct: bool,
    batches: Vec<Batch>,
    /// Members of AUFS that hard links may lead to.
    aufs: HashMap<Box<[u8]>, Id>,
    /// The inodes of these members, held until the layer ends.
    held: Vec<Id>,
    /// The number of entries that were metadata of AUFS, and the path of the first.
    aufs_found: Option<(u64, Vec<u8>)>,
    /// The number of hard links whose own header differs from their target's.
    differing: u64,
}

/// An entry whose turn it is.
struct Placing<'a> {
    item: &'a Item,
    path: &'a [u8],
    link: &'a [u8],
    /// The inode of the path; for a hard link the fields of its own header.
    inode: Inode,
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
        let mut layer = self.begin(semantics, what);
        let env = self.env.clone();
        let mut add = |batch| self.add(&mut layer, batch);
        scan(source, semantics, store, &env, what, &mut add)?;
        self.end(layer)
    }

    /// Begins to apply the next layer up, whose batches [`scan`] makes.
    pub fn begin(&mut self, semantics: Semantics, what: &str) -> Applying {
        self.layer += 1;
        match (semantics, &mut self.windows) {
            (Semantics::Aci, windows) => *windows = None,
            (Semantics::Windows, Some(windows)) => windows.certain = true,
            (Semantics::Windows | Semantics::Layer, _) => {}
        }
        Applying {
            what: what.to_owned(),
            semantics,
            direct: semantics == Semantics::Aci || self.arena.len() == 0,
            batches: Vec::new(),
            aufs: HashMap::new(),
            held: Vec::new(),
            aufs_found: None,
            differing: 0,
        }
    }

    /// Adds the next entries of a layer. Over other layers they wait for the end of the layer.
    ///
    /// # Errors
    /// The errors of [`apply`](Self::apply).
    pub fn add(&mut self, layer: &mut Applying, batch: Batch) -> Result<()> {
        self.note(layer, &batch)?;
        if layer.direct {
            return self.place_all(layer, &batch);
        }
        layer.batches.push(batch);
        Ok(())
    }

    /// Ends a layer whose batches were all added.
    ///
    /// # Errors
    /// The errors of [`apply`](Self::apply).
    pub fn end(&mut self, mut layer: Applying) -> Result<()> {
        self.hide(&layer)?;
        for batch in std::mem::take(&mut layer.batches) {
            self.env.check_cancelled()?;
            self.place_all(&mut layer, &batch)?;
        }
        for inode in layer.held {
            self.arena.release(inode);
        }
        if layer.differing > TOLD {
            let message = format!(
                "{} hard links in all have headers that differ from their targets'",
                layer.differing
            );
            self.env.notes.warn("link-header", &layer.what, message);
        }
        if let Some((count, first)) = layer.aufs_found {
            let message = format!("AUFS metadata was dropped: {count} entries, this is the first");
            let at = format!("{} › entry {}", layer.what, quote(first));
            self.env.notes.warn("aufs-metadata", at, message);
        }
        Ok(())
    }

    /// Counts the entries of a batch, and notes their paths and those that they white out, as long
    /// as these may be layers of Windows.
    fn note(&mut self, layer: &mut Applying, batch: &Batch) -> Result<()> {
        for (item, path, _) in batch.items() {
            self.entries += 1;
            if self.entries > self.env.limits.entries {
                let what = "the number of tar entries";
                return Err(Limits::exceeded("entries", self.env.limits.entries, what));
            }
            if matches!(item.role, Role::Aufs | Role::AufsLink | Role::Dropped) {
                let found = layer.aufs_found.get_or_insert_with(|| (0, path.to_vec()));
                found.0 += 1;
            } else if let Some(windows) = &mut self.windows
                && !windows.note(path, self.layer)
            {
                self.windows = None;
            }
        }
        Ok(())
    }

    /// Puts the entries of a batch in the tree.
    fn place_all(&mut self, layer: &mut Applying, batch: &Batch) -> Result<()> {
        let names: Vec<u32> = batch
            .names
            .iter()
            .map(|name| self.arena.bytes.add(name))
            .collect();
        let pax: Vec<u32> = batch
            .pax
            .iter()
            .map(|list| self.arena.pax.add(list))
            .collect();
        for (item, path, link) in batch.items() {
            if matches!(item.role, Role::Dropped | Role::Whiteout | Role::Opaque) {
                continue;
            }
            let inode = Inode {
                uid: item.uid,
                gid: item.gid,
                seconds: item.seconds,
                nanos: item.nanos,
                uname: names[item.uname as usize],
                gname: names[item.gname as usize],
                pax: pax[item.pax as usize],
                size: item.size,
                data: match item.kind {
                    EntryKind::Symlink => u64::from(self.arena.bytes.add(link)),
                    _ => item.data,
                },
                ..Inode::new(item.kind, item.mode)
            };
            let placing = Placing {
                item,
                path,
                link,
                inode,
            };
            self.place(layer, &placing)
                .map_err(|error| error.at(format!("entry {}", quote(path))))?;
        }
        Ok(())
    }

    /// Removes the paths that the markers of a layer hide. All of these paths are found before one
    /// is removed, so the order of the markers does not matter.
    fn hide(&mut self, layer: &Applying) -> Result<()> {
        let items = || layer.batches.iter().flat_map(Batch::items);
        let is_marker = |item: &Item| matches!(item.role, Role::Whiteout | Role::Opaque);
        if !items().any(|(item, ..)| is_marker(item)) {
            return Ok(());
        }
        self.targets.clear();
        let covered = OnceCell::new();
        let (mut whiteouts, mut opaque) = (Vec::new(), Vec::new());
        for (item, path, _) in items() {
            match item.role {
                Role::Whiteout => {
                    let (parent, name) = split(path);
                    let id = self
                        .lower(layer, &covered, parent)
                        .map_err(|error| error.at(format!("whiteout of {}", quote(path))))?
                        .and_then(|parent| self.arena.child(parent, name));
                    whiteouts.extend(id);
                }
                Role::Opaque => {
                    let id = self
                        .lower(layer, &covered, path)
                        .map_err(|error| error.at(format!("opaque whiteout in {}", quote(path))))?;
                    opaque.extend(id);
                }
                _ => {}
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
        layer: &'a Applying,
        covered: &OnceCell<HashSet<&'a [u8]>>,
        path: &[u8],
    ) -> Result<Option<Id>> {
        let covered = covered.get_or_init(|| {
            let items = layer.batches.iter().flat_map(Batch::items);
            let covers = |item: &Item| match item.role {
                Role::Entry | Role::Aufs => item.kind == EntryKind::Directory,
                Role::Whiteout => true,
                _ => false,
            };
            let covering = items.filter(|(item, ..)| covers(item));
            covering.map(|(_, path, _)| path).collect()
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
    fn place(&mut self, layer: &mut Applying, placing: &Placing<'_>) -> Result<()> {
        let path = placing.path;
        let (inode, target) = match placing.item.role {
            // AUFS makes a whiteout by a hard link to its own file, so this file may lead to a whiteout of the
            // same layer, which is no file in the tree. Only a link to the file needs the content.
            Role::AufsLink if !self.leads_to_file(layer, placing.link)? => return Ok(()),
            Role::Link | Role::AufsLink => {
                let (inode, target) = self.link(layer, placing.link)?;
                self.header(layer, placing, inode);
                (inode, target)
            }
            _ => (self.arena.add_inode(placing.inode), None),
        };
        // The inode is held, since making the parents may remove the target's own path.
        self.arena.hold(inode);
        if matches!(placing.item.role, Role::Aufs | Role::AufsLink) {
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
                let place = format!("hard link to {}", quote(placing.link));
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
    fn header(&mut self, layer: &mut Applying, placing: &Placing<'_>, inode: Id) {
        let own = &placing.inode;
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
            let at = format!("{} › entry {}", layer.what, quote(placing.path));
            let message = format!(
                "the header of the hard link differs from that of its target {}: {}; as for \
                 container engines, the header of the link is used for every name of the \
                 file{kept}",
                quote(placing.link),
                told.join(", ")
            );
            self.env.notes.warn("link-header", at, message);
        }
    }

    /// Says whether the target of a hard link between files of AUFS is a file.
    fn leads_to_file(&mut self, layer: &Applying, target: &[u8]) -> Result<bool> {
        Ok(layer.aufs.contains_key(target) || self.find(target)?.is_some())
    }

    /// Finds the target of a hard link in the tree.
    fn find(&mut self, target: &[u8]) -> Result<Option<Id>> {
        let (parent, name) = split(target);
        let limits = &self.env.limits;
        let parent = directory(
            &mut self.arena,
            &mut self.targets,
            parent,
            Intent::Find,
            limits,
        )
        .map_err(|error| error.at(format!("hard link to {}", quote(target))))?;
        Ok(parent.and_then(|parent| match name {
            b"" => Some(parent),
            _ => self.arena.child(parent, name),
        }))
    }

    /// Finds the inode that a hard link leads to, and the path in the tree that has the inode.
    fn link(&mut self, layer: &Applying, target: &[u8]) -> Result<(Id, Option<Id>)> {
        if let Some(inode) = layer.aufs.get(target) {
            return Ok((*inode, None));
        }
        let place = || format!("hard link to {}", quote(target));
        let Some(id) = self.find(target)? else {
            let message = match self.alone {
                true => {
                    "the path does not exist earlier in this ACI, whose whitelist is applied to its own files, \
                     without those of its dependencies"
                }
                false => "the path exists neither earlier in the layer nor in the layers below",
            };
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
