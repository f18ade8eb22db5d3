//! The root file system as a layer, both ways, each in one streaming pass.
//!
//! From an ACI: the uncompressed bytes are hashed to the image ID while `rootfs/` is removed from
//! the names. To an ACI: the manifest is put first, and `rootfs/` before the names.

use std::{
    io::{self, Cursor, Read},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use imgconv_layer::{Rewrite, clean};
use imgconv_model::{
    Algorithm, Blob, Code, Count, Counted, Digest, Error, Facts, Layer, Limits, Notes, Open,
    Reader, Result, quote,
};
use imgconv_stream::{Decoder, Hasher, Verified, blame};
use imgconv_tar::{END, Entry, EntryKind, Tracing, head, padding};

use crate::archive::{Checker, Member, Met, Seen, link_target, place};

/// The claims of a dependency's manifest about its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedImage {
    /// The image ID: the SHA-512 of the uncompressed tar.
    pub id: Option<Digest>,
    /// The size in bytes. The specification does not define of which form; the purpose that it
    /// gives (no endless data) fits the file as it is fetched, so this is the meaning here;
    /// builders also wrote the size of the uncompressed tar, so that size is accepted too.
    pub size: Option<u64>,
}

/// The bytes of the one layer of an ACI.
#[derive(Debug)]
pub(crate) struct Rootfs {
    pub(crate) blob: Blob,
    pub(crate) limits: Limits,
    pub(crate) notes: Notes,
    pub(crate) what: String,
    pub(crate) expected: ExpectedImage,
    /// True if the image has dependencies, which hard links may lead to.
    pub(crate) stacked: bool,
    /// The image ID, after a pass has reached the end.
    pub(crate) id: Arc<OnceLock<Digest>>,
    /// What every pass is reported to.
    pub(crate) tracing: Option<Arc<dyn Tracing>>,
}

impl Open for Rootfs {
    fn open(&self) -> Result<Reader> {
        self.strip(self.blob.open()?)
    }

    fn open_counted(&self, count: &Count) -> Result<Reader> {
        self.strip(self.blob.bytes.open_counted(count)?)
    }

    fn counted(&self) -> (Counted, Option<u64>) {
        (Counted::Source, self.blob.size_to_count())
    }
}

impl Rootfs {
    /// Makes the layer of the stored bytes.
    fn strip(&self, stored: Reader) -> Result<Reader> {
        let fetched = Arc::new(AtomicU64::new(0));
        let source = Fetched {
            inner: stored,
            count: Arc::clone(&fetched),
        };
        let tap = Tap {
            inner: Decoder::new(Box::new(source), &self.limits, &self.notes, &self.what)?,
            hasher: Some(Hasher::new(Algorithm::Sha512)),
            unpacked: 0,
            fetched,
            expected: self.expected.clone(),
            id: Arc::clone(&self.id),
        };
        let checker = Checker::new(&self.limits, &self.notes, &self.what);
        let checker = Arc::new(Mutex::new(checker));
        let (limits, notes, what) = (self.limits, self.notes.clone(), self.what.clone());
        let shared = Arc::clone(&checker);
        let stacked = self.stacked;
        let strip = move |mut entry: Entry| {
            let mut checker = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match checker.member(&entry)? {
                Member::Top | Member::Manifest => return Ok(None),
                // The root of the layer gets an entry, so that its mode and owner are kept.
                Member::Rootfs => entry.path = b"./".to_vec(),
                Member::Inside(path) => {
                    let outer = place(&entry);
                    if path
                        .split(|b| *b == b'/')
                        .any(|name| name.starts_with(b".wh."))
                    {
                        let message = "a layer can't hold this name: it would delete a file";
                        return Err(Error::new(Code::Unsupported, message).at(outer));
                    }
                    if entry.kind == EntryKind::HardLink {
                        entry.link = link_target(&entry, &limits, &notes, &what)
                            .and_then(|target| {
                                checker.link(&path, &target, stacked)?;
                                Ok(target)
                            })
                            .map_err(|error| error.at(outer))?;
                    }
                    entry.path = path;
                    end_directory(&mut entry);
                }
            }
            Ok(Some(entry))
        };
        let mut inner = Rewrite::new(tap, &self.limits, &self.notes, &self.what, strip);
        if let Some(tracing) = &self.tracing {
            inner = inner.traced(tracing.begin()?);
        }
        let what = self.what.clone();
        Ok(Box::new(Finished {
            inner,
            checker,
            blob: self.blob.clone(),
            what,
        }))
    }
}

/// Adds the ACI as the outermost place, unless the error has that place already.
pub(crate) fn located(error: Error, what: &str) -> Error {
    if error.places().first().is_some_and(|place| place == what) {
        return error;
    }
    error.at(what)
}

/// Adds the slash at the end of a directory's name, as all writers do.
fn end_directory(entry: &mut Entry) {
    if entry.kind == EntryKind::Directory {
        entry.path.push(b'/');
    }
}

/// A layer whose end is reported only if the whole archive is valid.
struct Finished<R> {
    inner: R,
    checker: Arc<Mutex<Checker>>,
    /// The stored bytes, whose own verification explains errors of damaged bytes.
    blob: Blob,
    what: String,
}

impl<R: Read> Read for Finished<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf).map_err(|error| {
            let ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
            if ours {
                let error = Error::from_io(error);
                let error = match self.blob.open() {
                    Ok(mut stored) => blame(error, &mut stored),
                    Err(_) => error,
                };
                located(error, &self.what).into()
            } else {
                error
            }
        })?;
        if count == 0 && !buf.is_empty() {
            let checker = self.checker.lock().unwrap_or_else(PoisonError::into_inner);
            checker
                .finish()
                .map_err(|error| located(error, &self.what))?;
        }
        Ok(count)
    }
}

/// Counts the stored bytes of the file.
struct Fetched {
    inner: Reader,
    count: Arc<AtomicU64>,
}

impl Read for Fetched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Hashes the uncompressed tar, and at its end compares the expected image ID and size.
struct Tap<R> {
    inner: R,
    hasher: Option<Hasher>,
    unpacked: u64,
    fetched: Arc<AtomicU64>,
    expected: ExpectedImage,
    id: Arc<OnceLock<Digest>>,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.unpacked += count as u64;
        if let Some(size) = self.expected.size.filter(|_| self.expected.id.is_none())
            && self.unpacked.min(self.fetched.load(Ordering::Relaxed)) > size
        {
            return Err(self.wrong_size(size).into());
        }
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buf[..count]);
            }
        } else if !buf.is_empty()
            && let Some(hasher) = self.hasher.take()
        {
            self.finish(&hasher.finish())?;
        }
        Ok(count)
    }
}

impl<R> Tap<R> {
    fn finish(&self, found: &Digest) -> Result<()> {
        if let Some(expected) = self.expected.id.filter(|expected| expected != found) {
            return Err(Error::mismatch(
                "image ID",
                expected.image_id(),
                found.image_id(),
            ));
        }
        let fetched = self.fetched.load(Ordering::Relaxed);
        // A store, as rkt's, holds the plain tar of an image whose `size` was that of the compressed file. Then the
        // image ID alone identifies the image.
        let was_compressed =
            |size: &u64| self.expected.id.is_some() && fetched == self.unpacked && *size < fetched;
        if let Some(size) = self.expected.size.filter(|size| !was_compressed(size))
            && ![fetched, self.unpacked].contains(&size)
        {
            return Err(self.wrong_size(size));
        }
        // Another pass over the same bytes may have set the same value.
        let _ = self.id.set(*found);
        Ok(())
    }

    fn wrong_size(&self, size: u64) -> Error {
        let fetched = self.fetched.load(Ordering::Relaxed);
        let found = format!("{fetched} bytes ({} uncompressed)", self.unpacked);
        Error::mismatch("image size", format!("{size} bytes"), found)
    }
}

/// The bytes of an ACI that is written: its manifest, and the layer that becomes its rootfs.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) manifest: Arc<[u8]>,
    pub(crate) layer: Option<Layer>,
    pub(crate) limits: Limits,
    pub(crate) notes: Notes,
}

impl Open for Archive {
    fn open(&self) -> Result<Reader> {
        let mut begin = head(&member(
            b"manifest",
            EntryKind::Regular,
            self.manifest.len() as u64,
        ))?;
        begin.extend_from_slice(&self.manifest);
        begin.resize(begin.len() + padding(self.manifest.len() as u64), 0);
        let directory = head(&member(b"rootfs/", EntryKind::Directory, 0))?;
        let Some(layer) = &self.layer else {
            begin.extend_from_slice(&directory);
            begin.extend_from_slice(&END);
            return Ok(Box::new(Cursor::new(begin)));
        };
        let rooted = self.begins_with_root(layer)?;
        if !rooted {
            begin.extend_from_slice(&directory);
        }
        let (limits, notes) = (self.limits, self.notes.clone());
        let mut seen = Seen::default();
        let mut first = rooted;
        let prefix = move |mut entry: Entry| {
            let outer = place(&entry);
            let root = std::mem::take(&mut first);
            let prefixed = prefix(&mut entry, root, &mut seen, &limits, &notes);
            let kept = prefixed.map_err(|error| error.at(outer))?;
            Ok(kept.then_some(entry))
        };
        let tar = self.tar(layer)?;
        let rest = Rewrite::new(tar, &self.limits, &self.notes, "layer", prefix);
        Ok(Box::new(Bounded {
            inner: Cursor::new(begin).chain(rest),
            made: 0,
            limit: self.limits.image_bytes,
        }))
    }
}

/// An archive that is generated: the limit for reading applies to it too, since a layer of a few
/// bytes may name paths of thousands of directories.
struct Bounded<R> {
    inner: R,
    made: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.made += count as u64;
        if self.made > self.limit {
            let what = "the uncompressed ACI that is made";
            return Err(Limits::exceeded("image_bytes", self.limit, what).into());
        }
        Ok(count)
    }
}

impl Archive {
    fn tar(&self, layer: &Layer) -> Result<impl Read + Send + use<>> {
        let decoder = Decoder::new(layer.blob.open()?, &self.limits, &self.notes, "layer")?;
        let facts = Facts {
            digest: layer.diff_id,
            size: None,
        };
        Ok(Verified::new(decoder, &facts, "layer, uncompressed"))
    }

    /// Returns true if the layer's first member is the root directory, which becomes `rootfs`.
    fn begins_with_root(&self, layer: &Layer) -> Result<bool> {
        let mut members =
            imgconv_tar::Reader::new(self.tar(layer)?, &self.limits, &self.notes, "layer");
        let Some(entry) = members.next_entry()? else {
            return Ok(false);
        };
        let path = clean(&entry.path, &self.limits).map_err(|error| error.at(place(&entry)))?;
        Ok(path.is_empty())
    }
}

/// Puts `rootfs/` before a member's names. Returns false if the member is left out.
fn prefix(
    entry: &mut Entry,
    root: bool,
    seen: &mut Seen,
    limits: &Limits,
    notes: &Notes,
) -> Result<bool> {
    // The result must be short enough to be read again.
    let below = |path: &[u8]| clean(&[b"rootfs/", path].concat(), limits);
    let path = clean(&entry.path, limits)?;
    if path.is_empty() {
        if entry.kind != EntryKind::Directory {
            return Err(Error::new(
                Code::BadTar,
                "expected a directory as type of root",
            ));
        }
        if !root {
            let message =
                "the root directory is not the first entry; mode 0755 and owner root are kept";
            notes.warn("late-root", "layer", message);
            return Ok(false);
        }
        entry.path = b"rootfs/".to_vec();
        return Ok(true);
    }
    if path
        .rsplit(|b| *b == b'/')
        .next()
        .is_some_and(|name| name.starts_with(b".wh."))
    {
        let message = "an ACI can't hold whiteouts; the layers must be squashed first";
        return Err(Error::new(Code::Unsupported, message));
    }
    let directory = entry.kind == EntryKind::Directory;
    let before = seen.insert(&path, directory, limits)?;
    if before.is_some_and(|before| before != Met::Implied) {
        let message = format!("{} comes twice, an ACI has no duplicates", quote(&path));
        return Err(Error::new(Code::Ambiguous, message).hint("squash the layer"));
    }
    if entry.kind == EntryKind::HardLink {
        entry.link = below(&clean(&entry.link, limits)?)?;
    }
    entry.path = below(&path)?;
    end_directory(entry);
    Ok(true)
}

/// Makes a member that no source has: owned by root, with the time 1970.
fn member(path: &[u8], kind: EntryKind, size: u64) -> Entry {
    Entry {
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        size,
        ..Entry::new(path.to_vec(), kind)
    }
}
