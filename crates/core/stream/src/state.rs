//! The state of a file in a line of text, to tell later whether it may have changed.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

/// Returns what the file system says of a file that changes when its bytes do: the inode, the size
/// and the time of the last change. The device is left out: its number may be another after a
/// reboot. Equal states are no proof of equal bytes.
pub fn file_state(metadata: &Metadata) -> String {
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let (inode, size) = (metadata.ino(), metadata.len());
    format!("{inode}-{size}-{seconds}.{nanoseconds:09}")
}
