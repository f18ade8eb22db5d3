//! Removing everything in a directory, by descriptor, at any depth and without following links.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, fchmod, renameat, unlinkat},
    io::Errno,
};

use crate::descriptor::{open_directory_at, set_mode};

/// Removes all entries of the directory `top`; the entry called `last`, if there is one, is removed
/// after all others, so that a process that is killed meanwhile leaves it in place.
///
/// # Errors
/// The first entry that can't be removed.
///
/// The function does not descend: each directory inside a directory of `top` is moved up into `top`
/// and emptied later. So depth costs neither stack nor descriptors, and every entry is handled a
/// constant number of times.
pub fn remove_contents(top: impl AsFd, last: &[u8]) -> io::Result<()> {
    let top = top.as_fd();
    fchmod(top, Mode::RWXU)?;
    let mut number = 0u64;
    loop {
        let mut empty = true;
        each_name(top, |name| {
            if name == last {
                return Ok(());
            }
            empty = false;
            if unlink(top, name)? {
                return Ok(());
            }
            let directory = open_ours(top, name)?;
            each_name(directory.as_fd(), |child| {
                if unlink(directory.as_fd(), child)? {
                    return Ok(());
                }
                move_up(directory.as_fd(), child, top, &mut number)
            })?;
            Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?)
        })?;
        if empty {
            break;
        }
    }
    match last {
        b"" => Ok(()),
        last => match unlinkat(top, last, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}

/// Calls `action` for every name in a directory.
fn each_name(
    directory: BorrowedFd<'_>,
    mut action: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut listing = Dir::read_from(directory)?;
    while let Some(entry) = listing.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            action(name)?;
        }
    }
    Ok(())
}

/// Unlinks a name; returns false if it is a directory.
fn unlink(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory whose mode may deny access to its owner.
fn open_ours(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let opened = match open_directory_at(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            set_mode(parent, name, FileType::Directory, Mode::RWXU)?;
            open_directory_at(parent, name)?
        }
        opened => opened?,
    };
    fchmod(&opened, Mode::RWXU)?;
    Ok(opened)
}

/// Moves a directory to a free name in `top`.
fn move_up(
    directory: BorrowedFd<'_>,
    name: &[u8],
    top: BorrowedFd<'_>,
    number: &mut u64,
) -> io::Result<()> {
    let mut opened_up = false;
    loop {
        let free = number.to_string();
        match renameat(directory, name, top, free.as_bytes()) {
            Ok(()) => return Ok(()),
            // The name is taken. (An empty directory of that name would be replaced: also fine.)
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => *number += 1,
            // The entry `..` of the directory changes, which needs the right to write to the
            // directory.
            Err(Errno::ACCESS) if !opened_up => {
                set_mode(directory, name, FileType::Directory, Mode::RWXU)?;
                opened_up = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn i10_everything_goes_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("canary"), "alive").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["0/1/2/3/4", "1/0/0", "2", "shut/in/side", "wide"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("3"), "a file of a number").unwrap();
        for path in ["out", "0/out", "0/1/2/out"] {
            symlink(outside.path(), at(path)).unwrap();
        }
        for number in 0..500 {
            fs::write(at(&format!("wide/{number}")), "").unwrap();
            fs::create_dir(at(&format!("wide/d{number}"))).unwrap();
        }
        for path in ["shut/in/side", "shut/in", "shut", "0/1"] {
            fs::set_permissions(at(path), Permissions::from_mode(0o000)).unwrap();
        }
        let top = File::open(dir.path()).unwrap();
        remove_contents(&top, b"").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(
            fs::read_to_string(outside.path().join("canary")).unwrap(),
            "alive"
        );
    }
}
