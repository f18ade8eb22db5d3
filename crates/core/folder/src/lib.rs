//! The tar of a folder's tree, made canonically while it is read.
//!
//! Members are sorted, a directory before what it holds; headers are those of `imgconv_tar::head`. A file
//! with several links is a member once, and hard links to it after that. Sockets are left out, as
//! every engine does.
//!
//! - Owners, permissions, times, device numbers and extended attributes come out as the file system
//!   has them. Of the extended attributes only `security.capability` and those of the namespace
//!   `user.` that no graph driver set belong to an image.
//! - [`Marks`] says how the folder expresses that something of a lower layer is deleted.
//!
//! The folder is hostile: no link is followed, and a file that changes while it is read is an error.
//! Memory: the names of the directories on the way to the current one, and the first path of each
//! file that has several links.

#![deny(missing_docs)]

mod entry;
mod walk;

use std::sync::Arc;

use imgconv_fs::Directory;
use imgconv_model::{Limits, Open, Reader, Result};

/// How a folder expresses deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Not at all: the folder is a root file system.
    None,
    /// As overlay does: a character device 0/0 stands for what is deleted, and the extended attribute
    /// `trusted.overlay.opaque` or `user.overlay.opaque` with the value `y` makes a directory opaque.
    Overlay,
    /// As aufs does: by files `.wh.NAME` and `.wh..wh..opq`, which are whiteouts already. Its own
    /// files (`.wh..wh.aufs`, `.wh..wh.orph`, `.wh..wh.plnk`) are left out.
    Aufs,
}

/// A folder as a tar. The tar is made anew whenever it is opened.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub root: Arc<Directory>,
    /// How it expresses deletions.
    pub marks: Marks,
    /// The bounds on paths and on the number of members.
    pub limits: Limits,
    /// Names the folder in messages.
    pub what: String,
}

impl Open for Folder {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(walk::Walk::new(self)?))
    }
}
