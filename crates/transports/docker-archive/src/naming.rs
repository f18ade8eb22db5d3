//! The names in an archive: docker's short references.

use imgconv_model::{Code, Error, Name, Result, quote};

/// Reads a name of the form `REPOSITORY:TAG` (robustness A12). containerd also writes
/// `REPOSITORY@DIGEST`, without a tag (K14).
///
/// # Errors
/// [`Code::BadName`] for anything else.
pub(crate) fn read(text: &str) -> Result<Name> {
    Name::parse_reference(text)
}

/// The error for a text in the place of a name that is no name.
pub(crate) fn bad(text: &str) -> Error {
    read(text).err().unwrap_or_else(|| {
        let message = format!("{} is not `REPOSITORY:TAG`", quote(text));
        Error::new(Code::BadName, message)
    })
}

/// Returns a full reference in the short form that docker writes: `busybox:latest` for
/// `docker.io/library/busybox:latest`.
pub(crate) fn familiar(reference: &str) -> String {
    let Some(path) = reference.strip_prefix("docker.io/") else {
        return reference.to_owned();
    };
    let short = match path.strip_prefix("library/") {
        Some(rest) if !rest.contains('/') => rest,
        _ => path,
    };
    // A first component that looks like a host must keep the host before it.
    let same = Name::parse_reference(short).is_ok_and(|name| name.to_string() == reference);
    if same { short } else { reference }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_docker_does() {
        for (full, short) in [
            ("docker.io/library/busybox:latest", "busybox:latest"),
            ("docker.io/user/x:1", "user/x:1"),
            ("docker.io/library/a/b:1", "library/a/b:1"),
            ("docker.io/user.name/x:1", "docker.io/user.name/x:1"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("quay.io/library/x:1", "quay.io/library/x:1"),
        ] {
            assert_eq!(familiar(full), short);
        }
    }
}
