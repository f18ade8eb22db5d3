//! Random images of a few small layers, the same for the same seed.
//!
//! Every image is valid by every common reading of the layer format: hard links lead to existing
//! files, and no entry lies below anything but a directory. Within these rules every feature
//! occurs: every kind of entry, set-id modes, large ids, times before 1970 and with fractions,
//! extended attributes, names that are long or not UTF-8, four dialects of tar, whiteouts and
//! opaque markers before and after the entries that they hide, kinds that change, hard links that
//! are replaced or outlive their target, parents without an entry, and paths through symbolic
//! links.
//!
//! Left out, since readers disagree and the image specification (layer.md) is silent: entries below
//! a file, markers below a symbolic link that the same layer changes, hard links to files that the
//! same layer hides, and a hidden directory that reappears without an entry of its own in a layer
//! whose markers come last. No extended attribute has an empty value: by POSIX pax that is no
//! record.

use std::collections::{BTreeMap, BTreeSet};

use imgconv_tar::{Entry, EntryKind, Time};

use crate::dialect::{self, Dialect, Sparse};
use crate::recipe::{self, Body, Item};

type Path = Vec<u8>;

/// Numbers that look random, by Steele, Lea and Flood's SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed; the same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number of 64 bits.
    #[expect(clippy::should_implement_trait, reason = "the numbers do not end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    /// Returns true in that many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// Returns one of the given values, of which there is at least one.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// One layer: its members, each with its dialect.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    members: Vec<(Item, Dialect)>,
    /// The files that are written with holes, by their numbers, each with its form.
    sparse: BTreeMap<usize, Sparse>,
}

impl Layer {
    /// The layer as a tar.
    pub fn tar(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, (item, dialect)) in self.members.iter().enumerate() {
            let sparse = self.sparse.get(&at).and_then(|form| form.member(item));
            // If a dialect can't express a member, PAX can.
            let member = sparse.or_else(|| dialect.member(item));
            let member = member.or_else(|| Dialect::Pax.member(item));
            out.extend(member.unwrap_or_default());
        }
        dialect::end(&mut out);
        out
    }

    /// The members in their order.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.members.iter().map(|(item, _)| item)
    }

    /// The layer without some of its members, for looking for the one that matters.
    #[must_use]
    pub fn without(&self, gone: std::ops::Range<usize>) -> Self {
        let members = self.members.iter().enumerate();
        let left = members.filter(|(at, _)| !gone.contains(at));
        let sparse = self.sparse.iter().filter(|(at, _)| !gone.contains(*at));
        let moved = |at: &usize| {
            if *at >= gone.end {
                at - gone.len()
            } else {
                *at
            }
        };
        Self {
            members: left.map(|(_, member)| member.clone()).collect(),
            sparse: sparse.map(|(at, form)| (moved(at), *form)).collect(),
        }
    }

    /// Gives some files holes at both ends, in any sparse form.
    pub fn make_sparse(&mut self, random: &mut Random) {
        for (at, (item, _)) in self.members.iter_mut().enumerate() {
            let is_file = item.entry.kind == EntryKind::Regular && !item.body.is_empty();
            let is_marker = split(&plain(&item.entry.path)).1.starts_with(b".wh.");
            if is_file && !is_marker && item.entry.path != b"manifest" && random.percent(20) {
                item.body
                    .splice(0..0, vec![0; random.pick(&[0, 512, 1000])]);
                item.body
                    .resize(item.body.len() + random.pick(&[0, 1, 4096]), 0);
                item.entry.size = item.body.len() as u64;
                self.sparse.insert(at, random.pick(&Sparse::ALL));
            }
        }
    }

    /// Keeps the members for which `keep` is true, without holes.
    pub fn retain(&mut self, mut keep: impl FnMut(&Item) -> bool) {
        self.sparse.clear();
        self.members.retain(|(item, _)| keep(item));
    }

    /// Changes each member.
    pub fn change(&mut self, change: impl Fn(&mut Item)) {
        self.members.iter_mut().for_each(|(item, _)| change(item));
    }

    /// The members as lines of a recipe.
    pub fn lines(&self) -> Vec<String> {
        let line = |(item, _): &(Item, Dialect)| {
            recipe::line(&item.entry, &Body::Bytes(item.body.clone()))
        };
        self.members.iter().map(line).collect()
    }
}

/// Makes the layers of one image, base first.
pub fn image(seed: u64) -> Vec<Layer> {
    let mut image = Image {
        random: Random(seed),
        tree: BTreeMap::from([(Path::new(), EntryKind::Directory)]),
        heads: BTreeMap::new(),
        ways: BTreeMap::new(),
    };
    let count = 2 + image.random.below(4);
    (0..count).map(|_| image.layer()).collect()
}

/// Makes an uncompressed ACI of the base layer of an image, with that manifest: the manifest stands anywhere,
/// directories may come twice, and the tar ends in one of many ways. What no ACI has is left out: markers, paths
/// twice or through symbolic links, and links to what is not before them.
pub fn aci(seed: u64, manifest: &str) -> Vec<u8> {
    let (layer, mut random) = aci_members(seed, manifest);
    let mut tar = layer.tar();
    match random.below(5) {
        0 => tar.truncate(tar.len() - 1024),
        1 => tar.truncate(tar.len() - 512),
        2 => tar.resize(tar.len().next_multiple_of(10_240), 0),
        3 => tar.extend_from_slice(b"bytes after the end"),
        _ => {}
    }
    tar
}

/// Makes the members of an ACI as [`aci`] does, the manifest among them.
pub fn aci_layer(seed: u64, manifest: &str) -> Layer {
    aci_members(seed, manifest).0
}

fn aci_members(seed: u64, manifest: &str) -> (Layer, Random) {
    let mut random = Random(seed ^ 0xac1);
    let base = image(seed).swap_remove(0);
    let (mut members, mut met) = (Vec::new(), BTreeMap::new());
    for (mut item, dialect) in base.members {
        let entry = &mut item.entry;
        let path = plain(&entry.path);
        let is_directory = entry.kind == EntryKind::Directory;
        let above = (1..path.len()).filter(|end| path[*end] == b'/');
        let above: Vec<Path> = above.map(|end| path[..end].to_vec()).collect();
        let is_below_file = above.iter().any(|above| met.get(above) == Some(&false));
        let is_twice = met.contains_key(&path);
        let target = plain(&entry.link);
        let is_lost = entry.kind == EntryKind::HardLink && met.get(&target) != Some(&false);
        let is_marker = |name: &[u8]| name.starts_with(b".wh.") || name == b"..";
        let has_marker = path.split(|byte| *byte == b'/').any(is_marker);
        if is_below_file || is_twice || is_lost || has_marker || path.is_empty() {
            continue;
        }
        met.extend(above.into_iter().map(|above| (above, true)));
        met.insert(path, is_directory);
        let below = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        entry.path = [b"rootfs/", below].concat();
        if entry.kind == EntryKind::HardLink {
            entry.link = [b"rootfs/", &target[..]].concat();
        }
        members.push((item, dialect));
    }
    let directories = members
        .iter()
        .filter(|(item, _)| item.entry.kind == EntryKind::Directory);
    let directories: Vec<_> = directories.cloned().collect();
    if !directories.is_empty() && random.percent(20) {
        members.push(random.pick(&directories));
    }
    let mut entry = Entry::new("manifest", EntryKind::Regular);
    entry.size = manifest.len() as u64;
    let body = manifest.as_bytes().to_vec();
    let at = random.pick(&[0, members.len(), members.len() / 2]);
    let spelled = random.pick(&Dialect::ALL);
    members.insert(at, (Item { entry, body }, spelled));
    let sparse = BTreeMap::new();
    (Layer { members, sparse }, random)
}

/// The path without empty parts and parts that mean nothing.
fn plain(path: &[u8]) -> Path {
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    parts.join(&b'/')
}

/// The state of the image so far.
struct Image {
    random: Random,
    /// Every path, with the root as the empty one.
    tree: BTreeMap<Path, EntryKind>,
    /// The entry that made each path, except directories.
    heads: BTreeMap<Path, Entry>,
    /// The symbolic links that lead to a directory, each with that directory.
    ways: BTreeMap<Path, Path>,
}

/// A layer while it is made.
#[derive(Default)]
struct Draft {
    markers: Vec<Item>,
    entries: Vec<Item>,
    /// The paths that markers went through: they must stay the same directories or links.
    pinned: BTreeSet<Path>,
    /// True if new directories may have no entry.
    omits: bool,
}

impl Image {
    fn layer(&mut self) -> Layer {
        let last = self.random.percent(50);
        let mut draft = Draft {
            omits: !last && self.random.percent(50),
            ..Draft::default()
        };
        if self.tree.len() > 1 {
            self.mark(&mut draft);
        }
        if self.random.percent(20) {
            let root = self.item(b"./".to_vec(), EntryKind::Directory);
            draft.entries.push(root);
        }
        for _ in 0..1 + self.random.below(12) {
            self.step(&mut draft);
        }
        let (first, second) = match last {
            true => (draft.entries, draft.markers),
            false => (draft.markers, draft.entries),
        };
        let dialect = self.random.pick(&Dialect::ALL);
        let mixed = self.random.percent(50);
        let spelling: &[u8] = self.random.pick(&[&b""[..], b"", b"./", b"/"]);
        let members = first.into_iter().chain(second).map(|mut item| {
            if item.entry.path != b"./" {
                item.entry.path.splice(0..0, spelling.iter().copied());
            }
            let dialect = match mixed {
                true => self.random.pick(&Dialect::ALL),
                false => dialect,
            };
            (item, dialect)
        });
        Layer {
            members: members.collect(),
            sparse: BTreeMap::new(),
        }
    }

    /// Hides some of the existing paths.
    fn mark(&mut self, draft: &mut Draft) {
        let lower: Vec<Path> = self.tree.keys().cloned().collect();
        let ways = self.ways.clone();
        let mut hidden: Vec<Path> = Vec::new();
        for _ in 0..self.random.below(4) {
            let target = self.random.pick(&lower);
            let is_opaque =
                self.tree.get(&target) == Some(&EntryKind::Directory) && self.random.percent(30);
            let (directory, name) = match is_opaque {
                true => (target.clone(), b".wh..wh..opq".to_vec()),
                false if target.is_empty() => continue,
                false => {
                    let (parent, name) = split(&target);
                    (parent, [b".wh.", &name[..]].concat())
                }
            };
            // A way to the directory is used only if no marker of this layer affects it.
            let way = ways.iter().find(|(way, to)| {
                **to == directory && !hidden.iter().any(|gone| is_within(way, gone))
            });
            let mut at = directory.clone();
            if let Some((way, _)) = way
                && self.random.percent(40)
            {
                at.clone_from(way);
            }
            // A marker must not hide the symbolic link that it lies below, nor those of other markers.
            let is_way_hidden = |path: &Path| ways.contains_key(path) && is_within(path, &target);
            if draft.pinned.iter().any(is_way_hidden) || parts(&at).iter().any(is_way_hidden) {
                continue;
            }
            pin(&mut draft.pinned, &at);
            pin(&mut draft.pinned, &directory);
            let mut marker = self.item(join(&at, &name), EntryKind::Regular);
            marker.entry.pax.clear();
            if self.random.percent(90) {
                marker.body.clear();
            }
            marker.entry.size = marker.body.len() as u64;
            draft.markers.push(marker);
            hidden.push(target.clone());
            self.hide(&target, is_opaque);
        }
        if self.random.percent(10) {
            let marker = self.item(b".wh.nothing-of-that-name".to_vec(), EntryKind::Regular);
            draft.markers.push(marker);
        }
    }

    /// Removes a path, or only the paths below it.
    fn hide(&mut self, path: &Path, only_below: bool) {
        let stays = |other: &Path| !is_within(other, path) || (only_below && other == path);
        self.tree
            .retain(|other, _| stays(other) || other.is_empty());
        self.ways.retain(|other, _| stays(other));
    }

    /// Adds one entry, and entries for its parents.
    fn step(&mut self, draft: &mut Draft) {
        use EntryKind::{BlockDevice, CharDevice, Directory, Fifo, HardLink, Regular, Symlink};
        const KINDS: [EntryKind; 14] = [
            Regular,
            Regular,
            Regular,
            Regular,
            Directory,
            Directory,
            Directory,
            HardLink,
            HardLink,
            Symlink,
            Symlink,
            Fifo,
            CharDevice,
            BlockDevice,
        ];
        let kind = self.random.pick(&KINDS);
        let known: Vec<Path> = self
            .tree
            .keys()
            .filter(|path| !path.is_empty())
            .cloned()
            .collect();
        let (at, spelled) = if !known.is_empty() && self.random.percent(35) {
            let path = self.random.pick(&known);
            (path.clone(), path)
        } else {
            let (parent, spelled) = self.directory(draft);
            let name = self.name();
            (join(&parent, &name), join(&spelled, &name))
        };
        // A directory may replace a pinned directory, but not a symbolic link on the way to a marker.
        let keeps = kind == Directory && !self.ways.contains_key(&at);
        if at.len() > 3000 || (!keeps && draft.pinned.contains(&at)) {
            return;
        }
        let mut item = self.item(spelled.clone(), kind);
        match kind {
            Directory => item.entry.path.push(b'/'),
            // umoci ignores a different header of a hard link: that is a separate case.
            HardLink => match self.link_target(&at) {
                Some((spelled, target)) => {
                    if let Some(head) = self.heads.get(&target).cloned() {
                        (item.entry.mode, item.entry.mtime) = (head.mode, head.mtime);
                        (item.entry.uid, item.entry.gid) = (head.uid, head.gid);
                        (item.entry.uname, item.entry.gname) = (head.uname, head.gname);
                    }
                    item.entry.link = spelled;
                }
                None => return,
            },
            Symlink => item.entry.link = self.symlink_target(&at),
            _ => {}
        }
        // An entry through a link that it is about to replace would change its own parents.
        if is_within(&spelled, &at) && spelled != at {
            return;
        }
        let old = self.tree.get(&at).copied();
        if kind != Directory || old.is_some_and(|old| old != Directory) {
            let hides_a_pin = draft.pinned.iter().any(|pinned| is_within(pinned, &at));
            if hides_a_pin && old.is_some() {
                return;
            }
            self.hide(&at, false);
        }
        if kind == Symlink
            && let Some(to) = self.lands(&at, &item.entry.link)
        {
            self.ways.insert(at.clone(), to);
        }
        let kind = match kind {
            HardLink => Regular,
            other => other,
        };
        self.heads.insert(at.clone(), item.entry.clone());
        self.tree.insert(at, kind);
        draft.entries.push(item);
    }

    /// A directory for a new entry: its path, and its spelling in the entry.
    fn directory(&mut self, draft: &mut Draft) -> (Path, Path) {
        let ways: Vec<(Path, Path)> = self.ways.clone().into_iter().collect();
        if !ways.is_empty() && self.random.percent(25) {
            let (way, to) = self.random.pick(&ways);
            if self.can_be_entered(&to, draft.omits) {
                self.make(&to);
                return (to, way);
            }
        }
        let known = self
            .tree
            .iter()
            .filter(|(_, kind)| **kind == EntryKind::Directory);
        let known: Vec<Path> = known.map(|(path, _)| path.clone()).collect();
        let mut path = self.random.pick(&known);
        if self.random.percent(25) {
            path = join(&path, &self.name());
            if !self.can_be_entered(&path, true) {
                path = Path::new();
            } else if !draft.omits && !self.tree.contains_key(&path) {
                let mut item = self.item(path.clone(), EntryKind::Directory);
                item.entry.path.push(b'/');
                draft.entries.push(item);
            }
            self.make(&path);
        }
        (path.clone(), path)
    }

    /// Says whether every part of a path is a directory, or may become one.
    fn can_be_entered(&self, path: &Path, may_make: bool) -> bool {
        parts(path).iter().all(|part| match self.tree.get(part) {
            Some(kind) => *kind == EntryKind::Directory,
            None => may_make,
        })
    }

    fn make(&mut self, path: &Path) {
        for part in parts(path) {
            self.tree.entry(part).or_insert(EntryKind::Directory);
        }
    }

    fn name(&mut self) -> Path {
        let names: [&[u8]; 16] = [
            b"a",
            b"b",
            b"c",
            b"d",
            b"a",
            b"b",
            b"c",
            b"lib",
            b"a.b",
            b"a-b",
            b"x.wh.y",
            b"with space ",
            b"caf\xc3\xa9",
            b"latin1-\xe9\xff",
            b"new\nline",
            b"long",
        ];
        match self.random.pick(&names) {
            b"long" => {
                let length = self.random.pick(&[99, 100, 101, 130, 255]);
                vec![b'n'; length]
            }
            name => name.to_vec(),
        }
    }

    /// A possible target for a hard link at a path.
    fn link_target(&mut self, at: &Path) -> Option<(Path, Path)> {
        let able = |(path, kind): (&Path, &EntryKind)| {
            let is_able = *kind != EntryKind::Directory && !is_within(path, at);
            is_able.then(|| path.clone())
        };
        let targets: Vec<Path> = self.tree.iter().filter_map(able).collect();
        if targets.is_empty() {
            return None;
        }
        let target = self.random.pick(&targets);
        let before: &[u8] = self.random.pick(&[&b""[..], b"", b"", b"/", b"./"]);
        Some(([before, &target].concat(), target))
    }

    fn symlink_target(&mut self, at: &Path) -> Path {
        let directories = self
            .tree
            .iter()
            .filter(|(_, kind)| **kind == EntryKind::Directory);
        let directories: Vec<Path> = directories.map(|(path, _)| path.clone()).collect();
        let to = self.random.pick(&directories);
        let up = b"../".repeat(parts(at).len() - 1);
        match self.random.below(6) {
            0 => b"does/not/exist".to_vec(),
            1 => [b"/", &to[..]].concat(),
            // More steps up than the depth: the root is its own parent.
            2 => [&up, &b"../../"[..], &to].concat(),
            3 => b"/proc/self".to_vec(),
            _ if up.is_empty() && to.is_empty() => b".".to_vec(),
            _ => [&up[..], &to].concat(),
        }
    }

    /// The target of a symbolic link made by [`Self::symlink_target`], if the way crosses no other
    /// link.
    fn lands(&self, at: &Path, target: &[u8]) -> Option<Path> {
        let absolute = target.starts_with(b"/");
        let mut here = if absolute { Path::new() } else { split(at).0 };
        for part in target.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => here = split(&here).0,
                name => here = join(&here, name),
            }
        }
        // A link to its own parents or to itself does not count as a way.
        let is_way = self.can_be_entered(&here, true) && !is_within(&here, at);
        is_way.then_some(here)
    }

    /// A member with random attributes, and content if it is a file.
    fn item(&mut self, path: Path, kind: EntryKind) -> Item {
        let random = &mut self.random;
        let modes = [
            0o755, 0o644, 0o700, 0o600, 0o1777, 0o4711, 0o2711, 0o6755, 0o444, 0,
        ];
        let ids = [0, 0, 1, 1000, 65_534, 2_097_151, 2_097_152, 4_294_967_294];
        let seconds = [
            0,
            1,
            1_000_000_000,
            1_262_304_000,
            4_102_444_800,
            8_589_934_592,
            -1,
            -86_400,
        ];
        let nanos = [0, 0, 0, 500_000_000, 123_456_789];
        let is_file = kind == EntryKind::Regular;
        let mut body = Vec::new();
        if is_file {
            let size = random.pick(&[0, 1, 3, 40, 511, 512, 513, 3000]);
            let byte = random.pick(b"abcdefgh");
            body = vec![byte; size];
        }
        let mut pax = Vec::new();
        let has_attributes = is_file || kind == EntryKind::Directory;
        if has_attributes && random.percent(20) {
            let values: [&[u8]; 4] = [b"value", b"a\nb=c\n", b"\x00\xff", &[b'v'; 700]];
            pax.push((
                b"SCHILY.xattr.user.k".to_vec(),
                random.pick(&values).to_vec(),
            ));
        }
        if is_file && random.percent(5) {
            // Version 2, effective, CAP_NET_RAW: the 20 bytes that a file system keeps.
            let mut value = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
            value.resize(20, 0);
            pax.push((b"SCHILY.xattr.security.capability".to_vec(), value));
        }
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let devices = [(1, 3), (8, 17), (300, 70_000)];
        let entry = Entry {
            mode: random.pick(&modes),
            uid: random.pick(&ids),
            gid: random.pick(&ids),
            mtime: Time {
                seconds: random.pick(&seconds),
                nanos: random.pick(&nanos),
            },
            size: body.len() as u64,
            device: if is_device {
                random.pick(&devices)
            } else {
                (0, 0)
            },
            pax,
            ..Entry::new(path, kind)
        };
        Item { entry, body }
    }
}

/// Parent and name; the root is its own parent.
fn split(path: &Path) -> (Path, Path) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (path[..at].to_vec(), path[at + 1..].to_vec()),
        None => (Path::new(), path.clone()),
    }
}

fn join(parent: &[u8], name: &[u8]) -> Path {
    match parent {
        b"" => name.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

/// The path and its parents, without the root, the highest first.
fn parts(path: &Path) -> Vec<Path> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let mut parts: Vec<Path> = ends.map(|(at, _)| path[..at].to_vec()).collect();
    if !path.is_empty() {
        parts.push(path.clone());
    }
    parts
}

/// Says whether a path equals another path or is below it.
fn is_within(path: &Path, other: &Path) -> bool {
    other.is_empty() || path == other || path.starts_with(&join(other, b""))
}

fn pin(pinned: &mut BTreeSet<Path>, path: &Path) {
    pinned.extend(parts(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_image() {
        let tars = |seed| image(seed).iter().map(Layer::tar).collect::<Vec<_>>();
        assert_eq!(tars(7), tars(7));
        assert_ne!(tars(7), tars(8));
    }

    #[test]
    fn there_is_something_of_everything() {
        let lines: Vec<String> = (0..100)
            .flat_map(image)
            .flat_map(|layer| layer.lines())
            .collect();
        for part in [
            "file ",
            "dir ",
            "link ",
            "symlink ",
            "fifo ",
            "char ",
            "block ",
            ".wh.",
            ".wh..wh..opq",
            " 6755 ",
            "4294967294",
            "@-1",
            ".123456789",
            "user.k",
            "security.capability",
            "\\xff",
            "nnnnnnnnnn",
            "-> /",
            "-> ../",
        ] {
            assert!(lines.iter().any(|line| line.contains(part)), "{part}");
        }
    }
}
