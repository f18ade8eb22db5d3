//! A small text notation for layers and trees, so that a test reads like the table it comes from.
//!
//! Entries: `d/` directory, `f=x` file with content x, `b=>a` hard link, `l->t` symbolic link, `p|`
//! FIFO, `c%1,3` character device, and anything else an empty file, such as `.wh.f`. A mode that is
//! not 755 for directories and 644 for the rest follows after `!`. A tree is printed in the same
//! way, in the order of `iter`; the first path of a group of hard links has the content.
//!
//! Headers are built here by the `tar` package or in a dialect of the test kit, not by the writer
//! under test.

#![allow(dead_code)]

use std::{fmt, io::Read, sync::Arc};

use imgconv_layer::{FrozenSpool, Semantics, Spool, Tree};
use imgconv_model::{Env, Platform, Result};
use imgconv_tar::EntryKind;
use imgconv_testkit::{dialect::Dialect, recipe};

/// One entry to be written.
#[derive(Clone, Default)]
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) typeflag: u8,
    pub(crate) content: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
    pub(crate) pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// The dialect of the header; if the dialect can't express the entry, the `tar` package writes
    /// it.
    pub(crate) dialect: Option<Dialect>,
}

impl Item {
    fn member(&self) -> Option<Vec<u8>> {
        let entry = imgconv_tar::Entry {
            mode: self.mode,
            uid: u32::try_from(self.uid).unwrap(),
            gid: u32::try_from(self.uid).unwrap(),
            mtime: imgconv_tar::Time {
                seconds: i64::try_from(self.mtime).unwrap(),
                nanos: 0,
            },
            size: self.content.len() as u64,
            link: self.link.clone(),
            device: self.device,
            pax: self.pax.clone(),
            ..imgconv_tar::Entry::new(
                self.name.clone(),
                match self.typeflag {
                    b'0' => EntryKind::Regular,
                    b'1' => EntryKind::HardLink,
                    b'2' => EntryKind::Symlink,
                    b'3' => EntryKind::CharDevice,
                    b'4' => EntryKind::BlockDevice,
                    b'5' => EntryKind::Directory,
                    _ => EntryKind::Fifo,
                },
            )
        };
        let body = self.content.clone();
        self.dialect?.member(&recipe::Item { entry, body })
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let kind = char::from(self.typeflag);
        write!(
            f,
            "{kind} {} {:o} {}",
            text(&self.name),
            self.mode,
            self.uid
        )?;
        write!(
            f,
            " link {} content {}",
            text(&self.link),
            self.content.len()
        )
    }
}

/// Reads one entry of the notation.
pub(crate) fn item(text: &[u8]) -> Item {
    let (text, mode) = match text.iter().rposition(|byte| *byte == b'!') {
        Some(at) => {
            let digits = std::str::from_utf8(&text[at + 1..]).unwrap();
            (&text[..at], Some(u32::from_str_radix(digits, 8).unwrap()))
        }
        None => (text, None),
    };
    let cut = |sign: &[u8]| {
        let at = text.windows(sign.len()).position(|piece| piece == sign)?;
        Some((text[..at].to_vec(), text[at + sign.len()..].to_vec()))
    };
    let mut item = Item {
        mode: mode.unwrap_or(0o644),
        typeflag: b'0',
        ..Item::default()
    };
    if let Some((name, link)) = cut(b"=>") {
        (item.name, item.link, item.typeflag) = (name, link, b'1');
    } else if let Some((name, link)) = cut(b"->") {
        (item.name, item.link, item.typeflag) = (name, link, b'2');
    } else if let Some((name, content)) = cut(b"=") {
        (item.name, item.content) = (name, content);
    } else if let Some((name, numbers)) = cut(b"%") {
        let numbers = String::from_utf8(numbers).unwrap();
        let (major, minor) = numbers.split_once(',').unwrap();
        item.device = (major.parse().unwrap(), minor.parse().unwrap());
        (item.name, item.typeflag) = (name, b'3');
    } else if let Some((name, _)) = cut(b"|") {
        (item.name, item.typeflag) = (name, b'6');
    } else {
        item.name = text.to_vec();
        if text.ends_with(b"/") {
            item.typeflag = b'5';
            item.mode = mode.unwrap_or(0o755);
        }
    }
    item
}

/// Builds the tar of some entries.
pub(crate) fn tar_of(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        if let Some(member) = item.member() {
            out.extend(member);
            continue;
        }
        if !item.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &item.pax {
                let body = [b" ", &key[..], b"=", value, b"\n"].concat();
                let mut len = body.len();
                while len.to_string().len() + body.len() != len {
                    len = len.to_string().len() + body.len();
                }
                records.extend_from_slice(len.to_string().as_bytes());
                records.extend_from_slice(&body);
            }
            extension(&mut out, b'x', &records);
        }
        for (typeflag, text) in [(b'L', &item.name), (b'K', &item.link)] {
            if text.len() > 100 {
                extension(&mut out, typeflag, &[&text[..], b"\0"].concat());
            }
        }
        let mut header = header(item.typeflag, item.content.len());
        let fields = header.as_gnu_mut().unwrap();
        let short = |text: &[u8]| text[..text.len().min(100)].to_vec();
        let (name, link) = (short(&item.name), short(&item.link));
        fields.name[..name.len()].copy_from_slice(&name);
        fields.linkname[..link.len()].copy_from_slice(&link);
        header.set_mode(item.mode);
        header.set_uid(item.uid);
        header.set_gid(item.uid);
        header.set_mtime(item.mtime);
        header.set_device_major(item.device.0).unwrap();
        header.set_device_minor(item.device.1).unwrap();
        block(&mut out, header, &item.content);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn header(typeflag: u8, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(typeflag));
    header.set_size(size as u64);
    header
}

fn extension(out: &mut Vec<u8>, typeflag: u8, body: &[u8]) {
    let mut header = header(typeflag, body.len());
    let name = b"././@LongLink";
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_mode(0o644);
    block(out, header, body);
}

fn block(out: &mut Vec<u8>, mut header: tar::Header, body: &[u8]) {
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// The tar of one layer in the notation.
pub(crate) fn layer(entries: &[&str]) -> Vec<u8> {
    let items: Vec<Item> = entries.iter().map(|text| item(text.as_bytes())).collect();
    tar_of(&items)
}

pub(crate) fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

/// A tree with its contents.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) tree: Arc<Tree>,
    pub(crate) contents: Arc<FrozenSpool>,
}

/// Applies tars, the lowest first.
pub(crate) fn apply_tars(tars: &[Vec<u8>], semantics: Semantics, env: &Env) -> Result<Applied> {
    apply_each(tars.iter().map(|tar| (tar, semantics)), env)
}

/// Applies tars, each with its own rules, the lowest first.
pub(crate) fn apply_each<'a>(
    tars: impl IntoIterator<Item = (&'a Vec<u8>, Semantics)>,
    env: &Env,
) -> Result<Applied> {
    let mut spool = Spool::new(env)?;
    let mut tree = Tree::new(env);
    for (i, (tar, semantics)) in tars.into_iter().enumerate() {
        tree.apply(&mut &tar[..], semantics, &mut spool, &format!("layer {i}"))?;
    }
    Ok(Applied {
        tree: Arc::new(tree),
        contents: spool.freeze()?,
    })
}

/// Applies tars and returns what those from `from` on change in the ones below, as one tar.
pub(crate) fn changes(tars: &[Vec<u8>], from: usize, semantics: Semantics, env: &Env) -> Vec<u8> {
    let mut spool = Spool::new(env).unwrap();
    let mut tree = Tree::new(env);
    let mut base = None;
    for (i, tar) in tars.iter().enumerate() {
        if i == from {
            base = Some(tree.base());
        }
        tree.apply(&mut &tar[..], semantics, &mut spool, &format!("layer {i}"))
            .unwrap();
    }
    tree.only_changes(base.unwrap());
    Applied {
        tree: Arc::new(tree),
        contents: spool.freeze().unwrap(),
    }
    .tar(b"")
}

/// Applies layers in the notation, the lowest first.
pub(crate) fn apply(layers: &[&[&str]], semantics: Semantics, env: &Env) -> Result<Applied> {
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| layer(entries)).collect();
    apply_tars(&tars, semantics, env)
}

impl Applied {
    /// The tree in the notation.
    pub(crate) fn text(&self) -> String {
        let mut groups: Vec<(u64, String)> = Vec::new();
        let mut out = Vec::new();
        for (path, node) in self.tree.iter() {
            let name = String::from_utf8_lossy(&path).into_owned();
            let first = groups.iter().find(|(inode, _)| *inode == node.inode);
            let (mut text, plain) = match (node.kind, first) {
                (EntryKind::Directory, _) => (format!("{name}/"), 0o755),
                (_, Some((_, first))) => (format!("{name}=>{first}"), node.mode),
                (EntryKind::Regular, _) => (format!("{name}={}", self.content(&path)), 0o644),
                (EntryKind::Symlink, _) => (
                    format!("{name}->{}", String::from_utf8_lossy(node.link)),
                    0o777,
                ),
                (EntryKind::Fifo, _) => (format!("{name}|"), 0o644),
                (EntryKind::CharDevice, _) => {
                    (format!("{name}%{},{}", node.device.0, node.device.1), 0o644)
                }
                (EntryKind::BlockDevice | EntryKind::HardLink, _) => unreachable!(),
            };
            if node.links > 1 && first.is_none() {
                groups.push((node.inode, name));
            }
            if node.mode != plain {
                text.push_str(&format!("!{:o}", node.mode));
            }
            out.push(text);
        }
        out.join(" ")
    }

    /// Every attribute of every path, with the first path of its group of hard links.
    pub(crate) fn attributes(&self) -> Vec<String> {
        let mut firsts: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut out = Vec::new();
        for (path, node) in self.tree.iter() {
            let known = firsts.iter().find(|(inode, _)| *inode == node.inode);
            let first = known.map_or(path.clone(), |(_, first)| first.clone());
            if node.links > 1 && known.is_none() {
                firsts.push((node.inode, path.clone()));
            }
            let content = match node.kind {
                EntryKind::Regular => self.bytes(&path),
                _ => Vec::new(),
            };
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            let (kind, mode, time, device) = (node.kind, node.mode, node.mtime, node.device);
            out.push(format!(
                "{} {kind:?} {mode:o} {}:{} {}:{} {time:?} {} -> {} {device:?} {:?} as {}",
                text(&path),
                node.uid,
                node.gid,
                text(node.uname),
                text(node.gname),
                text(&content),
                text(node.link),
                node.pax,
                text(&first),
            ));
        }
        out
    }

    /// The content of a regular file, where bytes may not be UTF-8.
    pub(crate) fn content(&self, path: &[u8]) -> String {
        String::from_utf8_lossy(&self.bytes(path)).into_owned()
    }

    /// The content of a regular file.
    pub(crate) fn bytes(&self, path: &[u8]) -> Vec<u8> {
        let node = self.tree.get(path).unwrap();
        let mut bytes = Vec::new();
        let mut reader = self.contents.open(node.content, node.size);
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// The tree as a tar.
    pub(crate) fn tar(&self, prefix: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Arc::clone(&self.tree)
            .into_tar(prefix, Arc::clone(&self.contents))
            .read_to_end(&mut out)
            .unwrap();
        out
    }
}
