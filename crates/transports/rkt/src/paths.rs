//! The paths below rkt's data directory.

/// The store of the ACIs.
pub(crate) const BLOBS: &str = "cas/blob";

/// The store of their manifests.
pub(crate) const MANIFESTS: &str = "cas/imageManifest";
