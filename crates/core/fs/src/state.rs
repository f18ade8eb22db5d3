//! The metadata of a file, which shows later whether its bytes may have changed.

use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
};

/// Metadata that changes when the bytes of a file change. The time of the last modification can be
/// set to any value; only the kernel sets the time of the last status change (ctime), so it is
/// included: a program that restores the first time changes the second. A new hard link and another
/// mode change the ctime too, which costs one more read and never hides a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the file system.
    pub device: u64,
    /// The number of the file in the file system.
    pub inode: u64,
    /// The number of bytes.
    pub size: u64,
    /// The time of the last modification: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// The time of the last status change: seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl Stamp {
    /// Takes the stamp of an open file.
    ///
    /// # Errors
    /// If the file system can't return the metadata.
    pub fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::of(&metadata))
    }

    /// Takes the stamp of a file from its metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Returns the [`Stamp`] of a file as a line of text that is valid in later runs. The device is
/// left out: its number may change at a reboot. Equal states do not prove equal bytes.
pub fn file_state(metadata: &Metadata) -> String {
    let Stamp {
        device: _,
        inode,
        size,
        modified: (seconds, nanoseconds),
        changed: (since, fraction),
    } = Stamp::of(metadata);
    format!("{inode}-{size}-{seconds}.{nanoseconds:09}-{since}.{fraction:09}")
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, FileTimes},
        thread,
        time::{Duration, SystemTime},
    };

    use super::*;

    // K41
    #[test]
    fn a_time_that_was_put_back_hides_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "good").unwrap();
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        let set = || {
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_times(times)
                .unwrap()
        };
        set();
        let before = fs::metadata(&path).unwrap();
        // The pause is longer than a tick of the clock of a file system.
        thread::sleep(Duration::from_millis(50));
        fs::write(&path, "evil").unwrap();
        set();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(Stamp::of(&before).modified, Stamp::of(&after).modified);
        assert_ne!(Stamp::of(&before), Stamp::of(&after));
        assert_ne!(file_state(&before), file_state(&after));
    }
}
