//! Reading the entries of one layer apart from any tree, so that several layers can be read at once.
//!
//! A scan cleans names and reads markers; bodies go to a store. The rules that need the paths of
//! other entries are those of `apply`.

use std::{io::Read, sync::Arc};

use imgconv_model::{Code, Env, Error, Result, quote};
use imgconv_tar::{Entry, EntryKind, Reader};

use super::{
    Semantics,
    arena::{Pool, Record},
};
use crate::{
    ContentStore,
    marker::{Marker, marker},
    path::clean_into,
};

/// The number of entries in a batch, and the bytes of their names and records from which on a batch
/// has no more entries.
const ENTRIES: usize = 1024;
const BYTES: usize = 256 << 10;

/// The meaning of an entry of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An ordinary entry.
    Entry,
    /// A hard link.
    Link,
    /// Metadata of AUFS, which is kept only for hard links that lead to it.
    Aufs,
    /// A hard link that is metadata of AUFS.
    AufsLink,
    /// A directory of AUFS, which is counted only.
    Dropped,
    /// A whiteout of the path.
    Whiteout,
    /// An opaque whiteout in the directory of the path.
    Opaque,
}

/// An entry without its names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) role: Role,
    pub(super) kind: EntryKind,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nanos: u32,
    pub(super) seconds: i64,
    pub(super) size: u64,
    /// The content's key, or the device's major and minor number.
    pub(super) data: u64,
    /// Positions in the batch's lists of names and of records.
    pub(super) uname: u32,
    pub(super) gname: u32,
    pub(super) pax: u32,
    /// The ends in the batch's text of the cleaned path and of the link's target after it.
    path: u32,
    link: u32,
}

/// Some entries of a layer, in their order. Memory is 64 bytes for each entry and the length of its
/// names; owner names and lists of PAX records are held once for entries of a batch that have equal
/// ones.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    items: Vec<Item>,
    pub(super) names: Vec<Arc<[u8]>>,
    pub(super) pax: Vec<Arc<[Record]>>,
    bytes: usize,
}

impl Batch {
    /// The number of bytes of memory that the batch needs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries with their cleaned paths and the targets of links.
    pub(super) fn items(&self) -> impl Iterator<Item = (&Item, &[u8], &[u8])> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let (path, link) = (item.path as usize, item.link as usize);
            let names = (&self.text[start..path], &self.text[path..link]);
            start = link;
            (item, names.0, names.1)
        })
    }
}

/// Reads the entries of a layer's **uncompressed** tar, to its last byte, and gives them to `each`
/// in batches. Bodies of all regular files go to `store`. `what` names the tar in warnings; errors
/// name the entry, and the caller adds the layer.
///
/// `each` gets all entries before an error. See [`Tree::apply`](super::Tree::apply), which is a scan
/// whose batches are added to a tree.
///
/// # Errors
/// If the tar is malformed or a name in it is not allowed; the errors of the store and of `each`.
pub fn scan(
    source: &mut dyn Read,
    semantics: Semantics,
    store: &mut dyn ContentStore,
    env: &Env,
    what: &str,
    each: &mut dyn FnMut(Batch) -> Result<()>,
) -> Result<()> {
    let mut scan = Scan {
        env,
        what,
        semantics,
        batch: Batch::default(),
        names: Pool::default(),
        pax: Pool::default(),
        bytes: 0,
    };
    let mut tar = Reader::new(source, &env.limits, &env.notes, what);
    loop {
        match scan.next(&mut tar, store) {
            Ok(true) if scan.batch.items.len() < ENTRIES && scan.bytes < BYTES => {}
            Ok(true) => each(scan.take())?,
            Ok(false) => break,
            Err(error) => {
                each(scan.take())?;
                return Err(error);
            }
        }
    }
    each(scan.take())
}

/// The batch that is being filled.
struct Scan<'a> {
    env: &'a Env,
    what: &'a str,
    semantics: Semantics,
    batch: Batch,
    names: Pool<[u8]>,
    pax: Pool<[Record]>,
    /// The bytes of names and records.
    bytes: usize,
}

impl Scan<'_> {
    fn take(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.text.shrink_to_fit();
        batch.items.shrink_to_fit();
        batch.names = std::mem::take(&mut self.names).into_items();
        batch.pax = std::mem::take(&mut self.pax).into_items();
        batch.bytes = std::mem::take(&mut self.bytes) + size_of::<Item>() * batch.items.len();
        batch
    }

    /// Reads the next entry; false at the end.
    fn next(
        &mut self,
        tar: &mut Reader<&mut dyn Read>,
        store: &mut dyn ContentStore,
    ) -> Result<bool> {
        let Some(entry) = tar.next_entry()? else {
            return Ok(false);
        };
        self.env.check_cancelled()?;
        let start = self.batch.text.len();
        self.read(&entry, tar, store).map_err(|error| {
            self.batch.text.truncate(start);
            error.at(format!("entry {}", quote(&entry.path)))
        })?;
        Ok(true)
    }

    fn read(
        &mut self,
        entry: &Entry,
        tar: &mut Reader<&mut dyn Read>,
        store: &mut dyn ContentStore,
    ) -> Result<()> {
        let limits = &self.env.limits;
        let start = self.batch.text.len();
        clean_into(&entry.path, limits, &mut self.batch.text)?;
        let path = &self.batch.text[start..];
        let found = match self.semantics {
            Semantics::Aci => Marker::None,
            Semantics::Layer | Semantics::Windows => marker(path)?,
        };
        let is_link = entry.kind == EntryKind::HardLink;
        let role = match found {
            Marker::None if is_link => Role::Link,
            Marker::None => Role::Entry,
            Marker::Aufs if entry.kind == EntryKind::Directory => Role::Dropped,
            Marker::Aufs if is_link => Role::AufsLink,
            Marker::Aufs => Role::Aufs,
            Marker::Whiteout(hidden) => {
                self.name(start, &hidden);
                Role::Whiteout
            }
            Marker::Opaque(directory) => {
                self.name(start, &directory);
                Role::Opaque
            }
        };
        if matches!(role, Role::Whiteout | Role::Opaque | Role::Dropped) {
            let end = self.position()?;
            self.add(start, Item::new(role, entry, end, end));
            return Ok(());
        }
        if self.batch.text.len() == start && entry.kind != EntryKind::Directory {
            let message = format!(
                "the type of root is {}, it can only be a directory",
                entry.kind.describe()
            );
            return Err(Error::new(Code::BadTar, message));
        }
        let end = self.position()?;
        match entry.kind {
            EntryKind::HardLink => clean_into(&entry.link, limits, &mut self.batch.text)
                .map_err(|error| error.at(format!("hard link to {}", quote(&entry.link))))?,
            EntryKind::Symlink => self.batch.text.extend_from_slice(&entry.link),
            _ => {}
        }
        if !is_link {
            self.warn_of_overlay(entry);
        }
        let mut item = Item::new(role, entry, end, self.position()?);
        self.content(&mut item, entry, tar, store)?;
        let known = self.names.len();
        item.uname = self.names.add(&entry.uname);
        item.gname = self.names.add(&entry.gname);
        if self.names.len() > known {
            self.bytes += entry.uname.len() + entry.gname.len() + 128;
        }
        let known = self.pax.len();
        item.pax = self.pax.add(&entry.pax);
        if self.pax.len() > known {
            let bytes = entry
                .pax
                .iter()
                .map(|(key, value)| key.len() + value.len() + 64);
            self.bytes += bytes.sum::<usize>();
        }
        self.add(start, item);
        Ok(())
    }

    /// Replaces the path at the end of the text.
    fn name(&mut self, start: usize, path: &[u8]) {
        self.batch.text.truncate(start);
        self.batch.text.extend_from_slice(path);
    }

    /// The end of the text: a batch is far shorter than 4 GiB, unless the limit `path` was raised.
    fn position(&self) -> Result<u32> {
        let end = u32::try_from(self.batch.text.len());
        end.map_err(|_| Error::new(Code::Limit, "the name is too long"))
    }

    fn add(&mut self, start: usize, item: Item) {
        self.bytes += self.batch.text.len() - start;
        self.batch.items.push(item);
    }

    /// Puts the body in the store, or reads the numbers of a device.
    fn content(
        &self,
        item: &mut Item,
        entry: &Entry,
        tar: &mut Reader<&mut dyn Read>,
        store: &mut dyn ContentStore,
    ) -> Result<()> {
        match entry.kind {
            EntryKind::Regular => {
                item.size = entry.size;
                if entry.size > 0 {
                    item.data = match tar.body_offset() {
                        Some(offset) => store.put_at(offset, tar, entry.size)?,
                        None => store.put(tar, entry.size)?,
                    };
                }
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                let (major, minor) = entry.device;
                item.data = u64::from(major) << 32 | u64::from(minor);
            }
            _ => {}
        }
        Ok(())
    }

    /// Warns of entries that overlayfs would read as a deletion. Only overlayfs reads them so, so
    /// they are kept as data.
    fn warn_of_overlay(&self, entry: &Entry) {
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
        let at = format!("{} › entry {}", self.what, quote(&entry.path));
        let message = format!("{what}; it is kept as data and deletes nothing");
        self.env.notes.warn("overlay-marker", at, message);
    }
}

impl Item {
    /// Makes an item of the fields that every entry has; `path` and `link` are the ends of its
    /// names.
    fn new(role: Role, entry: &Entry, path: u32, link: u32) -> Self {
        let mode = u16::try_from(entry.mode & 0o7777).expect("it is masked");
        Self {
            role,
            kind: entry.kind,
            mode: if entry.kind == EntryKind::Symlink {
                0o777
            } else {
                mode
            },
            uid: entry.uid,
            gid: entry.gid,
            nanos: entry.mtime.nanos,
            seconds: entry.mtime.seconds,
            size: 0,
            data: 0,
            uname: 0,
            gname: 0,
            pax: 0,
            path,
            link,
        }
    }
}

#[cfg(test)]
mod tests {
    use imgconv_model::Platform;
    use imgconv_tar::{END, head};

    use super::*;
    use crate::Discard;

    // robustness E11: the figure in the documentation of `Batch` and of `Tree`
    #[test]
    fn e11_bytes_of_a_waiting_entry() {
        assert_eq!(size_of::<Item>(), 64);
    }

    /// The batches of a layer of files with these records.
    fn batches(records: impl Iterator<Item = Vec<u8>>) -> Vec<Batch> {
        let mut tar = Vec::new();
        for (i, value) in records.enumerate() {
            let mut entry = Entry::new(format!("file-{i}"), EntryKind::Regular);
            entry.pax.push((b"SCHILY.xattr.user.a".to_vec(), value));
            tar.extend(head(&entry).unwrap());
        }
        tar.extend(END);
        let env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
        let mut batches = Vec::new();
        let mut keep = |batch| {
            batches.push(batch);
            Ok(())
        };
        let (mut source, semantics) = (&tar[..], Semantics::Layer);
        scan(
            &mut source,
            semantics,
            &mut Discard,
            &env,
            "layer",
            &mut keep,
        )
        .unwrap();
        batches
    }

    // robustness E11: a batch has a bound in bytes, whatever its entries say
    #[test]
    fn e11_long_records_end_a_batch() {
        let large = batches((0..40u8).map(|i| vec![i; 100_000]));
        assert!(large.len() >= 12, "{}", large.len());
        assert!(large.iter().all(|batch| batch.bytes() < BYTES + 101_000));
        let equal = batches((0..40u8).map(|_| vec![7; 100_000]));
        assert_eq!(equal.len(), 1);
        assert!(equal[0].bytes() < 110_000);
    }
}
