//! A directory as a tree: what `unpack` wrote, by the calls of the system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use imgconv_testkit::sha256_hex;

use crate::tar::Kind;
use crate::tree::{Node, Tree, join};
use crate::{Failure, Result};

/// Reads everything below a directory; no link is followed.
///
/// # Errors
/// If a file can't be read, or is a socket.
pub fn read(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut known: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let full = match path.is_empty() {
            true => root.to_path_buf(),
            false => root.join(std::ffi::OsStr::from_bytes(&path)),
        };
        let wrong = |error| Failure::io(&full, &error);
        let data = fs::symlink_metadata(&full).map_err(wrong)?;
        if !data.is_dir() && data.nlink() > 1 {
            if let Some(first) = known.get(&(data.dev(), data.ino())) {
                tree.link(path, first);
                continue;
            }
            known.insert((data.dev(), data.ino()), path.clone());
        }
        if data.is_dir() {
            for entry in fs::read_dir(&full).map_err(wrong)? {
                let name = entry.map_err(wrong)?.file_name();
                open.push(join(&path, name.as_bytes()));
            }
        }
        let node = node(&full, &data)?;
        tree.put(path, node);
    }
    Ok(tree)
}

fn node(full: &Path, data: &fs::Metadata) -> Result<Node> {
    let wrong = |error| Failure::io(full, &error);
    let kind = data.file_type();
    let (kind, body, link) = if kind.is_dir() {
        (Kind::Directory, Vec::new(), Vec::new())
    } else if kind.is_symlink() {
        let target = fs::read_link(full).map_err(wrong)?;
        (
            Kind::Symlink,
            Vec::new(),
            target.as_os_str().as_bytes().to_vec(),
        )
    } else if kind.is_file() {
        (Kind::File, fs::read(full).map_err(wrong)?, Vec::new())
    } else if kind.is_fifo() {
        (Kind::Fifo, Vec::new(), Vec::new())
    } else if kind.is_char_device() {
        (Kind::CharDevice, Vec::new(), Vec::new())
    } else if kind.is_block_device() {
        (Kind::BlockDevice, Vec::new(), Vec::new())
    } else {
        return Err(Failure::new(format!(
            "{}: no kind of a layer",
            full.display()
        )));
    };
    let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    Ok(Node {
        mode: if kind == Kind::Symlink {
            0o777
        } else {
            data.mode() & 0o7777
        },
        uid: data.uid(),
        gid: data.gid(),
        mtime: (
            data.mtime(),
            u32::try_from(data.mtime_nsec()).unwrap_or_default(),
        ),
        xattrs: xattrs(full)?,
        device: match is_device {
            true => (
                rustix::fs::major(data.rdev()),
                rustix::fs::minor(data.rdev()),
            ),
            false => (0, 0),
        },
        content: match kind {
            Kind::File => (body.len(), sha256_hex(&body)),
            _ => (0, String::new()),
        },
        kind,
        link,
        is_implied: false,
    })
}

fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let wrong = |error: rustix::io::Errno| Failure::io(path, &error.into());
    let mut names = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(wrong(error)),
    };
    let mut out = BTreeMap::new();
    for name in names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).map_err(wrong)?;
        value.truncate(length);
        out.insert(name.to_vec(), value);
    }
    Ok(out)
}
