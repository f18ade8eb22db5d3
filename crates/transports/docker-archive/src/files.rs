//! The members of an archive that list its images.

/// The file that lists the images, since Docker 1.10.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";

/// The file that lists the names, before Docker 1.10.
pub(crate) const REPOSITORIES_FILE: &str = "repositories";
