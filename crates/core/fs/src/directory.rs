//! The files of a directory that another program made.
//!
//! The directory is opened once. Every path below it is walked component by component, symbolic
//! links are not followed, only regular files are opened, and every check is made on the opened
//! descriptor, so that a file that is replaced meanwhile can't lead outside (robustness D1 to D3).

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use imgconv_model::{Code, Error, Limits, Result, quote, quote_path};
use imgconv_stream::read_to_limit;
use rustix::{
    fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::{descriptor::is_empty, examine::or_other_kind};

/// An open directory. Paths below it are relative, their components separated by `/`; the empty
/// path is the directory itself.
#[derive(Debug)]
pub struct Directory {
    descriptor: OwnedFd,
    links: Links,
}

/// The directory of the file that [`Directory::file_near`] opened last.
#[derive(Debug, Default)]
pub struct Near(Option<(Vec<u8>, OwnedFd)>);

/// The treatment of symbolic links below a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// A link is an error, because it could lead out of the directory (robustness D1a).
    #[default]
    Refuse,
    /// A link is followed wherever it leads (robustness D1b).
    Follow,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The directory is open already. Links below it are refused.
impl From<OwnedFd> for Directory {
    fn from(descriptor: OwnedFd) -> Self {
        let links = Links::default();
        Self { descriptor, links }
    }
}

impl Directory {
    /// Opens a directory. The path is the user's, so links in it are followed.
    ///
    /// # Errors
    /// [`Code::Missing`] if there is no such directory, [`Code::Io`] if it can't be read.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| {
            let place = quote_path(path);
            match error {
                Errno::NOENT => Error::new(Code::Missing, "no such directory").at(place),
                error => Error::io(error.into(), place),
            }
        })?;
        Ok(descriptor.into())
    }

    /// Sets the treatment of links below the directory.
    #[must_use]
    pub fn with_links(self, links: Links) -> Self {
        Self { links, ..self }
    }

    /// Opens a regular file; also returns its size in bytes. `None` if there is no such file.
    ///
    /// # Errors
    /// [`Code::Escape`] for a symbolic link on the way, [`Code::Io`] for anything else that is not
    /// a regular file.
    pub fn file(&self, path: &str) -> Result<Option<(File, u64)>> {
        let Some(descriptor) = self.walk(path, FileType::RegularFile)? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&descriptor)
            .map_err(|error| Error::io(error.into(), place(path, FileType::RegularFile)))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some((File::from(descriptor), size)))
    }

    /// Returns true if there is a regular file; the file is not opened.
    ///
    /// # Errors
    /// See [`Directory::file`].
    pub fn has_file(&self, path: &str) -> Result<bool> {
        let Some((parent, name)) = self.parent(path) else {
            return Ok(self.file(path)?.is_some());
        };
        let kind = FileType::RegularFile;
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(Error::io(error.into(), place(path, kind))),
        };
        check(stat.st_mode, kind).map_err(|error| error.at(place(path, kind)))?;
        Ok(true)
    }

    /// Opens a regular file whose path is any bytes, as the root file system of an image has them.
    /// Symbolic links in the directories of the path are followed inside this directory, as a
    /// process with this root would follow them; the file itself must not be a link. `None` if
    /// there is no such file.
    ///
    /// # Errors
    /// [`Code::Escape`] for a component `..`, [`Code::Io`] for anything that is not a regular file
    /// or can't be opened.
    pub fn file_in_root(&self, path: &[u8]) -> Result<Option<File>> {
        let found = self.file_near(path, &mut Near::default())?;
        Ok(found.map(|(file, _)| file))
    }

    /// Opens a regular file as [`Directory::file_in_root`] does; also returns its size in bytes. Of
    /// files in one directory that are opened one after the other, only the first needs a walk along
    /// the path: `near` has the directory of the last one, and belongs to this directory alone.
    ///
    /// # Errors
    /// See [`Directory::file_in_root`].
    pub fn file_near(&self, path: &[u8], near: &mut Near) -> Result<Option<(File, u64)>> {
        let place = || quote(path);
        if path.split(|byte| *byte == b'/').any(|name| name == b"..") {
            let message = "the path has a component `..`, which could lead out of the directory";
            return Err(Error::new(Code::Escape, message).at(place()));
        }
        let end = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = path.split_at(end.map_or(0, |end| end + 1));
        let failed = |error: Errno| match error {
            Errno::NOENT | Errno::NOTDIR => Ok(None),
            error => Err(Error::io(error.into(), place())),
        };
        let directory = match &near.0 {
            Some((known, directory)) if known == parent => directory,
            _ => {
                let opened = rustix::fs::openat2(
                    &self.descriptor,
                    if parent.is_empty() { b"." } else { parent },
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
                );
                let opened = match opened {
                    Ok(descriptor) => descriptor,
                    Err(error) => return failed(error),
                };
                &near.0.insert((parent.to_owned(), opened)).1
            }
        };
        // Opening a device can have effects, so the kind of the file is found out before.
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return failed(error),
        };
        check(stat.st_mode, FileType::RegularFile).map_err(|error| error.at(place()))?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(directory, name, flags, Mode::empty())
            .map_err(|error| Error::io(error.into(), place()))?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| Error::io(error.into(), place()))?;
        check(stat.st_mode, FileType::RegularFile).map_err(|error| error.at(place()))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some((File::from(opened), size)))
    }

    /// Reads a whole file of at most `limit` bytes. `None` if there is no such file.
    ///
    /// # Errors
    /// [`Code::Limit`], and see [`Directory::file`].
    pub fn read(&self, path: &str, limit: (&'static str, u64)) -> Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.file(path)? else {
            return Ok(None);
        };
        let what = place(path, FileType::RegularFile);
        if size > limit.1 {
            let what = format!("{what} of {size} bytes");
            return Err(Limits::exceeded(limit.0, limit.1, what));
        }
        read_to_limit(file, limit, &what).map(Some)
    }

    /// Lists the names in a directory that are text, sorted; none if there is no such directory.
    ///
    /// # Errors
    /// [`Code::Escape`] for a symbolic link on the way, [`Code::Io`] for a path that is not a
    /// directory.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        self.list(path, |_| true)
    }

    /// Lists the names in a directory like [`Directory::names`], without those of regular files:
    /// the rest are directories, or fail when they are opened.
    ///
    /// # Errors
    /// See [`Directory::names`].
    pub fn directories(&self, path: &str) -> Result<Vec<String>> {
        self.list(path, |kind| kind != FileType::RegularFile)
    }

    fn list(&self, path: &str, wanted: impl Fn(FileType) -> bool) -> Result<Vec<String>> {
        let failed = |error: Errno| Error::io(error.into(), place(path, FileType::Directory));
        let Some(descriptor) = self.walk(path, FileType::Directory)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&descriptor).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
                && wanted(kind_of(&descriptor, &entry).map_err(failed)?)
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns true if the directory has no entries.
    ///
    /// # Errors
    /// If the directory can't be listed.
    pub fn is_empty(&self) -> Result<bool> {
        is_empty(self).map_err(|error| Error::io(error, place("", FileType::Directory)))
    }

    /// Opens a directory below this one; `None` if there is no such directory.
    ///
    /// # Errors
    /// [`Code::Escape`] for a symbolic link on the way, [`Code::Io`] for a path that is not a
    /// directory.
    pub fn directory(&self, path: &str) -> Result<Option<Self>> {
        let found = self.walk(path, FileType::Directory)?;
        let links = self.links;
        Ok(found.map(|descriptor| Self { descriptor, links }))
    }

    /// Returns true if a path is a directory. A symbolic link is not a directory.
    ///
    /// # Errors
    /// [`Code::Io`] if a call of the system failed.
    pub fn is_directory(&self, path: &str) -> Result<bool> {
        Ok(or_other_kind(self.walk(path, FileType::Directory))?.is_some())
    }

    /// Returns true if a path is a regular file. A symbolic link is no file.
    ///
    /// # Errors
    /// [`Code::Io`] if a call of the system failed.
    pub fn is_file(&self, path: &str) -> Result<bool> {
        or_other_kind(self.has_file(path))
    }

    /// Opens the directory of a path by one system call that follows no link, and returns the last component.
    /// `None` if the call fails, or is missing (Linux before 5.6): the walk by components finds the reason.
    fn parent<'p>(&self, path: &'p str) -> Option<(OwnedFd, &'p str)> {
        let (parent, name) = path.rsplit_once('/')?;
        let plain = |name: &str| !matches!(name, "" | "." | "..");
        if self.links == Links::Follow || !path.split('/').all(plain) {
            return None;
        }
        let opened = rustix::fs::openat2(
            &self.descriptor,
            parent,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        Some((opened.ok()?, name))
    }

    /// Opens a path whose last component is of that kind; `None` if there is no such path.
    fn walk(&self, path: &str, kind: FileType) -> Result<Option<OwnedFd>> {
        if let Some((parent, name)) = self.parent(path) {
            return step(&parent, name, kind, self.links)
                .map_err(|error| error.at(place(path, kind)));
        }
        let failed = |error| Error::io(error, place(path, kind));
        let mut found = self.descriptor.try_clone().map_err(failed)?;
        if path.is_empty() {
            return Ok(Some(found));
        }
        let mut end = 0;
        for name in path.split('/') {
            end += name.len();
            let last = end == path.len();
            let kind = if last { kind } else { FileType::Directory };
            let next = step(&found, name, kind, self.links)
                .map_err(|error| error.at(place(&path[..end], kind)))?;
            match next {
                Some(descriptor) => found = descriptor,
                None => return Ok(None),
            }
            end += 1;
        }
        Ok(Some(found))
    }
}

/// Returns the kind of an entry, which some file systems do not have in their listing.
fn kind_of(parent: &OwnedFd, entry: &DirEntry) -> std::result::Result<FileType, Errno> {
    match entry.file_type() {
        FileType::Unknown => {
            let stat = rustix::fs::statat(parent, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode))
        }
        kind => Ok(kind),
    }
}

/// Opens one name in a directory; `None` if there is no such name.
fn step(parent: impl AsFd, name: &str, kind: FileType, links: Links) -> Result<Option<OwnedFd>> {
    if matches!(name, "" | "." | "..") {
        let message = format!("{} is no name of a file", quote(name));
        return Err(Error::new(Code::Escape, message));
    }
    // Opening a device can have effects, so the name is checked first; the check of the opened
    // descriptor below is the one that counts.
    let (look, follow) = match links {
        Links::Refuse => (AtFlags::SYMLINK_NOFOLLOW, OFlags::NOFOLLOW),
        Links::Follow => (AtFlags::empty(), OFlags::empty()),
    };
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | follow;
    if kind == FileType::Directory {
        flags |= OFlags::DIRECTORY;
    }
    let mut is_second = false;
    let descriptor = loop {
        match rustix::fs::statat(&parent, name, look) {
            Ok(stat) => check(stat.st_mode, kind)?,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::from_io(error.into())),
        }
        match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
            Ok(descriptor) => break descriptor,
            // The name may be gone since the check. Only a second check says so: a name that is
            // there and can't be opened is an error, and not a missing file.
            Err(Errno::NOENT) if !is_second => is_second = true,
            // The name became a link, or another kind than a directory, since the first check.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(link()),
            Err(error) => return Err(Error::from_io(error.into())),
        }
    };
    let stat = rustix::fs::fstat(&descriptor).map_err(|error| Error::from_io(error.into()))?;
    check(stat.st_mode, kind)?;
    Ok(Some(descriptor))
}

/// Opens the regular file `name` in an open directory; `None` if there is no such file.
///
/// # Errors
/// [`Code::Escape`] for a symbolic link, [`Code::Io`] for anything else that is not a regular file.
/// The errors do not name the file.
pub fn open_file_at(parent: impl AsFd, name: &str) -> Result<Option<File>> {
    let opened = step(parent, name, FileType::RegularFile, Links::Refuse)?;
    Ok(opened.map(File::from))
}

/// Makes the directory `name` in an open directory if it is missing, and opens it. Its mode is 0755
/// less the umask, but its owner can always use it.
///
/// # Errors
/// [`Code::Escape`] for a symbolic link of that name, [`Code::Io`] for another kind of file, or if
/// the directory can't be made. The errors do not name the directory.
pub fn make_directory_at(parent: impl AsFd, name: &str) -> Result<OwnedFd> {
    let failed = |error: Errno| Error::from_io(error.into());
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
    step(&parent, name, FileType::Directory, Links::Refuse)?.ok_or_else(|| failed(Errno::NOENT))
}

fn check(mode: u32, kind: FileType) -> Result<()> {
    match FileType::from_raw_mode(mode) {
        found if found == kind => Ok(()),
        FileType::Symlink => Err(link()),
        _ if kind == FileType::Directory => Err(Error::new(Code::Io, "not a directory")),
        _ => Err(Error::new(Code::Io, "not a regular file")),
    }
}

fn link() -> Error {
    let message = "a symbolic link could lead out of the directory, and is not followed";
    Error::new(Code::Escape, message)
}

/// Returns a path for messages; a path with other than plain characters is quoted.
fn place(path: &str, kind: FileType) -> String {
    let kind = match kind {
        FileType::Directory => "directory",
        _ => "file",
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    match path {
        "" => kind.to_owned(),
        path if path.bytes().all(plain) => format!("{kind} {path}"),
        path => format!("{kind} {}", quote(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, Directory) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::write(at("a/b/file"), "hello").unwrap();
        fs::write(at("secret"), "secret").unwrap();
        symlink("../secret", at("a/link")).unwrap();
        symlink("b", at("a/linked")).unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        (folder, directory)
    }

    #[test]
    fn files_are_found_by_their_paths() {
        let (_folder, directory) = tree();
        let limit = ("layout_file", 5);
        assert_eq!(
            directory.read("a/b/file", limit).unwrap().unwrap(),
            b"hello"
        );
        assert!(directory.read("a/b/none", limit).unwrap().is_none());
        assert!(directory.read("none/b/file", limit).unwrap().is_none());
        assert_eq!(directory.file("a/b/file").unwrap().unwrap().1, 5);
        assert!(directory.has_file("a/b/file").unwrap());
        assert!(!directory.has_file("a/b/none").unwrap());
        assert!(!directory.has_file("none/b/file").unwrap());
        assert_eq!(directory.has_file("a/b").unwrap_err().code(), Code::Io);
        assert_eq!(directory.names("a").unwrap(), ["b", "link", "linked"]);
        assert_eq!(directory.names("none").unwrap(), [""; 0]);
        assert_eq!(directory.directories("").unwrap(), ["a"]);
        assert_eq!(directory.directories("a").unwrap(), ["b", "link", "linked"]);
        assert!(
            directory.is_directory("a/b").unwrap() && !directory.is_directory("a/linked").unwrap()
        );
        let error = directory.read("secret", limit).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
    }

    #[test]
    fn d1a_no_link_and_no_dots_lead_anywhere() {
        let (_folder, directory) = tree();
        for path in [
            "a/link",
            "a/linked/file",
            "a/../secret",
            "../x",
            "a//b",
            "/etc/passwd",
        ] {
            let error = directory.file(path).unwrap_err();
            assert_eq!(error.code(), Code::Escape, "{path}: {error}");
            let error = directory.has_file(path).unwrap_err();
            assert_eq!(error.code(), Code::Escape, "{path}: {error}");
        }
        assert_eq!(
            directory.names("a/linked").unwrap_err().code(),
            Code::Escape
        );
    }

    // D1b
    #[test]
    fn links_are_followed_where_the_caller_trusts_them() {
        let (_folder, directory) = tree();
        let directory = directory.with_links(Links::Follow);
        assert_eq!(directory.file("a/link").unwrap().unwrap().1, 6);
        assert_eq!(directory.names("a/linked").unwrap(), ["file"]);
        let below = directory.directory("a").unwrap().unwrap();
        assert_eq!(below.file("linked/file").unwrap().unwrap().1, 5);
        assert_eq!(
            directory.file("a/../secret").unwrap_err().code(),
            Code::Escape
        );
    }

    #[test]
    fn links_in_directories_stay_inside_the_root() {
        let (folder, directory) = tree();
        symlink("/a/b", folder.path().join("absolute")).unwrap();
        symlink("../../..", folder.path().join("out")).unwrap();
        let read = |path: &[u8]| {
            directory
                .file_in_root(path)
                .map(|file| file.map(|file| std::io::read_to_string(file).unwrap()))
        };
        assert_eq!(read(b"a/b/file").unwrap().unwrap(), "hello");
        assert_eq!(read(b"./a//linked/file").unwrap().unwrap(), "hello");
        assert_eq!(read(b"absolute/file").unwrap().unwrap(), "hello");
        // A link out of the root ends at the root.
        assert_eq!(read(b"out/secret").unwrap().unwrap(), "secret");
        assert!(read(b"a/none").unwrap().is_none());
        assert_eq!(read(b"a/../secret").unwrap_err().code(), Code::Escape);
        assert_eq!(read(b"a/link").unwrap_err().code(), Code::Escape);
        assert_eq!(read(b"a/b").unwrap_err().code(), Code::Io);
        let mut near = Near::default();
        for (path, size) in [(&b"a/b/file"[..], 5), (b"a/b/file", 5), (b"out/secret", 6)] {
            let found = directory.file_near(path, &mut near).unwrap();
            assert_eq!(found.unwrap().1, size);
        }
        let linked = directory.file_near(b"a/link", &mut near).unwrap_err();
        assert_eq!(linked.code(), Code::Escape);
        assert!(directory.file_near(b"a/none", &mut near).unwrap().is_none());
    }

    #[test]
    fn d2_only_regular_files_are_opened() {
        let (folder, directory) = tree();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for path in ["fifo", "a/b"] {
            let error = directory.file(path).unwrap_err();
            assert_eq!(error.code(), Code::Io, "{path}");
            assert!(error.to_string().contains("not a regular file"), "{error}");
        }
        let error = directory.file("secret/x").unwrap_err();
        assert_eq!(error.to_string(), "directory secret: not a directory");
    }
}
