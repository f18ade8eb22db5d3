//! The members of an archive by name, and the links between them.
//!
//! A link leads to another member, or nowhere: no file outside of the archive is ever read.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
    io::Read as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_layout::{INDEX_FILE, MARKER_FILE};
use imgconv_model::{
    Algorithm, Blob, Code, Compression, Counted, Digest, Env, Error, Facts, Limits, Notes, Open,
    ReadAt, Reader, Result, Work, quote,
};
use imgconv_stream::{Decoder, Hasher, Interruptible, Verified, read_to_limit};
use imgconv_tar::{Archive, EntryKind, Member};

use crate::files::{MANIFEST_FILE, REPOSITORIES_FILE};

/// The directory of blobs that are named by their digests.
const BLOBS: &str = "blobs";

/// The members of an archive.
pub(crate) struct Members {
    archive: Archive,
    locator: String,
    limits: Limits,
    notes: Notes,
    /// The environment, for ending long searches.
    env: Env,
    /// The names of layers by the digests of their contents, computed when first needed.
    contents: Mutex<BTreeMap<Algorithm, BTreeMap<Digest, String>>>,
    /// A text that changes when the file does; `None` for standard input.
    state: Option<String>,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("locator", &self.locator)
            .finish_non_exhaustive()
    }
}

/// A member that is a file, and the place of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The member's name, after all links.
    pub(crate) name: String,
    pub(crate) offset: u64,
    /// The number of bytes.
    pub(crate) size: u64,
}

/// The treatment of a symbolic link whose target is only found at the root of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtRoot {
    Refused,
    Told,
    Silent,
}

impl Members {
    /// Opens an archive: a path, or `-` for standard input.
    pub(crate) fn open(rest: &str, locator: &str, env: &Env) -> Result<Self> {
        let wanted = wanted(&env.limits);
        let archive = match rest {
            "-" => {
                let input = Interruptible::standard_input(env)?;
                let work = Work::begin("standard input", Counted::Result, None, env);
                Archive::from_reader(work.reading(Box::new(input)), env, &wanted)
            }
            path => Archive::open(Path::new(path), env, &wanted),
        };
        let archive = archive?;
        let metadata = (rest != "-").then(|| std::fs::metadata(rest));
        let state = metadata.and_then(std::io::Result::ok);
        Ok(Self::new(archive, state, locator, env))
    }

    /// Copies an archive of at most `limit` bytes to the temporary directory and lists its members.
    pub(crate) fn of_stream(reader: Reader, limit: u64, locator: &str, env: &Env) -> Result<Self> {
        let mut copying = env.clone();
        copying.limits.image_bytes = limit;
        let archive = Archive::from_reader(reader, &copying, &wanted(&env.limits))?;
        let state = archive.metadata()?;
        Ok(Self::new(archive, Some(state), locator, env))
    }

    fn new(archive: Archive, state: Option<std::fs::Metadata>, locator: &str, env: &Env) -> Self {
        Self {
            archive,
            state: state.map(|metadata| imgconv_fs::file_state(&metadata)),
            locator: locator.to_owned(),
            limits: env.limits,
            notes: env.notes.clone(),
            env: env.clone(),
            contents: Mutex::default(),
        }
    }

    /// Returns a text that changes when the file does.
    pub(crate) fn state(&self) -> Option<String> {
        self.state.clone()
    }

    /// Says whether there is a member of that name, of any kind.
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
        let at_root = match lenient {
            true => AtRoot::Told,
            false => AtRoot::Refused,
        };
        self.follow(name, at_root)
            .map_err(|error| error.at(entry(name)))
    }

    /// Finds the file that a name leads to, if there is one; reports nothing.
    pub(crate) fn found(&self, name: &str) -> Option<Found> {
        self.follow(name, AtRoot::Silent).ok()
    }

    fn follow(&self, name: &str, lenient: AtRoot) -> Result<Found> {
        let missing = |name: &str| {
            let message = format!("the archive has no member {}", quote(name));
            Error::new(Code::Missing, message)
        };
        let only_members = |error: Error| error.hint("only members of the archive are searched");
        let mut current = clean("", name.as_bytes()).ok_or_else(|| only_members(missing(name)))?;
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
                None => match self.below_link(&current) {
                    Some((link, target, rest)) => {
                        let next = self.target(link, target, rest, false, lenient)?;
                        current = self.step(&mut seen, &current, next)?;
                        continue;
                    }
                    // The error has the name in the list, which may be spelled in another way.
                    None if seen.is_empty() => return Err(only_members(missing(name))),
                    None => return Err(missing(&current)),
                },
                Some(Member::Symlink(target)) => (target, false),
                Some(Member::HardLink(target)) => (target, true),
            };
            let next = self.target(&current, target, "", hard, lenient)?;
            current = self.step(&mut seen, &current, next)?;
        }
    }

    /// Adds the next name of a chain of links; refuses circles and chains that are too long.
    fn step(&self, seen: &mut Vec<String>, current: &str, next: String) -> Result<String> {
        seen.push(current.to_owned());
        if seen.contains(&next) {
            let message = format!("the links lead in a circle, through {}", quote(&next));
            return Err(Error::new(Code::Cycle, message));
        }
        let limit = self.limits.member_link_hops;
        if seen.len() as u64 > limit {
            let what = "the number of links from member to member";
            return Err(Limits::exceeded("member_link_hops", limit, what));
        }
        Ok(next)
    }

    /// Returns the directory of a name that is a link, the link's target, and the rest of the name.
    fn below_link<'a>(&self, name: &'a str) -> Option<(&'a str, &[u8], &'a str)> {
        name.match_indices('/').find_map(|(at, _)| {
            let (directory, rest) = (&name[..at], &name[at + 1..]);
            match self.archive.member(directory) {
                Some(Member::Symlink(target)) => Some((directory, &**target, rest)),
                _ => None,
            }
        })
    }

    /// Returns the target of a link. The target of a hard link is relative to the root of the
    /// archive, the target of a symbolic link to its directory; some writers confuse the two. The
    /// archive is a root directory of its own, as for docker, which unpacks it first: `..` at the
    /// top stays there, and an absolute target begins there (robustness K26). `rest` is looked up
    /// below the target.
    fn target(
        &self,
        link: &str,
        target: &[u8],
        rest: &str,
        hard: bool,
        lenient: AtRoot,
    ) -> Result<String> {
        let directory = link.rsplit_once('/').map_or("", |(directory, _)| directory);
        let below = [target, b"/", rest.as_bytes()].concat();
        let at_root = clean("", &below);
        let beside = match target.starts_with(b"/") {
            true => at_root.clone(),
            false => clean(directory, &below),
        };
        let there = |name: &Option<String>| {
            let name = name.as_deref();
            name.is_some_and(|name| self.has(name) || self.below_link(name).is_some())
        };
        let (first, second) = match hard {
            true => (at_root, beside),
            false => (beside, at_root),
        };
        if !there(&first) && there(&second) && (hard || lenient != AtRoot::Refused) {
            if !hard && lenient == AtRoot::Told {
                let message = format!(
                    "the link target {} is not relative to the link, but to the root of the \
                     archive",
                    quote(target)
                );
                self.notes.warn("link-target-at-root", entry(link), message);
            }
            return second.ok_or_else(|| escape(target));
        }
        if !there(&first) && leads_out(if hard { "" } else { directory }, target) {
            return Err(escape(target));
        }
        first.ok_or_else(|| escape(target))
    }

    /// Ends a long search if the work is cancelled.
    pub(crate) fn check_cancelled(&self) -> Result<()> {
        self.env.check_cancelled()
    }

    /// Says whether two files hold the same bytes.
    pub(crate) fn same(&self, one: &Found, other: &Found) -> Result<bool> {
        if one.size != other.size {
            return Ok(false);
        }
        if one.offset == other.offset {
            return Ok(true);
        }
        let mut readers = [one, other].map(|found| self.bytes(found).take(found.size));
        let mut buffers = [vec![0; 1 << 16], vec![0; 1 << 16]];
        let mut left = one.size;
        while left > 0 {
            self.check_cancelled()?;
            let count = usize::try_from(left).map_or(1 << 16, |left| left.min(1 << 16));
            for (reader, buffer) in readers.iter_mut().zip(&mut buffers) {
                let read = reader.read_exact(&mut buffer[..count]);
                read.map_err(Error::from_io)?;
            }
            if buffers[0][..count] != buffers[1][..count] {
                return Ok(false);
            }
            left -= count as u64;
        }
        Ok(true)
    }

    /// Opens the bytes of a file, decompressed; irregularities are not recorded.
    pub(crate) fn decoded(&self, found: &Found) -> Result<Decoder> {
        let what = entry(&found.name);
        Decoder::new(self.bytes(found), &self.limits, &Notes::default(), &what)
    }

    /// Finds the layer whose uncompressed bytes have a digest, among the files with names of layers
    /// (robustness K26). Each file is read once for all searches, and at most `image_bytes` of all
    /// files.
    pub(crate) fn by_content(&self, digest: &Digest) -> Result<Option<String>> {
        let mut known = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let algorithm = digest.algorithm();
        let contents = match known.entry(algorithm) {
            btree_map::Entry::Occupied(entry) => entry.into_mut(),
            btree_map::Entry::Vacant(entry) => entry.insert(self.contents(algorithm)?),
        };
        Ok(contents.get(digest).cloned())
    }

    fn contents(&self, algorithm: Algorithm) -> Result<BTreeMap<Digest, String>> {
        let mut contents = BTreeMap::new();
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        let mut left = self.limits.image_bytes;
        let is_layer = |name: &&str| {
            name.ends_with(".tar") || name.ends_with(".tar.gz") || name.starts_with("blobs/")
        };
        for name in self.names().filter(is_layer) {
            let Some(found) = self.found(name).filter(|found| seen.insert(found.offset)) else {
                continue;
            };
            let mut hasher = Hasher::new(algorithm);
            let mut buffer = vec![0; 1 << 16];
            // A file that can't be decoded is not the wanted layer.
            let Ok(mut reader) = self.decoded(&found) else {
                continue;
            };
            let whole = loop {
                self.check_cancelled()?;
                match reader.read(&mut buffer) {
                    Ok(0) => break true,
                    Ok(count) => {
                        hasher.update(&buffer[..count]);
                        left = left.checked_sub(count as u64).ok_or_else(|| {
                            let what = "the uncompressed layers";
                            Limits::exceeded("image_bytes", self.limits.image_bytes, what)
                        })?;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break false,
                }
            };
            if whole {
                contents.entry(hasher.finish()).or_insert(found.name);
            }
        }
        Ok(contents)
    }

    /// Returns the compression that the archive had.
    pub(crate) fn compression(&self) -> Compression {
        self.archive.compression()
    }

    /// Returns the whole archive, uncompressed.
    pub(crate) fn whole(self: &Arc<Self>) -> Result<Blob> {
        let (_, size) = self.archive.whole()?;
        Ok(Blob {
            facts: Facts {
                digest: None,
                size: Some(size),
            },
            bytes: Arc::new(WholeBytes(Arc::clone(self))),
        })
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

    /// Returns a blob by the name of its member. The blob must match the given facts and, if its
    /// name has a digest, that digest (robustness A14).
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

    /// Lists the digests of all blobs with a digest as their name.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let mut found: Vec<Digest> = self.names().filter_map(blob_digest).collect();
        found.sort();
        found
    }
}

/// The bytes of the whole archive.
#[derive(Debug)]
struct WholeBytes(Arc<Members>);

impl Open for WholeBytes {
    fn open(&self) -> Result<Reader> {
        Ok(self.0.archive.whole()?.0)
    }

    fn positioned(&self) -> Result<Option<Arc<dyn ReadAt>>> {
        let (_, size) = self.0.archive.whole()?;
        self.0.archive.positioned(0, size).map(Some)
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
    let name = clean("", name.as_bytes())?;
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    let algorithms = [Algorithm::Sha256, Algorithm::Sha512];
    let algorithm = algorithms
        .into_iter()
        .find(|known| known.as_str() == algorithm)?;
    Digest::from_hex(algorithm, hex)
}

/// Refuses a list of an archive that is too large, before the list is read and copied, since it would
/// never be used (robustness A6).
fn wanted(limits: &Limits) -> impl Fn(&str, EntryKind, u64) -> Result<bool> {
    let limits = *limits;
    move |name, _, size| match limit(name, &limits) {
        Some(limit) if size > limit.1 => Err(too_large(name, size, limit)),
        _ => Ok(true),
    }
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

fn escape(target: &[u8]) -> Error {
    let message = format!(
        "the link target {} leads out of the archive to no member",
        quote(target)
    );
    Error::new(Code::Escape, message)
}

/// Says whether a target leads out of the archive, if the archive were unpacked to a directory.
fn leads_out(directory: &str, target: &[u8]) -> bool {
    let mut depth = directory.split('/').filter(|part| !part.is_empty()).count();
    target.starts_with(b"/")
        || target.split(|byte| *byte == b'/').any(|part| match part {
            b"" | b"." => false,
            b".." => match depth.checked_sub(1) {
                Some(less) => {
                    depth = less;
                    false
                }
                None => true,
            },
            _ => {
                depth += 1;
                false
            }
        })
}

/// Returns the name of a member in the normal spelling; `None` for a text that is no name.
pub(crate) fn plain_name(name: &str) -> Option<String> {
    clean("", name.as_bytes())
}

/// Removes `.` and `..` from a path below `directory`; nothing is above the root of the archive.
/// `None` if the result is empty or no text, and so no name of a member.
fn clean(directory: &str, path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
