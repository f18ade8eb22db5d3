//! The text of a locator: a path, or skopeo's `[DRIVER@ROOT+RUNROOT:OPTIONS]NAME`, of which each part
//! may be left out (containers-transports(5)).

use std::path::Path;

/// The location of the default store.
pub(crate) const DEFAULT: &str = "[]";

/// A store as a location names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spec<'a> {
    /// The directory of a store, of the named graph driver or of all of them.
    Root(Option<&'a str>, &'a str),
    /// The store of the configuration.
    Default,
}

/// Reads a location.
pub(crate) fn read(location: &str) -> Spec<'_> {
    let Some(inner) = inside(location) else {
        return Spec::Root(None, location);
    };
    let (driver, root) = match inner.split_once('@') {
        Some((driver, root)) => (Some(driver).filter(|driver| !driver.is_empty()), root),
        None => (None, inner),
    };
    match root.is_empty() {
        true => Spec::Default,
        false => Spec::Root(driver, root),
    }
}

fn inside(location: &str) -> Option<&str> {
    location.strip_prefix('[')?.strip_suffix(']')
}

/// Splits the text after the scheme into location and REF; `None` for a path, whose REF begins after
/// the first colon as in any other place.
pub(crate) fn split(text: &str) -> Option<(String, Option<String>)> {
    if let Some((inner, name)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let store = match inner.split_once('@') {
            Some((driver, root)) => format!("{driver}@{}", graph_root(root)),
            None => graph_root(inner).to_owned(),
        };
        let name = name.strip_prefix(':').unwrap_or(name);
        return Some((format!("[{store}]"), reference(name)));
    }
    let path = text.split_once(':').map_or(text, |(path, _)| path);
    let path = Path::new(path);
    // Opening a path that can't be examined tells why, but not every name in a directory that can't be searched
    // is a path.
    let is_path = || {
        let found = imgconv_fs::is_directory(path);
        found.unwrap_or_else(|_| !imgconv_fs::is_out_of_reach(path))
    };
    if text.starts_with(['/', '.']) || is_path() {
        return None;
    }
    Some((DEFAULT.to_owned(), reference(text)))
}

/// Leaves out the run root and the options, which concern running containers.
fn graph_root(text: &str) -> &str {
    let end = text.find(['+', ':']).unwrap_or(text.len());
    &text[..end]
}

/// Returns the REF of skopeo's name; an ID after `@` identifies the image alone.
fn reference(name: &str) -> Option<String> {
    let is_id = |text: &str| text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('@') {
        Some((_, id)) if is_id(id) => Some(id.to_owned()),
        Some(("", digest)) => Some(digest.to_owned()),
        _ => Some(name.to_owned()).filter(|name| !name.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use imgconv_testkit::{in_directory, unprivileged};

    use super::*;

    #[test]
    fn skopeos_spellings_are_split() {
        let hex = "0123456789abcdef";
        let digest = format!("sha256:{}", "1".repeat(64));
        for (text, location, reference) in [
            ("", "[]", None),
            ("busybox", "[]", Some("busybox")),
            ("localhost:5000/x:1", "[]", Some("localhost:5000/x:1")),
            ("[]busybox", "[]", Some("busybox")),
            ("[/x]busybox:1", "[/x]", Some("busybox:1")),
            ("[overlay@/x]", "[overlay@/x]", None),
            ("[overlay@/x]:busybox", "[overlay@/x]", Some("busybox")),
            ("[vfs@/x+/run/x:a=b,c=d]y/z:1", "[vfs@/x]", Some("y/z:1")),
            (&format!("@{hex}"), "[]", Some(hex)),
            (&format!("x@{hex}"), "[]", Some(hex)),
            (&format!("@{digest}"), "[]", Some(&digest)),
            (&format!("x@{digest}"), "[]", Some(&format!("x@{digest}"))),
        ] {
            let expected = (location.to_owned(), reference.map(str::to_owned));
            assert_eq!(split(text), Some(expected), "{text}");
        }
        for path in ["/var/lib/x:busybox", "./x", "../x:1", "src:1"] {
            assert_eq!(split(path), None, "{path}");
        }
    }

    #[test]
    fn names_are_no_paths_in_a_directory_that_cannot_be_searched() {
        let folder = tempfile::tempdir().unwrap();
        let split_with = |mode| {
            let set = |mode| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(folder.path(), mode).unwrap();
            };
            set(mode);
            let texts = ["busybox:1", "docker.io/library/busybox", "./x:1"];
            let found = unprivileged(|| texts.map(split));
            set(0o700);
            found
        };
        let name = |text: &str| Some((DEFAULT.to_owned(), Some(text.to_owned())));
        let names = [name("busybox:1"), name("docker.io/library/busybox"), None];
        for mode in [0, 0o700] {
            let found = in_directory(folder.path(), || split_with(mode));
            assert_eq!(found, names, "{mode}");
        }
    }

    #[test]
    fn locations_name_driver_and_root() {
        for (text, expected) in [
            ("[]", Spec::Default),
            ("[@]", Spec::Default),
            ("[/x]", Spec::Root(None, "/x")),
            ("[@/x]", Spec::Root(None, "/x")),
            ("[vfs@/x]", Spec::Root(Some("vfs"), "/x")),
            ("/x", Spec::Root(None, "/x")),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
