//! Questions about what is at a path. A path about which the file system can't tell is an error that
//! names the path, and does not count as absent or as of another kind.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path},
};

use imgconv_model::{Error, Result, quote_path};
use rustix::io::Errno;

/// Returns the metadata of what is at a path, behind links; `None` if nothing is there.
///
/// # Errors
/// [`Code::Io`](imgconv_model::Code::Io) if the file system can't tell.
pub fn metadata(path: &Path) -> Result<Option<Metadata>> {
    told(fs::metadata(path), path)
}

/// Says whether a path is a directory, or a link to one.
///
/// # Errors
/// See [`metadata`].
pub fn is_directory(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some_and(|found| found.is_dir()))
}

/// Says whether a path is a regular file, or a link to one.
///
/// # Errors
/// See [`metadata`].
pub fn is_file(path: &Path) -> Result<bool> {
    Ok(metadata(path)?.is_some_and(|found| found.is_file()))
}

/// Says whether there is anything at a path, be it a link that leads nowhere.
///
/// # Errors
/// See [`metadata`].
pub fn is_there(path: &Path) -> Result<bool> {
    Ok(told(fs::symlink_metadata(path), path)?.is_some())
}

/// Says whether a path that begins with a name leads nowhere for this user, because the current directory can't
/// be searched: a text that may also be another name is then not taken for a path. A path that begins with `/`
/// or `.` is meant as a path, so false.
pub fn is_out_of_reach(path: &Path) -> bool {
    match path.components().next() {
        // The name itself needs no rights, only the directory.
        Some(Component::Normal(name)) if !name.as_bytes().starts_with(b".") => {
            let found = fs::symlink_metadata(name);
            found.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::ACCESS))
        }
        _ => false,
    }
}

fn told(found: io::Result<Metadata>, path: &Path) -> Result<Option<Metadata>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_fault(&error) => Err(Error::io(error, quote_path(path))),
        Err(_) => Ok(None),
    }
}

/// Reads the error about a file of another kind, such as a link where a directory is expected, as
/// the value that stands for nothing. The error of a call that failed stays.
///
/// # Errors
/// The errors of the system.
pub fn or_nothing<T: Default>(found: Result<T>) -> Result<T> {
    match found {
        Err(error) if !error.cause().is_some_and(is_fault) => Ok(T::default()),
        found => found,
    }
}

/// Reads an error as [`or_nothing`] does, of a question whose answer about an absent file is no error, such as
/// those of [`Directory`](crate::Directory): the error that there is no such file stays too.
///
/// # Errors
/// The errors of the system.
pub fn or_other_kind<T: Default>(found: Result<T>) -> Result<T> {
    let is_absent = |cause| Errno::from_io_error(cause) == Some(Errno::NOENT);
    match found {
        Err(error) if error.cause().is_some_and(is_absent) => Err(error),
        found => or_nothing(found),
    }
}

/// Says whether an error is that of a call that failed, and not the answer that a path leads to nothing,
/// or to another kind of file. An error without a number of the system is a failure too, unless a path with
/// a zero byte is its reason.
fn is_fault(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(errno) => !matches!(
            errno,
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO
        ),
        None => !matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::NotFound
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::{
            fs::{PermissionsExt as _, symlink},
            net::UnixListener,
        },
        path::PathBuf,
    };

    use imgconv_model::Code;
    use imgconv_testkit::{in_directory, unprivileged};

    use super::*;

    type Question = fn(&Path) -> Result<bool>;
    const QUESTIONS: [Question; 3] = [is_directory, is_file, is_there];

    #[test]
    fn each_kind_of_file_has_its_answers() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("folder")).unwrap();
        symlink("folder", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (path, answers) in [
            (at("file"), [false, true, true]),
            (at("folder"), [true, false, true]),
            (at("link"), [true, false, true]),
            (at("dangling"), [false, false, true]),
            (at("loop"), [false, false, true]),
            (at("socket"), [false, false, true]),
            (at("missing"), [false; 3]),
            (at("file/below"), [false; 3]),
            (at(&"long".repeat(100)), [false; 3]),
            (PathBuf::from("/dev/null"), [false, false, true]),
            (PathBuf::from("a\0b"), [false; 3]),
            (PathBuf::new(), [false; 3]),
        ] {
            let found = QUESTIONS.map(|ask| ask(&path).unwrap());
            assert_eq!(found, answers, "{}", path.display());
        }
    }

    #[test]
    fn a_path_that_cannot_be_examined_is_an_error_with_path_and_cause() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        let mode = |mode| fs::set_permissions(&closed, Permissions::from_mode(mode)).unwrap();
        mode(0);
        unprivileged(|| {
            for ask in QUESTIONS {
                let error = ask(&closed.join("inner")).unwrap_err();
                assert_eq!(error.code(), Code::Io);
                let text = error.to_string();
                assert!(text.contains("closed/inner\": Permission denied"), "{text}");
            }
        });
        mode(0o700);
    }

    #[test]
    fn an_error_about_another_kind_is_nothing_and_an_error_of_the_system_stays() {
        for (errno, is_error) in [
            (Errno::NOENT, false),
            (Errno::NOTDIR, false),
            (Errno::LOOP, false),
            (Errno::ACCESS, true),
            (Errno::IO, true),
            (Errno::MFILE, true),
        ] {
            let found: Result<Option<u8>> = or_nothing(Err(Error::io(errno.into(), "x")));
            assert_eq!(found.is_err(), is_error, "{errno}");
        }
        assert_eq!(or_nothing(Ok(Some(1))).unwrap(), Some(1));
    }

    #[test]
    fn an_error_without_a_number_is_one_of_the_system() {
        for (kind, is_error) in [
            (io::ErrorKind::Other, true),
            (io::ErrorKind::TimedOut, true),
            (io::ErrorKind::InvalidInput, false),
            (io::ErrorKind::NotFound, false),
        ] {
            let found: Result<bool> = or_nothing(Err(Error::io(kind.into(), "x")));
            assert_eq!(found.is_err(), is_error, "{kind}");
        }
    }

    #[test]
    fn the_error_that_a_listed_file_is_absent_stays() {
        for (errno, is_error) in [
            (Errno::NOENT, true),
            (Errno::IO, true),
            (Errno::NOTDIR, false),
            (Errno::LOOP, false),
        ] {
            let found: Result<bool> = or_other_kind(Err(Error::io(errno.into(), "x")));
            assert_eq!(found.is_err(), is_error, "{errno}");
        }
        let other: Result<bool> = or_other_kind(Err(Error::new(Code::Io, "not a regular file")));
        assert!(!other.unwrap() && or_other_kind(Ok(true)).unwrap());
    }

    #[test]
    fn a_name_is_out_of_reach_in_a_directory_that_cannot_be_searched() {
        let folder = tempfile::tempdir().unwrap();
        let closed = folder.path().join("closed");
        fs::create_dir_all(closed.join("inner/below")).unwrap();
        let names = [
            "inner",
            "inner/below",
            "none",
            ".none",
            "./inner",
            "../x",
            "/",
            "",
        ];
        let ask = |path: &Path| {
            in_directory(&closed, || {
                fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
                let found = unprivileged(|| names.map(|name| is_out_of_reach(Path::new(name))));
                fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
                found
            })
        };
        let found = ask(&closed);
        assert_eq!(found[..3], [true; 3]);
        assert_eq!(found[3..], [false; 5]);
        // The name is there, and only the path below it can't be examined.
        assert_eq!(ask(&closed.join("inner")), [false; 8]);
    }
}
