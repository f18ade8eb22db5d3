//! The files of a published site: changes are staged beside the site and compared with the existing
//! files, then moved into place in the order in which they were added, so that no page leads to a
//! file that is not there yet.
//!
//! This module knows the paths of ACIs and of image tags, and nothing of their contents. Somebody
//! else may have made the site: every path in it is walked by file descriptors, no symbolic link is
//! followed, and anything but a plain file is neither read nor replaced.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_fs::{
    Directory, Stage, lock_directory, open_directory, open_directory_at, parent, path_of,
    same_bytes, sweep, sync, sync_directory,
};
use imgconv_model::{Code, Env, Error, Limits, Result, quote, quote_path};
use rustix::{
    fs::{AtFlags, CWD, Mode},
    io::Errno,
};

/// The directory of the ACIs of a name, below the site.
pub(crate) fn aci_folder(name: &str) -> String {
    format!("aci/{name}")
}

/// A site that is being changed. Dropping it leaves no trace.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where the site will be.
    root: PathBuf,
    /// True if the site does not exist yet.
    new: bool,
    /// The existing files; an empty directory if the site does not exist yet.
    files: Directory,
    staging: Arc<Stage>,
    limits: Limits,
    changes: Vec<Change>,
    /// The number of staged files.
    staged: usize,
    /// The lock of an existing site, once it was taken.
    lock: Option<File>,
}

/// One step towards the new site.
#[derive(Debug)]
struct Change {
    path: String,
    /// The staged file that gets the path; `None` if the file at the path goes.
    staged: Option<PathBuf>,
}

impl Site {
    /// Opens a site, which may not exist yet.
    ///
    /// # Errors
    /// If the site is no directory, or nothing can be written there.
    pub(crate) fn open(root: &Path, env: &Env) -> Result<Self> {
        let new = match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => false,
            Ok(_) => return Err(Error::new(Code::Io, "not a directory").at(quote_path(root))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(Error::io(error, quote_path(root))),
        };
        // The staging directory is on the same file system, where this user has the right to write.
        let beside = if new { parent(root) } else { root };
        sweep(beside, Stage::PREFIX, env);
        // A run that was killed after it had made the site may have left its stage beside the site.
        if !new {
            sweep(parent(root), Stage::PREFIX, env);
        }
        let staging = Stage::new(beside, Stage::PREFIX, true)?;
        let files = match new {
            // An empty directory in the staging directory.
            true => {
                let empty = staging.path().join("empty");
                fs::create_dir(&empty).map_err(|error| Error::io(error, quote_path(&empty)))?;
                Directory::open(&empty)?
            }
            false => Directory::open(root)?,
        };
        Ok(Self {
            root: root.to_owned(),
            new,
            files,
            staging,
            limits: env.limits,
            changes: Vec::new(),
            staged: 0,
            lock: None,
        })
    }

    /// Waits for the lock of an existing site, which lasts until the site is dropped: tags and pages are
    /// made of those that are there. The lock keeps out the runs of this machine only. A new site needs
    /// none: if another run makes one at the same place, the commit fails.
    ///
    /// # Errors
    /// If the file system has no locks, or the run is cancelled.
    pub(crate) fn lock(&mut self, env: &Env) -> Result<()> {
        if !self.new && self.lock.is_none() {
            let what = format!("lock of the site {}", quote_path(&self.root));
            self.lock = Some(lock_directory(&self.files, env, &what)?);
        }
        Ok(())
    }

    /// A path for a temporary file or directory, on the file system of the site.
    pub(crate) fn temporary(&self, name: &str) -> PathBuf {
        self.staging.path().join(name)
    }

    /// Opens the file that is at a path of the site now; `None` if there is no file.
    ///
    /// # Errors
    /// [`Code::Denied`] for anything but a plain file; [`Code::Escape`] for a symbolic link on the
    /// way.
    fn file(&self, path: &str) -> Result<Option<File>> {
        let found = self.files.file(path).map_err(|error| match error.code() {
            Code::Escape => error.hint(
                "a site must not contain symbolic links; replace the link by a directory or a file",
            ),
            // The file system failed, so that it is not known what is there.
            Code::Io if is_failure(&error) => error.at(quote_path(&self.root.join(path))),
            _ => Error::new(Code::Denied, "the path exists and is not a regular file")
                .at(quote_path(&self.root.join(path)))
                .hint(
                    "a site replaces only files; remove the path, or publish to another directory",
                ),
        })?;
        Ok(found.map(|(file, _)| file))
    }

    /// Returns a readable path to the file that is at a path of the site now; the path leads to the
    /// same file as long as the result is held. `None` if there is no file.
    ///
    /// # Errors
    /// As for every path of a site: [`Code::Denied`] for anything but a plain file,
    /// [`Code::Escape`] for a symbolic link on the way.
    pub(crate) fn there(&self, path: &str) -> Result<Option<There>> {
        let place = self.root.join(path);
        let found = self.file(path)?;
        Ok(found.map(|file| There { file, place }))
    }

    /// Lists the paths of the ACIs that lie directly in a directory of the site, now or after the
    /// changes, sorted; each with its staged file, if it has one.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub(crate) fn acis(&self, folder: &str) -> Result<BTreeMap<String, Option<PathBuf>>> {
        let mut found = BTreeMap::new();
        for name in self.files.names(folder)? {
            let path = format!("{folder}/{name}");
            if name.ends_with(".aci") && !self.files.is_directory(&path)? {
                found.insert(path, None);
            }
        }
        for change in &self.changes {
            let is_here = change
                .path
                .rsplit_once('/')
                .is_some_and(|(own, _)| own == folder);
            if is_here && change.staged.is_some() && change.path.ends_with(".aci") {
                found.insert(change.path.clone(), change.staged.clone());
            }
        }
        Ok(found)
    }

    /// Opens a file that [`Site::acis`] lists; `None` if the file is gone by now.
    ///
    /// # Errors
    /// As [`Site::there`].
    pub(crate) fn listed(&self, path: &str, staged: Option<PathBuf>) -> Result<Option<There>> {
        let Some(place) = staged else {
            return self.there(path);
        };
        let file = File::open(&place).map_err(|error| Error::io(error, quote_path(&place)))?;
        Ok(Some(There { file, place }))
    }

    /// Says whether a path will exist.
    ///
    /// # Errors
    /// As [`Site::there`].
    pub(crate) fn will_have(&self, path: &str) -> Result<bool> {
        let mut changes = self.changes.iter().rev();
        Ok(match changes.find(|change| change.path == path) {
            Some(last) => last.staged.is_some(),
            None => self.file(path)?.is_some(),
        })
    }

    /// Says whether a file differs from the existing one at a path; true if there is none.
    ///
    /// # Errors
    /// If a file can't be read.
    pub(crate) fn changes(&self, path: &str, file: &Path) -> Result<bool> {
        let Some(there) = self.file(path)? else {
            return Ok(true);
        };
        let equal = File::open(file).and_then(|file| same_bytes(there, file));
        Ok(!equal.map_err(|error| Error::io(error, quote_path(&self.root.join(path))))?)
    }

    /// Puts bytes at a path; returns whether something changes.
    ///
    /// # Errors
    /// If the bytes can't be staged, or the path belongs to another file already.
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) -> Result<bool> {
        let staged = self.temporary(&format!("put-{}", self.staged));
        self.staged += 1;
        let write = || {
            let mut file = File::create_new(&staged)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| Error::io(error, quote_path(&staged)))?;
        self.put_file(path, staged)
    }

    /// Puts a complete, durable file at a path; returns whether something changes. The file must
    /// lie in a directory that [`Site::temporary`] names.
    ///
    /// # Errors
    /// As [`Site::put`].
    pub(crate) fn put_file(&mut self, path: &str, staged: PathBuf) -> Result<bool> {
        self.check(path)?;
        let mut changes = self.changes.iter().filter(|change| change.path == path);
        let before = match changes.find_map(|change| change.staged.as_ref()) {
            Some(staged) => {
                let opened = File::open(staged);
                let opened = opened.map_err(|error| Error::io(error, quote_path(staged)))?;
                Some((opened, true))
            }
            None => self.file(path)?.map(|file| (file, false)),
        };
        if let Some((before, own)) = before {
            let equal = File::open(&staged).and_then(|file| same_bytes(before, file));
            if equal.map_err(|error| Error::io(error, quote_path(&self.root.join(path))))? {
                return Ok(false);
            }
            if own {
                let message = "two different files would be written to this path";
                return Err(Error::new(Code::Ambiguous, message).at(quote(path)));
            }
        }
        self.change(path, Some(staged));
        Ok(true)
    }

    /// Removes a file, if there is one.
    ///
    /// # Errors
    /// As [`Site::there`].
    pub(crate) fn remove(&mut self, path: &str) -> Result<()> {
        if self.file(path)?.is_some() {
            self.change(path, None);
        }
        Ok(())
    }

    fn change(&mut self, path: &str, staged: Option<PathBuf>) {
        let path = path.to_owned();
        self.changes.push(Change { path, staged });
    }

    /// Refuses a path with a component that a file system could not hold.
    fn check(&self, path: &str) -> Result<()> {
        let most = self.limits.file_token;
        let sound = |part: &str| !part.is_empty() && !part.starts_with('.');
        if !path.split('/').all(sound) {
            let message = format!("{} is no path for a file of a site", quote(path));
            return Err(Error::new(Code::BadName, message));
        }
        match path.split('/').find(|part| part.len() as u64 > most) {
            Some(part) => Err(Limits::exceeded("file_token", most, quote(part))),
            None => Ok(()),
        }
    }

    /// Makes all changes, in their order. A new site appears at once; in an existing site each file
    /// appears at once.
    ///
    /// # Errors
    /// If a file can't be moved. Files that were moved before stay: every prefix of the changes is
    /// a sound site.
    pub(crate) fn commit(self) -> Result<()> {
        let place = match self.new {
            true => {
                let place = self.temporary("site");
                fs::create_dir(&place).map_err(|error| Error::io(error, quote_path(&place)))?;
                place
            }
            false => self.root.clone(),
        };
        let top = open_directory(&place)?;
        for change in &self.changes {
            let shown = quote_path(&self.root.join(&change.path));
            let failed = |error: Errno| Error::io(error.into(), shown.clone());
            let parts = change.path.rsplit_once('/');
            let (folder, name) = parts.unwrap_or(("", &change.path));
            let folder = make_directories(&top, folder, &self.root)?;
            match &change.staged {
                // A link that appeared here meanwhile is replaced, and not followed.
                Some(staged) => rustix::fs::renameat(CWD, staged, &folder, name),
                None => rustix::fs::unlinkat(&folder, name, AtFlags::empty()),
            }
            .and_then(|()| rustix::fs::fsync(&folder))
            .map_err(failed)?;
        }
        if self.new {
            let renamed = fs::rename(&place, &self.root);
            renamed.map_err(|error| Error::io(error, quote_path(&self.root)))?;
            sync_directory(parent(&self.root))?;
        }
        Ok(())
    }
}

/// Returns true if an error is that of a call that failed, and not about the kind of the file.
fn is_failure(error: &Error) -> bool {
    let failed = error.cause().and_then(Errno::from_io_error);
    failed.is_some_and(|errno| !matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::NXIO))
}

/// An opened file of a site.
#[derive(Debug)]
pub(crate) struct There {
    file: File,
    place: PathBuf,
}

impl There {
    /// A path that leads to exactly this file, whatever file has its name by now.
    pub(crate) fn path(&self) -> String {
        let path = path_of(&self.file);
        match Path::new(&path).exists() {
            true => path,
            // There is no `/proc` here.
            false => self.place.to_string_lossy().into_owned(),
        }
    }

    /// The path by which the file was found, for messages.
    pub(crate) fn shown(&self) -> String {
        self.place.display().to_string()
    }
}

/// Makes the directories of a path below a directory, and opens the last one; the directory itself for
/// an empty path. No part may be a link.
fn make_directories(top: &OwnedFd, path: &str, root: &Path) -> Result<OwnedFd> {
    let at = || quote_path(&root.join(path));
    let mut found = top.try_clone().map_err(|error| Error::io(error, at()))?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match rustix::fs::mkdirat(&found, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => sync(&found, at())?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(Error::io(error.into(), at())),
        }
        found =
            open_directory_at(&found, name.as_bytes()).map_err(
                |error| match Errno::from_io_error(&error) {
                    Some(Errno::LOOP | Errno::NOTDIR) => {
                        let message =
                            "the path must be a directory of the site, but is a symbolic link or a \
                             file";
                        Error::new(Code::Escape, message).at(at())
                    }
                    _ => Error::io(error, at()),
                },
            )?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use imgconv_model::Platform;
    use imgconv_testkit::waits;

    use super::*;

    #[test]
    fn a_run_that_waits_names_the_site() {
        let folder = tempfile::tempdir().unwrap();
        let env = || Env::new(folder.path(), Platform::new("linux", "amd64"));
        let mut told = env();
        let (progress, receiver) = waits();
        told.progress = progress;
        let open = |env: &Env| Site::open(folder.path(), env).unwrap();
        let mut held = open(&env());
        held.lock(&env()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| open(&told).lock(&told).unwrap());
            let expected = format!(
                "waiting for the lock of the site {}, which another run holds",
                quote_path(folder.path())
            );
            assert_eq!(receiver.recv().unwrap(), expected);
            drop(held);
        });
    }

    #[test]
    fn one_run_at_a_time_changes_an_existing_site() {
        let folder = tempfile::tempdir().unwrap();
        let env = Env::new(folder.path(), Platform::new("linux", "amd64"));
        let open = |name: &str| Site::open(&folder.path().join(name), &env).unwrap();
        fs::create_dir(folder.path().join("site")).unwrap();
        let (mut first, mut second) = (open("site"), open("site"));
        first.lock(&env).unwrap();
        first.lock(&env).unwrap();
        env.cancel.store(true, Ordering::Relaxed);
        assert_eq!(second.lock(&env).unwrap_err().code(), Code::Cancelled);
        drop(first);
        second.lock(&env).unwrap();
        // A new site has no lock.
        open("new").lock(&env).unwrap();
    }
}
