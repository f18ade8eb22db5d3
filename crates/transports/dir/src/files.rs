//! The files of a directory: their names, and the text of the marker.

/// The manifest of the root.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// The file that marks the directory.
pub(crate) const VERSION_FILE: &str = "version";
/// The start of the marker file, in every version.
pub(crate) const VERSION_START: &str = "Directory Transport Version: ";
/// The marker file that is written.
pub(crate) const VERSION: &str = "Directory Transport Version: 1.1\n";
/// The end of the file name of a manifest that a list names, behind the hex digits.
pub(crate) const MANIFEST_END: &str = ".manifest.json";
