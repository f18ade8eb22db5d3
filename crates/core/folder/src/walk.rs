//! Walking through a folder while its tar is read.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    sync::Arc,
};

use imgconv_fs::Directory;
use imgconv_model::{Code, Error, Limits, Result};
use imgconv_tar::{END, Entry, EntryKind, head, padding};
use rustix::fs::{Dir, FileType, OFlags};

use crate::{
    entry::{Found, below, place},
    folder::{Folder, Marks},
};

/// The tar of a folder.
pub(crate) struct Walk {
    root: Arc<Directory>,
    below: Option<Arc<Directory>>,
    marks: Marks,
    limits: Limits,
    what: String,
    /// The directories on the way to the current one: their paths, and the remaining names in them,
    /// the next name last.
    levels: Vec<(Vec<u8>, Vec<Name>)>,
    /// The first paths of files with several links, by device and inode.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    members: u64,
    /// The next bytes of the tar, and the number of them that were returned.
    ready: Vec<u8>,
    start: usize,
    body: Option<Body>,
    ended: bool,
    failed: Option<(Code, String)>,
}

/// A name in a directory.
struct Name {
    bytes: Vec<u8>,
    /// Whether the folder has the name, and whether the tree below has it.
    here: bool,
    below: bool,
}

/// The content of a file.
struct Body {
    file: File,
    path: Vec<u8>,
    left: u64,
    size: u64,
}

impl Walk {
    pub(crate) fn new(folder: &Folder) -> Result<Self> {
        let mut walk = Self {
            root: Arc::clone(&folder.root),
            below: folder.below.clone(),
            marks: folder.marks,
            limits: folder.limits,
            what: folder.what.clone(),
            levels: Vec::new(),
            links: BTreeMap::new(),
            members: 0,
            ready: Vec::new(),
            start: 0,
            body: None,
            ended: false,
            failed: None,
        };
        let names = walk
            .names(b"", walk.below.is_some())
            .map_err(|error| error.at(walk.what.clone()))?;
        walk.levels.push((Vec::new(), names));
        if folder.names_root {
            let found = Found::locate(&walk.root, b"")?;
            walk.put(&found.entry(b"./", walk.marks)?)?;
        }
        Ok(walk)
    }

    /// Lists the names in a directory, the last one first; with those of the tree below, if that has
    /// the directory too.
    fn names(&self, path: &[u8], is_below: bool) -> Result<Vec<Name>> {
        let mut names: BTreeMap<Vec<u8>, (bool, bool)> = BTreeMap::new();
        for bytes in self.list(&self.root, path)? {
            names.insert(bytes, (true, false));
        }
        if let Some(root) = self.below.as_ref().filter(|_| is_below) {
            let listed = self.list(root, path);
            for bytes in listed.map_err(|error| error.at("the tree below"))? {
                names.entry(bytes).or_default().1 = true;
            }
        }
        let name = |(bytes, (here, below))| Name { bytes, here, below };
        Ok(names.into_iter().rev().map(name).collect())
    }

    fn list(&self, root: &Directory, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let failed = |error: rustix::io::Errno| Error::io(error.into(), place(path));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = below(root, path, flags).map_err(failed)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            if names.len() as u64 > self.limits.entries {
                let what = format!("the list of names in {}", place(path));
                return Err(Limits::exceeded("entries", self.limits.entries, what));
            }
        }
        Ok(names)
    }

    /// Makes the next member, or the end of the archive.
    fn advance(&mut self) -> Result<()> {
        loop {
            let Some((directory, names)) = self.levels.last_mut() else {
                self.ready.extend_from_slice(&END);
                self.ended = true;
                return Ok(());
            };
            let Some(name) = names.pop() else {
                self.levels.pop();
                continue;
            };
            let path = match &directory[..] {
                b"" => name.bytes.clone(),
                directory => [directory, b"/", &name.bytes].concat(),
            };
            if path.len() as u64 > self.limits.path {
                let what = place(&path);
                return Err(Limits::exceeded("path", self.limits.path, what));
            }
            if self.member(path, &name)? {
                return Ok(());
            }
        }
    }

    /// Makes the member of a path; false if the path adds nothing to the tar.
    fn member(&mut self, path: Vec<u8>, name: &Name) -> Result<bool> {
        if !name.here {
            return self.whiteout(&path, &name.bytes).map(|()| true);
        }
        let found = Found::locate(&self.root, &path)?;
        match self.marks {
            Marks::Overlay if found.is_overlay_whiteout() => {
                return self.whiteout(&path, &name.bytes).map(|()| true);
            }
            Marks::Aufs if name.bytes.starts_with(b".wh..wh.") && name.bytes != b".wh..wh..opq" => {
                return Ok(false);
            }
            // Readers of the layer would take the name for a whiteout.
            Marks::None | Marks::Overlay if name.bytes.starts_with(b".wh.") => {
                let message = "a name that begins with `.wh.` would be read as a whiteout";
                return Err(Error::new(Code::Unsupported, message).at(place(&path)));
            }
            _ => {}
        }
        let other = match self.below.as_ref().filter(|_| name.below) {
            Some(root) => Some(Found::locate(root, &path)?),
            None => None,
        };
        match (found.kind, other) {
            (FileType::Socket, Some(other)) if other.kind != FileType::Socket => {
                self.whiteout(&path, &name.bytes).map(|()| true)
            }
            (FileType::Socket, _) => Ok(false),
            (FileType::Directory, other) => self.directory(&found, path, other),
            (_, Some(other)) if self.is_same(&found, &other, &path)? => Ok(false),
            (FileType::RegularFile, _) => self.file(&found, path).map(|()| true),
            _ => match self.linked(&found, &path) {
                Some(first) => self.link(path, first).map(|()| true),
                None => self.put(&found.entry(&path, self.marks)?).map(|()| true),
            },
        }
    }

    fn whiteout(&mut self, path: &[u8], name: &[u8]) -> Result<()> {
        let parent = &path[..path.len() - name.len()];
        let mark = [parent, b".wh.", name].concat();
        self.put(&Entry::new(mark, EntryKind::Regular))
    }

    /// Enters a directory; `other` is the file of that path in the tree below.
    fn directory(&mut self, found: &Found, path: Vec<u8>, other: Option<Found>) -> Result<bool> {
        let entry = found.entry(&path, self.marks)?;
        let other = other.filter(|other| other.kind == FileType::Directory);
        let is_new = match &other {
            Some(other) => other.entry(&path, self.marks)? != entry,
            None => true,
        };
        if is_new {
            self.put(&entry)?;
        }
        if self.marks == Marks::Overlay && found.is_overlay_opaque()? {
            let mark = [&path[..], b"/.wh..wh..opq"].concat();
            self.put(&Entry::new(mark, EntryKind::Regular))?;
        }
        let names = self.names(&path, other.is_some())?;
        self.levels.push((path, names));
        Ok(is_new)
    }

    /// Says whether a file that is no directory is the same as in the tree below.
    fn is_same(&self, found: &Found, other: &Found, path: &[u8]) -> Result<bool> {
        if (found.stat.st_dev, found.stat.st_ino) == (other.stat.st_dev, other.stat.st_ino) {
            return Ok(true);
        }
        let is_other = |kind| matches!(kind, FileType::Socket | FileType::Directory);
        if is_other(other.kind)
            || found.entry(path, self.marks)? != other.entry(path, self.marks)?
        {
            return Ok(false);
        }
        let Some(below) = self
            .below
            .as_ref()
            .filter(|_| found.kind == FileType::RegularFile)
        else {
            return Ok(true);
        };
        let mut one = BufReader::new(open(&self.root, path, found)?);
        let mut two = BufReader::new(open(below, path, other)?);
        let failed = |error| Error::io(error, place(path));
        loop {
            let (a, b) = (
                one.fill_buf().map_err(failed)?,
                two.fill_buf().map_err(failed)?,
            );
            let count = a.len().min(b.len());
            if a[..count] != b[..count] || (count == 0 && a.len() != b.len()) {
                return Ok(false);
            }
            if count == 0 {
                return Ok(true);
            }
            one.consume(count);
            two.consume(count);
        }
    }

    fn file(&mut self, found: &Found, path: Vec<u8>) -> Result<()> {
        if let Some(first) = self.linked(found, &path) {
            return self.link(path, first);
        }
        let entry = found.entry(&path, self.marks)?;
        self.put(&entry)?;
        if entry.size == 0 {
            return Ok(());
        }
        self.body = Some(Body {
            file: open(&self.root, &path, found)?,
            path,
            left: entry.size,
            size: entry.size,
        });
        Ok(())
    }

    /// Returns the path under which a file with several links is a member already; notes the path
    /// if this is the first one.
    fn linked(&mut self, found: &Found, path: &[u8]) -> Option<Vec<u8>> {
        if found.stat.st_nlink < 2 {
            return None;
        }
        let key = (found.stat.st_dev, found.stat.st_ino);
        let known = self.links.get(&key).cloned();
        if known.is_none() {
            self.links.insert(key, path.to_vec());
        }
        known
    }

    /// Makes a hard link with the attributes of its file, so that every reader gets the same
    /// attributes.
    fn link(&mut self, path: Vec<u8>, first: Vec<u8>) -> Result<()> {
        let found = Found::locate(&self.root, &first)?;
        let mut entry = found.entry(&first, self.marks)?;
        entry.path = path;
        entry.kind = EntryKind::HardLink;
        entry.link = first;
        entry.size = 0;
        entry.device = (0, 0);
        entry.pax.clear();
        self.put(&entry)
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        self.members += 1;
        if self.members > self.limits.entries {
            let what = "the number of files";
            return Err(Limits::exceeded("entries", self.limits.entries, what));
        }
        self.ready.extend(head(entry)?);
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            if self.start < self.ready.len() {
                let count = out.len().min(self.ready.len() - self.start);
                out[..count].copy_from_slice(&self.ready[self.start..self.start + count]);
                self.start += count;
                return Ok(count);
            }
            self.ready.clear();
            self.start = 0;
            if let Some(body) = &mut self.body {
                let count = body.read(out)?;
                if body.left == 0 {
                    self.ready.resize(padding(body.size), 0);
                    self.body = None;
                }
                return Ok(count);
            }
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
    }
}

impl Body {
    /// Reads at least a byte; the file must have the size of its header.
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(out.len());
        let count = loop {
            match self.file.read(&mut out[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(|error| Error::io(error, place(&self.path)))?,
            }
        };
        if count == 0 {
            return Err(changed(&self.path));
        }
        self.left -= count as u64;
        if self.left == 0 {
            let more = self.file.read(&mut [0; 1]);
            if more.map_err(|error| Error::io(error, place(&self.path)))? != 0 {
                return Err(changed(&self.path));
            }
        }
        Ok(count)
    }
}

/// Opens a regular file that was located.
fn open(root: &Directory, path: &[u8], found: &Found) -> Result<File> {
    let failed = |error: rustix::io::Errno| Error::io(error.into(), place(path));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = below(root, path, flags).map_err(failed)?;
    let stat = rustix::fs::fstat(&opened).map_err(failed)?;
    if (stat.st_dev, stat.st_ino) != (found.stat.st_dev, found.stat.st_ino) {
        return Err(changed(path));
    }
    Ok(File::from(opened))
}

fn changed(path: &[u8]) -> Error {
    Error::new(Code::Io, "the file changed while it was read")
        .at(place(path))
        .hint("stop whatever writes to the folder, and run the command again")
}

impl Read for Walk {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if let Some((code, text)) = &self.failed {
            return Err(Error::new(*code, text.clone()).into());
        }
        self.fill(out).map_err(|error| {
            let error = error.at(self.what.clone());
            self.failed = Some((error.code(), error.to_string()));
            error.into()
        })
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}
