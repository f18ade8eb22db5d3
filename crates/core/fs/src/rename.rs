//! Final names: renames that do not replace, and names that survive a crash of the machine.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use imgconv_model::{Error, Result, quote_path};
use rustix::{
    fs::{AtFlags, RenameFlags},
    io::Errno,
    path::Arg,
};

/// Moves a file to its final name. With `keep` an existing file is not replaced.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if `keep` is set and the file exists, and the errors of the
/// file system.
pub fn rename_file(
    from: impl AsFd,
    name: impl Arg + Copy,
    directory: impl AsFd,
    to: impl Arg + Copy,
    keep: bool,
) -> io::Result<()> {
    if !keep {
        return Ok(rustix::fs::renameat(from, name, directory, to)?);
    }
    match rustix::fs::renameat_with(&from, name, &directory, to, RenameFlags::NOREPLACE) {
        // If the file system has no rename that keeps an existing file, a hard link does the same.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(&from, name, directory, to, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(from, name, AtFlags::empty())?)
        }
        renamed => Ok(renamed?),
    }
}

/// Moves a directory to a free name. If the file system has no rename that keeps an existing
/// directory, an empty directory of that name is replaced; a directory with entries never is.
///
/// # Errors
/// [`Errno::EXIST`] or [`Errno::NOTEMPTY`] if the name is taken, and the errors of the file system.
pub fn rename_directory(
    from: impl AsFd,
    name: impl Arg + Copy,
    above: impl AsFd,
    to: impl Arg + Copy,
) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(&from, name, &above, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::renameat(from, name, above, to)
        }
        renamed => renamed,
    }
}

/// Makes the names in an open directory durable. `shown` names the directory in the error.
///
/// # Errors
/// [`Code::Io`](imgconv_model::Code::Io).
pub fn sync(directory: impl AsFd, shown: impl Into<String>) -> Result<()> {
    rustix::fs::fsync(directory).map_err(|error| Error::io(error.into(), shown))
}

/// Makes the names in a directory durable.
///
/// # Errors
/// [`Code::Io`](imgconv_model::Code::Io) that names the path.
pub fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io(error, quote_path(path)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::descriptor::open_directory;

    #[test]
    fn nothing_that_holds_something_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let above = open_directory(folder.path()).unwrap();
        for name in ["new", "taken"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join(name), name).unwrap();
            fs::write(at(&format!("{name}-file")), name).unwrap();
        }
        let taken = rename_directory(&above, "new", &above, "taken").unwrap_err();
        assert!(matches!(taken, Errno::EXIST | Errno::NOTEMPTY), "{taken}");
        let kept = rename_file(&above, "new-file", &above, "taken-file", true).unwrap_err();
        assert_eq!(kept.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(at("taken-file")).unwrap(), "taken");
        rename_file(&above, "new-file", &above, "taken-file", false).unwrap();
        assert_eq!(fs::read_to_string(at("taken-file")).unwrap(), "new");
        rename_directory(&above, "new", &above, "free").unwrap();
        assert!(at("free/new").exists() && at("taken/taken").exists() && !at("new").exists());
    }
}
