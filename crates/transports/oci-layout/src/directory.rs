//! The files of a layout in a directory, reached by descriptors.
//!
//! The directory is opened once. Every path below it is walked component by component without
//! following symbolic links, and every check is made on the opened descriptor, so that nothing
//! that is swapped meanwhile can lead outside (robustness D1 to D3).

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use imgconv_model::{Algorithm, Code, Digest, Error, Reader, Result, quote};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use crate::files::{ALGORITHMS, BLOBS, Files};

/// A directory that holds the files of a layout.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    /// Symbolic links are followed wherever they lead (robustness D1b).
    follow: bool,
}

impl Directory {
    /// Opens a directory. The path is the user's, so links in it are followed.
    pub(crate) fn open(path: &Path, follow: bool) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let place = quote(path.as_os_str().as_encoded_bytes());
            match error {
                Errno::NOENT => Error::new(Code::Missing, "no such directory").at(place),
                error => Error::io(error.into(), place),
            }
        })?;
        Ok(Self::new(descriptor, follow))
    }

    pub(crate) fn new(descriptor: OwnedFd, follow: bool) -> Self {
        Self { descriptor, follow }
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Opens the directory of the blobs of an algorithm; `None` if there is none.
    pub(crate) fn blobs_of(&self, algorithm: Algorithm) -> Result<Option<OwnedFd>> {
        self.directory(&[BLOBS, algorithm.as_str()])
    }

    /// Opens a directory below; `None` if there is none.
    fn directory(&self, names: &[&str]) -> Result<Option<OwnedFd>> {
        let mut found = self
            .descriptor
            .try_clone()
            .map_err(|e| Error::io(e, "layout directory"))?;
        for (i, name) in names.iter().enumerate() {
            let shown = names[..=i].join("/");
            match step(&found, name, true, self.follow, &shown)? {
                Some(descriptor) => found = descriptor,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }
}

impl Directory {
    /// Opens a file by the components of its name, and looks at it.
    fn look(&self, name: &[&str]) -> Result<Option<(File, u64)>> {
        let Some((last, directories)) = name.split_last() else {
            return Ok(None);
        };
        let Some(parent) = self.directory(directories)? else {
            return Ok(None);
        };
        let shown = name.join("/");
        let Some(descriptor) = step(&parent, last, false, self.follow, &shown)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&descriptor).map_err(|e| Error::io(e.into(), &*shown))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some((File::from(descriptor), size)))
    }
}

impl Files for Directory {
    fn open(&self, name: &[&str]) -> Result<Option<(Reader, u64)>> {
        let found = self.look(name)?;
        Ok(found.map(|(file, size)| (Box::new(file) as Reader, size)))
    }

    fn file(&self, name: &[&str]) -> Result<Option<File>> {
        if self.follow {
            return Ok(None);
        }
        Ok(self.look(name)?.map(|(file, _)| file))
    }

    fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in ALGORITHMS {
            let Some(directory) = self.blobs_of(algorithm)? else {
                continue;
            };
            let failed = |error: Errno| {
                let place = format!("directory {BLOBS}/{}", algorithm.as_str());
                Error::io(error.into(), place)
            };
            for entry in Dir::read_from(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name().to_str().unwrap_or_default();
                found.extend(Digest::from_hex(algorithm, name));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Opens one name in a directory: a directory or a regular file. `None` if there is none.
pub(crate) fn step(
    parent: impl AsFd,
    name: &str,
    directory: bool,
    follow: bool,
    shown: &str,
) -> Result<Option<OwnedFd>> {
    let place = || {
        let kind = if directory { "directory" } else { "file" };
        format!("{kind} {shown}")
    };
    let failed = |error: Errno| Error::io(io::Error::from(error), place());
    let flags = if follow {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    };
    // Opening a device can have effects, so look first; what counts is the look afterwards.
    let stat = match rustix::fs::statat(&parent, name, flags) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    check(stat.st_mode, directory).map_err(|e| e.at(place()))?;
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if directory {
        flags |= OFlags::DIRECTORY;
    }
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    let descriptor = match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
        Ok(descriptor) => descriptor,
        Err(Errno::NOENT) => return Ok(None),
        // It became a link, or no directory, since the first look.
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(link().at(place())),
        Err(error) => return Err(failed(error)),
    };
    let stat = rustix::fs::fstat(&descriptor).map_err(failed)?;
    check(stat.st_mode, directory).map_err(|e| e.at(place()))?;
    Ok(Some(descriptor))
}

/// Makes a directory if there is none, and opens it without following links.
///
/// Its mode is 0755 less the umask, but its owner can always use it.
pub(crate) fn make_directory(parent: impl AsFd, name: &str, shown: &str) -> Result<OwnedFd> {
    let failed = |error: Errno| Error::io(error.into(), format!("directory {shown}"));
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
            let mode = Mode::from_raw_mode(stat.map_err(failed)?.st_mode);
            if !mode.contains(Mode::RWXU) {
                rustix::fs::chmodat(&parent, name, mode | Mode::RWXU, AtFlags::empty())
                    .map_err(failed)?;
            }
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    step(&parent, name, true, false, shown)?.ok_or_else(|| failed(Errno::NOENT))
}

fn check(mode: u32, directory: bool) -> Result<()> {
    match (FileType::from_raw_mode(mode), directory) {
        (FileType::Directory, true) | (FileType::RegularFile, false) => Ok(()),
        (FileType::Symlink, _) => Err(link()),
        (_, true) => Err(Error::new(Code::Io, "not a directory")),
        (_, false) => Err(Error::new(Code::Io, "not a regular file")),
    }
}

fn link() -> Error {
    Error::new(Code::Escape, "a symbolic link could lead out of the layout")
        .hint("`--allow-symlinked-blobs` follows links")
}
