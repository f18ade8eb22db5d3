//! The system calls that a fault can hit: their arguments, and the errors that make sense for each.

use nix::errno::Errno;
use nix::libc;

/// What a call does, which decides the errors that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Bytes go to a file, a pipe or a socket by `write` and its like.
    Write,
    /// The kernel copies bytes from file to file.
    Copy,
    Sync,
    Resize,
    Rename,
    Link,
    Open,
    /// An open that may make the file.
    Create,
    Mkdir,
    Unlink,
    /// Modes, owners and times.
    Attribute,
    Xattr,
    Lock,
    Read,
    List,
    Stat,
    Connect,
    Send,
    Receive,
    Thread,
}

/// Where the names of a call are in its arguments.
#[derive(Clone, Copy, Debug)]
pub(super) enum Names {
    /// A call without a file.
    None,
    /// A descriptor.
    Fd(usize),
    /// A path, relative to the working directory.
    Path(usize),
    /// A directory and a path below it.
    At(usize, usize),
    /// Two paths.
    Paths(usize, usize),
    /// Two directories, each with a path below it.
    Ats([usize; 4]),
}

/// A system call.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) number: libc::c_long,
    pub(super) name: &'static str,
    pub(super) class: Class,
    pub(super) names: Names,
    /// The argument with the number of bytes of a write.
    pub(super) length: Option<usize>,
    /// The argument with the flags of an open.
    pub(super) flags: Option<usize>,
}

const fn kind(number: libc::c_long, name: &'static str, class: Class, names: Names) -> Kind {
    Kind {
        number,
        name,
        class,
        names,
        length: None,
        flags: None,
    }
}

const fn with_length(kind: Kind, at: usize) -> Kind {
    Kind {
        length: Some(at),
        ..kind
    }
}

const fn with_flags(kind: Kind, at: usize) -> Kind {
    Kind {
        flags: Some(at),
        ..kind
    }
}

/// Every system call that is traced.
pub(super) static KINDS: &[Kind] = {
    use Class::*;
    use Names::*;
    &[
        with_length(kind(libc::SYS_write, "write", Write, Fd(0)), 2),
        with_length(kind(libc::SYS_pwrite64, "pwrite64", Write, Fd(0)), 2),
        kind(libc::SYS_writev, "writev", Write, Fd(0)),
        kind(libc::SYS_pwritev, "pwritev", Write, Fd(0)),
        kind(libc::SYS_copy_file_range, "copy_file_range", Copy, Fd(2)),
        kind(libc::SYS_sendfile, "sendfile", Copy, Fd(0)),
        kind(libc::SYS_splice, "splice", Copy, Fd(2)),
        // The one ioctl on files of the program clones them.
        kind(libc::SYS_ioctl, "ioctl", Copy, Fd(0)),
        kind(libc::SYS_fsync, "fsync", Sync, Fd(0)),
        kind(libc::SYS_fdatasync, "fdatasync", Sync, Fd(0)),
        kind(libc::SYS_sync_file_range, "sync_file_range", Sync, Fd(0)),
        kind(libc::SYS_ftruncate, "ftruncate", Resize, Fd(0)),
        kind(libc::SYS_fallocate, "fallocate", Resize, Fd(0)),
        kind(libc::SYS_rename, "rename", Rename, Paths(0, 1)),
        kind(libc::SYS_renameat, "renameat", Rename, Ats([0, 1, 2, 3])),
        kind(libc::SYS_renameat2, "renameat2", Rename, Ats([0, 1, 2, 3])),
        kind(libc::SYS_link, "link", Link, Paths(0, 1)),
        kind(libc::SYS_linkat, "linkat", Link, Ats([0, 1, 2, 3])),
        kind(libc::SYS_symlink, "symlink", Link, Path(1)),
        kind(libc::SYS_symlinkat, "symlinkat", Link, At(1, 2)),
        with_flags(kind(libc::SYS_open, "open", Open, Path(0)), 1),
        with_flags(kind(libc::SYS_openat, "openat", Open, At(0, 1)), 2),
        kind(libc::SYS_openat2, "openat2", Open, At(0, 1)),
        kind(libc::SYS_creat, "creat", Create, Path(0)),
        kind(libc::SYS_mkdir, "mkdir", Mkdir, Path(0)),
        kind(libc::SYS_mkdirat, "mkdirat", Mkdir, At(0, 1)),
        kind(libc::SYS_mknodat, "mknodat", Mkdir, At(0, 1)),
        kind(libc::SYS_unlink, "unlink", Unlink, Path(0)),
        kind(libc::SYS_unlinkat, "unlinkat", Unlink, At(0, 1)),
        kind(libc::SYS_rmdir, "rmdir", Unlink, Path(0)),
        kind(libc::SYS_chmod, "chmod", Attribute, Path(0)),
        kind(libc::SYS_fchmod, "fchmod", Attribute, Fd(0)),
        kind(libc::SYS_fchmodat, "fchmodat", Attribute, At(0, 1)),
        kind(libc::SYS_fchown, "fchown", Attribute, Fd(0)),
        kind(libc::SYS_fchownat, "fchownat", Attribute, At(0, 1)),
        kind(libc::SYS_utimensat, "utimensat", Attribute, At(0, 1)),
        kind(libc::SYS_setxattr, "setxattr", Xattr, Path(0)),
        kind(libc::SYS_lsetxattr, "lsetxattr", Xattr, Path(0)),
        kind(libc::SYS_fsetxattr, "fsetxattr", Xattr, Fd(0)),
        kind(libc::SYS_flock, "flock", Lock, Fd(0)),
        kind(libc::SYS_read, "read", Read, Fd(0)),
        kind(libc::SYS_pread64, "pread64", Read, Fd(0)),
        kind(libc::SYS_readv, "readv", Read, Fd(0)),
        kind(libc::SYS_getdents64, "getdents64", List, Fd(0)),
        kind(libc::SYS_statx, "statx", Stat, At(0, 1)),
        kind(libc::SYS_newfstatat, "newfstatat", Stat, At(0, 1)),
        kind(libc::SYS_fstat, "fstat", Stat, Fd(0)),
        kind(libc::SYS_statfs, "statfs", Stat, Path(0)),
        kind(libc::SYS_fstatfs, "fstatfs", Stat, Fd(0)),
        kind(libc::SYS_connect, "connect", Connect, Fd(0)),
        kind(libc::SYS_sendto, "sendto", Send, Fd(0)),
        kind(libc::SYS_sendmsg, "sendmsg", Send, Fd(0)),
        kind(libc::SYS_recvfrom, "recvfrom", Receive, Fd(0)),
        kind(libc::SYS_recvmsg, "recvmsg", Receive, Fd(0)),
        kind(libc::SYS_clone3, "clone3", Thread, None),
    ]
};

/// Finds a system call by its number.
pub(super) fn by_number(number: u64) -> Option<&'static Kind> {
    let number = libc::c_long::try_from(number).ok()?;
    KINDS.iter().find(|kind| kind.number == number)
}

impl Class {
    /// The errors that a call can have.
    pub(super) fn errors(self) -> &'static [Errno] {
        use Errno::*;
        match self {
            Self::Write => &[ENOSPC, EIO, EINTR, EDQUOT],
            Self::Copy => &[ENOSPC, EIO, EINTR, EXDEV, EOPNOTSUPP],
            Self::Sync => &[EIO, ENOSPC, EINTR],
            Self::Resize => &[ENOSPC, EIO, EINTR, EOPNOTSUPP],
            Self::Rename => &[ENOSPC, EIO, EACCES, EXDEV, ENOENT],
            Self::Link => &[ENOSPC, EIO, EACCES, EXDEV, EMLINK],
            Self::Open => &[EMFILE, EACCES, EIO, EINTR, ENOENT],
            Self::Create => &[EMFILE, EACCES, EIO, EINTR, ENOSPC],
            Self::Mkdir => &[ENOSPC, EIO, EACCES, EDQUOT],
            Self::Unlink => &[EIO, EACCES],
            Self::Attribute => &[EIO, EPERM],
            Self::Xattr => &[EIO, ENOSPC, EOPNOTSUPP],
            Self::Lock => &[ENOLCK, EINTR],
            Self::Read => &[EIO, EINTR],
            Self::List => &[EIO],
            Self::Stat => &[EIO, EACCES],
            // No file system and no signal interrupts the connecting of a socket that does not wait.
            Self::Connect => &[ECONNREFUSED, ETIMEDOUT],
            Self::Send => &[ECONNRESET, EINTR],
            Self::Receive => &[ECONNRESET, EINTR],
            Self::Thread => &[EAGAIN],
        }
    }

    /// Returns true if the call fails while the disk is full. A rename takes the room of the old name.
    pub(super) fn fails_when_full(self) -> bool {
        self.needs_room() && self != Self::Rename
    }

    /// Returns true if the call can need room on the disk.
    pub(super) fn needs_room(self) -> bool {
        matches!(
            self,
            Self::Write
                | Self::Copy
                | Self::Sync
                | Self::Resize
                | Self::Rename
                | Self::Link
                | Self::Create
                | Self::Mkdir
                | Self::Xattr
        )
    }

    /// Returns true if the call changes files or speaks to others, so that a kill before it is
    /// another state than a kill before the call that came earlier.
    pub(super) fn changes(self) -> bool {
        self.needs_room() || matches!(self, Self::Unlink | Self::Attribute | Self::Send)
    }
}
