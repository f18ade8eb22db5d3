//! Private directories that killed processes left behind: telling them from those in use, and
//! removing them (robustness D6).
//!
//! A [`Stage`] holds an advisory lock on its directory, which the kernel gives back when its process
//! ends, however it ends. Only on file systems of this machine does a lock that can be had prove
//! that nobody works there: on all others nothing is removed. Files and directories of other
//! programs and of the user, which have no [`Stage::MARKER`], and stages of other users are left
//! alone, whatever they are called.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::PoisonError,
};

use imgconv_model::{Env, Error, Result, quote};
use rustix::{
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{Stage, remove_contents};

/// Characters of a stage's name after its prefix, all of them letters and digits.
const SUFFIX: usize = 6;

/// File systems whose locks are those of this machine, by their numbers in `statfs(2)`: ext2 to
/// ext4, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs, bcachefs.
const LOCAL: &[u64] = &[
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0x794c_7630,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
];

/// Removes the stages in a directory that killed processes left there: once in a run for each
/// directory, so that a run with many images lists it once. What can't be looked for or removed now
/// is for the next run.
pub fn sweep(directory: &Path, prefix: &str, env: &Env) {
    let new = {
        let mut swept = env.swept.lock().unwrap_or_else(PoisonError::into_inner);
        swept.insert(directory.join(prefix))
    };
    if !new {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(opened) = rustix::fs::open(directory, flags, Mode::empty()) else {
        return;
    };
    for stale in Stale::find(&opened, prefix).unwrap_or_default() {
        let _ = stale.remove(&opened);
    }
}

/// A stage that no process holds. Nobody else can take it for one as long as this is there.
#[derive(Debug)]
pub struct Stale {
    name: String,
    /// Locked.
    descriptor: OwnedFd,
}

impl Stale {
    /// Finds the stages in a directory that no process holds, sorted by name. `prefix` is what
    /// their names begin with, such as [`Stage::PREFIX`].
    ///
    /// # Errors
    /// [`Code::Io`](imgconv_model::Code::Io) if the directory can't be listed.
    pub fn find(directory: impl AsFd, prefix: &str) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        if !Self::can_tell(&directory) {
            return Ok(found);
        }
        for name in stages(&directory, prefix)? {
            if let Some(descriptor) = hold(&directory, &name) {
                found.push(Self { name, descriptor });
            }
        }
        Ok(found)
    }

    /// Says whether a lock that can be had proves that no process holds it: on the file systems of
    /// this machine.
    pub fn can_tell(directory: impl AsFd) -> bool {
        rustix::fs::fstatfs(directory).is_ok_and(|found| {
            u64::try_from(found.f_type).is_ok_and(|kind| LOCAL.contains(&(kind & 0xffff_ffff)))
        })
    }

    /// Lists the names of the other stages in a directory, those that a process holds or may hold,
    /// sorted.
    ///
    /// # Errors
    /// As [`Stale::find`].
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

    /// Removes it from the directory where it was found, with everything in it.
    ///
    /// # Errors
    /// [`Code::Io`](imgconv_model::Code::Io) if something can't be removed.
    pub fn remove(self, directory: impl AsFd) -> Result<()> {
        let failed = |error: std::io::Error| Error::io(error, quote(&self.name));
        remove_contents(&self.descriptor, Stage::MARKER.as_bytes()).map_err(failed)?;
        match rustix::fs::unlinkat(directory, &*self.name, AtFlags::REMOVEDIR) {
            // Its process was just removing it itself, and gave back the lock after that.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// Takes the lock of a stage, which lasts until the descriptor is closed; false if another process
/// holds it. Where there are no such locks, everybody has it.
pub(crate) fn lock(descriptor: &OwnedFd) -> bool {
    let taken = rustix::fs::flock(descriptor, FlockOperation::NonBlockingLockExclusive);
    !matches!(taken, Err(Errno::WOULDBLOCK))
}

/// Lists what is called as a stage, sorted.
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

/// Opens and locks a stage; `None` if it is in use, or is none of ours. One without a marker is ours
/// only if it is empty: its process was killed before it had one.
fn hold(directory: impl AsFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let descriptor = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&descriptor).ok()?;
    let private = Mode::from_raw_mode(stat.st_mode) == Mode::RWXU;
    let own = stat.st_uid == rustix::process::geteuid().as_raw();
    let taken = rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive);
    let ours = private && own && taken.is_ok();
    (ours && (is_marked(&descriptor) || is_empty(&descriptor))).then_some(descriptor)
}

fn is_marked(stage: &OwnedFd) -> bool {
    let found = rustix::fs::statat(stage, Stage::MARKER, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_size == 0
    })
}

fn is_empty(stage: &OwnedFd) -> bool {
    let Ok(mut entries) = Dir::read_from(stage) else {
        return false;
    };
    entries.all(|entry| entry.is_ok_and(|e| matches!(e.file_name().to_bytes(), b"." | b"..")))
}

/// Says whether a directory is still the one of that name.
pub(crate) fn is_there(stage: &Stage) -> bool {
    let at = rustix::fs::lstat(stage.path());
    let own = rustix::fs::fstat(stage.descriptor());
    matches!((at, own), (Ok(at), Ok(own)) if (at.st_dev, at.st_ino) == (own.st_dev, own.st_ino))
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
        // K43: directories of the user that are called alike.
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
        // Whoever removes it holds it.
        let opened = || fs::File::open(folder).unwrap();
        let mut held = Stale::find(opened(), Stage::PREFIX).unwrap();
        assert_eq!(names(folder), [""; 0]);
        held.remove(0).remove(opened()).unwrap();
        assert!(!folder.join(".imgconv-Aaaaa1").exists());
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
        // Its process was killed before it had a marker.
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
