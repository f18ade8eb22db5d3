//! From a path to a directory of the tree, over symbolic links inside the virtual root.
//!
//! This module never touches the host's file system, and never follows the last component of an
//! entry's name: callers pass parents.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use imgconv_model::{Code, Error, Limits, Result, quote};
use imgconv_tar::EntryKind;

use super::arena::{Arena, Id, Inode, ROOT};

/// The action where the path does not lead to a directory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intent<'a> {
    /// No action: there is no such directory.
    Find,
    /// As `Find`, but a symbolic link at one of these paths is not followed: the layer that is
    /// about to be applied replaces or removes the link.
    FindBelow(&'a HashSet<&'a [u8]>),
    /// Make directories, in place of files where needed; follow symbolic links, or replace them
    /// too.
    Make { follow: bool },
}

/// Results of earlier walks, valid for one generation of the tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Cache {
    generation: u64,
    /// The directory of the last request, and whether symbolic links led there.
    last: Option<(Vec<u8>, Id, bool)>,
    /// The directories that symbolic links lead to, and the cost of following the links.
    links: HashMap<Id, (Id, Cost)>,
}

/// The cost of following symbolic links. The cost is the same whether a link was followed before or
/// not, so that no limit depends on earlier entries.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// The number of links.
    hops: u64,
    /// The bytes of their targets.
    bytes: u64,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            hops: self.hops + other.hops,
            bytes: self.bytes + other.bytes,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            hops: self.hops - before.hops,
            bytes: self.bytes - before.bytes,
        }
    }

    /// The bytes are bounded too: a chain of long targets would make one entry as costly as
    /// thousands.
    fn check(self, path: &[u8], limits: &Limits) -> Result<()> {
        if self.hops > limits.link_hops {
            let what = format!("the chain of symbolic links in path {}", quote(path));
            return Err(Limits::exceeded("link_hops", limits.link_hops, what));
        }
        if self.bytes > limits.path {
            let what = format!(
                "path {} with the targets of its symbolic links",
                quote(path)
            );
            return Err(Limits::exceeded("path", limits.path, what));
        }
        Ok(())
    }
}

impl Cache {
    pub(super) fn clear(&mut self) {
        self.last = None;
        self.links.clear();
    }

    /// Returns the start of the walk: the end of the last path if `path` goes on from there.
    fn start(&self, path: &[u8]) -> (usize, Id, bool) {
        match &self.last {
            Some((last, id, linked)) if path == last => (path.len(), *id, *linked),
            Some((last, id, linked)) if path.starts_with(last) && path[last.len()] == b'/' => {
                (last.len(), *id, *linked)
            }
            _ => (0, ROOT, false),
        }
    }

    /// Returns true if symbolic links led to the directory of the last request: its own path
    /// differs then, and may be longer.
    pub(super) fn linked(&self) -> bool {
        self.last.as_ref().is_none_or(|(_, _, linked)| *linked)
    }
}

/// A symbolic link whose target is being walked over.
struct Frame {
    link: Id,
    target: Arc<[u8]>,
    at: usize,
    /// The cost before this link.
    before: Cost,
}

/// The next step of the walk.
enum Step {
    Enter(Id),
    Follow(Id),
    Absent(Box<[u8]>),
    Stay,
    Up,
}

/// Finds or makes the directory of a cleaned path.
///
/// `..` in the target of a symbolic link stops at the root, and removes the name before it even if
/// that name does not exist or is not a directory.
pub(super) fn directory(
    arena: &mut Arena,
    cache: &mut Cache,
    path: &[u8],
    intent: Intent<'_>,
    limits: &Limits,
) -> Result<Option<Id>> {
    if cache.generation != arena.generation {
        cache.clear();
        cache.generation = arena.generation;
    }
    let (mut at, mut here, mut linked) = cache.start(path);
    let mut frames: Vec<Frame> = Vec::new();
    let mut absent: Vec<Box<[u8]>> = Vec::new();
    let mut cost = Cost::default();
    // False once `..` removed a name that does not exist: if a later entry makes the name a link,
    // the same walk leads elsewhere, and the generation does not change.
    let mut lasting = true;
    loop {
        let step = if let Some(frame) = frames.last_mut() {
            match component(&frame.target, &mut frame.at) {
                Some(name) => look(arena, here, &frame.target[name], &absent, intent),
                None => {
                    if let (Some(frame), true) = (frames.pop(), lasting && absent.is_empty()) {
                        cache
                            .links
                            .insert(frame.link, (here, cost.since(frame.before)));
                    }
                    continue;
                }
            }
        } else {
            if !absent.is_empty() {
                if !matches!(intent, Intent::Make { .. }) {
                    return Ok(None);
                }
                for name in absent.drain(..) {
                    here = make(arena, here, &name)?;
                }
            }
            match component(path, &mut at) {
                Some(name) => look(arena, here, &path[name], &absent, intent),
                None => break,
            }
        };
        match step {
            Step::Stay => {}
            Step::Enter(id) => here = id,
            Step::Absent(name) => absent.push(name),
            Step::Up => {
                if absent.pop().is_some() {
                    lasting = false;
                } else {
                    here = arena.parent(here);
                }
            }
            Step::Follow(link) => {
                linked = true;
                if let Intent::FindBelow(covered) = intent
                    && covered.contains(&*arena.path(link))
                {
                    return Ok(None);
                }
                if frames.iter().any(|frame| frame.link == link) {
                    return Err(cycle(arena, &frames, link));
                }
                let known = cache.links.get(&link).copied();
                let target = Arc::clone(arena.target(link));
                let before = cost;
                let own = Cost {
                    hops: 1,
                    bytes: target.len() as u64,
                };
                cost = cost.plus(known.map_or(own, |(_, cost)| cost));
                cost.check(path, limits)?;
                if let Some((id, _)) = known {
                    here = id;
                    continue;
                }
                if target.starts_with(b"/") {
                    here = ROOT;
                }
                frames.push(Frame {
                    link,
                    target,
                    at: 0,
                    before,
                });
            }
        }
    }
    if cache.generation != arena.generation {
        cache.clear();
        cache.generation = arena.generation;
    }
    match &mut cache.last {
        _ if !lasting => cache.last = None,
        Some((last, id, by_link)) => {
            last.clear();
            last.extend_from_slice(path);
            (*id, *by_link) = (here, linked);
        }
        None => cache.last = Some((path.to_vec(), here, linked)),
    }
    Ok(Some(here))
}

/// Returns the next step of the walk for a name in a directory.
fn look(arena: &Arena, here: Id, name: &[u8], absent: &[Box<[u8]>], intent: Intent<'_>) -> Step {
    match name {
        b"." => return Step::Stay,
        b".." => return Step::Up,
        _ if !absent.is_empty() => return Step::Absent(name.into()),
        _ => {}
    }
    match arena.child(here, name) {
        Some(id) if arena.is_directory(id) => Step::Enter(id),
        Some(id)
            if arena.kind(id) == EntryKind::Symlink
                && !matches!(intent, Intent::Make { follow: false }) =>
        {
            Step::Follow(id)
        }
        _ => Step::Absent(name.into()),
    }
}

/// Makes a directory, in place of any other object of that name.
fn make(arena: &mut Arena, parent: Id, name: &[u8]) -> Result<Id> {
    match arena.child(parent, name) {
        Some(id) if arena.is_directory(id) => Ok(id),
        Some(id) => {
            let inode = arena.add_inode(Inode::implied());
            arena.replace(id, inode);
            Ok(id)
        }
        None => {
            let inode = arena.add_inode(Inode::implied());
            arena.insert(parent, name, inode, 0)
        }
    }
}

/// Takes the next component of a path.
fn component(path: &[u8], at: &mut usize) -> Option<Range<usize>> {
    while path.get(*at) == Some(&b'/') {
        *at += 1;
    }
    let start = *at;
    while path.get(*at).is_some_and(|byte| *byte != b'/') {
        *at += 1;
    }
    (start < *at).then_some(start..*at)
}

fn cycle(arena: &Arena, frames: &[Frame], link: Id) -> Error {
    let links: Vec<String> = frames
        .iter()
        .skip_while(|frame| frame.link != link)
        .map(|frame| {
            format!(
                "{} to {}",
                quote(arena.path(frame.link)),
                quote(&frame.target)
            )
        })
        .collect();
    let message = format!(
        "symbolic links lead back to themselves: {}",
        links.join(", ")
    );
    Error::new(Code::Cycle, message)
}
