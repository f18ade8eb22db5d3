//! The paths below containerd's root directory.

/// The folder of the blobs, below which is one for each algorithm.
pub(crate) const BLOBS: &str = "io.containerd.content.v1.content/blobs";

/// The database that has the names.
pub(crate) const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";
