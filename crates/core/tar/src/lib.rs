//! Tar: a strict reader of members and the canonical writer of their headers.
//!
//! The reference is Go's `archive/tar`, which the common engines use: [`Reader`] agrees with it
//! about the members and their sizes, or refuses the archive. [`Reader`] never has a third result.
//! Where other common readers would read something else, it refuses with
//! [`Code::Ambiguous`](imgconv_model::Code::Ambiguous).
//!
//! The reader accepts v7, ustar, PAX, GNU and xstar headers; PAX and GNU long names; sparse files
//! of the old GNU form and of PAX forms 0.0, 0.1 and 1.0, which are returned as plain files. The
//! writer has one form only: ustar, with a PAX header before it for values that do not fit.
//!
//! [`Archive`] finds the members of a tar file by name, and [`Output`] publishes such a file at
//! once. The rest of this crate does not access a file system.
//!
//! On purpose this crate does not resolve links or interpret whiteouts, and names are the bytes of
//! the archive, except in an [`Archive`].

mod archive;
mod body;
mod failed;
mod frame;
mod gnu;
mod header;
mod look;
mod member;
mod number;
mod output;
mod pax;
mod source;
mod trace;
mod value;
mod write;

pub use archive::{Archive, Member, Wanted};
pub use failed::Failed;
pub use frame::Reader;
pub use header::check_start;
pub use look::{header_in, look, names_of_headers};
pub use output::{Output, Pack, file_head};
pub use trace::{Trace, Tracing};
pub use write::{head, put_head};

/// Bytes of a block, the unit of every tar archive.
const BLOCK: usize = 512;

/// The end of an archive: two blocks of NUL bytes.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Returns the number of NUL bytes after a body of `size` bytes that fill its last block.
pub fn padding(size: u64) -> usize {
    let used = (size % BLOCK as u64) as usize;
    (BLOCK - used) % BLOCK
}

/// The kind of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A file with a body.
    Regular,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// Returns the kind for a message, with its article.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Regular => "a regular file",
            Self::HardLink => "a hard link",
            Self::Symlink => "a symbolic link",
            Self::CharDevice => "a character device",
            Self::BlockDevice => "a block device",
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO",
        }
    }
}

/// Seconds and nanoseconds since 1970; nanoseconds count upward also before it.
///
/// One and a half seconds before 1970 is `seconds: -2, nanos: 500_000_000`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1 000 000 000.
    pub nanos: u32,
}

/// One decoded member; every dialect gives the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as the bytes of the archive (prefix, PAX path, long name applied); a directory's
    /// final slashes are kept. Never empty, without NUL.
    pub path: Vec<u8>,
    /// The kind.
    pub kind: EntryKind,
    /// Permission bits, within 0o7777.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Owner by name, or empty.
    pub uname: Vec<u8>,
    /// Group by name, or empty.
    pub gname: Vec<u8>,
    /// Time of the last change of the content. Digits of a PAX time below a nanosecond are cut,
    /// toward minus infinity.
    pub mtime: Time,
    /// Logical size of a regular file in bytes (holes included), else 0.
    pub size: u64,
    /// Target of a hard link or symbolic link, else empty.
    pub link: Vec<u8>,
    /// Major and minor number of a device, else 0, 0.
    pub device: (u32, u32),
    /// All other PAX records (xattrs, ACLs, atime, ctime, comment, vendor), in archive order,
    /// values verbatim, no key twice. The atime and ctime of a GNU or xstar header stand here as
    /// PAX records too, unless they are zero.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// Offset of the member's first header (extension headers included) in the stream.
    pub offset: u64,
}

impl Entry {
    /// Makes an entry of a name and a kind: mode 0644, owner 0, time 0, no content, no records.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        Self {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            mtime: Time::default(),
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            pax: Vec::new(),
            offset: 0,
        }
    }
}
