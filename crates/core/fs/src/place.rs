//! The form of a store: whether a directory is one is decided by what is in it.

use std::path::Path;

use imgconv_model::{Code, Result, quote_path};

use crate::{
    directory::Directory,
    examine::{is_directory, or_other_kind},
};

/// Says whether a path is a directory that `is_place` accepts. An error of `is_place` is an error here
/// if a call of the system failed; other errors are about a place of another form.
///
/// # Errors
/// The errors of the system, with the path.
pub fn is_place(path: &Path, is_place: impl FnOnce(&Directory) -> Result<bool>) -> Result<bool> {
    if !is_directory(path)? {
        return Ok(false);
    }
    let directory = match Directory::open(path) {
        Ok(directory) => directory,
        // The directory may be gone since the first look; one that is still there could not be opened.
        Err(error) if error.code() == Code::Missing && is_directory(path)? => return Err(error),
        Err(error) => return or_other_kind(Err(error)),
    };
    or_other_kind(is_place(&directory).map_err(|error| error.at(quote_path(path))))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use imgconv_model::Error;
    use imgconv_testkit::unprivileged;
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_place_of_another_form_is_none_and_an_error_of_the_system_stays() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_place(folder.path(), |_| Ok(true)).unwrap());
        assert!(!is_place(Path::new("/dev/null"), |_| Ok(true)).unwrap());
        let refused = Err(Error::new(Code::Escape, "a link"));
        assert!(!is_place(folder.path(), |_| refused).unwrap());
        // A directory tells absence without an error.
        for errno in [Errno::IO, Errno::NOENT] {
            let failed = Err(Error::io(errno.into(), "directory x"));
            let error = is_place(folder.path(), |_| failed).unwrap_err();
            assert_eq!(error.places().len(), 2, "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_opened_or_looked_into_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        let mode = |mode| fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
        mode(0);
        let error = unprivileged(|| is_place(&closed, |_| Ok(true))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("closed\": Permission denied"), "{text}");
        // The names in the directory can be listed, but not looked up.
        mode(0o400);
        let has = |directory: &Directory| directory.is_directory("inner");
        let error = unprivileged(|| is_place(&closed, has)).unwrap_err();
        let file = |directory: &Directory| directory.is_file("inner");
        let of_file = unprivileged(|| is_place(&closed, file)).unwrap_err();
        mode(0o700);
        for error in [error, of_file] {
            let text = error.to_string();
            assert!(text.contains("inner: Permission denied"), "{text}");
        }
        assert!(is_place(&closed, has).unwrap());
        assert!(!is_place(&closed, file).unwrap());
    }
}
