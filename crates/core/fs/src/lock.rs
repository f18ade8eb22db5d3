//! Advisory locks, which the kernel releases when their process ends, also when it is killed.
//!
//! **On one machine:** `flock` on a directory ([`lock_directory`]). NFS, SMB and FUSE do not send such
//! a lock to the server, so it says nothing about other machines.
//!
//! **Between machines:** a lock on a regular file ([`try_lock_file`], [`lock_file_at`]). Three facts
//! decide its form:
//!
//! - On NFS, every lock of a file is a lock on a range of bytes that the server keeps: also `flock`,
//!   since Linux 2.6.12 (flock(2), nfs(5)). The server keeps it as a lock of `fcntl`, so that a
//!   process on the server itself meets it by `fcntl` alone. The lock is therefore one of `fcntl`,
//!   of the kind that belongs to the open file (`F_OFD_SETLK`): a lock that belongs to the process
//!   ends when any descriptor of the file is closed, such as that of a reader in another thread.
//! - On SMB, such a lock keeps others from reading the locked bytes. So the locked byte lies far
//!   behind the end of the file.
//! - A file system in user space may forward `flock` alone in a useful way: the locks of `fcntl` that
//!   it takes belong to its one process. So on FUSE both locks are taken. On file systems of this
//!   machine too, because older versions lock journals by `flock`. Elsewhere the two may be one
//!   lock on the server, which would refuse itself.
//!
//! A lock of `fcntl` needs a file that is open for writing. If the user may not write to the file,
//! `flock` is enough on this machine, and elsewhere the lock is refused.
//!
//! No lock file with the name of its owner is used instead: only the server knows that a machine is
//! gone. Without that knowledge a lease would end by a clock, while its owner still writes.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    time::Duration,
};

use imgconv_model::{Code, Env, Error, Event, Result};
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use rustix::{
    fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, StatxFlags, flock},
    io::Errno,
};

use crate::directory::open_file_at;

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
/// The number of FUSE in `statfs(2)`.
const FUSE: u64 = 0x6573_5546;

/// The position of the byte that is locked: no file that is locked is that long.
const BYTE: i64 = 1 << 40;

/// The pause between two attempts to take a lock on this machine, and the first pause before another
/// request to a server.
const PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two requests to a server. Only one process of a machine sends them, where
/// the processes have taken a lock of the machine first.
const LONGEST: Duration = Duration::from_millis(16);
/// The time after which a run that waits for a lock says so.
const SILENT: Duration = Duration::from_secs(1);
/// The number of attempts to lock a file that others replace all the time.
const TRIES: usize = 1000;

/// Takes the lock of an open directory, which lasts until the descriptor is closed; false if another
/// process holds the lock.
///
/// # Errors
/// If the file system has no locks.
pub(crate) fn try_lock(descriptor: impl AsFd) -> io::Result<bool> {
    match flock(descriptor, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if a lock that can be taken proves that no process holds it. That holds for the
/// file systems of this machine only: on a network, another machine may hold the lock.
pub(crate) fn proves(directory: impl AsFd) -> bool {
    kind(directory).is_some_and(|kind| LOCAL.contains(&kind))
}

/// Returns the number of the file system of a file in `statfs(2)`.
fn kind(file: impl AsFd) -> Option<u64> {
    let found = rustix::fs::fstatfs(file).ok()?;
    Some(u64::try_from(found.f_type).ok()? & 0xffff_ffff)
}

/// Takes the lock of an open regular file, which lasts until the last descriptor of this opening is
/// closed; false if another process holds the lock, on this machine or on another one that shares the
/// file system. The file should be open for writing, see the start of this file.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] if the file system locks only files that are open for writing,
/// and other errors if the file system has no locks.
pub fn try_lock_file(file: impl AsFd) -> io::Result<bool> {
    let file = file.as_fd();
    // `flock` is another lock than that of `fcntl` on these file systems.
    let apart = kind(file).is_some_and(|kind| kind == FUSE || LOCAL.contains(&kind));
    if apart && !try_lock(file)? {
        return Ok(false);
    }
    let mode = rustix::fs::fcntl_getfl(file)? & OFlags::RWMODE;
    if mode == OFlags::RDONLY {
        return match apart {
            true => Ok(true),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        };
    }
    match lock_byte(file) {
        Ok(()) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        // The kernel has no locks that belong to an open file.
        Err(nix::Error::EINVAL) if apart => Ok(true),
        Err(nix::Error::EINVAL) => try_lock(file),
        Err(error) => Err(error.into()),
    }
}

fn lock_byte(file: BorrowedFd<'_>) -> nix::Result<()> {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: BYTE,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}

/// Waits for the lock of a directory, which lasts until the returned file is dropped. It keeps
/// processes of this machine out, not those of other machines. `what` names the lock in errors.
///
/// # Errors
/// [`Code::Io`] if the file system has no locks, and [`Code::Cancelled`].
pub fn lock_directory(directory: impl AsFd, env: &Env, what: &str) -> Result<File> {
    // A lock belongs to the open file, and a duplicate descriptor would keep it: so the directory
    // is opened anew.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty());
    let file = File::from(opened.map_err(|error| Error::io(error.into(), what))?);
    let mut pauses = Pauses::new(env, what, PAUSE);
    while !try_lock(&file).map_err(|error| without_locks(error, what))? {
        pauses.next()?;
    }
    Ok(file)
}

/// Waits for the lock of the regular file `name` in an open directory, which lasts until the returned
/// file is dropped, and looks again at what this machine has cached of the directory and the file.
/// `None` if there is no such file. A process that holds the lock may give the name to another file:
/// then the lock of that file is taken. `what` names the lock in errors.
///
/// On a file system that is mounted read-only, no lock is taken if the file system would need the
/// right to write for it: nothing can be changed there.
///
/// # Errors
/// [`Code::Denied`] if the lock needs a right to write to the file that the user does not have,
/// [`Code::Io`] if the file system or its server has no locks, [`Code::Cancelled`], and the errors of
/// [`open_file_at`].
pub fn lock_file_at(
    directory: impl AsFd,
    name: &str,
    env: &Env,
    what: &str,
) -> Result<Option<File>> {
    let directory = directory.as_fd();
    for _ in 0..TRIES {
        // The file may be new, or another one than this machine remembers.
        refresh(directory, name);
        let Some(read) = open_file_at(directory, name).map_err(|error| error.at(what))? else {
            return Ok(None);
        };
        let (file, refused) = match open_to_write(directory, name, &read) {
            Ok(file) => (file, None),
            Err(error) => (read, Some(error)),
        };
        if refused == Some(Errno::AGAIN) {
            continue;
        }
        match wait(&file, env, what) {
            Ok(()) => {}
            Err(Waiting::Ended(error)) => return Err(error),
            Err(Waiting::Failed(error)) => match (error.kind(), refused) {
                (io::ErrorKind::PermissionDenied, Some(Errno::ROFS)) => return Ok(Some(file)),
                (io::ErrorKind::PermissionDenied, _) => return Err(not_ours(&file, name, what)),
                (io::ErrorKind::StaleNetworkFileHandle, _) => continue,
                _ => return Err(without_locks(error, what)),
            },
        }
        refresh(directory, name);
        let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let own = file.metadata().map_err(|error| Error::io(error, what))?;
        if found.is_ok_and(|found| (found.st_dev, found.st_ino) == (own.dev(), own.ino())) {
            return Ok(Some(file));
        }
    }
    let message = format!("the file `{name}` is replaced again and again by other programs");
    Err(Error::new(Code::Io, message).at(what))
}

/// Opens a file for writing that was opened for reading; [`Errno::AGAIN`] if the name leads to another
/// file by now.
fn open_to_write(directory: BorrowedFd<'_>, name: &str, read: &File) -> rustix::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::openat(directory, name, flags | OFlags::CLOEXEC, Mode::empty())?;
    let (found, own) = (rustix::fs::fstat(&opened)?, rustix::fs::fstat(read)?);
    let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    match regular && (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
        true => Ok(File::from(opened)),
        false => Err(Errno::AGAIN),
    }
}

/// The end of waiting for a lock without the lock.
enum Waiting {
    /// The run was cancelled.
    Ended(Error),
    /// The lock can't be taken.
    Failed(io::Error),
}

fn wait(file: &File, env: &Env, what: &str) -> std::result::Result<(), Waiting> {
    let mut pauses = Pauses::new(env, what, LONGEST);
    while !try_lock_file(file).map_err(Waiting::Failed)? {
        pauses.next().map_err(Waiting::Ended)?;
    }
    Ok(())
}

/// The pauses of a run that waits for a lock. A run that waits for longer than [`SILENT`] says so.
struct Pauses<'e> {
    env: &'e Env,
    what: &'e str,
    next: Duration,
    longest: Duration,
    waited: Duration,
}

impl<'e> Pauses<'e> {
    fn new(env: &'e Env, what: &'e str, longest: Duration) -> Self {
        Self {
            env,
            what,
            next: PAUSE,
            longest,
            waited: Duration::ZERO,
        }
    }

    /// Waits until the next attempt.
    ///
    /// # Errors
    /// [`Code::Cancelled`].
    fn next(&mut self) -> Result<()> {
        self.env.check_cancelled()?;
        std::thread::sleep(self.next);
        let before = self.waited;
        self.waited += self.next;
        self.next = (self.next * 2).min(self.longest);
        if before < SILENT && self.waited >= SILENT {
            let what = format!("waiting for the {}, which another run holds", self.what);
            self.env.progress.event(Event::Waiting { what: &what });
        }
        Ok(())
    }
}

/// Makes this machine ask the server of a network file system for the present state of a directory and
/// of one name in it, of which it may have an older one in its cache. A failure is ignored: the next
/// use of the name meets it too.
///
/// On NFS a name leads to the file to which it led when the machine asked last, as long as the
/// directory seems unchanged, and that is asked only every 30 to 60 seconds (nfs(5), `acdirmin`).
/// Opening the file compares the file alone: a file that was replaced while a process had it open is
/// still there, under a name of the server's, and its old bytes would be read.
pub fn refresh(directory: impl AsFd, name: &str) {
    let directory = directory.as_fd();
    let all = StatxFlags::BASIC_STATS;
    let of_directory = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    let _ = rustix::fs::statx(directory, "", of_directory, all);
    let of_name = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    let _ = rustix::fs::statx(directory, name, of_name, all);
}

/// The error of a file that the user may not write to, where a lock needs that right.
fn not_ours(file: &File, name: &str, what: &str) -> Error {
    let owner = file.metadata().map(|found| found.uid()).unwrap_or_default();
    let message = format!(
        "on this file system a lock needs the right to write to the file `{name}`, which belongs to \
         user {owner}"
    );
    Error::new(Code::Denied, message)
        .at(what)
        .hint("let its owner give the right (`chmod g+w`), or write as that user")
}

/// The error of a file system without locks, or of a server that gives none.
fn without_locks(error: io::Error, what: &str) -> Error {
    Error::io(error, what).hint(
        "without a lock another run could be lost, so nothing is written; on NFS 3 the lock service \
         (lockd, rpc.statd) must run on both machines, and NFS 4 needs none; if no other machine \
         writes here, the mount option `nolock` keeps locks on this one",
    )
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        sync::atomic::Ordering,
    };

    use imgconv_model::Platform;
    use imgconv_testkit::waits;

    use super::*;
    use crate::descriptor::open_directory;

    fn env() -> Env {
        Env::new("/", Platform::new("linux", "amd64"))
    }

    fn open(path: &std::path::Path) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn a_lock_of_a_file_is_both_locks_and_ends_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let first = open(&path);
        assert!(try_lock_file(&first).unwrap());
        // The lock is held already: it stays one.
        assert!(try_lock_file(&first).unwrap());
        assert!(!try_lock_file(open(&path)).unwrap());
        assert!(!try_lock(open(&path)).unwrap());
        assert_eq!(lock_byte(open(&path).as_fd()), Err(nix::Error::EAGAIN));
        // Closing another descriptor of the file in this process ends no lock.
        drop(open(&path));
        assert_eq!(lock_byte(open(&path).as_fd()), Err(nix::Error::EAGAIN));
        drop(first);
        // Each of both locks keeps others out: an older program has the one, a machine that mounts
        // this file system has the other.
        let held = open(&path);
        assert!(try_lock(&held).unwrap() && !try_lock_file(open(&path)).unwrap());
        drop(held);
        let held = open(&path);
        lock_byte(held.as_fd()).unwrap();
        assert!(!try_lock_file(open(&path)).unwrap());
        drop(held);
        assert!(try_lock_file(open(&path)).unwrap());
        // A file that is open for reading has the one lock only, and it keeps others out.
        let read = File::open(&path).unwrap();
        assert!(try_lock_file(&read).unwrap() && !try_lock_file(open(&path)).unwrap());
    }

    #[test]
    fn a_run_that_waits_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        let directory = open_directory(folder.path()).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let mut told = env();
        let (progress, receiver) = waits();
        told.progress = progress;
        let first = lock_directory(&directory, &env(), "lock of A").unwrap();
        let second = lock_file_at(&directory, "file", &env(), "lock of B").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _first = lock_directory(&directory, &told, "lock of A").unwrap();
                lock_file_at(&directory, "file", &told, "lock of B").unwrap();
            });
            for (held, name) in [(Some(first), "lock of A"), (second, "lock of B")] {
                let text = format!("waiting for the {name}, which another run holds");
                assert_eq!(receiver.recv().unwrap(), text);
                drop(held);
            }
        });
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn a_file_that_is_replaced_while_a_process_waits_is_locked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let directory = open_directory(folder.path()).unwrap();
        fs::write(at("file"), "old").unwrap();
        let lock = || lock_file_at(&directory, "file", &env(), "lock").unwrap();
        let held = lock().unwrap();
        let inode = |file: &File| file.metadata().unwrap().ino();
        let old = inode(&held);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(lock);
            fs::write(at("new"), "new").unwrap();
            fs::rename(at("new"), at("file")).unwrap();
            let new = fs::metadata(at("file")).unwrap().ino();
            drop(held);
            let got = waiting.join().unwrap().unwrap();
            assert_eq!(inode(&got), new);
            assert_ne!(new, old);
        });
        let held = lock().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(lock);
            fs::remove_file(at("file")).unwrap();
            drop(held);
            assert!(waiting.join().unwrap().is_none());
        });
    }

    // D1a, D2
    #[test]
    fn only_a_regular_file_is_locked_and_waiting_can_be_ended() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let directory = open_directory(folder.path()).unwrap();
        let env = env();
        let lock = |name: &str| lock_file_at(&directory, name, &env, "lock");
        fs::write(at("file"), "").unwrap();
        symlink("file", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        assert_eq!(lock("link").unwrap_err().code(), Code::Escape);
        assert_eq!(lock("folder").unwrap_err().code(), Code::Io);
        assert!(lock("none").unwrap().is_none());
        fs::set_permissions(at("file"), fs::Permissions::from_mode(0o444)).unwrap();
        let held = lock("file").unwrap();
        assert!(held.is_some());
        env.cancel.store(true, Ordering::Relaxed);
        assert_eq!(lock("file").unwrap_err().code(), Code::Cancelled);
    }
}
