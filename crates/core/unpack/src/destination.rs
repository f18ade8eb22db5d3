//! The target directory, which is published as a whole or not at all.
//!
//! All entries are written to a partial directory beside the target, see [`Partial`].

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use imgconv_fs::{Partial, is_empty, open_directory, open_directory_at, parent};
use imgconv_model::{Code, Error, Result, quote, quote_path};
use rustix::{
    fs::{AtFlags, FileType, statat},
    io::Errno,
};

/// A partial directory beside the target. It is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Destination {
    name: Vec<u8>,
    partial: Partial,
    /// The target's path for messages.
    shown: String,
    published: bool,
}

impl Destination {
    /// Checks that the target can be written and makes the partial directory, which only its owner
    /// can enter.
    pub(crate) fn create(target: &Path) -> Result<Self> {
        let shown = quote_path(target);
        let Some(name) = target.file_name() else {
            let message = format!("{shown} can't be replaced by a complete directory");
            return Err(Error::new(Code::Denied, message)
                .hint("name a directory that does not exist, or an empty one by its own name"));
        };
        let name = name.as_bytes().to_vec();
        let above = open_directory(parent(target))?;
        // A leftover that can't be found or removed now is left to the next run.
        let _ = Partial::remove_leftovers(&above, &name);
        refuse_unless_empty(above.as_fd(), &name, &shown)?;
        let partial =
            Partial::create(above, &name).map_err(|error| Error::io(error, shown.clone()))?;
        Ok(Self {
            name,
            partial,
            shown,
            published: false,
        })
    }

    /// Returns the directory to write to.
    pub(crate) fn top(&self) -> BorrowedFd<'_> {
        self.partial.top()
    }

    /// Returns the target's path, quoted.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Gives the partial directory the target's name.
    pub(crate) fn publish(mut self) -> Result<()> {
        if let Err(error) = self.partial.publish(&self.name) {
            let error = match Errno::from_io_error(&error) {
                Some(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => occupied(&self.shown),
                Some(Errno::BUSY) => Error::io(error, self.shown.clone())
                    .hint("a mount point can't be replaced; name a directory below it"),
                _ => Error::io(error, self.shown.clone()),
            };
            return Err(self.abandon(error));
        }
        self.published = true;
        self.partial.flush_name().map_err(|error| {
            Error::io(error, self.shown.clone()).hint(
                "the directory is complete, but a crash of the machine could lose it: run `sync`",
            )
        })
    }

    /// Removes the partial directory after an error; a failure to remove it is added to the error.
    pub(crate) fn abandon(mut self, error: Error) -> Error {
        self.published = true; // Nothing is left to do when it is dropped.
        match self.partial.remove() {
            Ok(()) => error,
            Err(problem) => error.hint(format!(
                "the partial directory {} beside {} could not be removed: {problem}",
                quote(self.partial.name()),
                self.shown
            )),
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.partial.remove();
        }
    }
}

fn occupied(shown: &str) -> Error {
    Error::new(Code::Denied, format!("{shown} is not an empty directory"))
        .hint("name a directory that does not exist or is empty")
}

fn refuse_unless_empty(parent: BorrowedFd<'_>, name: &[u8], shown: &str) -> Result<()> {
    let place = |error: io::Error| Error::io(error, shown);
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(place(error.into())),
        Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Directory => {
            return Err(occupied(shown));
        }
        Ok(_) => {}
    }
    let directory = open_directory_at(parent, name).map_err(place)?;
    match is_empty(directory).map_err(place)? {
        true => Ok(()),
        false => Err(occupied(shown)),
    }
}
