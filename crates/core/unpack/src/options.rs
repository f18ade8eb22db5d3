//! What a caller asks for, and what was written.

use serde::Serialize;

/// What is asked for beyond the safe default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep setuid and setgid bits and file capabilities.
    pub preserve_privileges: bool,
    /// Create character and block devices (as root).
    pub allow_devices: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// The number of written entries: files, directories (also those that no layer named), links,
    /// devices.
    pub entries: u64,
    /// The bytes of the written files; a file with several names counts once.
    pub bytes: u64,
    /// The entries that could not be written as the image has them.
    pub left_out: LeftOut,
}

/// The numbers of entries and attributes that were not written as the image has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// Devices and other special files that were not created.
    pub special_files: u64,
    /// Entries without their setuid and setgid bits or capabilities.
    pub privileges: u64,
    /// Extended attributes.
    pub attributes: u64,
    /// Entries whose owner is not set; the owner of some of them is recorded.
    pub owners: u64,
    /// Entries whose owner is only recorded in the attribute `user.rootlesscontainers`.
    pub recorded_owners: u64,
    /// Special files without their permissions.
    pub modes: u64,
    /// Entries with another time, the nearest that the file system can hold.
    pub times: u64,
}
