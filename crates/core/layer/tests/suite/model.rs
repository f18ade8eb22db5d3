//! Random layers: the tree equals a simple model, and the written tar is read back as the same
//! tree.
//!
//! The model keeps whole paths in an ordered map, resolves links by rewriting text, and looks at
//! every path to find children. The model shares no code with the tree.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use crate::support::{Applied, Item, apply_each, apply_tars, changes, env, tar_of};
use imgconv_layer::Semantics;
use imgconv_testkit::dialect::Dialect;
use proptest::prelude::*;

/// The object that a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inode {
    flag: u8,
    mode: u32,
    /// The group is the same.
    uid: u64,
    mtime: u64,
    device: (u32, u32),
    pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content of a file, the target of a symbolic link.
    data: Vec<u8>,
}

impl Inode {
    fn new(item: &Item) -> Self {
        let is_link = item.typeflag == b'2';
        Self {
            flag: item.typeflag,
            mode: if is_link { 0o777 } else { item.mode },
            uid: item.uid,
            mtime: item.mtime,
            device: item.device,
            pax: item.pax.clone(),
            data: if is_link { &item.link } else { &item.content }.clone(),
        }
    }

    /// Applies the header of a hard link to the file.
    fn take_header(&mut self, link: &Item) {
        let attributes = |records: &[(Vec<u8>, Vec<u8>)]| -> BTreeMap<Vec<u8>, Vec<u8>> {
            let of_file = |key: &[u8]| key.starts_with(b"SCHILY.xattr.");
            let found = records.iter().filter(|(key, _)| of_file(key));
            found.cloned().collect()
        };
        self.uid = link.uid;
        if self.flag != b'2' {
            (self.mode, self.mtime) = (link.mode, link.mtime);
        }
        let (own, known) = (attributes(&link.pax), attributes(&self.pax));
        if !own.is_empty() && own != known && known.keys().all(|key| own.contains_key(key)) {
            self.pax = link.pax.clone();
        }
    }

    /// A directory without an entry of its own.
    fn unnamed() -> Self {
        Self::new(&Item {
            typeflag: b'5',
            mode: 0o755,
            ..Item::default()
        })
    }
}

#[derive(Clone, Default)]
struct Model(BTreeMap<Vec<u8>, Rc<RefCell<Inode>>>);

enum Name {
    Entry,
    Aufs,
    Whiteout(Vec<u8>),
    Opaque(Vec<u8>),
}

fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect()
}

fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let mut key: Vec<&[u8]> = Vec::new();
    for part in components(path) {
        match part {
            b".." => drop(key.pop()?),
            _ => key.push(part),
        }
    }
    Some(key.join(&b'/'))
}

fn parent_and_name(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let name = parts.pop().unwrap().to_vec();
    (parts.join(&b'/'), name)
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

fn name(path: &[u8], semantics: Semantics) -> Option<Name> {
    if semantics == Semantics::Aci {
        return Some(Name::Entry);
    }
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let (parent, last) = parent_and_name(path);
    let aufs = |part: &&[u8]| part.starts_with(b".wh..wh.");
    if last == b".wh..wh..opq" && !parts[..parts.len() - 1].iter().any(aufs) {
        return Some(Name::Opaque(parent));
    }
    if parts.iter().any(aufs) {
        return Some(Name::Aufs);
    }
    match last.strip_prefix(b".wh.") {
        None => Some(Name::Entry),
        Some(b"" | b"." | b"..") => None,
        Some(target) => Some(Name::Whiteout(join(&parent, target))),
    }
}

impl Model {
    fn flag(&self, path: &[u8]) -> Option<u8> {
        self.0.get(path).map(|inode| inode.borrow().flag)
    }

    fn remove_below(&mut self, path: &[u8]) {
        let prefix = join(path, b"");
        self.0
            .retain(|other, _| !(other.starts_with(&prefix) && other != path && !other.is_empty()));
    }

    fn remove(&mut self, path: &[u8]) {
        self.remove_below(path);
        self.0.remove(path);
    }

    /// Where a path leads; `Err` for too many links, `None` for a link in `covered`.
    fn resolve(
        &self,
        path: &[u8],
        follow: bool,
        covered: &BTreeSet<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, ()> {
        let owned = |path: &[u8]| -> Vec<Vec<u8>> {
            components(path)
                .into_iter()
                .rev()
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut rest = owned(path);
        let mut here: Vec<u8> = Vec::new();
        let mut hops = 0;
        while let Some(part) = rest.pop() {
            if part == b".." {
                here = parent_and_name(&here).0;
                continue;
            }
            let there = join(&here, &part);
            if follow && self.flag(&there) == Some(b'2') {
                if covered.contains(&there) {
                    return Ok(None);
                }
                hops += 1;
                if hops > 40 {
                    return Err(());
                }
                let target = self.0[&there].borrow().data.clone();
                if target.starts_with(b"/") {
                    here.clear();
                }
                rest.extend(owned(&target));
            } else {
                here = there;
            }
        }
        Ok(Some(here))
    }

    /// Applies a layer; `Err` is the position of the item that can't be.
    fn apply(&mut self, items: &[Item], semantics: Semantics) -> Result<(), usize> {
        let mut names = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let path = clean(&item.name).ok_or(i)?;
            let name = name(&path, semantics).ok_or(i)?;
            let marks = !matches!(name, Name::Entry | Name::Aufs);
            if !marks && path.is_empty() && item.typeflag != b'5' {
                return Err(i);
            }
            let dropped = matches!(name, Name::Aufs) && item.typeflag == b'5';
            if !marks && !dropped && item.typeflag == b'1' && clean(&item.link).is_none() {
                return Err(i);
            }
            names.push((path, name));
        }
        let mut covered = BTreeSet::new();
        for ((path, name), item) in names.iter().zip(items) {
            match name {
                Name::Entry if item.typeflag == b'5' => drop(covered.insert(path.clone())),
                Name::Whiteout(target) => drop(covered.insert(target.clone())),
                _ => {}
            }
        }
        let lower = self.clone();
        for (i, (_, name)) in names.iter().enumerate() {
            let (directory, gone) = match name {
                Name::Whiteout(path) => {
                    let (parent, name) = parent_and_name(path);
                    (parent, Some(name))
                }
                Name::Opaque(path) => (path.clone(), None),
                _ => continue,
            };
            // A tree without paths has nothing that a marker could hide.
            if lower.0.keys().all(Vec::is_empty) {
                continue;
            }
            let Some(at) = lower.resolve(&directory, true, &covered).map_err(|()| i)? else {
                continue;
            };
            match gone {
                Some(name) => self.remove(&join(&at, &name)),
                None if at.is_empty() || lower.flag(&at) == Some(b'5') => self.remove_below(&at),
                None => {}
            }
        }
        let mut aufs: BTreeMap<Vec<u8>, Rc<RefCell<Inode>>> = BTreeMap::new();
        for (i, ((path, name), item)) in names.iter().zip(items).enumerate() {
            let special = match name {
                Name::Entry => false,
                Name::Aufs if item.typeflag != b'5' => true,
                _ => continue,
            };
            let mut linked = None;
            let inode = if item.typeflag == b'1' {
                let target = clean(&item.link).ok_or(i)?;
                if let Some(inode) = aufs.get(&target) {
                    Rc::clone(inode)
                } else {
                    let (parent, name) = parent_and_name(&target);
                    let at = self
                        .resolve(&parent, true, &BTreeSet::new())
                        .map_err(|()| i)?;
                    let at = join(&at.unwrap(), &name);
                    // AUFS links its own files to whiteouts.
                    if special && self.flag(&at).is_none() {
                        continue;
                    }
                    if self.flag(&at).is_none_or(|flag| flag == b'5') {
                        return Err(i);
                    }
                    let inode = Rc::clone(&self.0[&at]);
                    linked = Some(at);
                    inode
                }
            } else {
                Rc::new(RefCell::new(Inode::new(item)))
            };
            let take_header = || {
                if item.typeflag == b'1' {
                    inode.borrow_mut().take_header(item);
                }
            };
            if special {
                take_header();
                aufs.insert(path.clone(), inode);
                continue;
            }
            if path.is_empty() {
                self.0.insert(Vec::new(), inode);
                continue;
            }
            let (parent, name) = parent_and_name(path);
            let follow = semantics == Semantics::Layer;
            let at = self
                .resolve(&parent, follow, &BTreeSet::new())
                .map_err(|()| i)?
                .unwrap();
            let mut made: Vec<u8> = Vec::new();
            for part in components(&at) {
                made = join(&made, part);
                if self.flag(&made) != Some(b'5') {
                    self.remove(&made);
                    let directory = Rc::new(RefCell::new(Inode::unnamed()));
                    self.0.insert(made.clone(), directory);
                }
            }
            let at = join(&at, &name);
            if linked.as_ref() == Some(&at) {
                return Err(i);
            }
            take_header();
            if inode.borrow().flag != b'5' || self.flag(&at) != Some(b'5') {
                self.remove(&at);
            }
            self.0.insert(at, inode);
        }
        Ok(())
    }

    /// All paths, each with its object and the first path of the same object.
    fn listing(&self) -> Vec<(Vec<u8>, Inode, Vec<u8>)> {
        let first = |inode: &Rc<RefCell<Inode>>| {
            let mut paths = self.0.iter().filter(|(_, other)| Rc::ptr_eq(inode, other));
            paths.next().unwrap().0.clone()
        };
        let row = |(path, inode): (&Vec<u8>, &Rc<RefCell<Inode>>)| {
            (path.clone(), inode.borrow().clone(), first(inode))
        };
        let mut rows: Vec<_> = self.0.iter().map(row).collect();
        rows.sort_by_key(|(path, inode, _)| spelled(path, inode));
        rows
    }
}

/// The name as a tar spells it: a directory's has a final slash, the root's none.
fn spelled(path: &[u8], inode: &Inode) -> Vec<u8> {
    let slash: &[u8] = if inode.flag == b'5' && !path.is_empty() {
        b"/"
    } else {
        b""
    };
    [path, slash].concat()
}

fn listing(applied: &Applied) -> Vec<(Vec<u8>, Inode, Vec<u8>)> {
    let mut firsts: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut rows = Vec::new();
    for (path, node) in applied.tree.iter() {
        let first = firsts
            .entry(node.inode)
            .or_insert_with(|| path.clone())
            .clone();
        use imgconv_tar::EntryKind::*;
        let (flag, data) = match node.kind {
            Regular => (b'0', applied.bytes(&path)),
            Symlink => (b'2', node.link.to_vec()),
            Directory => (b'5', Vec::new()),
            CharDevice => (b'3', Vec::new()),
            BlockDevice => (b'4', Vec::new()),
            Fifo => (b'6', Vec::new()),
            HardLink => unreachable!(),
        };
        let links = applied
            .tree
            .iter()
            .filter(|(_, other)| other.inode == node.inode)
            .count();
        assert_eq!(node.links as usize, links);
        assert_eq!((node.gid, node.mtime.nanos), (node.uid, 0));
        let inode = Inode {
            flag,
            mode: node.mode,
            uid: u64::from(node.uid),
            mtime: u64::try_from(node.mtime.seconds).unwrap(),
            device: node.device,
            pax: node.pax.to_vec(),
            data,
        };
        rows.push((path, inode, first));
    }
    assert_eq!(rows.len(), applied.tree.len());
    rows
}

/// Directories `.wh.*` are not written, and come back only for their children, with plain metadata.
fn without_marked_directories(
    rows: Vec<(Vec<u8>, Inode, Vec<u8>)>,
) -> Vec<(Vec<u8>, Inode, Vec<u8>)> {
    let marked = |path: &[u8]| parent_and_name(path).1.starts_with(b".wh.");
    rows.into_iter()
        .filter(|(path, inode, _)| inode.flag != b'5' || !marked(path))
        .collect()
}

/// All attributes, without directories that can't be written.
fn plain(applied: &Applied) -> Vec<String> {
    let marked = |path: &[u8]| parent_and_name(path).1.starts_with(b".wh.");
    let directory =
        |path: &[u8]| applied.tree.get(path).unwrap().kind == imgconv_tar::EntryKind::Directory;
    let paths = applied.tree.iter().map(|(path, _)| path);
    let rows = paths.zip(applied.attributes());
    rows.filter(|(path, _)| !marked(path) || !directory(path))
        .map(|(_, row)| row)
        .collect()
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => prop::sample::select(vec!["a", "b", "l"]).prop_map(|name| name.into()),
        1 => prop::sample::select(vec!["c", "a-b", "a.b", "a0", ".wh.a"]).prop_map(|name| name.into()),
        1 => Just(b"a\xff\n".to_vec()),
        1 => Just(vec![b'n'; 130]),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let spelling = prop_oneof![
        8 => Just(""), 1 => Just("./"), 1 => Just("/"), 1 => Just("x/..//"),
    ];
    (
        spelling,
        prop_oneof![
            prop::collection::vec(part(), 1..3),
            prop::collection::vec(part(), 1..5),
        ],
    )
        .prop_map(|(spelling, parts)| [spelling.as_bytes(), &parts.join(&b'/')].concat())
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let before = prop_oneof![4 => Just(""), 1 => Just("/"), 2 => Just("../"), 1 => Just("b/../"),
        1 => Just("../../")];
    let after = prop_oneof![8 => Just(""), 1 => Just("/.."), 1 => Just("/.")];
    (before, path(), after)
        .prop_map(|(before, path, after)| [before.as_bytes(), &path, after.as_bytes()].concat())
}

fn entry() -> impl Strategy<Value = Item> {
    let mark = |before: &[u8], path: &[u8]| {
        let (parent, name) = parent_and_name(path);
        join(&parent, &[before, &name].concat())
    };
    let plain = |typeflag: u8| {
        move |name: Vec<u8>| Item {
            name,
            typeflag,
            ..Item::default()
        }
    };
    let kinds = prop_oneof![
        5 => (path(), 0..5u8).prop_map(|(name, n)| Item {
            name,
            typeflag: b'0',
            content: vec![b'0' + n; usize::from(n) * 300],
            ..Item::default()
        }),
        4 => path().prop_map(|name| [&name[..], b"/"].concat()).prop_map(plain(b'5')),
        3 => (path(), path()).prop_map(|(name, link)| Item {
            name, link, typeflag: b'1', ..Item::default()
        }),
        3 => (path(), target()).prop_map(|(name, link)| Item {
            name, link, typeflag: b'2', ..Item::default()
        }),
        1 => path().prop_map(plain(b'6')),
        1 => (path(), prop::sample::select(vec![b'3', b'4']), 0..3u32)
            .prop_map(|(name, typeflag, n)| Item {
                name, typeflag, device: (n, 70_000 * n), ..Item::default()
            }),
        3 => path().prop_map(move |path| mark(b".wh.", &path)).prop_map(plain(b'0')),
        1 => path().prop_map(|path| join(&path, b".wh..wh..opq")).prop_map(plain(b'0')),
        1 => Just(b".wh..wh.plnk/1".to_vec()).prop_map(plain(b'0')),
        1 => path().prop_map(|name| Item {
            name, link: b".wh..wh.plnk/1".to_vec(), typeflag: b'1', ..Item::default()
        }),
        1 => Just(b"./".to_vec()).prop_map(plain(b'5')),
    ];
    let mode = prop::sample::select(vec![0o755, 0o644, 0o4711, 0o1777, 0]);
    let pax = prop::sample::select(vec![None, Some("1"), Some("2")]);
    let uid = prop::sample::select(vec![0, 1, 2, 3_000_000]);
    let mtime = prop::sample::select(vec![0, 1, 1 << 33]);
    let dialect = prop::option::of(prop::sample::select(Dialect::ALL.to_vec()));
    let more = (mode, uid, mtime, pax, dialect);
    (kinds, more).prop_map(|(item, (mode, uid, mtime, pax, dialect))| Item {
        mode,
        uid,
        mtime,
        dialect,
        pax: pax
            .map(|value| (b"SCHILY.xattr.user.a".to_vec(), value.into()))
            .into_iter()
            .collect(),
        ..item
    })
}

fn layers() -> impl Strategy<Value = Vec<Vec<Item>>> {
    prop::collection::vec(prop::collection::vec(entry(), 0..20), 1..4)
}

fn check(mut layers: Vec<Vec<Item>>, semantics: Semantics) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for i in 0..layers.len() {
        // The tree refuses every entry that the model refuses; then the layer continues without the
        // entry.
        loop {
            let mut next = model.clone();
            let Err(bad) = next.apply(&layers[i], semantics) else {
                model = next;
                break;
            };
            let tars: Vec<Vec<u8>> = layers[..=i].iter().map(|items| tar_of(items)).collect();
            prop_assert!(
                apply_tars(&tars, semantics, &env()).is_err(),
                "{:?}",
                layers[i][bad]
            );
            layers[i].remove(bad);
        }
    }
    let tars: Vec<Vec<u8>> = layers.iter().map(|items| tar_of(items)).collect();
    let applied = apply_tars(&tars, semantics, &env())
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let rows = listing(&applied);
    prop_assert_eq!(&rows, &model.listing());
    prop_assert!(rows.is_sorted_by_key(|row| spelled(&row.0, &row.1)));

    for (prefix, semantics) in [(&b""[..], semantics), (b"rootfs/", Semantics::Aci)] {
        let tar = applied.tar(prefix);
        let back = apply_tars(&[tar], semantics, &env()).unwrap();
        let strip = |path: &Vec<u8>| {
            let path = path.strip_prefix(b"rootfs").unwrap_or(path);
            path.strip_prefix(b"/").unwrap_or(path).to_vec()
        };
        let mut found: Vec<_> = listing(&back)
            .into_iter()
            .map(|(path, inode, first)| (strip(&path), inode, strip(&first)))
            .collect();
        if !prefix.is_empty() && applied.tree.get(b"").is_none() {
            found.remove(0);
        }
        prop_assert_eq!(
            without_marked_directories(found),
            without_marked_directories(rows.clone())
        );
    }

    // F5: what the upper layers change, over the lower ones, is the same as all of them. It is a
    // layer, in which a file of an ACI that is called like a whiteout is one.
    let marked = |item: &Item| item.name.windows(4).any(|part| part == b".wh.");
    let sayable = semantics == Semantics::Layer || !layers.iter().flatten().any(marked);
    for from in (1..tars.len()).filter(|_| sayable) {
        let upper = changes(&tars, from, semantics, &env());
        let lower = tars[..from].iter().map(|tar| (tar, semantics));
        let partial = apply_each(lower.chain([(&upper, Semantics::Layer)]), &env()).unwrap();
        prop_assert_eq!(plain(&partial), plain(&applied), "from {}", from);
    }

    // Kept layers do not change, and parents stay.
    let kept: BTreeSet<Vec<u8>> = rows.iter().step_by(2).map(|row| row.0.clone()).collect();
    let mut tree = Arc::into_inner(applied.tree).unwrap();
    tree.retain(&kept);
    let with_parents = |path: &Vec<u8>| {
        path.is_empty()
            || kept
                .iter()
                .any(|other| other == path || other.starts_with(&join(path, b"")))
    };
    let left: Vec<Vec<u8>> = tree.iter().map(|(path, _)| path).collect();
    let expected: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| row.0.clone())
        .filter(with_parents)
        .collect();
    prop_assert_eq!(left, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_layers_give_the_models_tree(layers in layers()) {
        check(layers, Semantics::Layer)?;
    }

    #[test]
    fn random_acis_give_the_models_tree(layers in layers()) {
        check(layers, Semantics::Aci)?;
    }
}
