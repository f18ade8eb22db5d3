//! Paths of the user.

use std::path::Path;

/// Returns the directory that holds the last component of a path, which is `.` for a path of one
/// component.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_directory() {
        for (path, above) in [
            ("a", "."),
            ("a/b", "a"),
            ("/a", "/"),
            ("a/b/", "a"),
            ("..", "."),
            ("", "."),
            ("/", "."),
        ] {
            assert_eq!(parent(Path::new(path)), Path::new(above), "{path}");
        }
    }
}
