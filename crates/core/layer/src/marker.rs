//! Names that refer to lower layers: whiteouts (image-spec, layer.md) and metadata of AUFS.
//!
//! This module only reads names. [`crate::Tree::apply`] applies the markers to a tree.

use imgconv_model::{Code, Error, Result, quote};

use crate::path::split;

/// The meaning of the name of an entry (image-spec, layer.md, "Whiteouts").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// The entry is an ordinary entry.
    None,
    /// The path that is removed from the lower layers.
    Whiteout(Vec<u8>),
    /// The directory whose children of lower layers are all removed.
    Opaque(Vec<u8>),
    /// Metadata of AUFS: neither a path of the image nor a whiteout. A hard link may lead to such
    /// an entry.
    Aufs,
}

/// Reads the marker in a cleaned path.
///
/// Only the last component makes a whiteout: `.wh.x/y` is an ordinary file. A component anywhere
/// that begins with `.wh..wh.` belongs to AUFS, unless the component is the last and exactly
/// `.wh..wh..opq`.
///
/// # Errors
/// [`Code::BadTar`] for a whiteout that names nothing, or the directory itself or its parent
/// (`.wh.`, `.wh..`, `.wh...`).
pub fn marker(path: &[u8]) -> Result<Marker> {
    // Nearly no path has a marker.
    if !path.windows(4).any(|bytes| bytes == b".wh.") {
        return Ok(Marker::None);
    }
    let (parent, name) = split(path);
    let of_aufs = |component: &[u8]| component.starts_with(b".wh..wh.");
    if parent.split(|byte| *byte == b'/').any(of_aufs) {
        return Ok(Marker::Aufs);
    }
    if name == b".wh..wh..opq" {
        return Ok(Marker::Opaque(parent.to_vec()));
    }
    if of_aufs(name) {
        return Ok(Marker::Aufs);
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Marker::None),
        Some(b"" | b"." | b"..") => {
            let message = format!("whiteout {} does not name a sibling", quote(path));
            Err(Error::new(Code::BadTar, message))
        }
        Some(target) if parent.is_empty() => Ok(Marker::Whiteout(target.to_vec())),
        Some(target) => Ok(Marker::Whiteout([parent, b"/", target].concat())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // robustness wh_odd, wh_not, F2
    #[test]
    fn every_kind_of_name() {
        let whiteout = |target: &str| Marker::Whiteout(target.into());
        let opaque = |target: &str| Marker::Opaque(target.into());
        let rows = [
            ("", Marker::None),
            ("a/b", Marker::None),
            ("x.wh.y", Marker::None),
            (".wh", Marker::None),
            (".wh.etc/somefile", Marker::None),
            (".wh.a", whiteout("a")),
            ("a/b/.wh.c.wh.d", whiteout("a/b/c.wh.d")),
            (".wh.x/.wh.y", whiteout(".wh.x/y")),
            (".wh....", whiteout("...")),
            (".wh...a", whiteout("..a")),
            (".wh..wh..opq", opaque("")),
            ("d/e/.wh..wh..opq", opaque("d/e")),
            (".wh..wh..opqx", Marker::Aufs),
            (".wh..wh.aufs", Marker::Aufs),
            (".wh..wh.orph", Marker::Aufs),
            (".wh..wh.plnk/98.1234", Marker::Aufs),
            ("d/.wh..wh.plnk/x/y", Marker::Aufs),
            (".wh..wh..opq/x", Marker::Aufs),
            (".wh..wh.plnk/.wh.x", Marker::Aufs),
        ];
        for (path, expected) in rows {
            assert_eq!(marker(path.as_bytes()).unwrap(), expected, "{path}");
        }
        for path in [".wh.", "d/.wh.", "d/.wh..", "d/.wh...", ".wh..", ".wh..."] {
            let error = marker(path.as_bytes()).unwrap_err();
            assert_eq!(error.code(), Code::BadTar);
            assert!(error.message().contains(path), "{error}");
        }
    }
}
