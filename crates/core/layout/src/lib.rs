//! `oci-layout` and `index.json` of an image layout (image-spec, image-layout.md): in a directory,
//! in a tar, or in a file that docker saves since version 25.
//!
//! The crate opens no file. The formats read the documents behind the descriptors.

#![deny(missing_docs)]

mod edit;
mod entries;
mod index;
mod merge;
mod naming;

pub use edit::Moved;
pub use index::{
    INDEX_FILE, Index, Item, Listed, MARKER, MARKER_FILE, Unreadable, address, check_marker,
    describe, details, is_platform,
};
pub use merge::{Merged, Taken};
pub use naming::{Names, RefName, is_name};
