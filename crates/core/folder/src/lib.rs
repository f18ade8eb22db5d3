//! The tar of a folder's tree, generated in canonical form while it is read.
//!
//! Members are sorted, a directory before its children; headers are those of `imgconv_tar::head`. A
//! file with several links is a member once, followed by hard links to it. Sockets are left out, as
//! in every engine; [`Folder::report_left_out`] reports them.
//!
//! - Owners, permissions, times, device numbers and extended attributes are those of the file
//!   system. Of the extended attributes only `security.capability` and those of the namespace
//!   `user.` that no graph driver set belong to an image. `user.rootlesscontainers` of a root file system is the
//!   owner that an extraction without privileges noted instead of setting the owner.
//! - [`Marks`] defines how the folder marks deleted files of a lower layer.
//! - A folder that is the whole tree down to a layer is compared with the tree below
//!   ([`Folder::below`]). Two files are the same if all attributes and, unless they are one file of the
//!   file system, all bytes are the same. Times alone would hide a change.
//!
//! The folder is hostile: no link is followed, and a file that changes while it is read is an
//! error. Memory: the names of the directories on the way to the current one, and the first path of
//! each file that has several links.

#![deny(missing_docs)]

mod entry;
mod folder;
mod left_out;
mod walk;

use imgconv_model::{Open, Reader, Result};

pub use folder::{Folder, Marks};

impl Open for Folder {
    fn open(&self) -> Result<Reader> {
        Ok(Box::new(walk::Walk::new(self)?))
    }
}
