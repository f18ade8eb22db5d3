//! Changing the `index.json` of a layout directory in place: under the layout's lock, starting from
//! its text at that moment, and with an atomic replacement. No blob is changed.

use std::path::Path;

use imgconv_fs::{Stage, is_file, sync};
use imgconv_layout::Index;
use imgconv_model::{Code, Env, Error, Limits, Result, quote};

use crate::{
    directory::Directory,
    files::{INDEX_FILE, check_layout, read_index},
    leftovers::remove_leftovers,
    lock::lock,
};

/// Changes the index of a layout. Unchanged entries keep their text, and an unchanged index is not
/// written. Returns the result of `change`.
///
/// # Errors
/// The errors of reading a layout, the error of `change`, and [`Code::Io`] if the index can't be
/// replaced; nothing has changed then.
pub fn edit<T>(path: &str, env: &Env, change: impl FnOnce(&mut Index) -> Result<T>) -> Result<T> {
    let work = || -> Result<T> {
        let directory = open(path, env)?;
        // Leftovers that can't be found or removed now are left to a later run.
        let _ = remove_leftovers(Path::new(path));
        let _lock = lock(&directory, Path::new(path), env)?;
        let mut index = read_index(&directory, &env.limits)?;
        let before = index.render();
        let done = change(&mut index)?;
        let bytes = index.render();
        if bytes != before {
            replace(path, &directory, &bytes, env)?;
        }
        Ok(done)
    };
    work().map_err(|error| error.at(format!("oci:{path}")))
}

/// Opens an existing layout for changes.
pub(crate) fn open(path: &str, env: &Env) -> Result<Directory> {
    let place = Path::new(path);
    if is_file(place)? {
        let message = "only a layout in a directory can be changed, and this is a file";
        return Err(Error::new(Code::Unsupported, message)
            .at(quote(path))
            .hint("`imgconv convert` to a directory first"));
    }
    let directory = Directory::open_to_change(place)?;
    check_layout(&directory, &env.limits)?;
    Ok(directory)
}

fn replace(path: &str, directory: &Directory, bytes: &[u8], env: &Env) -> Result<()> {
    let limit = env.limits.root_index;
    if bytes.len() as u64 > limit {
        let what = format!("file {INDEX_FILE} of {} bytes", bytes.len());
        return Err(Limits::exceeded("root_index", limit, what));
    }
    let stage = Stage::new(Path::new(path), Stage::PREFIX, true)?;
    let staged = stage.write(bytes)?;
    env.check_cancelled()?;
    let target = directory.descriptor();
    rustix::fs::renameat(stage.descriptor(), &*staged, target, INDEX_FILE)
        .map_err(|error| Error::io(error.into(), format!("file {INDEX_FILE}")))?;
    sync(target, "layout directory")
}
