//! The members of an archive by name, and the links between them.
//!
//! A link means another member, or nothing: no file outside of the archive is ever looked at.

use std::{fmt, path::Path, sync::Arc};

use imgconv_model::{
    Algorithm, Blob, Code, Digest, Env, Error, Facts, Limits, Notes, Open, ReadAt, Reader, Result,
    quote,
};
use imgconv_stream::{Verified, read_to_limit};
use imgconv_tar::{Archive, EntryKind, Member};
use imgconv_wire::layout::{INDEX_FILE, MARKER_FILE};

use crate::{MANIFEST_FILE, REPOSITORIES_FILE};

/// The directory of blobs that are named by their digests.
const BLOBS: &str = "blobs";

/// The members of an archive.
pub(crate) struct Members {
    archive: Archive,
    locator: String,
    limits: Limits,
    notes: Notes,
    /// What changes when the file does; nothing is known of standard input.
    state: Option<String>,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("locator", &self.locator)
            .finish_non_exhaustive()
    }
}

/// A member that is a file, and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name, after all links.
    pub(crate) name: String,
    offset: u64,
    /// Its bytes.
    pub(crate) size: u64,
}

impl Members {
    /// Opens an archive: a path, or `-` for standard input.
    pub(crate) fn open(rest: &str, locator: &str, env: &Env) -> Result<Self> {
        let wanted = |name: &str, _: EntryKind, size: u64| {
            // Before the body is read, and copied: it would never be used (robustness A6).
            match limit(name, &env.limits) {
                Some(limit) if size > limit.1 => Err(too_large(name, size, limit)),
                _ => Ok(true),
            }
        };
        let archive = match rest {
            "-" => Archive::from_reader(Box::new(std::io::stdin()), env, &wanted),
            path => Archive::open(Path::new(path), env, &wanted),
        };
        let archive = archive?;
        let metadata = (rest != "-").then(|| std::fs::metadata(rest));
        let state = metadata.and_then(std::io::Result::ok);
        Ok(Self {
            archive,
            state: state.map(|metadata| imgconv_stream::file_state(&metadata)),
            locator: locator.to_owned(),
            limits: env.limits,
            notes: env.notes.clone(),
        })
    }

    /// Returns what changes when the file does.
    pub(crate) fn state(&self) -> Option<String> {
        self.state.clone()
    }

    /// Says whether there is a member of that name, whatever it is.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.archive.member(name).is_some()
    }

    /// Lists the names of all members, in byte order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.archive.names()
    }

    /// Finds the file that a name leads to (robustness A4). `lenient` accepts a link whose target
    /// is only found at the root of the archive, for content that a config verifies.
    pub(crate) fn resolve(&self, name: &str, lenient: bool) -> Result<Found> {
        self.follow(name, lenient)
            .map_err(|error| error.at(entry(name)))
    }

    fn follow(&self, name: &str, lenient: bool) -> Result<Found> {
        let missing = |name: &str| {
            let message = format!("the archive has no member {}", quote(name));
            Error::new(Code::Missing, message)
        };
        let mut current = clean("", name.as_bytes())
            .filter(|_| !name.starts_with('/'))
            .ok_or_else(|| missing(name).hint("only members of the archive are searched"))?;
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (target, hard) = match self.archive.member(&current) {
                Some(&Member::File { offset, size }) => {
                    return Ok(Found {
                        name: current,
                        offset,
                        size,
                    });
                }
                Some(Member::Other(kind)) if seen.is_empty() => {
                    let message = format!("the member is {}, not a regular file", article(*kind));
                    return Err(Error::new(Code::BadTar, message));
                }
                Some(Member::Other(kind)) => {
                    let message = format!("the link leads to {}", article(*kind));
                    return Err(Error::new(Code::Missing, message).at(entry(&current)));
                }
                None => return Err(missing(&current)),
                Some(Member::Symlink(target)) => (target, false),
                Some(Member::HardLink(target)) => (target, true),
            };
            let next = self.target(&current, target, hard, lenient)?;
            seen.push(current);
            if seen.contains(&next) {
                let message = format!("the links lead in a circle, through {}", quote(&next));
                return Err(Error::new(Code::Cycle, message));
            }
            let limit = self.limits.member_link_hops;
            if seen.len() as u64 > limit {
                let what = "the number of links from member to member";
                return Err(Limits::exceeded("member_link_hops", limit, what));
            }
            current = next;
        }
    }

    /// Returns the name that a link means. A hard link counts from the root of the archive, a
    /// symbolic one from its own directory; some writers mix that up.
    fn target(&self, link: &str, target: &[u8], hard: bool, lenient: bool) -> Result<String> {
        let escape = || {
            let message = format!("the link target {} leads out of the archive", quote(target));
            Error::new(Code::Escape, message)
        };
        if target.starts_with(b"/") {
            return Err(escape());
        }
        let directory = link.rsplit_once('/').map_or("", |(directory, _)| directory);
        let (beside, at_root) = (clean(directory, target), clean("", target));
        let there = |name: &Option<String>| name.as_ref().is_some_and(|name| self.has(name));
        if hard {
            return at_root.or(beside).ok_or_else(escape);
        }
        if !there(&beside) && there(&at_root) && lenient {
            let message = format!(
                "the link target {} is not beside the link but at the root of the archive",
                quote(target)
            );
            self.notes.warn("link-target-at-root", entry(link), message);
            return at_root.ok_or_else(escape);
        }
        beside.ok_or_else(escape)
    }

    /// Opens the bytes of a file.
    pub(crate) fn bytes(&self, found: &Found) -> Reader {
        self.archive.bytes(found.offset, found.size)
    }

    /// Reads a whole file.
    pub(crate) fn read(&self, found: &Found, limit: (&'static str, u64)) -> Result<Vec<u8>> {
        if found.size > limit.1 {
            return Err(too_large(&found.name, found.size, limit));
        }
        let bytes = read_to_limit(self.bytes(found), limit, &entry(&found.name))?;
        if bytes.len() as u64 != found.size {
            let what = format!("size of {}", entry(&found.name));
            return Err(Error::mismatch(what, found.size, bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads a file by its name.
    pub(crate) fn read_name(&self, name: &str, limit: (&'static str, u64)) -> Result<Vec<u8>> {
        self.read(&self.resolve(name, false)?, limit)
    }

    /// Returns a blob by the name of its member; what it must be is what is claimed and, for a
    /// blob that is named by its digest, that (robustness A14).
    pub(crate) fn blob(self: &Arc<Self>, name: &str, lenient: bool, facts: &Facts) -> Result<Blob> {
        let found = self.resolve(name, lenient)?;
        let known = Facts {
            digest: facts
                .digest
                .or_else(|| blob_digest(name))
                .or_else(|| blob_digest(&found.name)),
            size: facts.size.or(Some(found.size)),
        };
        Ok(Blob {
            facts: known.clone(),
            bytes: Arc::new(Bytes {
                members: Arc::clone(self),
                what: format!("{} of {}", entry(name), self.locator),
                found,
                facts: known,
            }),
        })
    }

    /// Lists the digests of all blobs that are named by theirs.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let mut found: Vec<Digest> = self.names().filter_map(blob_digest).collect();
        found.sort();
        found
    }
}

/// The bytes of a member.
#[derive(Debug)]
struct Bytes {
    members: Arc<Members>,
    found: Found,
    facts: Facts,
    what: String,
}

impl Open for Bytes {
    fn open(&self) -> Result<Reader> {
        let reader = self.members.bytes(&self.found);
        Ok(Box::new(Verified::new(reader, &self.facts, &*self.what)))
    }

    fn identity(&self) -> Option<String> {
        let Found { offset, size, .. } = self.found;
        let (locator, state) = (
            &self.members.locator,
            self.members.state().unwrap_or_default(),
        );
        Some(format!("{locator} {state} {offset}+{size}"))
    }

    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        let Found { offset, size, .. } = self.found;
        self.members.archive.positioned(offset, size).map(Some)
    }
}

/// Returns the name of the member that holds a blob of that digest, in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("{BLOBS}/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// Returns the digest in the name of a member of a layout.
pub(crate) fn blob_digest(name: &str) -> Option<Digest> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512];
    let algorithm = algorithms
        .into_iter()
        .find(|known| known.as_str() == algorithm)?;
    Digest::from_hex(algorithm, hex)
}

/// The limit on one of the archive's own lists.
pub(crate) fn limit(name: &str, limits: &Limits) -> Option<(&'static str, u64)> {
    match name {
        MANIFEST_FILE | REPOSITORIES_FILE => Some(("archive_json", limits.archive_json)),
        INDEX_FILE => Some(("root_index", limits.root_index)),
        MARKER_FILE => Some(("layout_file", limits.layout_file)),
        _ => None,
    }
}

fn too_large(name: &str, size: u64, limit: (&'static str, u64)) -> Error {
    Limits::exceeded(limit.0, limit.1, format!("{} of {size} bytes", entry(name)))
}

/// Names a member for messages.
pub(crate) fn entry(name: &str) -> String {
    format!("entry {}", quote(name))
}

fn article(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "a directory",
        EntryKind::CharDevice | EntryKind::BlockDevice => "a device",
        EntryKind::Fifo => "a named pipe",
        EntryKind::Regular | EntryKind::HardLink | EntryKind::Symlink => "no file",
    }
}

/// Takes `.` and `..` out of a path below `directory`; `None` if it leads out of the archive, is
/// empty, or is no text, so no name of a member.
fn clean(directory: &str, path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
