//! `oci-layout` and `index.json` of an image layout (image-spec, image-layout.md), wherever they
//! are: in a directory, in a tar, or in what docker saves since version 25.
//!
//! It opens no file; the documents behind the descriptors are for formats.

mod edit;
mod entries;
mod index;
mod naming;

pub use edit::Moved;
pub use index::{
    INDEX_FILE, Index, Listed, MARKER, MARKER_FILE, address, check_marker, describe, details,
    is_of_bytes,
};
pub use naming::{Names, RefName, is_name};
