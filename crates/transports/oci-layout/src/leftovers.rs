//! The private directories of writers that were killed: in a layout, and beside the place of one
//! that was never made (robustness D6).
//!
//! Those that a process holds stay, and so does everything that is no such directory, such as the
//! journal of a migration.

use std::{os::fd::OwnedFd, path::Path};

use imgconv_fs::{Stage, Stale, open_directory, parent};
use imgconv_model::Result;

/// A private directory that nobody holds, and where it is.
#[derive(Debug)]
pub(crate) struct Leftover {
    above: OwnedFd,
    stale: Stale,
    /// Its path for messages.
    pub(crate) path: String,
}

impl Leftover {
    /// Finds those of a layout, which need not exist.
    pub(crate) fn find(layout: &Path) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let places = [
            (layout.to_owned(), Stage::PREFIX.to_owned()),
            (parent(layout).to_owned(), Stage::prefix_beside(layout)),
        ];
        for (folder, prefix) in places {
            // Beside a layout, what is called like everybody's may be somebody else's.
            let mine = prefix != Stage::PREFIX || folder == layout;
            if !mine || !folder.is_dir() {
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

    /// Removes it with everything in it.
    pub(crate) fn remove(self) -> Result<()> {
        self.stale.remove(&self.above)
    }
}

/// Removes those of a layout.
pub(crate) fn remove_leftovers(layout: &Path) -> Result<()> {
    for leftover in Leftover::find(layout)? {
        leftover.remove()?;
    }
    Ok(())
}
