//! Paths of the user: the directory beside which something is made, and errors that name a path.

use std::path::Path;

/// Returns the directory that a path names something in, which is `.` for a path of one component.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
