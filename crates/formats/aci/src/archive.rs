//! The archive: the members that an ACI may have, and the scan that finds its manifest.
//!
//! One [`Checker`] checks the members, in the scan and again when the layer is read: the scan stops
//! after the manifest, so later members are checked only when the layer is read.

use std::{collections::HashMap, io::Read as _, sync::Arc};

use imgconv_layer::clean;
use imgconv_model::{Algorithm, Blob, Code, Env, Error, Limits, Notes, Result, quote};
use imgconv_stream::{Cancellable, Decoder, digest, read_to_limit};
use imgconv_tar::{Entry, EntryKind, Reader};

use crate::{
    manifest::{self, Manifest},
    recognise,
};

/// The kind of a member of an ACI.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// The root of the archive itself, which has no meaning.
    Top,
    /// The manifest.
    Manifest,
    /// The root of the image's file system.
    Rootfs,
    /// A path below `rootfs`, cleaned, without `rootfs/`.
    Inside(Vec<u8>),
}

/// The kind of a path of the archive, by the members up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// A directory that has no member of its own, but paths below it.
    Implied,
    /// A directory.
    Directory,
    /// A member of another kind.
    Other,
}

type Key = [u8; 16];

/// The paths of the members and the directories above them, as hashes: 17 bytes each, whatever
/// their length.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    met: HashMap<Key, Met>,
    /// The directory of the last path: most paths are in the same directory as the path before.
    last: Vec<u8>,
    /// The ends of the parts of `last`, and their keys.
    parts: Vec<(usize, Key)>,
}

impl Seen {
    /// Notes a clean path and whether it is a directory. Returns the earlier kind of the path.
    ///
    /// # Errors
    /// [`Code::Ambiguous`] for a path below a member that is not a directory, or for a path that is
    /// not a directory and has paths below it: some readers follow or keep it, others replace it
    /// (robustness INV-6). [`Code::Limit`] for more paths than `entries`.
    pub(crate) fn insert(
        &mut self,
        path: &[u8],
        directory: bool,
        limits: &Limits,
    ) -> Result<Option<Met>> {
        let (parent, name) = split(path);
        let above = self.above(parent, path, limits)?;
        let now = if directory {
            Met::Directory
        } else {
            Met::Other
        };
        let before = self.met.insert(below(above, name), now);
        self.check_count(limits)?;
        if before == Some(Met::Implied) && !directory {
            let message = format!("{} is no directory and has entries below it", quote(path));
            return Err(Error::new(Code::Ambiguous, message));
        }
        Ok(before)
    }

    /// Returns the kind of a clean path, without a change.
    ///
    /// # Errors
    /// The part of the path above it that is not a directory, if there is one.
    fn find<'p>(&self, path: &'p [u8]) -> std::result::Result<Option<Met>, &'p [u8]> {
        let mut key = Key::default();
        let mut end = 0;
        for part in path.split(|byte| *byte == b'/') {
            if end > 0 && self.met.get(&key) == Some(&Met::Other) {
                return Err(&path[..end - 1]);
            }
            key = below(key, part);
            end += part.len() + 1;
        }
        Ok(self.met.get(&key).copied())
    }

    /// Notes the directories above a path; returns the key of the last one.
    fn above(&mut self, parent: &[u8], path: &[u8], limits: &Limits) -> Result<Key> {
        let equal = self.last.iter().zip(parent).take_while(|(a, b)| a == b);
        let equal = equal.count();
        let whole = |end: usize| end <= equal && parent.get(end).is_none_or(|byte| *byte == b'/');
        while self.parts.last().is_some_and(|(end, _)| !whole(*end)) {
            self.parts.pop();
        }
        let (mut end, mut key) = self.parts.last().copied().unwrap_or_default();
        self.last.truncate(end);
        while end < parent.len() {
            let begin = end + usize::from(end > 0);
            let rest = &parent[begin..];
            let length = rest.iter().position(|byte| *byte == b'/');
            let part = &rest[..length.unwrap_or(rest.len())];
            end = begin + part.len();
            key = below(key, part);
            if *self.met.entry(key).or_insert(Met::Implied) == Met::Other {
                let outer = quote(&parent[..end]);
                let message = format!("{} lies below {outer}, which is no directory", quote(path));
                return Err(Error::new(Code::Ambiguous, message));
            }
            self.check_count(limits)?;
            self.parts.push((end, key));
        }
        self.last.extend_from_slice(&parent[self.last.len()..]);
        Ok(key)
    }

    fn check_count(&self, limits: &Limits) -> Result<()> {
        if self.met.len() as u64 > limits.entries {
            let what = "the number of paths";
            return Err(Limits::exceeded("entries", limits.entries, what));
        }
        Ok(())
    }
}

/// Returns the key of a name in a directory: a path of any depth is hashed only once.
fn below(directory: Key, name: &[u8]) -> Key {
    let digest = digest(Algorithm::Sha256, &[&directory[..], name].concat());
    let mut key = Key::default();
    key.copy_from_slice(&digest.hash()[..16]);
    key
}

/// Splits a path into its directory, empty at the top, and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(end) => (&path[..end], &path[end + 1..]),
        None => (b"", path),
    }
}

/// Checks the members of an ACI one by one (aci.md, "Image Archives").
#[derive(Debug)]
pub(crate) struct Checker {
    seen: Seen,
    manifest: bool,
    rootfs: bool,
    implied: bool,
    limits: Limits,
    notes: Notes,
    what: String,
}

impl Checker {
    pub(crate) fn new(limits: &Limits, notes: &Notes, what: &str) -> Self {
        Self {
            seen: Seen::default(),
            manifest: false,
            rootfs: false,
            implied: false,
            limits: *limits,
            notes: notes.clone(),
            what: what.to_owned(),
        }
    }

    /// Returns the kind of a member.
    ///
    /// # Errors
    /// [`Code::BadTar`] for a member that an ACI can't have or of a wrong type, [`Code::Ambiguous`]
    /// for a repeated path, [`Code::Escape`] for a path that leaves the archive.
    pub(crate) fn member(&mut self, entry: &Entry) -> Result<Member> {
        self.check(entry).map_err(|error| error.at(place(entry)))
    }

    fn check(&mut self, entry: &Entry) -> Result<Member> {
        let path = clean(&entry.path, &self.limits)?;
        let directory = entry.kind == EntryKind::Directory;
        let wrong = |what: &str, found: EntryKind| {
            let message = format!("{what}, found {}", found.describe());
            Error::new(Code::BadTar, message)
        };
        let member = if path.is_empty() {
            if !directory {
                return Err(wrong(
                    "expected a directory as the root of the archive",
                    entry.kind,
                ));
            }
            return Ok(Member::Top);
        } else if path == b"manifest" {
            if entry.kind != EntryKind::Regular {
                return Err(wrong("expected `manifest` as a regular file", entry.kind));
            }
            self.manifest = true;
            Member::Manifest
        } else if path == b"rootfs" {
            if !directory {
                return Err(wrong("expected `rootfs` as a directory", entry.kind));
            }
            self.rootfs = true;
            Member::Rootfs
        } else if let Some(inside) = path.strip_prefix(b"rootfs/") {
            self.implied = true;
            Member::Inside(inside.to_vec())
        } else {
            let message = "an ACI holds only `manifest` and `rootfs` at its top";
            return Err(Error::new(Code::BadTar, message));
        };
        match self.seen.insert(&path, directory, &self.limits)? {
            None | Some(Met::Implied) => {}
            Some(Met::Directory) if directory => {
                let message = format!(
                    "the directory {} comes twice; the last counts",
                    quote(&path)
                );
                self.notes
                    .warn("duplicate-entry", self.what.clone(), message);
            }
            Some(_) => {
                let message = format!("{} comes twice, an ACI has no duplicates", quote(&path));
                return Err(Error::new(Code::Ambiguous, message));
            }
        }
        Ok(member)
    }

    /// Checks that the target of a hard link, a path in the root file system, came before the link
    /// (robustness F, hl_bad). If the image has dependencies, the target may be in one of them:
    /// that is checked when the images are stacked.
    ///
    /// # Errors
    /// [`Code::BadTar`] if the target did not come before or is a directory, [`Code::Ambiguous`] if
    /// its path leads through a member that is not a directory.
    pub(crate) fn link(&self, path: &[u8], target: &[u8], stacked: bool) -> Result<()> {
        let full = [b"rootfs/", target].concat();
        let (code, message) = match self.seen.find(&full) {
            _ if path == target => (Code::BadTar, "the hard link leads to itself".to_owned()),
            Ok(Some(Met::Other)) => return Ok(()),
            Ok(Some(Met::Directory | Met::Implied)) => {
                let message = "a directory can't be the target of a hard link";
                (Code::BadTar, message.to_owned())
            }
            Ok(None) if stacked => return Ok(()),
            Ok(None) => {
                let message = "there is no such path before it in the archive";
                (Code::BadTar, message.to_owned())
            }
            Err(outer) => {
                let message = format!("it leads through {}, which is no directory", quote(outer));
                (Code::Ambiguous, message)
            }
        };
        Err(Error::new(code, message).at(format!("hard link to {}", quote(&full))))
    }

    /// Checks at the end that no required member is missing.
    ///
    /// # Errors
    /// [`Code::Missing`] if there was no `manifest`, or no member of `rootfs`.
    pub(crate) fn finish(&self) -> Result<()> {
        for (found, name) in [
            (self.manifest, "manifest"),
            (self.rootfs || self.implied, "rootfs"),
        ] {
            if !found {
                return Err(Error::new(
                    Code::Missing,
                    format!("the archive has no `{name}`"),
                ));
            }
        }
        if !self.rootfs {
            let message =
                "the directory `rootfs` itself is not listed; mode 0755 and owner root are assumed";
            self.notes
                .warn("implied-rootfs", self.what.clone(), message);
        }
        Ok(())
    }
}

/// Returns the path of a hard link's target in the root file system.
///
/// The target is a name of the archive, so it begins with `rootfs/`: GNU tar and `actool build`
/// write it like that. A target without this prefix is read from the root file system, with a
/// warning: some builders left the prefix out. `manifest` and `rootfs` themselves can't be targets.
///
/// # Errors
/// [`Code::Escape`] if the target leaves the root file system.
pub(crate) fn link_target(
    entry: &Entry,
    limits: &Limits,
    notes: &Notes,
    what: &str,
) -> Result<Vec<u8>> {
    let target = clean(&entry.link, limits)?;
    if let Some(inside) = target.strip_prefix(b"rootfs/") {
        return Ok(inside.to_vec());
    }
    let climbs = entry
        .link
        .split(|byte| *byte == b'/')
        .any(|part| part == b"..");
    if climbs || target.is_empty() || target == b"manifest" || target == b"rootfs" {
        let message = format!("hard link target {} leaves `rootfs`", quote(&entry.link));
        return Err(Error::new(Code::Escape, message));
    }
    let message = format!(
        "hard link targets, {} among them, are not below `rootfs`; they are read as paths below \
         `rootfs`",
        quote(&entry.link)
    );
    notes.warn("link-without-prefix", what.to_owned(), message);
    Ok(target)
}

/// The result of the first of two passes.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Arc<[u8]>,
}

/// Reads an ACI up to its manifest.
///
/// # Errors
/// The errors of [`Checker`], [`manifest::parse`], and of the stream; [`Code::Unsupported`] for a
/// file that is wrapped in a PGP message.
pub(crate) fn scan(blob: &Blob, env: &Env, what: &str) -> Result<Scanned> {
    let mut found = None;
    let mut checker = Checker::new(&env.limits, &env.notes, what);
    walk(blob, env, what, |entry, body| {
        env.check_cancelled()?;
        if checker.member(entry)? != Member::Manifest {
            return Ok(true);
        }
        let limit = ("aci_manifest", env.limits.aci_manifest);
        imgconv_json::within(entry.size, limit, "`manifest`")?;
        found = Some(read_to_limit(body, limit, "`manifest`")?);
        Ok(false)
    })?;
    let Some(bytes) = found else {
        checker.finish()?;
        return Err(Error::new(Code::Missing, "the archive has no `manifest`"));
    };
    let manifest = manifest::parse(&bytes, &env.limits, &env.notes)?;
    Ok(Scanned {
        manifest,
        bytes: bytes.into(),
    })
}

/// Finds the owner and group of a path of the root file system; links are followed. `None` if the
/// image itself has no such path.
///
/// # Errors
/// The errors of the stream, and [`Code::Limit`] for an endless chain of links.
pub(crate) fn owner(blob: &Blob, path: &str, env: &Env, what: &str) -> Result<Option<(u32, u32)>> {
    let mut wanted = clean(path.as_bytes(), &env.limits)?;
    for _ in 0..=env.limits.link_hops {
        let mut owner = None;
        let mut next = None;
        walk(blob, env, what, |entry, _| {
            let path = clean(&entry.path, &env.limits)?;
            let Some(path) = path.strip_prefix(b"rootfs/") else {
                return Ok(true);
            };
            let Some(rest) = wanted.strip_prefix(path) else {
                return Ok(true);
            };
            match entry.kind {
                EntryKind::Symlink if rest.is_empty() || rest.starts_with(b"/") => {
                    next = Some(follow(path, &entry.link, rest));
                }
                EntryKind::HardLink if rest.is_empty() => {
                    next = Some(link_target(entry, &env.limits, &env.notes, what)?);
                }
                _ if rest.is_empty() => owner = Some((entry.uid, entry.gid)),
                _ => return Ok(true),
            }
            Ok(false)
        })?;
        match next {
            Some(next) => wanted = next,
            None => return Ok(owner),
        }
    }
    let what = format!("the links on the way to {}", quote(path));
    Err(Limits::exceeded("link_hops", env.limits.link_hops, what))
}

/// Returns the path that a symbolic link at `path` leads to, below the root, with `rest` after it.
fn follow(path: &[u8], link: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if !link.starts_with(b"/") {
        parts.extend(path.split(|byte| *byte == b'/'));
        parts.pop();
    }
    for part in link
        .split(|byte| *byte == b'/')
        .chain(rest.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            // The parent of the root is the root, as in the kernel.
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Walks over the members until `visit` ends the walk.
fn walk(
    blob: &Blob,
    env: &Env,
    what: &str,
    mut visit: impl FnMut(&Entry, &mut dyn std::io::Read) -> Result<bool>,
) -> Result<()> {
    let (begin, stream) = recognise::peek(blob)?;
    if let Some(pgp) = recognise::pgp(&begin) {
        return Err(pgp.refuse());
    }
    let decoder = Decoder::new(stream, &env.limits, &env.notes, what)?;
    let decoder = Cancellable::new(decoder, env);
    let mut members = Reader::new(decoder, &env.limits, &env.notes, what);
    while let Some(entry) = members.next_entry()? {
        if !visit(&entry, &mut members.by_ref())? {
            break;
        }
    }
    Ok(())
}

/// Returns the place of a member for messages.
pub(crate) fn place(entry: &Entry) -> String {
    format!("entry {}", quote(&entry.path))
}
