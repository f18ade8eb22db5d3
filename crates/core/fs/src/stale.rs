//! Private directories that killed processes left: distinguishing them from directories in use, and
//! removing them (robustness D6).
//!
//! A [`Stage`] holds advisory locks on its directory and its marker file, which the kernel releases when
//! its process ends, also when it is killed. Only on file systems of this machine do free locks prove
//! that no process uses the stage: a process of another machine that mounts the file system over NFS
//! holds the lock of the marker here too. On a network file system no directory is removed: the
//! machine may be told by a mount option (`nolock`, `local_lock`) to keep its locks to itself, and a
//! stage that is removed while its process writes costs hours. Files and directories without
//! [`Stage::MARKER`] and stages of other users stay, whatever their names.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::PoisonError,
};

use imgconv_model::{Env, Error, Result, quote};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    descriptor::{is_empty, open_directory, open_directory_at},
    lock,
    remove::remove_contents,
    stage::Stage,
};

/// Characters of a stage's name after its prefix, all of them letters and digits.
const SUFFIX: usize = 6;

/// Removes the stages that killed processes left in a directory. Each directory is searched once in
/// a run, so that a run with many images lists it once. Failures are ignored: the next run tries
/// again.
pub fn sweep(directory: &Path, prefix: &str, env: &Env) {
    let new = {
        let mut swept = env.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.insert(directory.join(prefix))
    };
    if !new {
        return;
    }
    let Ok(opened) = open_directory(directory) else {
        return;
    };
    for stale in Stale::find(&opened, prefix).unwrap_or_default() {
        let _ = stale.remove(&opened);
    }
}

/// A stage that no process uses. This value holds the lock, so no other process removes the stage.
#[derive(Debug)]
pub struct Stale {
    name: String,
    /// The directory, locked.
    descriptor: OwnedFd,
    /// The marker file, locked; `None` if there is none, or if it can't be opened.
    _marker: Option<File>,
}

impl Stale {
    /// Finds the stages in a directory that no process holds, sorted by name. `prefix` is the start
    /// of their names, such as [`Stage::PREFIX`].
    ///
    /// # Errors
    /// [`Code::Io`](imgconv_model::Code::Io) if the directory can't be listed.
    pub fn find(directory: impl AsFd, prefix: &str) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        if !lock::proves(&directory) {
            return Ok(found);
        }
        for name in stages(&directory, prefix)? {
            found.extend(hold(&directory, name));
        }
        Ok(found)
    }

    /// Lists the names of the stages in a directory that a process holds or may hold, sorted.
    ///
    /// # Errors
    /// The errors of [`Stale::find`].
    pub fn others(directory: impl AsFd, prefix: &str) -> Result<Vec<String>> {
        let stale = Self::find(&directory, prefix)?;
        let mut names = stages(&directory, prefix)?;
        names.retain(|name| stale.iter().all(|one| one.name != *name));
        Ok(names)
    }

    /// Returns the name of the directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes the stage, with all its files, from the directory where it was found.
    ///
    /// # Errors
    /// [`Code::Io`](imgconv_model::Code::Io) if a file can't be removed.
    pub fn remove(self, directory: impl AsFd) -> Result<()> {
        let failed = |error: io::Error| Error::io(error, quote(&self.name));
        remove_contents(&self.descriptor, Stage::MARKER.as_bytes()).map_err(failed)?;
        match rustix::fs::unlinkat(directory, &*self.name, AtFlags::REMOVEDIR) {
            // The process of the stage may have removed it already, and released the lock after
            // that.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Lists the names that a stage could have, sorted.
fn stages(directory: impl AsFd, prefix: &str) -> Result<Vec<String>> {
    let failed = |error: Errno| Error::io(error.into(), "directory");
    let mut found = Vec::new();
    for entry in Dir::read_from(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_str().ok();
        found.extend(
            name.filter(|name| is_stage(name, prefix))
                .map(str::to_owned),
        );
    }
    found.sort();
    Ok(found)
}

fn is_stage(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        rest.len() == SUFFIX && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Opens and locks a stage; `None` if it is in use, or if another program made it. A directory
/// without a marker counts as a stage only if it is empty: its process was killed before the marker
/// was made.
fn hold(directory: impl AsFd, name: String) -> Option<Stale> {
    let descriptor = open_directory_at(directory, name.as_bytes()).ok()?;
    let stat = rustix::fs::fstat(&descriptor).ok()?;
    let private = Mode::from_raw_mode(stat.st_mode) == Mode::RWXU;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    let ours = private && own && matches!(lock::try_lock(&descriptor), Ok(true));
    let left = || is_marked(&descriptor) || matches!(is_empty(&descriptor), Ok(true));
    if !ours || !left() {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let marker = match rustix::fs::openat(&descriptor, Stage::MARKER, flags, Mode::empty()) {
        Ok(marker) if matches!(lock::try_lock_file(&marker), Ok(true)) => Some(File::from(marker)),
        Ok(_) => return None,
        Err(_) => None,
    };
    Some(Stale {
        name,
        descriptor,
        _marker: marker,
    })
}

fn is_marked(stage: &OwnedFd) -> bool {
    let found = rustix::fs::statat(stage, Stage::MARKER, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_size == 0
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let found = Stale::find(fs::File::open(folder).unwrap(), Stage::PREFIX).unwrap();
        found.iter().map(|one| one.name().to_owned()).collect()
    }

    fn dead(folder: &Path, name: &str, mode: u32) {
        let path = folder.join(name);
        fs::create_dir_all(path.join("layout/blobs/sha256/a/b/c/d/e/f/g/h")).unwrap();
        fs::write(path.join("layout/blobs/sha256/x"), "x").unwrap();
        fs::write(path.join(Stage::MARKER), "").unwrap();
        std::os::unix::fs::symlink("/etc", path.join("link")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn d6_only_stages_that_nobody_holds_are_stale() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let live = Stage::new(folder, Stage::PREFIX, false).unwrap();
        dead(folder, ".imgconv-Aaaaa1", 0o700);
        for (name, mode) in [
            (".imgconv-migrate", 0o700),
            (".imgconv-dead", 0o700),
            (".imgconv-wide01", 0o755),
            (".other-Aaaaa1", 0o700),
        ] {
            dead(folder, name, mode);
        }
        // K43: directories of the user with similar names.
        for (name, file) in [
            (".imgconv-backup", "photo"),
            (".imgconv-marked", Stage::MARKER),
        ] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join(file), "precious").unwrap();
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(folder.join(name), private).unwrap();
        }
        fs::write(folder.join(".imgconv-file01"), "x").unwrap();
        std::os::unix::fs::symlink(".imgconv-Aaaaa1", folder.join(".imgconv-link01")).unwrap();
        assert_eq!(names(folder), [".imgconv-Aaaaa1"]);
        // A process that removes a stage holds its lock.
        let opened = || fs::File::open(folder).unwrap();
        let mut held = Stale::find(opened(), Stage::PREFIX).unwrap();
        assert_eq!(names(folder), [""; 0]);
        held.remove(0).remove(opened()).unwrap();
        assert!(!folder.join(".imgconv-Aaaaa1").exists());
        // A process of another machine, which writes here over a network, holds the lock of the
        // marker alone.
        dead(folder, ".imgconv-Aaaaa2", 0o700);
        let path = folder.join(".imgconv-Aaaaa2").join(Stage::MARKER);
        let marker = File::options().write(true).open(path).unwrap();
        assert!(lock::try_lock_file(&marker).unwrap());
        assert_eq!(names(folder), [""; 0]);
        drop(marker);
        assert_eq!(names(folder), [".imgconv-Aaaaa2"]);
        assert!(live.path().exists() && Path::new("/etc").exists());
        assert!(folder.join(".imgconv-migrate/layout").exists());
        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }

    // K43
    #[test]
    fn what_was_left_is_swept_once_in_a_run_and_what_the_user_has_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let env = Env::new(folder, imgconv_model::Platform::new("linux", "amd64"));
        let live = Stage::new(folder, Stage::PREFIX, false).unwrap();
        dead(folder, ".imgconv-Aaaaa1", 0o700);
        // The process was killed before it made the marker.
        fs::create_dir(folder.join(".imgconv-Aaaaa2")).unwrap();
        fs::set_permissions(
            folder.join(".imgconv-Aaaaa2"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        fs::create_dir(folder.join(".imgconv-backup")).unwrap();
        fs::write(folder.join(".imgconv-backup/photo"), "precious").unwrap();
        fs::set_permissions(
            folder.join(".imgconv-backup"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        let there = |name: &str| folder.join(name).exists();
        sweep(folder, Stage::PREFIX, &env);
        assert!(!there(".imgconv-Aaaaa1") && !there(".imgconv-Aaaaa2"));
        assert!(there(".imgconv-backup/photo") && live.path().exists());
        dead(folder, ".imgconv-Aaaaa1", 0o700);
        sweep(folder, Stage::PREFIX, &env.clone());
        assert!(there(".imgconv-Aaaaa1"));
        let later = Env::new(folder, imgconv_model::Platform::new("linux", "amd64"));
        sweep(folder, Stage::PREFIX, &later);
        assert!(!there(".imgconv-Aaaaa1"));
    }
}
