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
mod folder;
mod walk;

use imgconv_model::{Open, Reader, Result};

pub use folder::{Folder, Marks};

impl Open for Folder {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(walk::Walk::new(self)?))
    }
}
