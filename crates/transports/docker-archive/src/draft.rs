//! The archive while its layers are written: each layer goes to its final place in the file, if the
//! sizes of all members before it are known.
//!
//! Sizes are hints. A layer that is larger than its place moves to a file of its own while it is
//! written; and a layer that is smaller leaves a gap, which [`Draft::fits`] finds at the end. Then
//! the archive is composed anew from the parts.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use imgconv_fs::Stage;
use imgconv_model::{BlobWriter, Digest, Error, Result};
use imgconv_tar::{file_head, padding};

/// A member that is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) digest: Digest,
    /// The expected number of bytes.
    pub(crate) size: Option<u64>,
    /// Says whether the member is written to its place; other members are added at the end.
    pub(crate) is_layer: bool,
}

/// The place of a layer.
#[derive(Debug)]
struct Slot {
    offset: u64,
    /// The number of bytes that are free there; `None` if nothing has a place behind the layer.
    room: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A writer is at work.
    Taken,
    /// The layer is complete, with that number of bytes.
    Written(u64),
}

/// The file of an archive, with the places of its layers.
#[derive(Debug)]
pub(crate) struct Draft {
    stage: Arc<Stage>,
    file: File,
    /// The file's name in the stage.
    name: String,
    slots: Mutex<BTreeMap<Digest, Slot>>,
}

impl Draft {
    /// Makes the file. The members are sorted by name; of all members together at most `most` bytes
    /// get places. No room is taken on the disk before bytes are written.
    pub(crate) fn new(
        stage: &Arc<Stage>,
        members: &BTreeMap<String, Expected>,
        most: u64,
    ) -> Result<Arc<Self>> {
        let mut slots = BTreeMap::new();
        let mut offset = 0u64;
        for (name, expected) in members {
            let Expected {
                digest,
                size,
                is_layer,
            } = *expected;
            // A larger size is as good as none.
            let size = size.filter(|size| *size <= most);
            // A header has more blocks for a very large size only.
            offset += file_head(name, size.unwrap_or(0))?.len() as u64;
            if is_layer {
                let slot = Slot {
                    offset,
                    room: size,
                    state: State::Free,
                };
                slots.entry(digest).or_insert(slot);
            }
            let end = size.and_then(|size| offset.checked_add(size));
            let Some(end) = end.filter(|end| *end <= most) else {
                // Where the next member begins is not known.
                slots.entry(digest).and_modify(|slot| slot.room = None);
                break;
            };
            offset = end + padding(end) as u64;
        }
        let (file, name) = stage.file()?;
        Ok(Arc::new(Self {
            stage: Arc::clone(stage),
            file,
            name,
            slots: Mutex::new(slots),
        }))
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Digest, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a layer at its place; `None` if the layer has none, or somebody writes it already.
    pub(crate) fn writer(self: &Arc<Self>, digest: &Digest) -> Option<Box<dyn BlobWriter>> {
        let mut slots = self.slots();
        let slot = slots.get_mut(digest)?;
        if slot.state != State::Free {
            return None;
        }
        slot.state = State::Taken;
        let (offset, room) = (slot.offset, slot.room);
        Some(Box::new(DraftWriter {
            draft: Arc::clone(self),
            digest: *digest,
            offset,
            room,
            count: 0,
            elsewhere: None,
            complete: false,
        }))
    }

    /// Returns the place and the size of a complete layer.
    pub(crate) fn written(&self, digest: &Digest) -> Option<(u64, u64)> {
        match self.slots().get(digest)? {
            Slot {
                offset,
                state: State::Written(size),
                ..
            } => Some((*offset, *size)),
            _ => None,
        }
    }

    /// Opens a complete layer.
    pub(crate) fn open(&self, offset: u64, size: u64) -> Result<impl Read + use<>> {
        let mut file = self.stage.open(&self.name)?;
        let sought = file.seek(SeekFrom::Start(offset));
        sought.map_err(|error| Error::io(error, "unfinished archive"))?;
        Ok(file.take(size))
    }

    /// Returns the file and its name in the stage.
    pub(crate) fn file(&self) -> (&File, &str) {
        (&self.file, &self.name)
    }

    /// Says whether every layer that was written to its place belongs there.
    pub(crate) fn fits(&self, members: &[(String, Digest, u64)]) -> Result<bool> {
        let mut offset = 0u64;
        for (name, digest, size) in members {
            let body = offset + file_head(name, *size)?.len() as u64;
            let written = self.written(digest).filter(|_| is_layer(name));
            if written.is_some_and(|found| found != (body, *size)) {
                return Ok(false);
            }
            offset = body + size + padding(*size) as u64;
        }
        Ok(true)
    }
}

/// Says whether a member is a layer, by its name.
pub(crate) fn is_layer(name: &str) -> bool {
    name.ends_with(".tar")
}

/// A writer at a position of a file.
#[derive(Debug)]
pub(crate) struct At<'a> {
    pub(crate) file: &'a File,
    pub(crate) offset: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(bytes, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer that is being written.
struct DraftWriter {
    draft: Arc<Draft>,
    digest: Digest,
    offset: u64,
    room: Option<u64>,
    count: u64,
    /// The layer in a file of its own, after it turned out to be too large for its place.
    elsewhere: Option<Box<dyn BlobWriter>>,
    complete: bool,
}

impl DraftWriter {
    /// Moves the bytes so far to a file of their own.
    fn leave(&mut self) -> Result<Box<dyn BlobWriter>> {
        let mut elsewhere = self.draft.stage.writer()?;
        let mut source = self.draft.open(self.offset, self.count)?;
        io::copy(&mut source, &mut elsewhere).map_err(Error::from_io)?;
        Ok(elsewhere)
    }

    fn place(&self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        let path = self.draft.stage.path().join(&self.draft.name);
        Error::io(error, imgconv_model::quote_path(&path)).into()
    }
}

impl Write for DraftWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.count + bytes.len() as u64;
        if self.elsewhere.is_none() && self.room.is_some_and(|room| end > room) {
            self.elsewhere = Some(self.leave()?);
        }
        if let Some(elsewhere) = &mut self.elsewhere {
            return elsewhere.write(bytes);
        }
        let at = self.offset + self.count;
        let written = self.draft.file.write_at(bytes, at);
        let count = written.map_err(|error| self.place(error))?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.elsewhere {
            Some(elsewhere) => elsewhere.flush(),
            None => Ok(()),
        }
    }
}

impl BlobWriter for DraftWriter {
    fn finish(mut self: Box<Self>, digest: &Digest, size: u64) -> Result<()> {
        if let Some(elsewhere) = self.elsewhere.take() {
            return elsewhere.finish(digest, size);
        }
        if *digest != self.digest {
            let what = "digest of a layer as it was written";
            return Err(Error::mismatch(what, self.digest, digest));
        }
        if self.count != size {
            let what = format!("size of blob {digest} as it was written");
            return Err(Error::mismatch(what, size, self.count));
        }
        self.complete = true;
        if let Some(slot) = self.draft.slots().get_mut(digest) {
            slot.state = State::Written(size);
        }
        Ok(())
    }
}

impl Drop for DraftWriter {
    /// The place is free again, for another try.
    fn drop(&mut self) {
        if !self.complete
            && let Some(slot) = self.draft.slots().get_mut(&self.digest)
        {
            slot.state = State::Free;
        }
    }
}
