//! The files of a directory, reached by its descriptor. Only regular files are opened, symbolic
//! links are not followed, and every check is made on the opened descriptor (robustness D1 to D3).

use std::{fs::File, os::fd::OwnedFd, path::Path};

use imgconv_model::{Code, Error, Limits, Result, quote};
use imgconv_stream::read_to_limit;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens a directory. The path is the user's, so links in it are followed.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let place = quote(path.as_os_str().as_encoded_bytes());
            match error {
                Errno::NOENT => Error::new(Code::Missing, "no such directory").at(place),
                error => Error::io(error.into(), place),
            }
        })?;
        Ok(Self(descriptor))
    }

    /// Opens a regular file by its name; also returns its size. `None` if there is none.
    pub(crate) fn file(&self, name: &str) -> Result<Option<(File, u64)>> {
        let place = || format!("file {name}");
        let failed = |error: Errno| Error::io(error.into(), place());
        // Opening a device can have effects, so look first; what counts is the look afterwards.
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => check(stat.st_mode).map_err(|error| error.at(place()))?,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let descriptor = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT) => return Ok(None),
            // It became a link since the first look.
            Err(Errno::LOOP) => return Err(link().at(place())),
            Err(error) => return Err(failed(error)),
        };
        let stat = rustix::fs::fstat(&descriptor).map_err(failed)?;
        check(stat.st_mode).map_err(|error| error.at(place()))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some((File::from(descriptor), size)))
    }

    /// Reads a whole file of at most `limit` bytes. `None` if there is none.
    pub(crate) fn read(&self, name: &str, limit: (&'static str, u64)) -> Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.file(name)? else {
            return Ok(None);
        };
        let what = format!("file {name}");
        if size > limit.1 {
            return Err(Limits::exceeded(
                limit.0,
                limit.1,
                format!("{what} of {size} bytes"),
            ));
        }
        read_to_limit(Box::new(file), limit, &what).map(Some)
    }

    /// Lists the names in it that are text, sorted, without `.` and `..`.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let failed = |error: Errno| Error::io(error.into(), "directory");
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Says whether nothing is in it.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let failed = |error: Errno| Error::io(error.into(), "directory");
        for entry in Dir::read_from(&self.0).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn check(mode: u32) -> Result<()> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(link()),
        _ => Err(Error::new(Code::Io, "not a regular file")),
    }
}

fn link() -> Error {
    let message = "a symbolic link could lead out of the directory, and is not followed";
    Error::new(Code::Escape, message)
}
