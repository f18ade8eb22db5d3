//! A flat tar as a layer: checked while the bytes stream by.

use std::{
    collections::BTreeSet,
    io::{Cursor, Read as _},
};

use imgconv_layer::{Rewrite, clean};
use imgconv_model::{
    Blob, Code, Count, Counted, Error, Limits, Notes, Open, Reader, Result, quote,
};
use imgconv_stream::Decoder;
use imgconv_tar::{END, Entry, EntryKind, Failed};

/// Bytes of an uncompressed stream that are looked at: PAX headers may come before the first member.
const PREFIX: u64 = 64 << 10;

/// Says whether a stream begins as a tar. Compressed streams are decompressed as far as needed. A stream
/// that can't be read counts as a tar, so that reading reports the error of the file system.
pub(crate) fn is_tar(stream: &Blob) -> bool {
    let Ok(stored) = stream.open() else {
        return true;
    };
    let failed = Failed::default();
    begins_as_tar(failed.watch(stored)) || failed.check().is_err()
}

fn begins_as_tar(stored: Reader) -> bool {
    let (limits, notes) = (Limits::default(), Notes::default());
    let Ok(decoder) = Decoder::new(stored, &limits, &notes, "a prefix") else {
        return false;
    };
    // A prefix ends in the middle, so an error is no answer: what came before the error counts.
    let mut tar = Vec::new();
    let _ = decoder.take(PREFIX).read_to_end(&mut tar);
    let whole = tar.len() >= END.len();
    let mut members = imgconv_tar::Reader::new(Cursor::new(tar), &limits, &notes, "a prefix");
    match members.next_entry() {
        Ok(Some(_)) => true,
        // A tar without members.
        Ok(None) => whole,
        Err(_) => false,
    }
}

/// The uncompressed layer of a flat tar.
///
/// Names are those of a layer: relative, without `.` and `..`. Members keep their order; a name that
/// comes twice means the last member, as for every reader of tars and layers.
#[derive(Debug)]
pub(crate) struct Flat {
    pub(crate) blob: Blob,
    pub(crate) limits: Limits,
    pub(crate) notes: Notes,
    /// The name of the stream in messages.
    pub(crate) what: String,
}

impl Open for Flat {
    fn open(&self) -> Result<Reader> {
        self.clean(self.blob.open()?)
    }

    fn open_counted(&self, count: &Count) -> Result<Reader> {
        self.clean(self.blob.bytes.open_counted(count)?)
    }

    fn counted(&self) -> (Counted, Option<u64>) {
        (Counted::Source, self.blob.size_to_count())
    }
}

impl Flat {
    /// Makes the layer of the stored bytes.
    fn clean(&self, stored: Reader) -> Result<Reader> {
        let tar = Decoder::new(stored, &self.limits, &self.notes, &self.what)?;
        let limits = self.limits;
        let mut files = BTreeSet::new();
        let layer = move |mut entry: Entry| {
            let outer = format!("entry {}", quote(&entry.path));
            member(&mut entry, &mut files, &limits).map_err(|error| error.at(outer))?;
            Ok(Some(entry))
        };
        let rewrite = Rewrite::new(tar, &self.limits, &self.notes, &self.what, layer);
        Ok(Box::new(rewrite))
    }
}

/// Makes a member of a layer of one of a flat tar. `files` has the names of files so far, which hard
/// links may lead to.
///
/// # Errors
/// [`Code::Escape`] for a name outside the root, [`Code::Unsupported`] for one that means a deletion in
/// a layer, [`Code::BadTar`] for a root that is no directory or a hard link that leads to no file.
fn member(entry: &mut Entry, files: &mut BTreeSet<Vec<u8>>, limits: &Limits) -> Result<()> {
    let directory = entry.kind == EntryKind::Directory;
    let path = clean(&entry.path, limits)?;
    if path.is_empty() {
        if !directory {
            let message = "expected a directory as type of root";
            return Err(Error::new(Code::BadTar, message));
        }
        entry.path = b"./".to_vec();
        return Ok(());
    }
    let mut names = path.split(|byte| *byte == b'/');
    if names.any(|name| name.starts_with(b".wh.")) {
        let message = "a layer can't hold this name: the name would delete a file";
        return Err(Error::new(Code::Unsupported, message));
    }
    if entry.kind == EntryKind::HardLink {
        entry.link = clean(&entry.link, limits)?;
        if !files.contains(&entry.link) {
            let target = quote(&entry.link);
            let message =
                format!("the hard link leads to {target}, and no file of that name came before");
            return Err(Error::new(Code::BadTar, message));
        }
    }
    entry.path.clone_from(&path);
    if directory {
        entry.path.push(b'/');
    } else {
        files.insert(path);
    }
    Ok(())
}
