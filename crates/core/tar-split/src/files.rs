//! The contents of the files of a layer.

use std::{fmt, fs::File};

use imgconv_fs::Directory;
use imgconv_model::Result;

/// Where the contents of the files of a layer are.
pub trait Files: fmt::Debug + Send + Sync {
    /// Opens the regular file at a path, as the record spells it; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be opened, or is no regular file.
    fn open(&self, path: &[u8]) -> Result<Option<File>>;
}

/// The folder that a layer was extracted to. Links of directories are followed inside the folder.
impl Files for Directory {
    fn open(&self, path: &[u8]) -> Result<Option<File>> {
        let start = path
            .iter()
            .position(|byte| *byte != b'/')
            .unwrap_or(path.len());
        self.file_in_root(&path[start..])
    }
}
