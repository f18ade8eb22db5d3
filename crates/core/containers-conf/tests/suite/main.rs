//! `registries.conf`: what the files say, and what the settings mean for a repository.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod files;
mod places;

use std::{fs, path::PathBuf};

use imgconv_containers_conf::Registries;
use imgconv_model::{Error, RegistriesFiles};

/// A folder with configuration files.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

/// Reads a configuration that is one file.
pub(crate) fn read(text: &str) -> Result<Registries, Error> {
    let folder = Folder::new();
    let files = RegistriesFiles {
        only: Some(folder.write("registries.conf", text)),
        ..RegistriesFiles::default()
    };
    Registries::read(&files)
}
