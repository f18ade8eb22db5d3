//! The files of a layout in a tar.
//!
//! No link is followed: a layout has none, and none leads out of the archive.

use std::{ops::ControlFlow, path::Path};

use imgconv_model::{Code, Digest, Env, Error, Reader, Result, quote};
use imgconv_tar::{EntryKind, Member};

use crate::files::{ALGORITHMS, BLOBS, Files, INDEX_FILE, LAYOUT_FILE};

/// The most decompressed bytes of an archive that are examined to recognise it.
const PREFIX: u64 = 1 << 20;

/// A tar that holds the files of a layout.
#[derive(Debug)]
pub(crate) struct Archive(imgconv_tar::Archive);

impl Archive {
    /// Opens an archive on disk; a symbolic link that the user names is followed.
    pub(crate) fn open(path: &Path, env: &Env) -> Result<Self> {
        imgconv_tar::Archive::open(path, env, &wanted).map(Self)
    }

    /// Copies an archive, decompressed, to `env.tmpdir`.
    pub(crate) fn from_reader(reader: Reader, env: &Env) -> Result<Self> {
        imgconv_tar::Archive::from_reader(reader, env, &wanted).map(Self)
    }
}

fn wanted(name: &str, kind: EntryKind, _: u64) -> Result<bool> {
    let is_blob = name.starts_with("blobs/") && kind != EntryKind::Directory;
    Ok(name == LAYOUT_FILE || name == INDEX_FILE || is_blob)
}

impl Files for Archive {
    fn open(&self, name: &[&str]) -> Result<Option<(Reader, u64)>> {
        let name = name.join("/");
        let refused = |code, message| Err(Error::new(code, message).at(entry(&name)));
        match self.0.member(&name) {
            None => Ok(None),
            Some(Member::File { offset, size }) => Ok(Some((self.0.bytes(*offset, *size), *size))),
            Some(Member::Symlink(_)) => refused(
                Code::Escape,
                "a symbolic link in an archive is not followed",
            ),
            // A hard link without an earlier file of that name is damage.
            Some(Member::HardLink(_) | Member::Other(_)) => {
                refused(Code::BadTar, "the member is not a regular file")
            }
        }
    }

    fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in ALGORITHMS {
            let directory = format!("{BLOBS}/{}/", algorithm.as_str());
            for name in self.0.names() {
                let hex = name.strip_prefix(&directory).unwrap_or_default();
                found.extend(Digest::from_hex(algorithm, hex));
            }
        }
        found.sort();
        Ok(found)
    }
}

fn entry(name: &str) -> String {
    format!("entry {}", quote(name))
}

/// Says whether a file is a tar, which may be compressed, that starts with members of a layout.
pub(crate) fn recognise(path: &Path) -> Result<bool> {
    let found = imgconv_tar::look(path, PREFIX, &mut |name| {
        let is_ours = name == LAYOUT_FILE || name == BLOBS || name.starts_with("blobs/");
        if is_ours {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(found.is_some())
}
