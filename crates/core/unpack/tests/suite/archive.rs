//! Builds layers out of literals, unpacks them, and inspects the files on the disk.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use imgconv_layer::{FrozenSpool, Semantics, Spool, Tree};
use imgconv_model::{Env, Platform, Result, Warning};
use imgconv_tar::{END, Entry, EntryKind, Time, head, padding};
use imgconv_unpack::{Options, Outcome, unpack};
use tempfile::TempDir;

/// The time of every member that sets none.
pub(crate) const WHEN: i64 = 1_600_000_000;

/// A member of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    entry: Entry,
    body: Vec<u8>,
}

fn member(path: impl AsRef<[u8]>, kind: EntryKind, mode: u32) -> Member {
    let entry = Entry {
        mode,
        mtime: Time {
            seconds: WHEN,
            nanos: 0,
        },
        ..Entry::new(path.as_ref().to_vec(), kind)
    };
    Member {
        entry,
        body: Vec::new(),
    }
}

pub(crate) fn file(path: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Member {
    let mut made = member(path, EntryKind::Regular, 0o644);
    made.body = body.as_ref().to_vec();
    made.entry.size = made.body.len() as u64;
    made
}

pub(crate) fn dir(path: impl AsRef<[u8]>, mode: u32) -> Member {
    member(path, EntryKind::Directory, mode)
}

pub(crate) fn symlink(target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Member {
    let mut made = member(path, EntryKind::Symlink, 0o777);
    made.entry.link = target.as_ref().to_vec();
    made
}

pub(crate) fn link(target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Member {
    let mut made = member(path, EntryKind::HardLink, 0o644);
    made.entry.link = target.as_ref().to_vec();
    made
}

pub(crate) fn fifo(path: impl AsRef<[u8]>) -> Member {
    member(path, EntryKind::Fifo, 0o622)
}

pub(crate) fn device(path: impl AsRef<[u8]>, kind: EntryKind, major: u32, minor: u32) -> Member {
    let mut made = member(path, kind, 0o666);
    made.entry.device = (major, minor);
    made
}

impl Member {
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.entry.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.entry.uid, self.entry.gid) = (uid, gid);
        self
    }

    pub(crate) fn time(mut self, seconds: i64, nanos: u32) -> Self {
        self.entry.mtime = Time { seconds, nanos };
        self
    }

    pub(crate) fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        let record = (key.as_bytes().to_vec(), value.as_ref().to_vec());
        self.entry.pax.push(record);
        self
    }
}

/// Writes the members as a tar.
pub(crate) fn tar(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Member { entry, body } in members {
        bytes.extend(if entry.path.is_empty() {
            nameless(entry)
        } else {
            head(entry).unwrap()
        });
        bytes.extend(body);
        bytes.resize(bytes.len() + padding(entry.size), 0);
    }
    bytes.extend(END);
    bytes
}

/// Makes a header without a name, which the writer refuses to.
fn nameless(entry: &Entry) -> Vec<u8> {
    let mut entry = entry.clone();
    entry.path = b"x".to_vec();
    let mut bytes = head(&entry).unwrap();
    assert_eq!(bytes.len(), 512);
    bytes[0] = 0;
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    bytes
}

/// Says whether the tests run as root; their expectations differ.
pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A place to unpack to, with things around it that must not change.
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) options: Options,
    base: TempDir,
    before: Snapshot,
}

impl World {
    pub(crate) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let at = |path: &str| base.path().join(path);
        for path in ["outside/dir", "spool", "work"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        fs::write(at("outside/victim"), "alive").unwrap();
        fs::write(at("outside/dir/victim"), "alive too").unwrap();
        let host = Platform::new("linux", "amd64");
        let env = Env::new(at("spool"), host);
        let before = snapshot(&at("outside"));
        Self {
            env,
            options: Options::default(),
            base,
            before,
        }
    }

    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        self.base.path().join("outside").join(path)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.base.path().join("work")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.work().join("out")
    }

    pub(crate) fn at(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.out().join(OsStr::from_bytes(path.as_ref()))
    }

    /// Applies layers, given as tars.
    pub(crate) fn tree(&self, layers: &[Vec<u8>]) -> Result<(Tree, Arc<FrozenSpool>)> {
        let mut tree = Tree::new(&self.env);
        let mut spool = Spool::new(&self.env)?;
        for layer in layers {
            tree.apply(&mut layer.as_slice(), Semantics::Layer, &mut spool, "layer")?;
        }
        Ok((tree, spool.freeze()?))
    }

    /// Applies layers and writes the tree to `work/out`. Files around `work/out` must never change,
    /// and an error must leave no files.
    pub(crate) fn try_unpack(&self, layers: &[&[Member]]) -> Result<Outcome> {
        let layers: Vec<_> = layers.iter().map(|members| tar(members)).collect();
        let result = self
            .tree(&layers)
            .and_then(|(tree, spool)| unpack(&tree, &spool, &self.out(), &self.options, &self.env));
        self.assert_unharmed();
        let left = names(&self.work());
        match result {
            Ok(_) => assert_eq!(left, ["out"]),
            Err(_) => assert_eq!(left, [""; 0]),
        }
        result
    }

    pub(crate) fn unpack(&self, members: &[Member]) -> Outcome {
        self.try_unpack(&[members]).unwrap()
    }

    pub(crate) fn assert_unharmed(&self) {
        let outside = snapshot(&self.outside(""));
        assert_eq!(outside, self.before, "something outside has changed");
    }

    /// Takes the warnings so far, by code.
    pub(crate) fn warnings(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Warning { code, message, .. } in self.env.notes.take().warnings {
            found.entry(code).or_default().push(message);
        }
        found
    }

    /// Takes the only warning of that code.
    pub(crate) fn warning(&self, code: &str) -> String {
        let mut all = self.warnings();
        let mut messages = all
            .remove(code)
            .unwrap_or_else(|| panic!("no warning `{code}` in {all:?}"));
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }
}

/// Lists a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let listing = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = listing
        .map(|entry| String::from_utf8_lossy(entry.unwrap().file_name().as_bytes()).into_owned())
        .collect();
    names.sort();
    names
}

/// All attributes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    pub(crate) links: u64,
    /// The first path of the same inode.
    pub(crate) inode: PathBuf,
    pub(crate) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) content: Vec<u8>,
}

/// Everything below a directory, and itself as the empty path.
pub(crate) type Snapshot = BTreeMap<PathBuf, Seen>;

pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut inodes = HashMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let data = fs::symlink_metadata(&full).unwrap();
        let kind = data.file_type();
        let mut content = Vec::new();
        let kind = if kind.is_dir() {
            for name in fs::read_dir(&full).unwrap() {
                todo.push(path.join(name.unwrap().file_name()));
            }
            todo.sort_by(|a, b| b.cmp(a));
            "directory"
        } else if kind.is_symlink() {
            content = fs::read_link(&full)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            "symlink"
        } else if kind.is_file() {
            content = read(&full);
            "file"
        } else if kind.is_fifo() {
            "fifo"
        } else if kind.is_char_device() {
            "char device"
        } else {
            "other"
        };
        let inode = inodes.entry(data.ino()).or_insert_with(|| path.clone());
        let directory = kind == "directory";
        let seen = Seen {
            kind,
            mode: data.mode() & 0o7777,
            owner: (data.uid(), data.gid()),
            mtime: (data.mtime(), data.mtime_nsec()),
            device: data.rdev(),
            links: if directory { 0 } else { data.nlink() },
            inode: inode.clone(),
            attributes: extended_attributes(&full),
            content,
        };
        found.insert(path, seen);
    }
    found
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    let mut file = fs::File::open(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    file.read_to_end(&mut content).unwrap();
    content
}

pub(crate) fn extended_attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => panic!("{path:?}: {error}"),
    };
    list.truncate(length);
    let names = list
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}

/// Follows links the way a process would whose root is `root`.
pub(crate) fn inside(root: &Path, path: &str) -> PathBuf {
    let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    for _ in 0..100 {
        let Some(name) = todo.pop() else { break };
        match name.as_str() {
            "" | "." => {}
            ".." => drop(at.pop()),
            _ => {
                let full = root.join(at.join("/")).join(&name);
                match fs::read_link(full) {
                    Ok(target) => {
                        let target = target.to_str().unwrap();
                        if target.starts_with('/') {
                            at.clear();
                        }
                        todo.extend(target.split('/').rev().map(str::to_owned));
                    }
                    Err(_) => at.push(name),
                }
            }
        }
    }
    assert_eq!(todo, [""; 0], "the links of {path} have no end");
    root.join(at.join("/"))
}

/// Says that a test could not run; tests that need root or a tool call it.
#[allow(clippy::print_stderr)]
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}
