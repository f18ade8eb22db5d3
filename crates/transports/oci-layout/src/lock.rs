//! The lock on a layout.

use std::fs::File;

use imgconv_fs::lock_directory;
use imgconv_model::{Env, Result};

use crate::directory::Directory;

/// Waits for the lock on a layout, which ends when the file is dropped.
pub(crate) fn lock(directory: &Directory, env: &Env) -> Result<File> {
    lock_directory(directory.descriptor(), env, "lock of the layout")
}
