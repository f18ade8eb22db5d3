//! The tree of an image: what layers one above the other mean.
//!
//! The rules, each with the clause that it follows (image-spec 1.1, layer.md, unless said
//! otherwise):
//!
//! - Layers are applied from the lowest ("Applying Changesets"). An entry replaces what is there;
//!   a directory over a directory replaces the attributes only.
//! - A whiteout `.wh.NAME` removes NAME of lower layers, an opaque whiteout `.wh..wh..opq` all that
//!   lower layers have in the directory; both hide nothing of their own layer ("Whiteouts"), so
//!   the markers of a layer are applied before its entries.
//! - A hard link is one more name of a file, of this layer or of a lower one ("Hardlinks"). The
//!   file lives as long as it has a name.
//! - The header of a hard link counts for the file, whatever its names (docs/robustness.md K34, as
//!   Docker, podman and containerd read it).
//! - A path goes through symbolic links of the tree, which end at the root of the tree: the tree is
//!   the whole file system, as after `chroot`.
//! - A directory that no entry names is 0755, belongs to 0:0 and has the time 0: the layer format
//!   is silent, docs/robustness.md F `no_parents` decides.
//! - The mode of a symbolic link means nothing (POSIX `lstat`).
//! - Names, and nothing else, tell files: `a`, `./a`, `/a` and `b/../a` are one (E5a).

use std::collections::BTreeMap;

use imgconv_testkit::sha256_hex;

use crate::tar::{Kind, Member};
use crate::{Failure, Result};

/// The path of a file below the root, without slashes at its ends; the root is empty.
pub type Path = Vec<u8>;

/// A time after those that the generator writes for the past, and before today.
const TODAY: i64 = 1_600_000_000;

const MARKER: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A file of any kind, whatever its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The kind; never a hard link.
    pub kind: Kind,
    /// Twelve bits; 0777 for symbolic links.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The target of a symbolic link.
    pub link: Vec<u8>,
    /// The numbers of a device.
    pub device: (u32, u32),
    /// Size and SHA-256 of the content.
    pub content: (usize, String),
    /// True for a directory that no entry names.
    pub is_implied: bool,
}

impl Node {
    fn directory() -> Self {
        Self {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            xattrs: BTreeMap::new(),
            link: Vec::new(),
            device: (0, 0),
            content: (0, String::new()),
            is_implied: true,
        }
    }

    fn of(member: &Member) -> Self {
        let is_link = member.kind == Kind::Symlink;
        let is_file = member.kind == Kind::File;
        Self {
            kind: member.kind,
            mode: if is_link { 0o777 } else { member.mode },
            uid: member.uid,
            gid: member.gid,
            mtime: member.mtime,
            xattrs: member.xattrs.clone(),
            link: if is_link {
                member.link.clone()
            } else {
                Vec::new()
            },
            device: member.device,
            content: match is_file {
                true => (member.body.len(), sha256_hex(&member.body)),
                false => (0, String::new()),
            },
            is_implied: false,
        }
    }

    /// The attributes as one line of text.
    fn line(&self) -> String {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let xattrs = self.xattrs.iter();
        let xattrs: Vec<String> = xattrs
            .map(|(key, value)| format!(" {}={}", text(key), text(value)))
            .collect();
        format!(
            "{:?} {:04o} {}:{} @{}.{:09} link={} device={:?} {:?}{}",
            self.kind,
            self.mode,
            self.uid,
            self.gid,
            self.mtime.0,
            self.mtime.1,
            text(&self.link),
            self.device,
            self.content,
            xattrs.concat()
        )
    }
}

/// A tree of files with names.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    /// Each path with the position of its node; the root is there too.
    names: BTreeMap<Path, usize>,
    /// True if an entry gave the root its attributes.
    pub has_root: bool,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::directory()],
            names: BTreeMap::from([(Path::new(), 0)]),
            has_root: false,
        }
    }
}

impl Tree {
    /// Makes the tree of layers, the lowest first.
    ///
    /// # Errors
    /// If a layer has an entry that means nothing by the rules above.
    pub fn of_layers<'a>(layers: impl IntoIterator<Item = &'a [Member]>) -> Result<Self> {
        let mut tree = Self::default();
        for layer in layers {
            tree.apply(layer)?;
        }
        Ok(tree)
    }

    /// Applies one layer: first its markers, then its entries.
    fn apply(&mut self, layer: &[Member]) -> Result<()> {
        for member in layer {
            let (parent, name) = split(&plain(&member.path));
            if name == OPAQUE {
                if let Some(parent) = self.existing(&parent) {
                    self.remove_below(&parent);
                }
            } else if let Some(name) = name.strip_prefix(MARKER)
                && let Some(parent) = self.existing(&parent)
            {
                self.remove(&join(&parent, name));
            }
        }
        for member in layer {
            let path = plain(&member.path);
            if !split(&path).1.starts_with(MARKER) {
                self.add(&path, member)?;
            }
        }
        Ok(())
    }

    /// Applies entries without markers, as those of an ACI (aci.md, "Image Archives": no whiteouts).
    ///
    /// # Errors
    /// If an entry means nothing.
    pub fn add_all(&mut self, members: &[Member]) -> Result<()> {
        members
            .iter()
            .try_for_each(|member| self.add(&plain(&member.path), member))
    }

    fn add(&mut self, path: &Path, member: &Member) -> Result<()> {
        let (parent, name) = split(path);
        let path = join(&self.directory(&parent, 0)?, &name);
        if member.kind == Kind::HardLink {
            let (above, name) = split(&plain(&member.link));
            let above = self.existing(&above).ok_or_else(|| missing(member))?;
            let target = self.names.get(&join(&above, &name)).copied();
            let target = target.ok_or_else(|| missing(member))?;
            if self.names.get(&path) != Some(&target) {
                self.remove(&path);
                self.names.insert(path, target);
            }
            let node = &mut self.nodes[target];
            (node.uid, node.gid) = (member.uid, member.gid);
            if node.kind != Kind::Symlink {
                (node.mode, node.mtime) = (member.mode, member.mtime);
                if node
                    .xattrs
                    .keys()
                    .all(|name| member.xattrs.contains_key(name))
                {
                    node.xattrs = member.xattrs.clone();
                }
            }
            return Ok(());
        }
        if path.is_empty() {
            self.has_root = true;
        }
        let node = Node::of(member);
        let old = self.names.get(&path).copied();
        match old {
            Some(old) if node.kind == Kind::Directory && self.nodes[old].kind == node.kind => {
                self.nodes[old] = node;
            }
            _ => {
                self.remove(&path);
                self.put(path, node);
            }
        }
        Ok(())
    }

    /// Adds a node under a new name.
    pub fn put(&mut self, path: Path, node: Node) {
        self.nodes.push(node);
        self.names.insert(path, self.nodes.len() - 1);
    }

    /// Gives an existing file one more name.
    pub fn link(&mut self, path: Path, target: &Path) {
        if let Some(target) = self.names.get(target).copied() {
            self.names.insert(path, target);
        }
    }

    /// The node of a path.
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.names.get(path).map(|at| &self.nodes[*at])
    }

    /// All paths, the root as the empty one.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.names.keys()
    }

    /// Sets later times of modification to a limit.
    pub fn clamp(&mut self, limit: i64) {
        for node in &mut self.nodes {
            if node.mtime > (limit, 0) {
                node.mtime = (limit, 0);
            }
        }
    }

    /// Keeps the paths of a whitelist and the directories above them (ace.md, "Filesystem Setup";
    /// H5a of docs/robustness.md).
    pub fn keep(&mut self, whitelist: &[Path]) {
        let is_kept =
            |path: &Path| path.is_empty() || whitelist.iter().any(|listed| is_within(listed, path));
        self.names.retain(|path, _| is_kept(path));
    }

    /// Takes directories with nothing below them as named by an entry: a whitelist that lists such a
    /// directory makes it.
    pub fn name_empty(&mut self) {
        for (path, at) in &self.names {
            let is_empty = !self
                .names
                .keys()
                .any(|other| other != path && is_within(other, path));
            self.nodes[*at].is_implied &= !is_empty;
        }
    }

    /// Leaves out the files that eStargz adds to a layer (stargz-snapshotter, docs/estargz.md).
    pub fn forget_stargz(&mut self) {
        for name in [
            "stargz.index.json",
            ".no.prefetch.landmark",
            ".prefetch.landmark",
        ] {
            self.names.remove(name.as_bytes());
        }
    }

    /// Puts another tree above this one: its entries replace those that are there.
    pub fn overlay(&mut self, upper: &Self) {
        let first = self.nodes.len();
        self.nodes.extend(upper.nodes.iter().cloned());
        for (path, at) in &upper.names {
            let node = &upper.nodes[*at];
            let old = self.names.get(path).copied();
            let is_directory = |node: &Node| node.kind == Kind::Directory;
            let both = old.filter(|old| is_directory(node) && is_directory(&self.nodes[*old]));
            match both {
                Some(_) if node.is_implied => {}
                Some(old) => self.nodes[old] = node.clone(),
                None => {
                    self.remove(path);
                    self.names.insert(path.clone(), first + at);
                }
            }
        }
        self.has_root |= upper.has_root;
    }

    fn remove(&mut self, path: &Path) {
        if !path.is_empty() {
            self.names.retain(|other, _| !is_within(other, path));
        }
    }

    fn remove_below(&mut self, path: &Path) {
        self.names
            .retain(|other, _| other == path || !is_within(other, path));
    }

    /// Follows a path of directories and links; `None` if something is missing or is no directory.
    pub fn existing(&self, path: &[u8]) -> Option<Path> {
        self.clone().directory_of(path, 0, false).ok().flatten()
    }

    /// Follows a path, and makes the directories that are missing.
    fn directory(&mut self, path: &[u8], hops: u32) -> Result<Path> {
        let found = self.directory_of(path, hops, true)?;
        found.ok_or_else(|| Failure::new("a directory could not be made".to_owned()))
    }

    fn directory_of(&mut self, path: &[u8], hops: u32, may_make: bool) -> Result<Option<Path>> {
        if hops > 40 {
            return Err(Failure::new("too many links in a path".to_owned()));
        }
        let mut here = Path::new();
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => {
                    here = split(&here).0;
                    continue;
                }
                _ => {}
            }
            let next = join(&here, part);
            match self.get(&next).cloned() {
                Some(node) if node.kind == Kind::Directory => here = next,
                Some(node) if node.kind == Kind::Symlink => {
                    let target = match node.link.first() {
                        Some(b'/') => node.link,
                        _ => join(&here, &node.link),
                    };
                    match self.directory_of(&target, hops + 1, may_make)? {
                        Some(there) => here = there,
                        None => return Ok(None),
                    }
                }
                _ if !may_make => return Ok(None),
                _ => {
                    self.remove(&next);
                    self.put(next.clone(), Node::directory());
                    here = next;
                }
            }
        }
        Ok(Some(here))
    }

    /// Every path with its attributes, as text; of several names of a file, the first in byte order
    /// has the attributes.
    fn lines(&self, with_root: bool) -> BTreeMap<Path, String> {
        let mut first: BTreeMap<usize, &Path> = BTreeMap::new();
        let mut out = BTreeMap::new();
        for (path, at) in &self.names {
            if path.is_empty() && !with_root {
                continue;
            }
            let head = *first.entry(*at).or_insert(path);
            let line = match head == path {
                true => self.nodes[*at].line(),
                false => format!("another name of {}", head.escape_ascii()),
            };
            out.insert(path.clone(), line);
        }
        out
    }

    /// The differences to a tree that umoci unpacked. A directory that no entry names gets the time
    /// of unpacking there, and so does the directory above it; such a directory takes the group and
    /// the set-group-ID bit of the directory above, as mkdir(2) does. So the times of directories
    /// are compared only if they are not of today, and the two attributes not at all there. A symbolic link with several
    /// names keeps the owner of its first header there; engines take that of the last (`createTarFile` of containerd).
    pub fn unlike_umoci(&self, found: &Self) -> Vec<String> {
        let (mut wanted, mut found) = (self.clone(), found.clone());
        for (path, at) in &self.names {
            let mine = &mut wanted.nodes[*at];
            let Some(other) = found.names.get(path).map(|at| &mut found.nodes[*at]) else {
                continue;
            };
            let names = self.names.values().filter(|other| *other == at);
            if mine.kind == Kind::Symlink && other.kind == Kind::Symlink && names.count() > 1 {
                (other.uid, other.gid) = (mine.uid, mine.gid);
            }
            if mine.kind != Kind::Directory || other.kind != Kind::Directory {
                continue;
            }
            if other.mtime != mine.mtime && other.mtime.0 > TODAY && other.mtime.0 < 4_000_000_000 {
                other.mtime = mine.mtime;
                if mine.mode == 0o755 && (mine.uid, mine.gid) == (0, 0) && other.mode == 0o2755 {
                    (other.mode, other.gid) = (mine.mode, mine.gid);
                }
            }
        }
        wanted.differences(&found, false)
    }

    /// The differences to a tree that was found, a line each; empty if there are none.
    pub fn differences(&self, found: &Self, with_root: bool) -> Vec<String> {
        let (wanted, found) = (self.lines(with_root), found.lines(with_root));
        let mut out = Vec::new();
        for (path, line) in &wanted {
            let path_text = path.escape_ascii();
            match found.get(path) {
                None => out.push(format!("{path_text}: missing, expected {line}")),
                Some(other) if other != line => {
                    out.push(format!(
                        "{path_text}: expected {line}\n{path_text}:    found {other}"
                    ));
                }
                Some(_) => {}
            }
        }
        for (path, line) in &found {
            if !wanted.contains_key(path) {
                out.push(format!("{}: not expected: {line}", path.escape_ascii()));
            }
        }
        out
    }
}

fn missing(member: &Member) -> Failure {
    let (path, link) = (member.path.escape_ascii(), member.link.escape_ascii());
    Failure::new(format!(
        "the hard link {path} leads to {link}, which is not there"
    ))
}

/// A path without empty parts and `.`; `..` takes away the part before it.
pub fn plain(path: &[u8]) -> Path {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Parent and name; the root is its own parent.
pub fn split(path: &[u8]) -> (Path, Path) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (path[..at].to_vec(), path[at + 1..].to_vec()),
        None => (Path::new(), path.to_vec()),
    }
}

/// A name below a directory.
pub fn join(parent: &[u8], name: &[u8]) -> Path {
    match (parent, name) {
        (b"", name) => name.to_vec(),
        (parent, b"") => parent.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

/// Says whether a path equals another path or is below it.
fn is_within(path: &[u8], other: &[u8]) -> bool {
    other.is_empty() || path == other || path.starts_with(&[other, b"/"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar;
    use imgconv_testkit::build;

    fn tree(layers: &[&str]) -> Tree {
        let layers: Vec<_> = layers
            .iter()
            .map(|text| tar::members(&build::layer(text)).unwrap())
            .collect();
        Tree::of_layers(layers.iter().map(|members| &members[..])).unwrap()
    }

    fn same(layers: &[&str], expected: &str) {
        let differences = tree(&[expected]).differences(&tree(layers), true);
        assert_eq!(differences, [""; 0], "{layers:?}");
    }

    #[test]
    fn the_rules_of_layer_md_hold() {
        let base = "dir etc\nfile etc/a \"1\"\ndir etc/sub\nfile etc/sub/b \"2\"";
        let links = "file t2 \"123\"\nlink t1 -> t2\nlink t3 -> t2";
        same(
            &[base, "file etc/new \"n\"\nopaque etc"],
            "dir etc\nfile etc/new \"n\"",
        );
        same(
            &[base, "whiteout etc\ndir etc\nfile etc/new"],
            "dir etc\nfile etc/new",
        );
        same(&[links, "whiteout t2"], "file t1 \"123\"\nlink t3 -> t1");
        same(
            &[links, "file t1 \"4\""],
            "file t2 \"123\"\nlink t3 -> t2\nfile t1 \"4\"",
        );
        same(&[base, "symlink etc -> usr"], "symlink etc -> usr");
        same(
            &["dir d\nsymlink l -> d", "file l/x"],
            "dir d\nsymlink l -> d\nfile d/x",
        );
        same(
            &["dir d\nfile d/a\nsymlink l -> d", "whiteout l/a"],
            "dir d\nsymlink l -> d",
        );
        same(&["file a", "file a/b"], "dir a 0755 0:0 @0\nfile a/b");
        same(
            &["file a/b/c"],
            "dir a 0755 0:0 @0\ndir a/b 0755 0:0 @0\nfile a/b/c",
        );
        same(
            &["symlink l -> ../../usr", "file l/x"],
            "symlink l -> ../../usr\ndir usr 0755 0:0 @0\nfile usr/x",
        );
        same(&["file b/../a"], "file a");
    }
}
