//! The contents of the files of a layer.

use std::{fmt, fs::File};

use imgconv_fs::{Directory, Near};
use imgconv_model::Result;

/// Where the contents of the files of a layer are.
pub trait Files: fmt::Debug + Send + Sync {
    /// Opens the regular file at a path, as the record spells it; also returns its size in bytes.
    /// `None` if there is none. `near` is kept from file to file while one layer is read.
    ///
    /// # Errors
    /// If it can't be opened, or is no regular file.
    fn open(&self, path: &[u8], near: &mut Near) -> Result<Option<(File, u64)>>;
}

/// The folder that a layer was extracted to. Links of directories are followed inside the folder.
impl Files for Directory {
    fn open(&self, path: &[u8], near: &mut Near) -> Result<Option<(File, u64)>> {
        let start = path
            .iter()
            .position(|byte| *byte != b'/')
            .unwrap_or(path.len());
        self.file_near(&path[start..], near)
    }
}
