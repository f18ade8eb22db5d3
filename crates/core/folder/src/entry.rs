//! One file of a folder as a member of a tar.

use std::os::fd::OwnedFd;

use imgconv_fs::path_of;
use imgconv_model::{Code, Error, Result, quote};
use imgconv_tar::{Entry, EntryKind, Time};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use crate::folder::Marks;

/// The most bytes of the value of an extended attribute, and of the list of their names (Linux:
/// `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 64 << 10;
/// The most bytes of the target of a symbolic link (Linux: `PATH_MAX`).
const TARGET_MAX: usize = 4096;

/// A file that was found, opened by a descriptor that only locates it.
pub(crate) struct Found {
    pub(crate) descriptor: OwnedFd,
    pub(crate) stat: Stat,
    pub(crate) kind: FileType,
}

impl Found {
    /// Locates a path below a folder. No component may be a link.
    pub(crate) fn locate(root: &impl std::os::fd::AsFd, path: &[u8]) -> Result<Self> {
        let failed = |error: Errno| Error::io(error.into(), place(path));
        let descriptor = below(root, path, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
        let stat = rustix::fs::fstat(&descriptor).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        Ok(Self {
            descriptor,
            stat,
            kind,
        })
    }

    /// Returns true if the file is overlay's mark of a deletion.
    pub(crate) fn is_overlay_whiteout(&self) -> bool {
        self.kind == FileType::CharacterDevice && self.stat.st_rdev == 0
    }

    /// Returns true if a directory hides the files of lower layers in it.
    pub(crate) fn is_overlay_opaque(&self) -> Result<bool> {
        for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            if self.xattr(name.as_bytes())?.as_deref() == Some(b"y") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the entry of the file under a path. The size of a regular file is the current size.
    pub(crate) fn entry(&self, path: &[u8], marks: Marks) -> Result<Entry> {
        let stat = &self.stat;
        let kind = match self.kind {
            FileType::RegularFile => EntryKind::Regular,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            _ => {
                let message = "the file system does not return the type of the file";
                return Err(Error::new(Code::Io, message).at(place(path)));
            }
        };
        let mut entry = Entry::new(path, kind);
        entry.mode = stat.st_mode & 0o7777;
        entry.uid = stat.st_uid;
        entry.gid = stat.st_gid;
        entry.mtime = Time {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        };
        match kind {
            EntryKind::Regular => entry.size = u64::try_from(stat.st_size).unwrap_or(0),
            EntryKind::Symlink => {
                entry.link = self.target().map_err(|error| error.at(place(path)))?
            }
            EntryKind::CharDevice | EntryKind::BlockDevice => {
                entry.device = (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                );
            }
            _ => {}
        }
        if marks == Marks::Overlay {
            self.override_stat(&mut entry)
                .map_err(|error| error.at(place(path)))?;
        }
        entry.pax = self
            .attributes(marks)
            .map_err(|error| error.at(place(path)))?;
        if marks == Marks::None {
            noted_owner(&mut entry);
        }
        Ok(entry)
    }

    /// Returns the names of the extended attributes of a file of a root file system that are left out, without the
    /// label of SELinux, which belongs to the machine.
    pub(crate) fn left_out(&self) -> Result<Vec<Vec<u8>>> {
        let names = self.attribute_names()?;
        let others = names.split(|byte| *byte == 0).filter(|name| {
            !name.is_empty() && *name != b"security.selinux" && !belongs(name, Marks::None)
        });
        Ok(others.map(<[u8]>::to_vec).collect())
    }

    /// Applies the owner and the mode that an engine without privileges noted instead of setting them:
    /// `UID:GID:MODE[:KIND]`, the mode octal.
    fn override_stat(&self, entry: &mut Entry) -> Result<()> {
        let Some(value) = self.xattr(b"user.containers.override_stat")? else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(&value).into_owned();
        let bad = || {
            let message = format!(
                "the attribute `user.containers.override_stat` is {}, and not `UID:GID:MODE` of this \
                 kind of file",
                quote(&text)
            );
            Error::new(Code::Unsupported, message)
        };
        let parts: Vec<&str> = text.trim_end_matches('\0').split(':').collect();
        let (owner, rest) = parts.split_at_checked(2).ok_or_else(bad)?;
        let mode = rest
            .first()
            .and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let fits = match rest.get(1) {
            None | Some(&"") => true,
            Some(&"dir") => entry.kind == EntryKind::Directory,
            Some(&"file") => entry.kind == EntryKind::Regular,
            Some(&"symlink") => entry.kind == EntryKind::Symlink,
            Some(&"pipe") => entry.kind == EntryKind::Fifo,
            Some(_) => false,
        };
        entry.uid = number(owner[0])?;
        entry.gid = number(owner[1])?;
        entry.mode = mode.filter(|_| fits).ok_or_else(bad)? & 0o7777;
        Ok(())
    }

    fn target(&self) -> Result<Vec<u8>> {
        let buffer = Vec::with_capacity(TARGET_MAX);
        let target = rustix::fs::readlinkat(&self.descriptor, "", buffer);
        Ok(target
            .map_err(|error| Error::from_io(error.into()))?
            .into_bytes())
    }

    /// Returns the extended attributes that belong to an image, as PAX records in the order of
    /// their names.
    fn attributes(&self, marks: Marks) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let list = self.attribute_names()?;
        let mut names: Vec<&[u8]> = list
            .split(|byte| *byte == 0)
            .filter(|name| belongs(name, marks))
            .collect();
        names.sort_unstable();
        let mut records = Vec::with_capacity(names.len());
        for name in names {
            if let Some(value) = self.xattr(name)? {
                records.push(([b"SCHILY.xattr.", name].concat(), value));
            }
        }
        Ok(records)
    }

    /// Returns the names of all extended attributes, with a zero byte after each.
    fn attribute_names(&self) -> Result<Vec<u8>> {
        // Most files have no attributes, and the query costs less than a buffer.
        if rustix::fs::listxattr_query(self.by_descriptor()) == Ok(0) {
            return Ok(Vec::new());
        }
        let mut list = vec![0; XATTR_MAX];
        match rustix::fs::listxattr(self.by_descriptor(), &mut list[..]) {
            Ok(count) => {
                list.truncate(count);
                Ok(list)
            }
            Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(Vec::new()),
            Err(error) => Err(Error::from_io(error.into())),
        }
    }

    fn xattr(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; XATTR_MAX];
        match rustix::fs::getxattr(self.by_descriptor(), name, &mut value[..]) {
            Ok(count) => {
                value.truncate(count);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
            Err(error) => Err(Error::from_io(error.into())),
        }
    }

    /// Returns the only path that gives access to the attributes of a file whose descriptor only
    /// locates it.
    fn by_descriptor(&self) -> String {
        path_of(&self.descriptor)
    }
}

/// The record with the owner that an extraction without privileges noted (rootlesscontainers.proto of
/// rootless-containers).
const OWNER: &[u8] = b"SCHILY.xattr.user.rootlesscontainers";

/// Gives an entry the owner that its attribute notes; the attribute is no content then. A malformed note stays an
/// attribute.
fn noted_owner(entry: &mut Entry) {
    let Some(at) = entry.pax.iter().position(|(key, _)| key == OWNER) else {
        return;
    };
    let Some((uid, gid)) = read_owner(&entry.pax[at].1) else {
        return;
    };
    entry.pax.remove(at);
    // The largest number means that the owner was not to change.
    entry.uid = if uid == u32::MAX { entry.uid } else { uid };
    entry.gid = if gid == u32::MAX { entry.gid } else { gid };
}

/// Reads a protobuf message with the user in field 1 and the group in field 2, both `uint32`; a field that is absent
/// is 0.
fn read_owner(mut bytes: &[u8]) -> Option<(u32, u32)> {
    let (mut uid, mut gid) = (0, 0);
    while let Some((tag, mut rest)) = bytes.split_first() {
        let field = match tag {
            0x08 => &mut uid,
            0x10 => &mut gid,
            _ => return None,
        };
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let (byte, more) = rest.split_first()?;
            rest = more;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return None;
            }
        }
        *field = u32::try_from(value).ok()?;
        bytes = rest;
    }
    Some((uid, gid))
}

/// Returns true if an extended attribute belongs to an image.
fn belongs(name: &[u8], marks: Marks) -> bool {
    let of_driver = name.starts_with(b"user.overlay.") || name.starts_with(b"user.containers.");
    name == b"security.capability"
        || (name.starts_with(b"user.") && !(marks == Marks::Overlay && of_driver))
}

/// Opens a path below a folder, without following any link.
pub(crate) fn below(
    root: &impl std::os::fd::AsFd,
    path: &[u8],
    flags: OFlags,
) -> std::result::Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Returns the place of a file for messages.
pub(crate) fn place(path: &[u8]) -> String {
    match path {
        b"" => "the folder itself".to_owned(),
        path => format!("file {}", quote(path)),
    }
}
