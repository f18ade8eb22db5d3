//! A layer with the size that the engine noted when it extracted the layer.

use std::{fs::File, sync::Arc};

use imgconv_fs::Directory;
use imgconv_model::{Open, ReadAt, Reader, Result};

/// The most bytes of a file that holds a number.
const SMALL: (&str, u64) = ("layout_file", 64);

/// The bytes of a layer, and the file with its size: the sum of the sizes of its files, without the
/// headers of the tar.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) bytes: Arc<dyn Open>,
    pub(crate) root: Arc<Directory>,
    /// The path of the file below the root.
    pub(crate) path: String,
}

impl Open for Measured {
    fn open(&self) -> Result<Reader> {
        self.bytes.open()
    }

    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        self.bytes.positioned()
    }

    fn identity(&self) -> Option<String> {
        self.bytes.identity()
    }

    fn file(&self) -> Result<Option<File>> {
        self.bytes.file()
    }

    /// `None` without such a file, and if the file holds no number.
    fn stored_size(&self) -> Option<u64> {
        let bytes = self.root.read(&self.path, SMALL).ok()??;
        str::from_utf8(&bytes).ok()?.trim().parse().ok()
    }
}
