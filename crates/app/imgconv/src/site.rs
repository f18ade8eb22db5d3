//! The disk side of a published site: what changes is staged beside it and compared with what is
//! there, then moved into place in the order in which it was put, so that nobody is sent to
//! something that is not there yet.
//!
//! It knows where an ACI and the image tags of a name are, and nothing of what is in them.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use imgconv_model::{Code, Env, Error, Limits, Result, quote};
use tempfile::TempDir;

/// The prefix of every temporary directory.
const PREFIX: &str = ".imgconv-";
/// The buffer with which files are compared.
const BLOCK: usize = 64 * 1024;

/// The directory of the ACIs of a name, below the site.
pub(crate) fn aci_folder(name: &str) -> String {
    format!("aci/{name}")
}

/// The image tags file of a name, below the site.
pub(crate) fn tags_path(name: &str) -> String {
    format!("aci/{name}/imagetags.json")
}

/// A site that is being changed. Dropping it leaves no trace.
#[derive(Debug)]
pub(crate) struct Site {
    /// Where the site will be.
    root: PathBuf,
    /// True if there is nothing yet.
    new: bool,
    staging: TempDir,
    limits: Limits,
    changes: Vec<Change>,
    /// How many files were staged.
    staged: usize,
}

/// One step towards the new site.
#[derive(Debug)]
enum Change {
    /// A staged file gets its path.
    Put { path: String, staged: PathBuf },
    /// A file goes.
    Remove { path: String },
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Self::Put { path, .. } | Self::Remove { path } => path,
        }
    }
}

impl Site {
    /// Opens a site, which may not be there yet.
    ///
    /// # Errors
    /// If it is no directory, or nothing can be written there.
    pub(crate) fn open(root: &Path, env: &Env) -> Result<Self> {
        let new = match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => false,
            Ok(_) => return Err(Error::new(Code::Io, "not a directory").at(show(root))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(Error::io(error, show(root))),
        };
        // On the same file system, and where there is a right to write in any case.
        let beside = if new { parent(root) } else { root };
        let staging = tempfile::Builder::new().prefix(PREFIX).tempdir_in(beside);
        Ok(Self {
            root: root.to_owned(),
            new,
            staging: staging.map_err(|error| Error::io(error, show(beside)))?,
            limits: env.limits,
            changes: Vec::new(),
            staged: 0,
        })
    }

    /// A path for a temporary file or directory, on the file system of the site.
    pub(crate) fn temporary(&self, name: &str) -> PathBuf {
        self.staging.path().join(name)
    }

    /// Where a path of the site is now; there may be nothing.
    pub(crate) fn there(&self, path: &str) -> Option<PathBuf> {
        let place = self.root.join(path);
        place.symlink_metadata().is_ok().then_some(place)
    }

    /// Lists the paths of the ACIs that lie directly in a directory of the site, and of those that
    /// will, sorted; each with the file that it is now.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub(crate) fn acis(&self, folder: &str) -> Result<Vec<(String, PathBuf)>> {
        let mut found = std::collections::BTreeMap::new();
        let place = self.root.join(folder);
        let failed = |error| Error::io(error, show(&place));
        match fs::read_dir(&place) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(failed)?;
                    if let Some(name) = entry.file_name().to_str() {
                        found.insert(format!("{folder}/{name}"), entry.path());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        for change in &self.changes {
            if let Change::Put { path, staged } = change
                && path.rsplit_once('/').is_some_and(|(own, _)| own == folder)
            {
                found.insert(path.clone(), staged.clone());
            }
        }
        found.retain(|path, file| path.ends_with(".aci") && file.is_file());
        Ok(found.into_iter().collect())
    }

    /// Says whether a path will exist.
    pub(crate) fn will_have(&self, path: &str) -> bool {
        let last = self
            .changes
            .iter()
            .rev()
            .find(|change| change.path() == path);
        match last {
            Some(Change::Put { .. }) => true,
            Some(Change::Remove { .. }) => false,
            None => self.there(path).is_some(),
        }
    }

    /// Says whether a file differs from what is at a path now; nothing there differs too.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub(crate) fn changes(&self, path: &str, file: &Path) -> Result<bool> {
        let Some(there) = self.there(path) else {
            return Ok(true);
        };
        let equal = equal(&there, file);
        Ok(!equal.map_err(|error| Error::io(error, show(&there)))?)
    }

    /// Puts bytes at a path; says whether something changes.
    ///
    /// # Errors
    /// If they can't be staged, or the path is another file's already.
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) -> Result<bool> {
        let staged = self.temporary(&format!("put-{}", self.staged));
        self.staged += 1;
        let write = || {
            let mut file = File::create_new(&staged)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| Error::io(error, show(&staged)))?;
        self.put_file(path, staged)
    }

    /// Puts a complete, durable file at a path; says whether something changes. The file must lie
    /// in a directory that [`Site::temporary`] names.
    ///
    /// # Errors
    /// As [`Site::put`].
    pub(crate) fn put_file(&mut self, path: &str, staged: PathBuf) -> Result<bool> {
        self.check(path)?;
        let before = self.changes.iter().find_map(|change| match change {
            Change::Put {
                path: other,
                staged,
            } if other == path => Some(staged.clone()),
            _ => None,
        });
        let before = match before {
            Some(staged) => Some((staged, true)),
            None => self.there(path).map(|place| (place, false)),
        };
        if let Some((before, own)) = before {
            if before.is_dir() {
                let message = "a directory is in the way";
                return Err(Error::new(Code::Denied, message).at(show(&before)));
            }
            let equal = equal(&before, &staged);
            if equal.map_err(|error| Error::io(error, show(&before)))? {
                return Ok(false);
            }
            if own {
                let message = "two different files would be written here";
                return Err(Error::new(Code::Ambiguous, message).at(quote(path)));
            }
        }
        let path = path.to_owned();
        self.changes.push(Change::Put { path, staged });
        Ok(true)
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove(&mut self, path: &str) {
        if self.there(path).is_some() {
            let path = path.to_owned();
            self.changes.push(Change::Remove { path });
        }
    }

    /// Refuses a path of which a file system could not hold every component.
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

    /// Makes all changes, in their order. A new site appears at once; in one that is there each
    /// file does.
    ///
    /// # Errors
    /// If a file can't be moved. What was moved before stays: every prefix of the changes is a
    /// sound site.
    pub(crate) fn commit(self) -> Result<()> {
        let place = match self.new {
            true => self.temporary("site"),
            false => self.root.clone(),
        };
        fs::create_dir_all(&place).map_err(|error| Error::io(error, show(&place)))?;
        for change in &self.changes {
            let path = place.join(change.path());
            let folder = parent(&path);
            let made = fs::create_dir_all(folder);
            made.map_err(|error| Error::io(error, show(folder)))?;
            match change {
                Change::Put { staged, .. } => fs::rename(staged, &path),
                Change::Remove { .. } => fs::remove_file(&path),
            }
            .map_err(|error| Error::io(error, show(&path)))?;
            sync(folder)?;
        }
        if self.new {
            let renamed = fs::rename(&place, &self.root);
            renamed.map_err(|error| Error::io(error, show(&self.root)))?;
            sync(parent(&self.root))?;
        }
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io(error, show(folder)))
}

fn show(path: &Path) -> String {
    quote(path.as_os_str().as_encoded_bytes())
}

/// Says whether two files hold the same bytes.
fn equal(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let inode = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    if inode(&a)? == inode(&b)? {
        return Ok(true);
    }
    if !a.metadata()?.is_file() || a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut of_a, mut of_b) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let count = a.read(&mut of_a)?;
        if count == 0 {
            // As long as the other, which may have grown meanwhile.
            return Ok(b.read(&mut of_b)? == 0);
        }
        match b.read_exact(&mut of_b[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if of_a[..count] != of_b[..count] {
            return Ok(false);
        }
    }
}
