//! What a caller asks for, and what was written.

/// What is asked for beyond the safe default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep setuid and setgid bits and file capabilities.
    pub preserve_privileges: bool,
    /// Create character and block devices (as root).
    pub allow_devices: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Names that were created below the target: files, directories (also those that no layer
    /// named), links and special files.
    pub entries: u64,
    /// Bytes of contents; a file with several names counts once.
    pub bytes: u64,
}
