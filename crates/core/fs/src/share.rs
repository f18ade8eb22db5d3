//! Sharing bytes instead of copying them: clones and hard links of files that are blobs already.
//!
//! A clone shares blocks until one side is written to, so it is as good as a copy. A hard link is the
//! same file: damage to one is damage to all, which is why only files of this user that nobody else
//! can write to are linked, and why no linked file is ever written to, or given another owner or
//! mode, here. What is linked is what a descriptor leads to, never what a name does, and it is
//! hashed through the new link before it gets its name. A file that changed between the beginning of
//! that and its end (its ctime says so) is hashed once more, and is refused if it is another by then.

use std::{fs::File, io, os::unix::fs::MetadataExt};

use imgconv_model::{Code, Error, Result};
use rustix::fs::{AtFlags, CWD};

use crate::{descriptor::path_of, stage::Stage};

/// How a blob that is a file already gets into a layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// As a clone, else as a hard link, else as a copy.
    #[default]
    Auto,
    /// As a hard link, or not at all.
    Hard,
    /// As a clone, or not at all.
    Reflink,
    /// As a copy: nothing that happens to one of them happens to the other.
    Copy,
}

/// Why a file is not shared.
type Refused = String;

/// Makes a file in a stage that shares its bytes with another; returns its name there. `None` if it
/// has to be copied.
///
/// # Errors
/// [`Code::Unsupported`] if it has to be shared in a way that is not possible.
pub fn share(file: Option<&File>, stage: &Stage, link: Link) -> Result<Option<String>> {
    if link == Link::Copy {
        return Ok(None);
    }
    let (cloned, linked): (Option<Refused>, Option<Refused>) = match file {
        None => {
            let why = "its source is no file of its own".to_owned();
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
        (Link::Hard, _, Some(why)) => format!("it can't be hard-linked: {why}"),
        (Link::Reflink, Some(why), _) => format!("it can't be cloned: {why}"),
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
    // By the descriptor: a name could lead to another file by now.
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
