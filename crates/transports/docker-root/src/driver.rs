//! The graph drivers, and the folders to which each extracts a layer.

use std::sync::Arc;

use imgconv_folder::{Folder, Marks};
use imgconv_fs::Directory;
use imgconv_model::{Code, Error, Limits, Notes, Result, quote};

/// The drivers that the engine has had, for roots that do not name theirs.
pub(crate) const DRIVERS: [&str; 9] = [
    "overlay2",
    "overlay",
    "aufs",
    "vfs",
    "btrfs",
    "fuse-overlayfs",
    "devicemapper",
    "zfs",
    "windowsfilter",
];

/// The extracted files of a layer.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) root: Arc<Directory>,
    /// How the folder expresses deletions; `None` if it holds the whole tree down to the layer.
    marks: Option<Marks>,
    path: String,
}

/// Opens the folder that holds the files of a layer; `what` names the layer.
///
/// # Errors
/// [`Code::Unsupported`] for a driver whose layers are no folders, and for an unknown one;
/// [`Code::BadManifest`] if `cache_id` is no valid name of a folder; [`Code::Missing`] if there is no
/// such folder.
pub(crate) fn files(root: &Directory, driver: &str, cache_id: &str, what: &str) -> Result<Files> {
    let found = find(root, driver, cache_id)?;
    found.ok_or_else(|| {
        let path = folders(driver, cache_id).map(|folders| folders[0].0.clone());
        let message = format!("the files of {what} are missing");
        Error::new(Code::Missing, message).at(format!("folder {}", path.unwrap_or_default()))
    })
}

/// Opens the folder of a layer; `None` if there is none.
///
/// # Errors
/// See [`files`].
pub(crate) fn find(root: &Directory, driver: &str, cache_id: &str) -> Result<Option<Files>> {
    for (path, marks) in folders(driver, cache_id)? {
        if let Some(directory) = root.directory(&path)? {
            let root = Arc::new(directory);
            return Ok(Some(Files { root, marks, path }));
        }
    }
    Ok(None)
}

/// Returns the folders, below the data root, that may hold the files of a layer, the most likely one
/// first, each with its marks; see [`Files`].
fn folders(driver: &str, cache_id: &str) -> Result<Vec<(String, Option<Marks>)>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !cache_id.is_empty()
        && cache_id.len() <= 128
        && !cache_id.starts_with('.')
        && cache_id.bytes().all(plain);
    if !is_name {
        let message = format!("{} is no name of a folder", quote(cache_id));
        return Err(Error::new(Code::BadManifest, message).at("file cache-id"));
    }
    let overlay = Some(Marks::Overlay);
    Ok(match driver {
        "overlay2" | "fuse-overlayfs" => vec![(format!("{driver}/{cache_id}/diff"), overlay)],
        // A layer whose parent is another engine's container has only its own files.
        "overlay" => vec![
            (format!("overlay/{cache_id}/root"), None),
            (format!("overlay/{cache_id}/upper"), overlay),
        ],
        "aufs" => vec![(format!("aufs/diff/{cache_id}"), Some(Marks::Aufs))],
        "vfs" => vec![(format!("vfs/dir/{cache_id}"), None)],
        "btrfs" => vec![(format!("btrfs/subvolumes/{cache_id}"), None)],
        "devicemapper" | "zfs" | "windowsfilter" | "lcow" => {
            let message = format!(
                "the graph driver `{driver}` keeps layers on volumes of its own, which can't be \
                 read from files"
            );
            let hint = "start the engine of that data root and use `docker save`, then convert \
                        the file; or mount the volume of the topmost layer and read the mount, \
                        without the config, as `rootfs:PATH`";
            return Err(Error::new(Code::Unsupported, message).hint(hint));
        }
        _ => {
            let message = format!("{} is no known graph driver", quote(driver));
            return Err(Error::new(Code::Unsupported, message)
                .hint("known are overlay2, overlay, aufs, vfs, btrfs and fuse-overlayfs"));
        }
    })
}

impl Files {
    /// Makes the tar of the layer anew. `below` opens the files of the layer below, `None` for the
    /// lowest layer; they are needed only where this folder holds the whole tree.
    ///
    /// # Errors
    /// The errors of `below`; [`Code::Unsupported`] if the folder holds a whole tree and the one of the
    /// layer below does not.
    pub(crate) fn remake(
        self,
        below: impl FnOnce() -> Result<Option<Self>>,
        limits: Limits,
        what: String,
        notes: &Notes,
    ) -> Result<Folder> {
        let below = match self.marks {
            Some(_) => None,
            None => below()?,
        };
        if let Some(below) = below.as_ref().filter(|below| below.marks.is_some()) {
            let message = format!(
                "{what} has no record of its tar; its folder holds the whole tree, but {} does not, \
                 so they can't be compared",
                below.path
            );
            return Err(Error::new(Code::Unsupported, message).at(format!("folder {}", self.path)));
        }
        let folder = Folder {
            root: self.root,
            below: below.map(|below| below.root),
            names_root: false,
            marks: self.marks.unwrap_or(Marks::None),
            limits,
            what,
        };
        folder.report_left_out(notes);
        Ok(folder)
    }
}
