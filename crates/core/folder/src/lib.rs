//! The tar of a folder's tree, generated in canonical form while it is read.
//!
//! Members are sorted, a directory before its children; headers are those of `imgconv_tar::head`. A
//! file with several links is a member once, followed by hard links to it. Sockets are left out, as
//! in every engine.
//!
//! - Owners, permissions, times, device numbers and extended attributes are those of the file
//!   system. Of the extended attributes only `security.capability` and those of the namespace
//!   `user.` that no graph driver set belong to an image.
//! - [`Marks`] defines how the folder marks deleted files of a lower layer.
//!
//! The folder is hostile: no link is followed, and a file that changes while it is read is an
//! error. Memory: the names of the directories on the way to the current one, and the first path of
//! each file that has several links.

#![deny(missing_docs)]

mod entry;
mod walk;

use std::sync::Arc;

use imgconv_fs::Directory;
use imgconv_model::{Limits, Open, Reader, Result};

/// The way a folder marks deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// No marks: the folder is a root file system.
    None,
    /// The marks of overlay: a character device 0/0 is a deleted file, and the extended attribute
    /// `trusted.overlay.opaque` or `user.overlay.opaque` with the value `y` makes a directory
    /// opaque.
    Overlay,
    /// The marks of aufs: files `.wh.NAME` and `.wh..wh..opq`, which are whiteouts already. The
    /// files of aufs itself (`.wh..wh.aufs`, `.wh..wh.orph`, `.wh..wh.plnk`) are left out.
    Aufs,
}

/// A folder as a tar. The tar is made anew whenever it is opened.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub root: Arc<Directory>,
    /// The way the folder marks deletions.
    pub marks: Marks,
    /// The bounds on paths and on the number of members.
    pub limits: Limits,
    /// The name of the folder in messages.
    pub what: String,
}

impl Open for Folder {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(walk::Walk::new(self)?))
    }
}
