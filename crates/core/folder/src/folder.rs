//! A folder, and how deletions are expressed in it.

use std::sync::Arc;

use imgconv_fs::Directory;
use imgconv_model::Limits;

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
    /// The whole tree below, if the tar is to hold only what differs from it; what is in that tree
    /// alone becomes a whiteout. Such a folder has no marks.
    pub below: Option<Arc<Directory>>,
    /// True if the tar begins with a member `./` that has the attributes of the folder itself.
    pub names_root: bool,
    /// The bounds on paths and on the number of members.
    pub limits: Limits,
    /// Names the folder in messages.
    pub what: String,
}
