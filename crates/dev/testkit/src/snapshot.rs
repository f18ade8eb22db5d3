//! A directory as recipe lines: every attribute that a layer can carry, one path a line.
//!
//! Two directories with the same snapshot have the same types, modes, owners, times, sizes,
//! contents, link groups, device numbers and extended attributes. The snapshot is read-only and
//! follows no link.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use imgconv_tar::{Entry, EntryKind, Time};

use crate::recipe::{self, Body};
use crate::{Failure, Result, sha256_of};

/// Lists everything under `root`, the root itself as `.`, in byte order of paths.
///
/// The first name of a file has its content, the others are `link` lines. The size and the link
/// count of a directory depend on the file system and are left out.
pub fn snapshot(root: &Path) -> Result<Vec<String>> {
    let mut paths = vec![PathBuf::new()];
    let mut next = 0;
    while next < paths.len() {
        let full = root.join(&paths[next]);
        let is_dir = fs::symlink_metadata(&full)
            .map_err(|e| Failure::io(&full, &e))?
            .is_dir();
        if is_dir {
            for entry in fs::read_dir(&full).map_err(|e| Failure::io(&full, &e))? {
                let name = entry.map_err(|e| Failure::io(&full, &e))?.file_name();
                let child = paths[next].join(name);
                paths.push(child);
            }
        }
        next += 1;
    }
    let mut paths: Vec<Vec<u8>> = paths
        .into_iter()
        .map(|path| path.into_os_string().into_vec())
        .collect();
    paths.sort();
    let mut seen: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    paths
        .iter()
        .map(|path| one(root, path, &mut seen))
        .collect()
}

fn one(root: &Path, path: &[u8], seen: &mut BTreeMap<(u64, u64), Vec<u8>>) -> Result<String> {
    let full = match path {
        b"" => root.to_path_buf(),
        _ => root.join(std::ffi::OsStr::from_bytes(path)),
    };
    let wrong = |e: std::io::Error| Failure::io(&full, &e);
    let data = fs::symlink_metadata(&full).map_err(wrong)?;
    let kind = data.file_type();
    let mut entry = Entry {
        mode: data.mode() & 0o7777,
        uid: data.uid(),
        gid: data.gid(),
        mtime: Time {
            seconds: data.mtime(),
            nanos: u32::try_from(data.mtime_nsec()).unwrap_or_default(),
        },
        ..Entry::new(
            if path.is_empty() {
                b".".to_vec()
            } else {
                path.to_vec()
            },
            EntryKind::Regular,
        )
    };
    let mut body = Body::Bytes(Vec::new());
    if kind.is_dir() {
        entry.kind = EntryKind::Directory;
    } else if let Some(first) = seen.get(&(data.dev(), data.ino())) {
        entry.kind = EntryKind::HardLink;
        entry.link = first.clone();
    } else {
        seen.insert((data.dev(), data.ino()), path.to_vec());
        if kind.is_symlink() {
            entry.kind = EntryKind::Symlink;
            entry.link = fs::read_link(&full)
                .map_err(wrong)?
                .into_os_string()
                .into_vec();
        } else if kind.is_fifo() {
            entry.kind = EntryKind::Fifo;
        } else if kind.is_char_device() || kind.is_block_device() {
            entry.kind = match kind.is_char_device() {
                true => EntryKind::CharDevice,
                false => EntryKind::BlockDevice,
            };
            entry.device = (
                rustix::fs::major(data.rdev()),
                rustix::fs::minor(data.rdev()),
            );
        } else if kind.is_file() {
            let mut file = fs::File::open(&full).map_err(wrong)?;
            let (size, hex) = sha256_of(&mut file).map_err(wrong)?;
            body = Body::Digest(size, hex);
        } else {
            return Err(Failure::new(format!(
                "{}: a layer has no sockets",
                full.display()
            )));
        }
    }
    if entry.kind != EntryKind::HardLink {
        entry.pax = xattrs(&full)?;
    }
    Ok(recipe::line(&entry, &body))
}

fn xattrs(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let wrong = |e: rustix::io::Errno| Failure::io(path, &e.into());
    let mut names = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error)),
    };
    names.truncate(length);
    let mut out = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).map_err(wrong)?;
        value.truncate(length);
        out.push(([b"SCHILY.xattr.", name].concat(), value));
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("b"), "hi").unwrap();
        fs::hard_link(at("b"), at("c")).unwrap();
        fs::create_dir(at("d")).unwrap();
        symlink("b", at("d/s")).unwrap();
        root
    }

    #[test]
    fn link_groups_and_kinds_are_said() {
        let root = tree();
        let lines = snapshot(root.path()).unwrap();
        let starts: Vec<_> = lines
            .iter()
            .map(|l| l.split(" 0").next().unwrap())
            .collect();
        assert_eq!(
            starts,
            [
                "dir .",
                "file b",
                "link c -> b",
                "dir d",
                "symlink d/s -> b"
            ]
        );
        assert!(
            lines[1].contains("bytes=2 sha256=8f434346648f6b96"),
            "{}",
            lines[1]
        );
    }

    #[test]
    fn a_changed_attribute_changes_the_line() {
        let root = tree();
        let before = snapshot(root.path()).unwrap();
        let file = root.path().join("b");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let after = snapshot(root.path()).unwrap();
        assert_ne!(before[1], after[1]);
        fs::write(&file, "ho").unwrap();
        assert_ne!(after[1], snapshot(root.path()).unwrap()[1]);
    }
}
