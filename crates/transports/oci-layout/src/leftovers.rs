//! The private directories of killed writers: in a layout, and beside the place of a layout that
//! was never made (robustness D6).
//!
//! Directories that a running process holds stay, and so does everything else, such as the journal
//! of a migration.

use std::{os::fd::OwnedFd, path::Path};

use imgconv_fs::{Stage, Stale, is_directory, open_directory, parent};
use imgconv_model::Result;

/// A private directory that no process holds, and its place.
#[derive(Debug)]
pub(crate) struct Leftover {
    above: OwnedFd,
    stale: Stale,
    /// The path of the directory, for messages.
    pub(crate) path: String,
}

impl Leftover {
    /// Finds the leftovers of a layout, which need not exist.
    pub(crate) fn find(layout: &Path) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let places = [
            (layout.to_owned(), Stage::PREFIX.to_owned()),
            (parent(layout).to_owned(), Stage::prefix_beside(layout)),
        ];
        for (folder, prefix) in places {
            // Beside a layout, a directory with the general prefix may belong to another layout.
            let mine = prefix != Stage::PREFIX || folder == layout;
            if !mine || !is_directory(&folder)? {
                continue;
            }
            let directory = open_directory(&folder)?;
            for stale in Stale::find(&directory, &prefix)? {
                found.push(Self {
                    above: open_directory(&folder)?,
                    path: folder.join(stale.name()).display().to_string(),
                    stale,
                });
            }
        }
        Ok(found)
    }

    /// Removes the directory with everything in it.
    pub(crate) fn remove(self) -> Result<()> {
        self.stale.remove(&self.above)
    }
}

/// Removes the leftovers of a layout.
pub(crate) fn remove_leftovers(layout: &Path) -> Result<()> {
    for leftover in Leftover::find(layout)? {
        leftover.remove()?;
    }
    Ok(())
}
