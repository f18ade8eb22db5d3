//! Creates the entries of a tree below an open directory.
//!
//! Two passes: the first creates everything, with directories that only their owner can enter; the
//! second gives directories their metadata, the deepest first, so that neither a mode locks the
//! writer out nor a later entry changes a time. Hard links may lead into any directory until the
//! first pass ends, so the two passes can't be one.

use std::{
    collections::{HashMap, hash_map},
    fs::File,
    io::Write as _,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use imgconv_fs::set_mode;
use imgconv_layer::{FrozenSpool, Node, Tree};
use imgconv_model::{Code, Env, Error, Event, Result, quote};
use imgconv_tar::{EntryKind, Time};
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
        fchmod, fchown, fsetxattr, fstat, futimens, linkat, makedev, mkdirat, mknodat, openat,
        statat, symlinkat, utimensat,
    },
    io::Errno,
    process::geteuid,
};

use crate::{
    attributes::{CAPABILITY, OWNER, attributes, owner_record},
    notices::Notices,
    options::{Options, Outcome},
    path::split,
    walker::Walker,
};

/// Bytes of the copy buffer.
const BUFFER: usize = 512 << 10;
/// The setuid and setgid bits.
const PRIVILEGES: u32 = 0o6000;
/// The mode of a file, FIFO or device before it gets its own.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Writes one tree.
pub(crate) struct Writer<'a> {
    tree: &'a Tree,
    top: BorrowedFd<'a>,
    /// The contents of the files of the tree.
    contents: &'a FrozenSpool,
    options: &'a Options,
    env: &'a Env,
    progress_id: u64,
    root: bool,
    buffer: Vec<u8>,
    /// Inodes with several names, from the first to the last of them.
    linked: HashMap<u64, Linked>,
    notices: Notices,
    outcome: Outcome,
}

/// An inode that has more names to come.
struct Linked {
    /// The first name, or `None` if it was skipped.
    first: Option<Vec<u8>>,
    /// The number of names that are still to come.
    left: u32,
}

/// The result of setting an owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The owner is set.
    Set,
    /// The owner is not set, because only root could: all files belong to the user.
    NotRoot,
    /// Root could not set the owner: the file belongs to root.
    Failed,
    /// Root set the possible part; the user or the group is a number that no file can have.
    Impossible,
}

impl<'a> Writer<'a> {
    /// Prepares writing to the empty directory `top`.
    pub(crate) fn new(
        tree: &'a Tree,
        top: BorrowedFd<'a>,
        contents: &'a Arc<FrozenSpool>,
        options: &'a Options,
        env: &'a Env,
        progress_id: u64,
    ) -> Self {
        Self {
            tree,
            top,
            contents,
            options,
            env,
            progress_id,
            root: geteuid().is_root(),
            buffer: Vec::new(),
            linked: HashMap::new(),
            notices: Notices::default(),
            outcome: Outcome::default(),
        }
    }

    /// Writes all entries.
    pub(crate) fn run(mut self) -> Result<(Outcome, Notices)> {
        let mut here = Walker::new(self.top);
        let mut there = Walker::new(self.top);
        for (path, node) in self.tree.iter() {
            self.create(&mut here, &mut there, &path, &node)
                .map_err(|error| error.at(format!("entry {}", quote(&path))))?;
        }
        self.finish_directories(&mut here)?;
        Ok((self.outcome, self.notices))
    }

    fn create(
        &mut self,
        here: &mut Walker<'_>,
        there: &mut Walker<'_>,
        path: &[u8],
        node: &Node<'_>,
    ) -> Result<()> {
        self.env.check_cancelled()?;
        if path.is_empty() {
            if node.kind == EntryKind::Directory {
                return Ok(());
            }
            return Err(Error::new(Code::BadTar, "the root is not a directory"));
        }
        let (parent, name) = split(path);
        let directory = here.enter(parent).map_err(Error::from_io)?;
        let mut more_names = node.links > 1 && node.kind != EntryKind::Directory;
        if more_names && let hash_map::Entry::Occupied(mut known) = self.linked.entry(node.inode) {
            let linked = known.get_mut();
            let written = match &linked.first {
                Some(first) => {
                    link(self.tree, there, first, directory, path)?;
                    true
                }
                None => false,
            };
            linked.left -= 1;
            if linked.left == 0 {
                known.remove();
            }
            self.outcome.entries += u64::from(written);
            return Ok(());
        }
        let written = match node.kind {
            EntryKind::Directory => {
                more_names = false;
                mkdirat(directory, name, Mode::RWXU)
                    .map_err(|error| refused(error, self.tree, directory, path))?;
                true
            }
            EntryKind::Regular => {
                self.create_file(directory, name, path, node)?;
                true
            }
            EntryKind::Symlink => {
                symlinkat(node.link, directory, name)
                    .map_err(|error| refused(error, self.tree, directory, path))?;
                self.finish_by_name(directory, name, path, node)?;
                true
            }
            EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice => {
                self.create_special(directory, name, path, node)?
            }
            // A tree holds inodes and their names, never a link entry.
            EntryKind::HardLink => {
                return Err(Error::new(Code::BadTar, "a hard link without a target"));
            }
        };
        if more_names {
            let first = written.then(|| path.to_vec());
            let left = node.links - 1;
            self.linked.insert(node.inode, Linked { first, left });
        }
        self.outcome.entries += u64::from(written);
        Ok(())
    }

    fn create_file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        node: &Node<'_>,
    ) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, PRIVATE)
            .map_err(|error| refused(error, self.tree, directory, path))?;
        let mut file = File::from(file);
        self.copy(&mut file, node)?;
        self.finish_open(file.as_fd(), path, node)
    }

    fn copy(&mut self, file: &mut File, node: &Node<'_>) -> Result<()> {
        self.buffer.resize(BUFFER, 0);
        let mut done = 0u64;
        while done < node.size {
            self.env.check_cancelled()?;
            let piece = (node.size - done).min(BUFFER as u64);
            let buffer = &mut self.buffer[..piece as usize];
            let offset = node.content.checked_add(done).ok_or_else(|| {
                Error::new(Code::Io, "the contents lie beyond the end of the spool")
            })?;
            self.contents
                .read_exact_at(buffer, offset)
                .map_err(|error| Error::io(error, "spooled contents"))?;
            file.write_all(buffer).map_err(Error::from_io)?;
            done += piece;
            self.env.progress.event(Event::Advance {
                id: self.progress_id,
                bytes: piece,
            });
        }
        self.outcome.bytes += node.size;
        Ok(())
    }

    /// Creates a device or FIFO; returns false if it was skipped.
    fn create_special(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        node: &Node<'_>,
    ) -> Result<bool> {
        let kind = match node.kind {
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let mut number = 0;
        if kind != FileType::Fifo {
            if !self.options.allow_devices {
                self.notices.device_unwanted.add(path);
                return Ok(false);
            }
            let (major, minor) = node.device;
            // Linux has 12 and 20 bits and would cut larger numbers to those of another device.
            if !self.root || major >= 1 << 12 || minor >= 1 << 20 {
                self.notices.device_impossible.add(path);
                return Ok(false);
            }
            number = makedev(major, minor);
        }
        match mknodat(directory, name, kind, PRIVATE, number) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                self.notices.device_impossible.add(path);
                return Ok(false);
            }
            Err(error) => return Err(refused(error, self.tree, directory, path)),
        }
        self.finish_by_name(directory, name, path, node)?;
        Ok(true)
    }

    /// Gives directories their metadata.
    ///
    /// All paths below a directory follow it without a gap, so `a` is complete at the latest at the
    /// first path that does not begin with these bytes.
    fn finish_directories(&mut self, here: &mut Walker<'_>) -> Result<()> {
        // Each pending path is the beginning of the next one, and all are beginnings of `last`.
        let mut pending: Vec<(usize, Node<'_>)> = Vec::new();
        let mut last = Vec::new();
        let mut root_named = false;
        for (path, node) in self.tree.iter() {
            if node.kind != EntryKind::Directory {
                continue;
            }
            root_named |= path.is_empty();
            while let Some((length, node)) =
                pending.pop_if(|(length, _)| !path.starts_with(&last[..*length]))
            {
                self.finish_directory(here, &last[..length], &node)?;
            }
            pending.push((path.len(), node));
            last = path;
        }
        while let Some((length, node)) = pending.pop() {
            self.finish_directory(here, &last[..length], &node)?;
        }
        if !root_named {
            self.finish_unnamed_root()
                .map_err(|error| Error::io(error.into(), "the root directory"))?;
        }
        Ok(())
    }

    fn finish_directory(
        &mut self,
        here: &mut Walker<'_>,
        path: &[u8],
        node: &Node<'_>,
    ) -> Result<()> {
        self.env.check_cancelled()?;
        here.enter(path)
            .map_err(Error::from_io)
            .and_then(|directory| self.finish_open(directory, path, node))
            .map_err(|error| error.at(format!("entry {}", quote(path))))
    }

    /// Sets the metadata of a root that no layer named.
    fn finish_unnamed_root(&self) -> rustix::io::Result<()> {
        if self.root {
            // Files that root makes belong to root already, but perhaps not to root's group.
            match fchown(self.top, Some(Uid::ROOT), Some(Gid::ROOT)) {
                Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP) => {}
                Err(error) => return Err(error),
            }
        }
        fchmod(self.top, Mode::from_raw_mode(0o755))?;
        futimens(self.top, &times(Time::default()))
    }

    /// Gives a regular file or directory its metadata. The order matters: `user.*` attributes need
    /// the right to write, a change of owner clears privileges, and any change would alter times.
    fn finish_open(&mut self, file: BorrowedFd<'_>, path: &[u8], node: &Node<'_>) -> Result<()> {
        let regular = node.kind == EntryKind::Regular;
        let mut capability = None;
        for (name, value) in attributes(node.pax) {
            match value {
                Some(value) if name == CAPABILITY && regular => capability = Some(value),
                // This program writes the owner attribute where owners can't be set.
                Some(value) if name.starts_with(b"user.") && (self.root || name != OWNER) => {
                    self.set_attribute(file, path, &name, &value)?;
                }
                _ => self.notices.attribute_unwanted.add_attribute(path, &name),
            }
        }

        let (uid, gid) = (node.uid, node.gid);
        let owner = self.set_owner(uid, gid, |uid, gid| fchown(file, uid, gid))?;
        self.notices.owner_set |= owner == Owner::Set;
        if owner != Owner::Set {
            self.record_owner(owner, Some(file), path, node);
        }
        let mode = self.mode(path, node, owner, capability.is_some());
        fchmod(file, mode).map_err(|error| Error::from_io(error.into()))?;
        if mode.contains(Mode::SGID) && !self.root {
            // The kernel drops the bit silently for a group that the user is not in.
            let found = fstat(file).map_err(|error| Error::from_io(error.into()))?;
            if !Mode::from_raw_mode(found.st_mode).contains(Mode::SGID) {
                self.notices.privileges_impossible.add(path);
            }
        }
        if let Some(value) = capability
            && self.options.preserve_privileges
        {
            match owner {
                Owner::Set => self.set_attribute(file, path, CAPABILITY, &value)?,
                // Only root can set the attribute; `mode` has reported the other case.
                Owner::NotRoot => {
                    let unwanted = &mut self.notices.attribute_unwanted;
                    unwanted.add_attribute(path, CAPABILITY);
                }
                Owner::Failed | Owner::Impossible => {}
            }
        }
        let failed = |error: Errno| Error::from_io(error.into());
        futimens(file, &times(node.mtime)).map_err(failed)?;
        self.check_time(path, node.mtime, || fstat(file))
            .map_err(failed)
    }

    /// Counts an entry whose time the file system cut. Linux sets the nearest time without an error (utimensat(2)).
    fn check_time(
        &mut self,
        path: &[u8],
        wanted: Time,
        stat: impl FnOnce() -> std::result::Result<Stat, Errno>,
    ) -> std::result::Result<(), Errno> {
        // Every file system holds these times.
        if (0..=i64::from(i32::MAX)).contains(&wanted.seconds) {
            return Ok(());
        }
        if stat()?.st_mtime != wanted.seconds {
            self.notices.time_changed.add(path);
        }
        Ok(())
    }

    /// Gives a link or special file, which must not be opened, its metadata.
    fn finish_by_name(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        node: &Node<'_>,
    ) -> Result<()> {
        for name in attributes(node.pax).into_keys() {
            let unwanted = &mut self.notices.attribute_unwanted;
            unwanted.add_attribute(path, &name);
        }
        let owner = self.set_owner(node.uid, node.gid, |uid, gid| {
            chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        self.notices.owner_set |= owner == Owner::Set;
        if owner != Owner::Set {
            self.record_owner(owner, None, path, node);
        }
        let kind = match node.kind {
            EntryKind::CharDevice => Some(FileType::CharacterDevice),
            EntryKind::BlockDevice => Some(FileType::BlockDevice),
            EntryKind::Fifo => Some(FileType::Fifo),
            // A symbolic link has no mode of its own.
            _ => None,
        };
        if let Some(kind) = kind {
            let mode = self.mode(path, node, owner, false);
            match set_mode(directory, name, kind, mode) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.notices.mode_lost.add(path);
                }
                Err(error) => return Err(Error::from_io(error)),
            }
        }
        let failed = |error: Errno| Error::from_io(error.into());
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        utimensat(directory, name, &times(node.mtime), flags).map_err(failed)?;
        self.check_time(path, node.mtime, || statat(directory, name, flags))
            .map_err(failed)
    }

    /// Sets an owner with `set`, as root.
    fn set_owner(
        &self,
        uid: u32,
        gid: u32,
        set: impl FnOnce(Option<Uid>, Option<Gid>) -> rustix::io::Result<()>,
    ) -> Result<Owner> {
        if !self.root {
            return Ok(Owner::NotRoot);
        }
        // The kernel reads this number as "unchanged": no file can have it, and the other number is
        // set.
        let uid = (uid != u32::MAX).then(|| Uid::from_raw(uid));
        let gid = (gid != u32::MAX).then(|| Gid::from_raw(gid));
        let whole = uid.is_some() && gid.is_some();
        match set(uid, gid) {
            Ok(()) if whole => Ok(Owner::Set),
            Ok(()) => Ok(Owner::Impossible),
            // The file system has no owners, or the user namespace does not map this owner.
            Err(Errno::PERM | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(Owner::Failed),
            Err(error) => Err(Error::from_io(error.into())),
        }
    }

    /// Records an owner that was not set, if the file can have the attribute.
    fn record_owner(
        &mut self,
        owner: Owner,
        file: Option<BorrowedFd<'_>>,
        path: &[u8],
        node: &Node<'_>,
    ) {
        if (node.uid, node.gid) == (0, 0) {
            self.notices.owner_default.count();
            return;
        }
        let record = owner_record(node.uid, node.gid);
        let noted = file.map(|file| fsetxattr(file, OWNER, &record, XattrFlags::empty()));
        if owner == Owner::Impossible {
            self.notices.owner_impossible.add(path);
            return;
        }
        match noted {
            Some(Ok(())) => self.notices.owner_recorded.count(),
            _ => self.notices.owner_lost.add(path),
        }
    }

    /// Returns the mode to set: without privileges unless they are requested and harmless.
    fn mode(&mut self, path: &[u8], node: &Node<'_>, owner: Owner, capability: bool) -> Mode {
        let mode = node.mode & 0o7777;
        if mode & PRIVILEGES == 0 && !capability {
            return Mode::from_raw_mode(mode);
        }
        if !self.options.preserve_privileges {
            self.notices.privileges.add(path);
        } else if matches!(owner, Owner::Failed | Owner::Impossible) {
            self.notices.privileges_impossible.add(path);
        } else {
            return Mode::from_raw_mode(mode);
        }
        Mode::from_raw_mode(mode & !PRIVILEGES)
    }

    fn set_attribute(
        &mut self,
        file: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        value: &[u8],
    ) -> Result<()> {
        match fsetxattr(file, name, value, XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::IO) => return Err(Error::from_io(Errno::IO.into())),
            // The attribute is not supported, too large, or one too many: file systems have
            // different codes for that.
            Err(_) => self.notices.attribute_refused.add_attribute(path, name),
        }
        Ok(())
    }
}

/// Adds a name to an inode whose first name was created before.
fn link(
    tree: &Tree,
    there: &mut Walker<'_>,
    first: &[u8],
    directory: BorrowedFd<'_>,
    path: &[u8],
) -> Result<()> {
    let name = split(path).1;
    let (parent, first_name) = split(first);
    let first_directory = there.enter(parent).map_err(Error::from_io)?;
    // Without flags the first name itself is linked, also if the path is a symbolic link.
    linkat(
        first_directory,
        first_name,
        directory,
        name,
        AtFlags::empty(),
    )
    .map_err(|error| {
        refused(error, tree, directory, path).at(format!("hard link to {}", quote(first)))
    })
}

/// Makes the error of a name that could not be created.
///
/// The directory was empty and the tree has every name once: an existing name differs in the tree
/// but is the same for the file system.
fn refused(error: Errno, tree: &Tree, directory: BorrowedFd<'_>, path: &[u8]) -> Error {
    if error != Errno::EXIST {
        return Error::from_io(error.into());
    }
    let message = match taken_for_one(tree, directory, path) {
        Some(other) => format!(
            "the file system takes the names {} and {} for one",
            quote(other),
            quote(split(path).1)
        ),
        None => format!("the name {} is there already", quote(split(path).1)),
    };
    Error::new(Code::Ambiguous, message)
        .hint("unpack to a file system that distinguishes such names; a conversion is not affected")
}

/// Returns the name of the tree that is the same as the last name of `path` for the file system.
///
/// The file system is asked for each name, because its own list may show a third form.
fn taken_for_one(tree: &Tree, directory: BorrowedFd<'_>, path: &[u8]) -> Option<Vec<u8>> {
    let inode = |name: &[u8]| {
        let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    let (parent, name) = split(path);
    let present = inode(name)?;
    // A hard link of the wanted file has the same inode: the first name is the best guess.
    let mut candidate: Option<Vec<u8>> = None;
    for (other, _) in tree.iter().take_while(|(other, _)| other != path) {
        let (other_parent, other_name) = split(&other);
        if other_parent == parent && !other.is_empty() && inode(other_name) == Some(present) {
            if other_name.eq_ignore_ascii_case(name) {
                return Some(other_name.to_vec());
            }
            candidate.get_or_insert_with(|| other_name.to_vec());
        }
    }
    candidate
}

/// Makes both times of an entry: a tree has only one time.
fn times(mtime: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.seconds,
        // A value from 10^9 up would have a special meaning to the kernel.
        tv_nsec: mtime.nanos.min(999_999_999).into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
