//! Sharing bytes instead of copying them: clones and hard links of files that are blobs already.
//!
//! A clone shares blocks until one side is written to, so it is as good as a copy. A hard link is
//! the same file: damage under one name is damage under all names. So only files of this user that
//! no other user can write to are linked, and a linked file is never written to and never gets
//! another owner or mode. Links are made by descriptor, never by name. The caller hashes the file
//! through the new link before the link gets its final name, and hashes it again if its ctime
//! changed meanwhile.

use std::{fs::File, io, os::unix::fs::MetadataExt};

use imgconv_model::{Code, Error, Result};
use rustix::fs::{AtFlags, CWD};

use crate::{descriptor::path_of, stage::Stage};

/// The way a blob that is a file already is added to a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// A clone, else a hard link, else a copy.
    #[default]
    Auto,
    /// A hard link, or an error.
    Hard,
    /// A clone, or an error.
    Reflink,
    /// A copy: later changes of one file do not affect the other.
    Copy,
}

/// The reason why a file is not shared.
type Refused = String;

/// Makes a file in a stage that shares its bytes with `file`; returns the new file's name in the
/// stage. `None` if the caller has to copy the bytes.
///
/// # Errors
/// [`Code::Unsupported`] if `link` demands a way of sharing that is not possible.
pub fn share(file: Option<&File>, stage: &Stage, link: Link) -> Result<Option<String>> {
    if link == Link::Copy {
        return Ok(None);
    }
    let (cloned, linked): (Option<Refused>, Option<Refused>) = match file {
        None => {
            let why = "the source of the blob is not a separate file".to_owned();
            (Some(why.clone()), Some(why))
        }
        Some(file) => {
            let cloned = match link {
                Link::Hard => None,
                _ => match clone(file, stage)? {
                    Ok(name) => return Ok(Some(name)),
                    Err(why) => Some(why),
                },
            };
            let linked = match link {
                Link::Reflink => None,
                _ => match hard_link(file, stage) {
                    Ok(name) => return Ok(Some(name)),
                    Err(why) => Some(why),
                },
            };
            (cloned, linked)
        }
    };
    let message = match (link, cloned, linked) {
        (Link::Hard, _, Some(why)) => format!("the blob can't be hard-linked: {why}"),
        (Link::Reflink, Some(why), _) => format!("the blob can't be cloned: {why}"),
        _ => return Ok(None),
    };
    Err(Error::new(Code::Unsupported, message).hint("`--link auto` copies what can't be linked"))
}

fn clone(file: &File, stage: &Stage) -> Result<std::result::Result<String, Refused>> {
    let (target, name) = stage.file()?;
    Ok(match rustix::fs::ioctl_ficlone(&target, file) {
        Ok(()) => Ok(name),
        Err(error) => {
            stage.remove(&name);
            Err(io::Error::from(error).to_string())
        }
    })
}

fn hard_link(file: &File, stage: &Stage) -> std::result::Result<String, Refused> {
    let own = file.metadata().map_err(|error| error.to_string())?;
    if !own.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if own.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    if own.mode() & 0o022 != 0 {
        return Err("others can write to it".to_owned());
    }
    let name = stage.free_name();
    // The link is made by descriptor, because a name could lead to another file by now.
    let flags = AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(CWD, path_of(file), stage.descriptor(), &*name, flags)
        .map_err(|error| io::Error::from(error).to_string())?;
    let linked = stage.open(&name).and_then(|linked| {
        let found = linked.metadata().map_err(Error::from_io)?;
        Ok((found.dev(), found.ino()) == (own.dev(), own.ino()))
    });
    if !matches!(linked, Ok(true)) {
        stage.remove(&name);
        return Err("/proc leads to another file".to_owned());
    }
    Ok(name)
}
