//! Migrations to a layout that are under way: what they have written is not listed before their end,
//! and must not be taken for what nothing refers to.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use imgconv_model::{Code, Error, Result, quote};

use crate::write::parent;

/// The directory that holds the journals of migrations: in the layout, or beside it if one migration
/// makes many layouts. The process of a migration holds a lock on its journal, a file
/// `journal….jsonl`.
pub const MIGRATION_DIRECTORY: &str = ".imgconv-migrate";

/// Fails if a migration to a layout is at work.
///
/// # Errors
/// [`Code::Denied`] that names the journal.
pub(crate) fn refuse_running(layout: &Path) -> Result<()> {
    for folder in [layout.to_owned(), parent(layout)] {
        let folder = folder.join(MIGRATION_DIRECTORY);
        let at = |path: &Path| quote(path.as_os_str().as_encoded_bytes());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(error, at(&folder))),
        };
        for entry in entries {
            let path = entry.map_err(|error| Error::io(error, at(&folder)))?.path();
            if path.extension().is_none_or(|end| end != "jsonl") {
                continue;
            }
            let file = File::open(&path).map_err(|error| Error::io(error, at(&path)))?;
            if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
                let message = "a migration is at work here, whose images are not listed yet";
                return Err(Error::new(Code::Denied, message)
                    .at(at(&path))
                    .hint("run it again when the migration has ended"));
            }
        }
    }
    Ok(())
}
