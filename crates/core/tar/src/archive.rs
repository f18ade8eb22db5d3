//! The files of a tar, found by name in one pass and then read in place.
//!
//! A plain archive on disk is read in place. A compressed archive, or one from a pipe, is copied
//! decompressed to an unnamed temporary file first, because its members are needed in another order
//! and more than once. Only members are read. Symbolic links are returned, not followed: the caller
//! decides about them.

use std::{
    collections::{BTreeMap, btree_map},
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use imgconv_fs::{Stamp, open_regular};
use imgconv_model::{
    Code, Compression, Counted, Env, Error, Limits, Notes, ReadAt, Reader as Bytes, Result, Work,
    quote, quote_path,
};
use imgconv_stream::{Decoder, sniff};

use crate::{BLOCK, Entry, EntryKind, Reader, padding};

/// A tar whose members can be read in any order.
#[derive(Debug)]
pub struct Archive {
    file: Arc<File>,
    members: BTreeMap<String, Member>,
    /// The state of the file before the first byte was read.
    stamp: Stamp,
    /// The compression that the archive had.
    compression: Compression,
}

/// A member of an [`Archive`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A file, or another name of an earlier file.
    File {
        /// The offset of the bytes in the uncompressed tar.
        offset: u64,
        /// The number of bytes.
        size: u64,
    },
    /// A symbolic link to this text.
    Symlink(Vec<u8>),
    /// A hard link with this target, which is not an earlier file.
    HardLink(Vec<u8>),
    /// A member of another kind.
    Other(EntryKind),
}

impl Archive {
    /// Opens an archive on disk, which may be compressed; a symbolic link that the user names is
    /// followed. Members for which `wanted` returns false are skipped; `wanted` gets the names
    /// without `./`, doubled and final slashes, and is called before the bodies are read.
    ///
    /// # Errors
    /// [`Code::Missing`] or [`Code::Io`] if the archive can't be opened, [`Code::Ambiguous`] for
    /// two different members of one name, [`Code::Escape`] for a name that leads out of the
    /// archive, [`Code::Unsupported`] for a wanted sparse file, the errors of `wanted`, of
    /// [`Decoder`] and of [`Reader`](crate::Reader).
    pub fn open(path: &Path, env: &Env, wanted: Wanted<'_>) -> Result<Self> {
        let (mut file, first) = open_regular(path)?;
        let mut prefix = Vec::new();
        let read = (&mut file).take(6).read_to_end(&mut prefix);
        read.map_err(Error::from_io)?;
        if sniff(&prefix) != Compression::None {
            let what = path.file_name().unwrap_or_default().to_string_lossy();
            let work = Work::begin(&what, Counted::Result, Some(first.size), env);
            let reader = Pread::new(Arc::new(file), 0, u64::MAX);
            return Self::from_reader(work.reading(Box::new(reader)), env, wanted);
        }
        let size = first.size;
        let file = Arc::new(file);
        let source = Polled {
            inner: Pread::new(Arc::clone(&file), 0, size),
            env,
        };
        let skip = |source: &mut Polled<'_, Pread>, count| source.inner.skip(count);
        let (limits, notes) = (&env.limits, &env.notes);
        let mut tar = Reader::skipping(source, skip, limits, notes, "archive");
        let entries = list(&mut tar, wanted)?;
        let stored = (first, Compression::None);
        Self::index(file, stored, entries, &env.limits, &env.notes)
    }

    /// Copies an archive, decompressed, to `env.tmpdir`.
    ///
    /// # Errors
    /// The errors of [`Archive::open`], and [`Code::Limit`] if the archive is larger than
    /// `image_bytes`.
    pub fn from_reader(reader: Bytes, env: &Env, wanted: Wanted<'_>) -> Result<Self> {
        let decoder = Decoder::new(reader, &env.limits, &env.notes, "archive")?;
        let compression = decoder.compression();
        let tmpdir = format!("temporary directory {}", quote_path(&env.tmpdir));
        let file = tempfile::tempfile_in(&env.tmpdir).map_err(|e| Error::io(e, tmpdir.clone()))?;
        let spool = Spool {
            inner: decoder,
            file,
            count: 0,
            limit: env.limits.image_bytes,
            place: tmpdir,
        };
        let source = Polled { inner: spool, env };
        let mut tar = Reader::new(source, &env.limits, &env.notes, "archive");
        let entries = list(&mut tar, wanted)?;
        let spool = tar.into_inner().inner;
        // No other process has the unnamed file, and it is complete.
        let first = Stamp::of_file(&spool.file).map_err(Error::from_io)?;
        Self::index(
            Arc::new(spool.file),
            (first, compression),
            entries,
            &env.limits,
            &env.notes,
        )
    }

    /// Finds the body of each member; all members of one name must have the same bytes (robustness
    /// A5).
    fn index(
        file: Arc<File>,
        (stamp, compression): (Stamp, Compression),
        entries: Vec<Named>,
        limits: &Limits,
        notes: &Notes,
    ) -> Result<Self> {
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        for named in entries {
            let member = match named.kind {
                EntryKind::Regular => {
                    let offset = body(&file, &named, limits).map_err(|e| e.at(named.place()))?;
                    let size = named.size;
                    Member::File { offset, size }
                }
                EntryKind::HardLink => {
                    let target = normalise(&named.link).ok().flatten();
                    let earlier = target.and_then(|target| members.get(&target));
                    match earlier {
                        Some(file @ Member::File { .. }) => file.clone(),
                        _ => Member::HardLink(named.link.clone()),
                    }
                }
                EntryKind::Symlink => Member::Symlink(named.link.clone()),
                kind @ (EntryKind::CharDevice
                | EntryKind::BlockDevice
                | EntryKind::Directory
                | EntryKind::Fifo) => Member::Other(kind),
            };
            let place = named.place();
            let earlier = match members.entry(named.name) {
                btree_map::Entry::Vacant(entry) => {
                    entry.insert(member);
                    continue;
                }
                btree_map::Entry::Occupied(entry) => entry.get().clone(),
            };
            if !same(&file, &earlier, &member)? {
                let message = "duplicate archive member: the two are not the same";
                return Err(Error::new(Code::Ambiguous, message).at(place));
            }
            let message = "the archive has this member twice, and both are the same";
            notes.warn("duplicate-member", place, message);
        }
        Ok(Self {
            file,
            members,
            stamp,
            compression,
        })
    }

    /// Returns the metadata of the file that is read: the archive, or its copy.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn metadata(&self) -> Result<std::fs::Metadata> {
        self.file.metadata().map_err(Error::from_io)
    }

    /// Returns the compression that the archive had before it was copied.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the bytes of the whole uncompressed tar. The archive must not change: the end of the bytes is
    /// an error if the file was changed since it was opened.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn whole(&self) -> Result<(Bytes, u64)> {
        let size = self.metadata()?.len();
        let whole = Whole {
            inner: Pread::new(Arc::clone(&self.file), 0, size),
            stamp: self.stamp,
        };
        Ok((Box::new(whole), size))
    }

    /// Returns the member of a name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// Lists the names of all members, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Opens the bytes of a [`Member::File`].
    pub fn bytes(&self, offset: u64, size: u64) -> Bytes {
        Box::new(Pread::new(Arc::clone(&self.file), offset, size))
    }

    /// Returns the bytes of a [`Member::File`] for reading by position.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn positioned(&self, offset: u64, size: u64) -> Result<Arc<dyn ReadAt>> {
        let file = Arc::clone(&self.file);
        let stamp = self.stamp;
        Ok(Arc::new(Range {
            file,
            offset,
            size,
            stamp,
        }))
    }
}

/// A whole file that must not change.
#[derive(Debug)]
struct Whole {
    inner: Pread,
    stamp: Stamp,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            unchanged(&self.inner.file, self.stamp)?;
        }
        Ok(count)
    }
}

/// Fails if a file was changed since its stamp was taken.
fn unchanged(file: &File, stamp: Stamp) -> io::Result<()> {
    if Stamp::of_file(file)? == stamp {
        return Ok(());
    }
    let message = "the archive was changed while it was read";
    let error = Error::new(Code::Mismatch, message);
    Err(error.hint("run it again when nothing writes to it").into())
}

/// A part of a shared file that must not change.
#[derive(Debug)]
struct Range {
    file: Arc<File>,
    offset: u64,
    size: u64,
    stamp: Stamp,
}

impl ReadAt for Range {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, self.offset + offset)?;
        // The stamp is checked after the read: bytes that were read before a change were verified.
        unchanged(&self.file, self.stamp)
    }
}

/// Decides by a member's name, kind and size whether the member is wanted; an error ends the
/// reading.
pub type Wanted<'a> = &'a dyn Fn(&str, EntryKind, u64) -> Result<bool>;

/// A member that is wanted.
#[derive(Debug)]
struct Named {
    name: String,
    kind: EntryKind,
    size: u64,
    /// The target of a link.
    link: Vec<u8>,
    /// The offset of its first header.
    offset: u64,
    /// The offset of the next member's first header; `None` for the last member.
    next: Option<u64>,
}

impl Named {
    fn place(&self) -> String {
        format!("entry {}", quote(&self.name))
    }
}

/// Reads the tar to its end, and lists the wanted members.
fn list<R: Read>(tar: &mut Reader<R>, wanted: Wanted<'_>) -> Result<Vec<Named>> {
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
        if !wanted(&name, entry.kind, entry.size).map_err(|e| e.at(place()))? {
            continue;
        }
        let Entry {
            kind,
            size,
            link,
            offset,
            ..
        } = entry;
        found.push(Named {
            name,
            kind,
            size,
            link,
            offset,
            next: None,
        });
        open = true;
    }
    Ok(found)
}

/// Returns a member's name without `./`, doubled and final slashes. `None` if the name is not a
/// text or empty, so that no caller can ask for it.
pub(crate) fn normalise(path: &[u8]) -> Result<Option<String>> {
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

/// Finds the start of a member's body: after its header and the extension headers before that. The
/// framing was checked when the archive was listed; this function only repeats the walk.
fn body(file: &File, named: &Named, limits: &Limits) -> Result<u64> {
    let bad = |message: &str| Error::new(Code::BadTar, message);
    // The stored bytes of a sparse file are not its content.
    let sparse = || {
        Error::new(Code::Unsupported, "the member is stored as a sparse file")
            .hint("make the archive again without `--sparse`")
    };
    let mut offset = named.offset;
    let mut headers = limits.ext_headers.saturating_add(1);
    loop {
        let mut header = [0; BLOCK];
        file.read_exact_at(&mut header, offset)
            .map_err(Error::from_io)?;
        offset = offset.saturating_add(BLOCK as u64);
        if header[156] == b'S' {
            return Err(sparse());
        }
        if !matches!(header[156], b'x' | b'g' | b'L' | b'K' | b'X') {
            break;
        }
        headers = headers
            .checked_sub(1)
            .ok_or_else(|| bad("there are too many extension headers"))?;
        let malformed = || bad("the size of an extension header is malformed");
        let size = size_field(&header[124..136]).ok_or_else(malformed)?;
        if header[156] == b'x' {
            let mut payload = vec![0; usize::try_from(size.min(limits.pax_header)).unwrap_or(0)];
            file.read_exact_at(&mut payload, offset)
                .map_err(Error::from_io)?;
            let mark = b"GNU.sparse.";
            if payload.windows(mark.len()).any(|window| window == mark) {
                return Err(sparse());
            }
        }
        offset = offset
            .checked_add(size)
            .and_then(|end| end.checked_add(padding(size) as u64))
            .ok_or_else(malformed)?;
    }
    let end = offset
        .checked_add(named.size)
        .and_then(|end| end.checked_add(padding(named.size) as u64));
    if named.next.is_some() && named.next != end {
        return Err(sparse());
    }
    Ok(offset)
}

/// Reads the size of an extension header: octal, as all writers write a size of this range.
fn size_field(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches([' ', '\0']), 8).ok()
}

fn same(file: &Arc<File>, one: &Member, other: &Member) -> Result<bool> {
    let (
        &Member::File {
            offset: first,
            size,
        },
        &Member::File {
            offset: second,
            size: other_size,
        },
    ) = (one, other)
    else {
        return Ok(one == other);
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

/// A part of a shared file, read by position.
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

    /// Skips bytes; returns their number.
    fn skip(&mut self, count: u64) -> u64 {
        let count = count.min(self.left);
        self.offset += count;
        self.left -= count;
        count
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

/// Copies all bytes that are read through it to a file.
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
