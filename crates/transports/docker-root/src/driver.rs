//! The graph drivers, and the folder to which each extracts a layer.

use imgconv_folder::Marks;
use imgconv_model::{Code, Error, Result, quote};

/// Returns the folder, below the data root, that holds the files of a layer.
///
/// With `vfs`, `overlay` and `btrfs` the folder holds the whole tree down to that layer; the record
/// of the layer names the files that belong to it.
///
/// # Errors
/// [`Code::Unsupported`] for a driver whose layers are no folders, and for an unknown one;
/// [`Code::BadManifest`] if `cache_id` is no valid name of a folder.
pub(crate) fn folder(driver: &str, cache_id: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !cache_id.is_empty()
        && cache_id.len() <= 128
        && !cache_id.starts_with('.')
        && cache_id.bytes().all(plain);
    if !is_name {
        let message = format!("{} is no name of a folder", quote(cache_id));
        return Err(Error::new(Code::BadManifest, message).at("file cache-id"));
    }
    Ok(match driver {
        "overlay2" | "fuse-overlayfs" => format!("{driver}/{cache_id}/diff"),
        "overlay" => format!("overlay/{cache_id}/root"),
        "aufs" => format!("aufs/diff/{cache_id}"),
        "vfs" => format!("vfs/dir/{cache_id}"),
        "btrfs" => format!("btrfs/subvolumes/{cache_id}"),
        "devicemapper" | "zfs" | "windowsfilter" | "lcow" => {
            let message = format!(
                "the graph driver `{driver}` keeps layers on volumes of its own, which can't be \
                 read from files"
            );
            let hint = "start the engine of that data root and use `docker save`, then convert \
                        the file";
            return Err(Error::new(Code::Unsupported, message).hint(hint));
        }
        _ => {
            let message = format!("{} is no known graph driver", quote(driver));
            return Err(Error::new(Code::Unsupported, message)
                .hint("known are overlay2, overlay, aufs, vfs, btrfs and fuse-overlayfs"));
        }
    })
}

/// Returns how a driver expresses deletions, if the folder of a layer holds that layer alone.
///
/// # Errors
/// [`Code::Unsupported`] if the folder holds the whole tree down to the layer.
pub(crate) fn marks(driver: &str) -> Result<Marks> {
    match driver {
        "overlay2" | "fuse-overlayfs" => Ok(Marks::Overlay),
        "aufs" => Ok(Marks::Aufs),
        _ => {
            let message = format!(
                "the engine has no record of the layer's tar, and the graph driver {} keeps whole \
                 trees instead of layers",
                quote(driver)
            );
            Err(Error::new(Code::Unsupported, message)
                .hint("start the engine of that data root and use `docker save`"))
        }
    }
}
