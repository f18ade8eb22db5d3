//! The files of a layout in a tar, found by name in one pass and then read in place.
//!
//! A plain archive on disk is read where it is. A compressed one, or one from a pipe, is copied
//! decompressed to an unnamed temporary file first, because its members are needed in another
//! order and more than once. Only members are ever looked at: no link leads out of the archive.

use std::{
    collections::{BTreeMap, btree_map},
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use imgconv_model::{Code, Compression, Digest, Env, Error, Limits, Notes, Reader, Result, quote};
use imgconv_stream::{Decoder, sniff};
use imgconv_tar::{Entry, EntryKind, padding};
use rustix::fs::OFlags;

use crate::files::{ALGORITHMS, BLOBS, Files, INDEX_FILE, LAYOUT_FILE};

const BLOCK: u64 = 512;
/// Decompressed bytes of an archive that are looked at to recognise it.
const PREFIX: u64 = 1 << 20;

/// A tar that holds the files of a layout.
#[derive(Debug)]
pub(crate) struct Archive {
    file: Arc<File>,
    members: BTreeMap<String, Member>,
}

/// A member whose name is one of a layout's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// A body in the tar.
    File { offset: u64, size: u64 },
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

impl Archive {
    /// Opens an archive on disk; a symbolic link that the user names is followed.
    pub(crate) fn open(path: &Path, env: &Env) -> Result<Self> {
        let mut file = open_regular(path)?;
        let mut prefix = Vec::new();
        let read = (&mut file).take(6).read_to_end(&mut prefix);
        read.map_err(Error::from_io)?;
        if sniff(&prefix) != Compression::None {
            return Self::from_reader(Box::new(Pread::new(Arc::new(file), 0, u64::MAX)), env);
        }
        let file = Arc::new(file);
        let source = Pread::new(Arc::clone(&file), 0, u64::MAX);
        let (entries, _) = list(Polled { inner: source, env }, env)?;
        Self::index(file, entries, &env.limits, &env.notes)
    }

    /// Copies an archive, decompressed, to `env.tmpdir`.
    pub(crate) fn from_reader(reader: Reader, env: &Env) -> Result<Self> {
        let decoder = Decoder::new(reader, &env.limits, &env.notes, "archive")?;
        let tmpdir = format!(
            "temporary directory {}",
            quote(env.tmpdir.as_os_str().as_encoded_bytes())
        );
        let file = tempfile::tempfile_in(&env.tmpdir).map_err(|e| Error::io(e, tmpdir.clone()))?;
        let spool = Spool {
            inner: decoder,
            file,
            count: 0,
            limit: env.limits.image_bytes,
            place: tmpdir,
        };
        let (entries, spool) = list(Polled { inner: spool, env }, env)?;
        Self::index(Arc::new(spool.inner.file), entries, &env.limits, &env.notes)
    }

    /// Finds the body of each member; of members of one name all must have the same bytes
    /// (robustness A5).
    fn index(file: Arc<File>, entries: Vec<Named>, limits: &Limits, notes: &Notes) -> Result<Self> {
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        for named in entries {
            let member = match named.kind {
                EntryKind::Regular => {
                    let offset = body(&file, &named, limits).map_err(|e| e.at(named.place()))?;
                    let size = named.size;
                    Member::File { offset, size }
                }
                // Another name of a member that came before; other targets can't be meant.
                EntryKind::HardLink => named
                    .link
                    .as_ref()
                    .and_then(|target| members.get(target))
                    .copied()
                    .unwrap_or(Member::Other),
                EntryKind::Symlink => Member::Link,
                EntryKind::CharDevice
                | EntryKind::BlockDevice
                | EntryKind::Directory
                | EntryKind::Fifo => Member::Other,
            };
            let place = named.place();
            let earlier = match members.entry(named.name) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(member);
                    continue;
                }
                btree_map::Entry::Occupied(entry) => *entry.get(),
            };
            if !same_bytes(&file, earlier, member)? {
                let message = "duplicate archive member: the two are not the same";
                return Err(Error::new(Code::Ambiguous, message).at(place));
            }
            let message = "the archive has this member twice, with the same bytes";
            notes.warn("duplicate-member", place, message);
        }
        Ok(Self { file, members })
    }
}

impl Files for Archive {
    fn open(&self, name: &[&str]) -> Result<Option<(Reader, u64)>> {
        let name = name.join("/");
        match self.members.get(&name) {
            None => Ok(None),
            Some(Member::File { offset, size }) => {
                let reader = Pread::new(Arc::clone(&self.file), *offset, *size);
                Ok(Some((Box::new(reader), *size)))
            }
            Some(Member::Link) => {
                let message = "a symbolic link in an archive is not followed";
                Err(Error::new(Code::Escape, message).at(format!("entry {}", quote(name))))
            }
            Some(Member::Other) => {
                let message = "the member is not a regular file";
                Err(Error::new(Code::BadTar, message).at(format!("entry {}", quote(name))))
            }
        }
    }

    fn blobs(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in ALGORITHMS {
            let directory = format!("{BLOBS}/{}/", algorithm.as_str());
            for name in self.members.keys() {
                let hex = name.strip_prefix(&directory).unwrap_or_default();
                found.extend(Digest::from_hex(algorithm, hex));
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Says whether a file is a tar, which may be compressed, that starts with members of a layout.
pub(crate) fn recognise(path: &Path) -> bool {
    let (limits, notes) = (Limits::default(), Notes::default());
    let Ok(file) = open_regular(path) else {
        return false;
    };
    let Ok(decoder) = Decoder::new(Box::new(file), &limits, &notes, "archive") else {
        return false;
    };
    let mut tar = imgconv_tar::Reader::new(decoder.take(PREFIX), &limits, &notes, "archive");
    // The end of the prefix looks like a truncated archive, which ends the search as well.
    while let Ok(Some(entry)) = tar.next_entry() {
        match normalise(&entry.path) {
            Ok(Some(name)) if name == LAYOUT_FILE => return true,
            Ok(Some(name)) if name == BLOBS || name.starts_with("blobs/") => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

fn open_regular(path: &Path) -> Result<File> {
    let missing = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            return Error::new(Code::Missing, "no such file");
        }
        Error::from_io(error)
    };
    let irregular = || Error::new(Code::Io, "not a regular file");
    // Opening a device can have effects, so look first; what counts is the look afterwards.
    if !std::fs::metadata(path).map_err(missing)?.is_file() {
        return Err(irregular());
    }
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(missing)?;
    if !file.metadata().map_err(Error::from_io)?.is_file() {
        return Err(irregular());
    }
    Ok(file)
}

/// A member that may be a file of a layout.
#[derive(Debug)]
struct Named {
    name: String,
    kind: EntryKind,
    size: u64,
    /// The target of a hard link.
    link: Option<String>,
    /// Where its first header starts.
    offset: u64,
    /// Where the next member's first header starts; `None` for the last.
    next: Option<u64>,
}

impl Named {
    fn place(&self) -> String {
        format!("entry {}", quote(&self.name))
    }
}

/// Reads the tar to its end, and lists the members that matter; also gives the reader back.
fn list<R: Read>(source: R, env: &Env) -> Result<(Vec<Named>, R)> {
    let mut tar = imgconv_tar::Reader::new(source, &env.limits, &env.notes, "archive");
    let mut found: Vec<Named> = Vec::new();
    let mut open = false;
    while let Some(entry) = tar.next_entry()? {
        if open && let Some(last) = found.last_mut() {
            last.next = Some(entry.offset);
        }
        open = false;
        let place = || format!("entry {}", quote(&entry.path));
        let Some(name) = normalise(&entry.path).map_err(|e| e.at(place()))? else {
            continue;
        };
        let is_blob = name.starts_with("blobs/") && entry.kind != EntryKind::Directory;
        if name != LAYOUT_FILE && name != INDEX_FILE && !is_blob {
            continue;
        }
        found.push(Named {
            name,
            kind: entry.kind,
            size: entry.size,
            link: link(&entry),
            offset: entry.offset,
            next: None,
        });
        open = true;
    }
    Ok((found, tar.into_inner()))
}

fn link(entry: &Entry) -> Option<String> {
    if entry.kind != EntryKind::HardLink {
        return None;
    }
    normalise(&entry.link).ok().flatten()
}

/// Returns a member's name without `./`, doubled and final slashes. `None` if it is no text or
/// empty, so no name that a layout has.
fn normalise(path: &[u8]) -> Result<Option<String>> {
    let Ok(path) = std::str::from_utf8(path) else {
        return Ok(None);
    };
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return Err(Error::new(
            Code::Escape,
            "the name leads out of the archive",
        ));
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// Finds the start of a member's body: after its header and the extension headers before that.
/// The framing was checked when the archive was listed; this only finds the way again.
fn body(file: &File, named: &Named, limits: &Limits) -> Result<u64> {
    let bad = |message: &str| Error::new(Code::BadTar, message);
    let mut offset = named.offset;
    let mut headers = limits.ext_headers.saturating_add(1);
    loop {
        let mut header = [0; BLOCK as usize];
        file.read_exact_at(&mut header, offset)
            .map_err(Error::from_io)?;
        offset = offset.saturating_add(BLOCK);
        if !matches!(header[156], b'x' | b'g' | b'L' | b'K' | b'X') {
            break;
        }
        headers = headers
            .checked_sub(1)
            .ok_or_else(|| bad("there are too many extension headers"))?;
        let size = size_field(&header[124..136])
            .ok_or_else(|| bad("the size of an extension header is malformed"))?;
        offset = offset
            .checked_add(size)
            .and_then(|end| end.checked_add(padding(size) as u64))
            .ok_or_else(|| bad("the size of an extension header is malformed"))?;
    }
    let end = offset
        .checked_add(named.size)
        .and_then(|end| end.checked_add(padding(named.size) as u64));
    if named.next.is_some() && named.next != end {
        // The stored bytes are not the file's bytes.
        return Err(Error::new(
            Code::Unsupported,
            "a file of a layout is stored as a sparse file",
        )
        .hint("make the archive again without `--sparse`"));
    }
    Ok(offset)
}

/// Reads the size of an extension header: octal, as every writer writes one of that size.
fn size_field(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

fn same_bytes(file: &Arc<File>, one: Member, other: Member) -> Result<bool> {
    let (
        Member::File {
            offset: first,
            size,
        },
        Member::File {
            offset: second,
            size: other_size,
        },
    ) = (one, other)
    else {
        return Ok(false);
    };
    if size != other_size {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut done = 0;
    while done < size {
        let count = usize::try_from(size - done).map_or(left.len(), |rest| rest.min(left.len()));
        file.read_exact_at(&mut left[..count], first + done)
            .and_then(|()| file.read_exact_at(&mut right[..count], second + done))
            .map_err(Error::from_io)?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
        done += count as u64;
    }
    Ok(true)
}

/// A piece of a shared file, read by position.
#[derive(Debug)]
struct Pread {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Pread {
    fn new(file: Arc<File>, offset: u64, size: u64) -> Self {
        let left = size;
        Self { file, offset, left }
    }
}

impl Read for Pread {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Ends a long pass when the work is cancelled.
struct Polled<'a, R> {
    inner: R,
    env: &'a Env,
}

impl<R: Read> Read for Polled<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.env.check_cancelled()?;
        self.inner.read(buffer)
    }
}

/// Copies everything that is read through it to a file.
struct Spool {
    inner: Decoder,
    file: File,
    count: u64,
    limit: u64,
    place: String,
}

impl Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count += count as u64;
        if self.count > self.limit {
            let what = "the uncompressed archive";
            return Err(Limits::exceeded("image_bytes", self.limit, what).into());
        }
        let copied = self.file.write_all(&buffer[..count]);
        copied.map_err(|error| Error::io(error, self.place.clone()))?;
        Ok(count)
    }
}
