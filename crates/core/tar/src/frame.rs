//! The loop over members: extension headers are collected and joined with the header that they
//! belong to, and the true end of the archive is distinguished from bytes that only look like it.

use crate::{
    BLOCK, Entry, EntryKind, Time,
    body::Body,
    gnu::{self, Map},
    header::{self, Dialect, Fields},
    member::{check_shadows, device, kind, one_of, owner},
    pax::{self, Extended},
    source::{Skip, Source, truncated},
    trace::Trace,
};
use imgconv_model::{Code, Error, Limits, Notes, Result, quote};
use std::{
    fmt,
    io::{self, Read},
    mem,
};
use tar::Header;

/// Frames a tar stream: [`Reader::next_entry`] goes from member to member, and the [`Read`] side
/// gives the body of the current one.
///
/// Reads of the source may return any number of bytes and may be interrupted. The source is read
/// ahead by up to 64 KiB, and to its last byte after the end of the archive.
pub struct Reader<R> {
    source: Source<R>,
    limits: Limits,
    notes: Notes,
    what: String,
    block: Header,
    body: Body,
    state: State,
    entries: u64,
    /// Hole bytes of all sparse files so far, and payload bytes of all global headers.
    holes: u64,
    globals: u64,
    /// True after a PAX header: from then on libarchive uses the size of a hard link.
    is_pax: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed,
}

/// The block at the position of a header.
enum Step {
    Header,
    /// The end, and the number of blocks of the end marker.
    End(usize),
}

/// The extension headers before a member.
#[derive(Default)]
struct Pending {
    offset: Option<u64>,
    count: u64,
    pax: Option<Extended>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Pending {
    fn says_something(&self) -> bool {
        self.pax.is_some() || self.name.is_some() || self.link.is_some()
    }
}

impl<R: Read> Reader<R> {
    /// Makes a reader of an uncompressed stream. `what` names the stream in warnings; for errors
    /// the caller adds the name.
    pub fn new(inner: R, limits: &Limits, notes: &Notes, what: &str) -> Self {
        Self::with(Source::new(inner, None), limits, notes, what)
    }

    /// Reports every byte of the stream to `trace`, from its first byte on: the call comes before the first
    /// member is read.
    #[must_use]
    pub fn traced(mut self, trace: Box<dyn Trace>) -> Self {
        self.source.set_trace(trace);
        self
    }

    /// Says that the body of the current member, which is read from now on, goes to that offset of the
    /// caller's output, with the holes of a sparse file. Only a trace needs to know.
    pub fn body_goes_to(&mut self, offset: u64) {
        self.body.goes_to(offset);
    }

    /// Makes a reader of a seekable source: bodies that are skipped are not read.
    pub(crate) fn skipping(
        inner: R,
        skip: Skip<R>,
        limits: &Limits,
        notes: &Notes,
        what: &str,
    ) -> Self {
        Self::with(Source::new(inner, Some(skip)), limits, notes, what)
    }

    fn with(source: Source<R>, limits: &Limits, notes: &Notes, what: &str) -> Self {
        Self {
            source,
            limits: *limits,
            notes: notes.clone(),
            what: what.to_owned(),
            block: Header::new_old(),
            body: Body::default(),
            state: State::Open,
            entries: 0,
            holes: 0,
            globals: 0,
            is_pax: false,
        }
    }

    /// Skips the rest of the current body and reads the next member. At the end the reader reads
    /// the stream to its last byte and returns `None`.
    ///
    /// Warnings: `short-end` (the end marker is missing or incomplete), `trailing-data` (bytes
    /// after the end marker), `volume-header`, `ignored-link-name` and `ignored-global-record`.
    ///
    /// # Errors
    /// [`Code::BadTar`], [`Code::Ambiguous`], [`Code::Unsupported`] or [`Code::Limit`], placed at
    /// the offset of the header and, if it is known, the entry. An error is final: the next call
    /// fails too.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        match self.state {
            State::Ended => return Ok(None),
            State::Failed => {
                let message = "an earlier part of the archive could not be read";
                return Err(Error::new(Code::BadTar, message).at(self.source.place()));
            }
            State::Open => {}
        }
        let result = self.advance();
        match &result {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Ended,
            Err(_) => {
                self.state = State::Failed;
                self.body = Body::default();
            }
        }
        result
    }

    /// Returns the offset of the current member's body in the stream, if no byte of the body was
    /// read yet and the whole body stands there: not for a sparse file.
    pub fn body_offset(&self) -> Option<u64> {
        self.body.is_whole().then(|| self.source.offset())
    }

    /// Returns the source. Before the end of the archive was read, buffered bytes are lost.
    pub fn into_inner(self) -> R {
        self.source.into_inner()
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        self.body.finish(&mut self.source)?;
        let mut pending = Pending::default();
        loop {
            let offset = self.source.offset();
            let marker = match self.read_header()? {
                Step::Header => None,
                Step::End(blocks) => Some(blocks),
            };
            if let Some(blocks) = marker {
                if pending.says_something() {
                    let message = "the archive ends after an extension header, before its member";
                    return Err(Error::new(Code::BadTar, message).at(place(offset)));
                }
                self.end(blocks, offset)?;
                if let Some(trace) = self.source.trace() {
                    trace.ended()?;
                }
                return Ok(None);
            }
            let fields = header::decode(&mut self.block).map_err(|e| e.at(place(offset)))?;
            let found = match fields.flag {
                b'x' | b'g' | b'L' | b'K' => {
                    self.extension(&fields, &mut pending, offset).map(|()| None)
                }
                b'V' => self.volume(&fields, &pending, offset).map(|()| None),
                _ => {
                    let first = pending.offset.unwrap_or(offset);
                    return self.member(fields, pending, first, offset).map(Some);
                }
            };
            if let Some(entry) = found.map_err(|e| e.at(place(offset)))? {
                return Ok(Some(entry));
            }
        }
    }

    /// Reads the next block, and the one after it if it is all NUL.
    fn read_header(&mut self) -> Result<Step> {
        let offset = self.source.offset();
        let is_end = |block: &Header| block.as_bytes() == &[0; BLOCK];
        match self.source.read_block(self.block.as_mut_bytes())? {
            0 if offset == 0 => {
                let message = "the archive is empty: expected at least one block of 512 bytes";
                Err(Error::new(Code::BadTar, message).at(place(0)))
            }
            0 => Ok(Step::End(0)),
            BLOCK if !is_end(&self.block) => Ok(Step::Header),
            BLOCK => match self.source.read_block(self.block.as_mut_bytes())? {
                0 => Ok(Step::End(1)),
                BLOCK if is_end(&self.block) => Ok(Step::End(2)),
                BLOCK => {
                    let message =
                        "data after a single NUL block: some readers end there, some go on";
                    Err(Error::new(Code::Ambiguous, message).at(place(offset)))
                }
                found => {
                    Err(truncated("the end marker", BLOCK as u64, found as u64).at(place(offset)))
                }
            },
            found => Err(truncated("a header", BLOCK as u64, found as u64).at(place(offset))),
        }
    }

    /// Reads the bytes after the end marker.
    fn end(&mut self, blocks: usize, offset: u64) -> Result<()> {
        if blocks < 2 {
            let message = format!("the archive ends with {blocks} NUL blocks instead of two");
            self.warn("short-end", &place(offset), message);
            return Ok(());
        }
        if let Some(first) = self.source.drain()? {
            let message = format!(
                "{} bytes follow the end of the archive and are not part of it",
                self.source.offset() - first
            );
            self.warn("trailing-data", &place(first), message);
        }
        Ok(())
    }

    /// Reads an extension header.
    fn extension(&mut self, fields: &Fields, pending: &mut Pending, offset: u64) -> Result<()> {
        let Limits {
            ext_headers,
            pax_header,
            gnu_long,
            ..
        } = self.limits;
        pending.count += 1;
        if pending.count > ext_headers {
            let what = "the number of extension headers before one member";
            return Err(Limits::exceeded("ext_headers", ext_headers, what));
        }
        let flag = char::from(fields.flag);
        let is_pax = matches!(flag, 'x' | 'g');
        if is_pax && fields.dialect == Dialect::V7 {
            let message = format!("a PAX header (type flag `{flag}`) has no ustar magic");
            return Err(Error::new(Code::BadTar, message));
        }
        let is_second = match flag {
            'x' => pending.pax.is_some(),
            'L' => pending.name.is_some(),
            'K' => pending.link.is_some(),
            _ => false,
        };
        if is_second {
            let message =
                format!("a second extension header with the type flag `{flag}` before one member");
            return Err(Error::new(Code::BadTar, message));
        }
        if flag == 'g' && pending.says_something() {
            let message = "a global PAX header stands between an extension header and its member";
            return Err(Error::new(Code::Ambiguous, message));
        }
        let (name, limit) = if is_pax {
            ("pax_header", pax_header)
        } else {
            ("gnu_long", gnu_long)
        };
        let total = if flag == 'g' {
            self.globals.saturating_add(fields.size)
        } else {
            fields.size
        };
        if total > limit {
            let what = format!("an extension header of {} bytes", fields.size);
            return Err(Limits::exceeded(name, limit, what));
        }
        let payload = self.source.read_payload(fields.size)?;
        self.is_pax |= is_pax;
        match flag {
            'x' => pending.pax = Some(Extended::parse(&payload)?),
            'L' => pending.name = Some(gnu::long_name(payload)?),
            'K' => pending.link = Some(gnu::long_name(payload)?),
            _ => {
                self.globals = total;
                for key in pax::check_global(&payload)? {
                    let message =
                        format!("the global PAX record {} is not carried over", quote(key));
                    self.warn("ignored-global-record", &place(offset), message);
                }
                return Ok(());
            }
        }
        pending.offset.get_or_insert(offset);
        Ok(())
    }

    /// Skips the label of a GNU volume.
    fn volume(&mut self, fields: &Fields, pending: &Pending, offset: u64) -> Result<()> {
        if pending.says_something() || fields.size != 0 {
            let message = "a volume header has a size or an extension header";
            return Err(Error::new(Code::BadTar, message));
        }
        let message = format!(
            "the volume label {} is not carried over",
            quote(&fields.name)
        );
        self.warn("volume-header", &place(offset), message);
        Ok(())
    }

    /// Joins the headers of a member. `first` is the offset of its first header, `offset` that of
    /// its own.
    fn member(
        &mut self,
        mut fields: Fields,
        pending: Pending,
        first: u64,
        offset: u64,
    ) -> Result<Entry> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            let error = Limits::exceeded("entries", self.limits.entries, "the number of entries");
            return Err(error.at(place(offset)));
        }
        let in_entry = |error: Error, name: &[u8]| {
            error.at(place(offset)).at(format!("entry {}", quote(name)))
        };
        let mut pax = pending.pax.unwrap_or_default();
        let slash = fields.name.ends_with(b"/");
        let is_sparse = pax.sparse.name.is_some();
        let spelled = one_of("path", pax.path.take(), pending.name, is_sparse)
            .map_err(|error| in_entry(error, &fields.name))?;
        let path = pax.sparse.name.clone().or(spelled);
        let path = path.unwrap_or_else(|| mem::take(&mut fields.name));
        match self.assemble(&path, slash, fields, pax, pending.link) {
            Ok(entry) => Ok(Entry {
                path,
                offset: first,
                ..entry
            }),
            Err(error) => Err(in_entry(error, &path)),
        }
    }

    /// Makes the entry, without its path and offset, and sets up its body. `slash` is true if the
    /// name in the header block ends with a slash.
    fn assemble(
        &mut self,
        path: &[u8],
        slash: bool,
        fields: Fields,
        mut extended: Extended,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let kind = kind(fields.flag, slash, path.ends_with(b"/"))?;
        let stored = extended.size.unwrap_or(fields.size);
        let size = if kind == EntryKind::Regular {
            self.open_body(path, &fields, &extended, stored)?
        } else if (fields.size != 0 || stored != 0) && !self.has_no_body(kind, &fields, &extended) {
            let size = fields.size.max(stored);
            let message = format!(
                "{} has a size of {size}: some readers read the following bytes as its body",
                kind.describe()
            );
            return Err(Error::new(Code::BadTar, message));
        } else if extended.sparse.is_present() {
            let message = format!("{} has a sparse map", kind.describe());
            return Err(Error::new(Code::BadTar, message));
        } else {
            0
        };
        let device = device(kind, &fields)?;
        check_shadows(&extended.others, kind, size, device)?;
        let mut pax = extended.others;
        for (key, seconds) in [(&b"atime"[..], fields.atime), (b"ctime", fields.ctime)] {
            if seconds != 0 && pax.iter().all(|(other, _)| other != key) {
                pax.push((key.to_vec(), seconds.to_string().into_bytes()));
            }
        }
        let link = one_of("linkpath", extended.link.take(), long_link, false)?;
        let link = link.unwrap_or(fields.link);
        self.check_names(path, &link)?;
        let in_header = Time {
            seconds: fields.mtime,
            nanos: 0,
        };
        Ok(Entry {
            path: Vec::new(),
            kind,
            mode: fields.mode,
            uid: extended.uid.unwrap_or(fields.uid),
            gid: extended.gid.unwrap_or(fields.gid),
            uname: owner("uname", extended.uname, fields.uname)?,
            gname: owner("gname", extended.gname, fields.gname)?,
            mtime: extended.mtime.unwrap_or(in_header),
            size,
            link: self.check_link(kind, link, path)?,
            device,
            pax,
            offset: 0,
        })
    }

    /// Returns true if every reader (Go, Python, GNU tar, bsdtar and busybox) ignores the size of a
    /// member that has no body: the size of a directory, as in old tars, and the size of a hard
    /// link, which repeats the size of the file. In a PAX archive libarchive reads a body of a hard
    /// link, as POSIX defines since 2001, and the others do not.
    fn has_no_body(&self, kind: EntryKind, fields: &Fields, extended: &Extended) -> bool {
        let old = matches!(fields.dialect, Dialect::V7 | Dialect::Gnu);
        match kind {
            // Go reads a body of an old file whose name makes it a directory.
            EntryKind::Directory => extended.size.is_none() && fields.flag == b'5',
            EntryKind::HardLink => extended.size.is_none() && (old || !self.is_pax),
            _ => false,
        }
    }

    fn check_names(&self, path: &[u8], link: &[u8]) -> Result<()> {
        if path.is_empty() {
            return Err(Error::new(Code::BadTar, "the name is empty"));
        }
        // The slash that marks a directory is not part of its path.
        let path = path.strip_suffix(b"/").unwrap_or(path);
        for (what, name) in [("the path", path), ("the link target", link)] {
            if name.len() as u64 > self.limits.path {
                let what = format!("{what} of {} bytes", name.len());
                return Err(Limits::exceeded("path", self.limits.path, what));
            }
        }
        Ok(())
    }

    /// Returns the link target of a link, and drops that of any other member with a warning.
    fn check_link(&self, kind: EntryKind, link: Vec<u8>, path: &[u8]) -> Result<Vec<u8>> {
        if matches!(kind, EntryKind::HardLink | EntryKind::Symlink) {
            if link.is_empty() {
                let message = format!("{} has no target", kind.describe());
                return Err(Error::new(Code::BadTar, message));
            }
            return Ok(link);
        }
        if !link.is_empty() {
            let message = format!(
                "the link target {} of {} is ignored",
                quote(&link),
                kind.describe()
            );
            self.warn(
                "ignored-link-name",
                &format!("entry {}", quote(path)),
                message,
            );
        }
        Ok(Vec::new())
    }

    /// Sets up the body of a regular file and returns its logical size.
    fn open_body(
        &mut self,
        path: &[u8],
        fields: &Fields,
        extended: &Extended,
        stored: u64,
    ) -> Result<u64> {
        let Limits {
            layer_bytes,
            sparse_holes,
            ..
        } = self.limits;
        if stored > layer_bytes {
            let what = format!("a body of {stored} bytes");
            return Err(Limits::exceeded("layer_bytes", layer_bytes, what));
        }
        let padding = crate::padding(stored) as u64;
        let has_records = extended.sparse.is_present();
        let mut content = stored;
        let map = if fields.flag == b'S' {
            if has_records {
                let message = "a sparse header also has GNU.sparse records";
                return Err(Error::new(Code::Ambiguous, message));
            }
            let Some(header) = self.block.as_gnu() else {
                let message = "a sparse header (type flag `S`) has no GNU magic";
                return Err(Error::new(Code::BadTar, message));
            };
            gnu::old_map(header, &mut self.source, &self.limits)?
        } else if has_records {
            extended
                .sparse
                .map(&mut self.source, &mut content, &self.limits)?
        } else {
            self.body.start_plain(path, stored);
            return Ok(stored);
        };
        let holes = self.holes.saturating_add(map.check(content)?);
        if holes > sparse_holes {
            let what = format!("a sparse file of {} bytes", map.size);
            return Err(Limits::exceeded("sparse_holes", sparse_holes, what));
        }
        self.holes = holes;
        let Map { size, pieces } = map;
        self.body.start_sparse(path, size, pieces, padding);
        Ok(size)
    }

    fn warn(&self, code: &'static str, at: &str, message: String) {
        self.notes
            .warn(code, format!("{} › {at}", self.what), message);
    }
}

/// Reads the body of the current member: exactly `size` logical bytes, holes expanded. A body that
/// ends too early is an error; before the first member and after the last there is nothing to read.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.body.read(&mut self.source, buf)
    }
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            state,
            entries,
            ..
        } = self;
        f.debug_struct("Reader")
            .field("what", what)
            .field("state", state)
            .field("entries", entries)
            .finish_non_exhaustive()
    }
}

fn place(offset: u64) -> String {
    format!("offset {offset}")
}
