//! The journal of a migration: a record of the finished work at the destination, durable before
//! anything relies on it. With the journal, the same command continues an interrupted migration.
//!
//! A directory holds one file for each share of the work, which only the process of that share
//! writes, under a lock that holds between machines; all files are read. A line is a checksum and a JSON document. A line that
//! does not fit its checksum, such as the last line of a killed process, is passed over: a lost
//! line costs work, never an image.
//!
//! A journal decides what is published, so it is read only if nobody else can have written it: a
//! plain file of this user that others can't write to, with one name, reached by no symbolic link.
//! Its records are compared with the plan and with the destination before they are relied on
//! (`work.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use imgconv_fs::{Directory, file_state, refresh, try_lock_file};
use imgconv_model::{
    Algorithm, Child, Code, Compression, Digest, Error, Limits, Name, Platform, Publication,
    Result, SealedLayer, Step, quote, quote_path,
};
use imgconv_pipeline::Memory;
use imgconv_tags::Labels;
use rustix::{
    fs::{Dir, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest line that is read: the line of an image with thousands of layers.
const LINE: u64 = 64 << 20;
/// The rights of a journal: it names the sources of images, which other users, and above all a web
/// server, must not see.
const PRIVATE: u32 = 0o600;

/// The end that the name of an ACI's signature has after the name of the ACI.
pub(crate) const SIGNATURE: &str = ".asc";

/// A journal that is read and written.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The path of the journal, for messages.
    pub(crate) path: PathBuf,
    /// True if the user named the directory of the journal.
    named: bool,
    file: Mutex<File>,
    layers: Mutex<BTreeMap<String, SealedLayer>>,
    images: BTreeMap<String, Done>,
    /// The recorded paths of files that a run was about to write.
    begun: BTreeSet<String>,
    /// The number of damaged lines; nothing relies on them.
    pub(crate) damaged: usize,
    /// The number of lines of each other version; nothing relies on them.
    pub(crate) others: BTreeMap<String, usize>,
}

/// The record of a finished image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The publications of the image.
    publications: Vec<Published>,
    /// Every file that the image needs at the destination.
    pub(crate) files: Vec<Kept>,
    /// The outcomes of the image, for reports.
    pub(crate) outcomes: Box<RawValue>,
    /// The image tags for the image: repository, tag and labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String, Labels)>,
    /// The version of the program that converted the image. The first versions did not record theirs.
    #[serde(default = "first_program")]
    program: String,
}

/// The version of this program.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

fn first_program() -> String {
    "0.1.0".to_owned()
}

/// A file at the destination, as it was when it was complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The path of the file below the destination.
    pub(crate) path: String,
    /// The digest of the file's bytes, if it is known.
    pub(crate) digest: Option<String>,
    /// The number of bytes.
    pub(crate) size: u64,
    /// The file's metadata in the file system.
    state: String,
}

impl Kept {
    /// Describes a complete file.
    ///
    /// # Errors
    /// If the file is not there, or has another size.
    pub(crate) fn look(root: &Path, path: String, digest: &Digest, size: u64) -> Result<Self> {
        let found = Self::look_at(root, path)?;
        if found.size != size {
            return Err(Error::mismatch("the size", size, found.size).at(quote(&found.path)));
        }
        let digest = Some(digest.to_string());
        Ok(Self { digest, ..found })
    }

    /// Describes a complete file whose digest is not known.
    ///
    /// # Errors
    /// If the file is not there.
    pub(crate) fn look_at(root: &Path, path: String) -> Result<Self> {
        let at = || quote_path(&root.join(&path));
        let place = root.join(&path);
        let metadata = std::fs::symlink_metadata(&place).map_err(|error| Error::io(error, at()))?;
        if !metadata.is_file() {
            return Err(Error::new(Code::Io, "not a regular file").at(at()));
        }
        Ok(Self {
            path,
            digest: None,
            size: metadata.len(),
            state: file_state(&metadata),
        })
    }

    /// Describes the signature beside an ACI; `None` if there is none.
    ///
    /// # Errors
    /// If the signature can't be read.
    pub(crate) fn look_at_signature(
        root: &Path,
        aci: &str,
        limits: &Limits,
    ) -> Result<Option<Self>> {
        let path = format!("{aci}{SIGNATURE}");
        let at = |error: Error| error.at(quote_path(&root.join(&path)));
        let Some((file, _)) = Directory::open(root)?.file(&path).map_err(at)? else {
            return Ok(None);
        };
        let limit = ("signature_file", limits.signature_file);
        let bytes = imgconv_stream::read_to_limit(file, limit, "the signature").map_err(at)?;
        let digest = imgconv_stream::digest(Algorithm::Sha256, &bytes);
        Self::look(root, path, &digest, bytes.len() as u64).map(Some)
    }

    /// Says whether the file is the signature of an ACI.
    pub(crate) fn is_signature(&self) -> bool {
        self.path.ends_with(SIGNATURE)
    }

    /// Says whether the file is still there, and unchanged: by its metadata, and where that
    /// differs, by reading all of it. Only a path that stays below `root`, and leads over no
    /// symbolic link, leads to a file.
    pub(crate) fn stands(&self, root: &Path) -> bool {
        self.look_again(root).unwrap_or(false)
    }

    fn look_again(&self, root: &Path) -> Result<bool> {
        let mut parts = Path::new(&self.path).components();
        if self.path.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Ok(false);
        }
        let found = Directory::open(root)?.file(&self.path)?;
        let Some((file, _)) = found.filter(|(_, size)| *size == self.size) else {
            return Ok(false);
        };
        let metadata = file.metadata().map_err(Error::from_io)?;
        if file_state(&metadata) == self.state {
            return Ok(true);
        }
        let Some(digest) = &self.digest else {
            return Ok(false);
        };
        let digest = Digest::parse(digest)?;
        let reader = imgconv_stream::HashingReader::new(file, &[digest.algorithm()]);
        let (found, size) = reader.finish().map_err(Error::from_io)?;
        Ok(found[0] == digest && size == self.size)
    }
}

/// A [`Publication`] as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Published {
    kind: String,
    digest: String,
    size: u64,
    platform: Option<String>,
    annotations: BTreeMap<String, String>,
    raw: String,
    name: Option<(Option<String>, Option<String>, Option<String>)>,
    file_name: Option<String>,
}

impl Published {
    fn new(publication: &Publication) -> Self {
        let Publication {
            root,
            name,
            reference: _, // a migration has none: it names many
            file_name,
        } = publication;
        let name = name.as_ref();
        Self {
            kind: root.kind.clone(),
            digest: root.digest.to_string(),
            size: root.size,
            platform: root.platform.as_ref().map(ToString::to_string),
            annotations: root.annotations.clone(),
            raw: root.raw.clone(),
            name: name.map(|name| {
                let digest = name.digest.map(|digest| digest.to_string());
                (name.repository.clone(), name.tag.clone(), digest)
            }),
            file_name: file_name.clone(),
        }
    }

    fn read(&self) -> Result<Publication> {
        let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
        let root = Child {
            platform,
            annotations: self.annotations.clone(),
            raw: self.raw.clone(),
            ..Child::new(&*self.kind, Digest::parse(&self.digest)?, self.size)
        };
        let name = match self.name.clone() {
            Some((repository, tag, digest)) => Some(Name {
                repository,
                tag,
                digest: digest.as_deref().map(Digest::parse).transpose()?,
            }),
            None => None,
        };
        Ok(Publication {
            name,
            file_name: self.file_name.clone(),
            ..Publication::of(root)
        })
    }
}

impl Done {
    /// Makes the record of a finished image.
    pub(crate) fn new(
        publications: &[Publication],
        files: Vec<Kept>,
        outcomes: Box<RawValue>,
        tags: Vec<(String, String, Labels)>,
    ) -> Self {
        Self {
            publications: publications.iter().map(Published::new).collect(),
            files,
            outcomes,
            tags,
            program: PROGRAM.to_owned(),
        }
    }

    /// Returns the recorded publications.
    ///
    /// # Errors
    /// If a record is malformed.
    pub(crate) fn publications(&self) -> Result<Vec<Publication>> {
        self.publications.iter().map(Published::read).collect()
    }
}

/// A [`SealedLayer`] as text.
#[derive(Debug, Serialize, Deserialize)]
struct Layer {
    digest: String,
    size: u64,
    compression: String,
    diff_id: String,
    annotations: BTreeMap<String, String>,
}

impl Layer {
    fn new(layer: &SealedLayer) -> Self {
        let SealedLayer {
            digest,
            size,
            compression,
            diff_id,
            step: _, // what is remembered was made anew
            annotations,
        } = layer;
        Self {
            digest: digest.to_string(),
            size: *size,
            compression: compression.to_string(),
            diff_id: diff_id.to_string(),
            annotations: annotations.clone(),
        }
    }

    fn read(self) -> Option<SealedLayer> {
        let all = [Compression::None, Compression::Gzip, Compression::Zstd];
        let named = |compression: &Compression| compression.to_string() == self.compression;
        Some(SealedLayer {
            digest: Digest::parse(&self.digest).ok()?,
            size: self.size,
            compression: all.into_iter().find(named)?,
            diff_id: Digest::parse(&self.diff_id).ok()?,
            step: Step::Recompress,
            annotations: self.annotations,
        })
    }
}

/// One line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<T, L> {
    /// The record of an image.
    Image(String, T),
    /// The record of a layer.
    Layer(String, L),
    /// A file that is about to be written: its path below the destination, or the whole path in a journal that the
    /// user named.
    File(String),
}

impl Journal {
    /// Opens the journal of a share of the work, and makes it if there is none. A directory that
    /// the user named may be reached by links; the directory in a destination is no link, and
    /// belongs to this user alone.
    ///
    /// # Errors
    /// [`Code::Denied`] if another process does the same share, or somebody else may have written the
    /// journal; [`Code::Io`] if it can't be written.
    pub(crate) fn open(directory: &Path, share: &str, named: bool) -> Result<Self> {
        let opened = match named {
            true => imgconv_fs::make_own_directory(directory)
                .and_then(|()| imgconv_fs::open_directory(directory))?,
            false => own_directory(directory)?,
        };
        let name = format!("journal{share}.jsonl");
        let path = directory.join(&name);
        let at = || quote_path(&path);
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
        let file = open_journal(&opened, &name, flags).map_err(|error| error.at(at()))?;
        let failed = |error| Error::io(error, at());
        if file.metadata().map_err(failed)?.mode() & 0o7777 != PRIVATE {
            // The umask may have taken away even the owner's rights.
            let private = std::fs::Permissions::from_mode(PRIVATE);
            file.set_permissions(private).map_err(failed)?;
        }
        match try_lock_file(&file) {
            Ok(true) => {}
            Ok(false) => {
                let message = "another migration with this journal is running";
                return Err(Error::new(Code::Denied, message).at(at()).hint(
                    "wait for its end, here or on another machine, or give each migration a share: \
                     `--shard I/N`",
                ));
            }
            Err(error) => {
                return Err(failed(error).hint(
                    "the journal is locked, so that no other migration writes to it; `--journal DIR` \
                     names a place on a file system with locks",
                ));
            }
        }
        let mut journal = Self {
            path,
            named,
            file: Mutex::new(file),
            layers: Mutex::default(),
            images: BTreeMap::new(),
            begun: BTreeSet::new(),
            damaged: 0,
            others: BTreeMap::new(),
        };
        journal.read(directory, &opened)?;
        journal.end_line()?;
        Ok(journal)
    }

    /// Reads the records of all shares, also those of other runs.
    fn read(&mut self, directory: &Path, opened: &OwnedFd) -> Result<()> {
        let at = |name: &str| quote_path(&directory.join(name));
        let failed = |error: Errno| Error::io(error.into(), at(""));
        let mut names = Vec::new();
        for entry in Dir::read_from(opened).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str().unwrap_or_default();
            if name.starts_with("journal") && name.ends_with(".jsonl") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            let failed = |error| Error::io(error, at(&name));
            // This machine may have cached an older size of a file that another machine has written to.
            refresh(opened, &name);
            let file = open_journal(opened, &name, OFlags::RDONLY);
            let mut reader = BufReader::new(file.map_err(|error| error.at(at(&name)))?);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line);
                if read.map_err(failed)? == 0 {
                    break;
                }
                self.take(&line);
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) {
        // A line without an end is the last line of a killed process.
        let Some(whole) = line.strip_suffix(b"\n").filter(|line| !line.is_empty()) else {
            return;
        };
        if let Some(version) = other_version(whole) {
            *self.others.entry(version).or_default() += 1;
            return;
        }
        let said = document_of(whole);
        let said = said.and_then(|text| serde_json::from_slice::<Line<Done, Layer>>(text).ok());
        match said {
            Some(Line::Image(key, done)) => {
                self.images.insert(key, done);
            }
            Some(Line::File(path)) => {
                self.begun.insert(path);
            }
            Some(Line::Layer(key, layer)) => {
                let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
                match layer.read() {
                    Some(layer) => drop(layers.insert(key, layer)),
                    None => self.damaged += 1,
                }
            }
            None => self.damaged += 1,
        }
    }

    /// Ends an incomplete last line of a killed process, so that the next line is not joined to it.
    /// Such a line counts as no damage.
    fn end_line(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| Error::io(error, quote_path(&self.path));
        // The file is open for appending; the reads below use positions.
        let length = file.metadata().map_err(failed)?.len();
        let mut kept = length;
        let mut block = vec![0; 64 << 10];
        while kept > 0 {
            let from = kept.saturating_sub(block.len() as u64);
            let part = &mut block[..(kept - from) as usize];
            file.read_exact_at(part, from).map_err(failed)?;
            match part.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => {
                    kept = from + end as u64 + 1;
                    break;
                }
                None => kept = from,
            }
        }
        if kept == length {
            return Ok(());
        }
        let mut begin = [0; VERSION.len()];
        let count = VERSION.len().min((length - kept) as usize);
        file.read_exact_at(&mut begin[..count], kept)
            .map_err(failed)?;
        match VERSION.starts_with(&begin[..count]) {
            true => file.set_len(kept).map_err(failed),
            // Another program wrote this line: it stays.
            false => file.write_all(b"\n").map_err(failed),
        }
    }

    /// Returns the record of a key.
    pub(crate) fn image(&self, key: &str) -> Option<&Done> {
        self.images.get(key)
    }

    /// Returns the other versions of this program that recorded images, each with the number of images.
    /// Their keys have their version, so no image is found in such a record.
    pub(crate) fn other_programs(&self) -> BTreeMap<&str, usize> {
        let mut found = BTreeMap::new();
        for done in self.images.values() {
            if done.program != PROGRAM {
                *found.entry(&*done.program).or_default() += 1;
            }
        }
        found
    }

    /// Records a finished image.
    ///
    /// # Errors
    /// If the line can't be made durable.
    pub(crate) fn note_image(&self, key: &str, done: &Done) -> Result<()> {
        self.append(&Line::<&Done, ()>::Image(key.to_owned(), done))
    }

    /// Returns the files below a destination that earlier runs wrote, or were about to write when they were killed. A
    /// journal that the user named may be that of several destinations, so there a recorded file counts only if it is
    /// unchanged.
    pub(crate) fn own_files(&self, root: &Path) -> Vec<PathBuf> {
        let files = self.images.values().flat_map(|done| &done.files);
        let files = files.filter(|file| !self.named || file.stands(root));
        let written = files.map(|file| root.join(&file.path));
        let base = self.base(root);
        let below = |path: &String| Some(root.join(Path::new(path).strip_prefix(&base).ok()?));
        written.chain(self.begun.iter().filter_map(below)).collect()
    }

    /// Records that a file is about to be written where no file is, so that a run after a kill may replace the
    /// file. A path that is no UTF-8 is not recorded.
    ///
    /// # Errors
    /// If the line can't be made durable.
    pub(crate) fn note_file(&self, root: &Path, path: &Path) -> Result<()> {
        let below = path.strip_prefix(root).unwrap_or(path);
        match self.base(root).join(below).to_str() {
            Some(text) => self.append(&Line::<(), ()>::File(text.to_owned())),
            None => Ok(()),
        }
    }

    /// The place that recorded paths of files begin with: the destination, or nothing where the journal lies in the
    /// destination and moves with it.
    fn base(&self, root: &Path) -> PathBuf {
        match self.named {
            true => std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
            false => PathBuf::new(),
        }
    }

    fn append(&self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::value::to_raw_value(line)
            .map_err(|error| Error::new(Code::Io, error.to_string()))?;
        let bytes = format!("{} {}\n", checksum(text.get().as_bytes()), text.get());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(bytes.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io(error, quote_path(&self.path)))
    }
}

/// The start of every line: the version of the lines. Version 1 had no checksums, and no number.
const VERSION: &[u8] = b"2:";

/// Returns the version of a line of another version: its number and a colon at the start, or for version 1
/// the start of the document.
fn other_version(line: &[u8]) -> Option<String> {
    let end = line.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = str::from_utf8(&line[..end]).ok()?;
    match (number, line[end]) {
        ("", b'{') => Some("1".to_owned()),
        (_, b':') if (1..=3).contains(&end) && line[..=end] != *VERSION => Some(number.to_owned()),
        _ => None,
    }
}

/// The text before the document in a line.
fn checksum(document: &[u8]) -> String {
    let digest = imgconv_stream::digest(Algorithm::Sha256, document);
    format!("2:{}", digest.hex())
}

/// Returns the document of a line that fits its checksum.
fn document_of(line: &[u8]) -> Option<&[u8]> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    let (sum, document) = (&line[..at], &line[at + 1..]);
    (checksum(document).as_bytes() == sum).then_some(document)
}

/// Opens a private directory in a destination; the directory is made if it is missing.
///
/// # Errors
/// [`Code::Denied`] if something else is there.
pub(crate) fn own_directory(path: &Path) -> Result<OwnedFd> {
    let why = "a migration keeps its journal in this path, but";
    let hint = "remove the directory if no program needs it, or name another place with \
                `--journal DIR`";
    imgconv_fs::own_directory(path).map_err(|error| match error.code() {
        Code::Denied => refused(why, &error, hint).at(quote_path(path)),
        _ => error,
    })
}

/// Opens a journal, which is trusted only if nobody else can have written it.
fn open_journal(directory: impl AsFd, name: &str, flags: OFlags) -> Result<File> {
    let hint = "look at the file; if you remove it, all images are converted again; `--journal \
                DIR` names another place for the journal";
    let opened = imgconv_fs::open_own_file(directory, name, flags, Mode::from_raw_mode(PRIVATE));
    opened.map_err(|error| match error.code() {
        Code::Denied => refused("the journal can't be trusted:", &error, hint),
        _ => error,
    })
}

/// The error of a file or directory that somebody else may have written.
fn refused(why: &str, error: &Error, hint: &str) -> Error {
    let message = format!("{why} {}", error.message());
    Error::new(Code::Denied, message).hint(hint)
}

impl Memory for Journal {
    fn recall(&self, key: &str) -> Option<SealedLayer> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.get(key).cloned()
    }

    fn note(&self, key: &str, layer: &SealedLayer) -> Result<()> {
        self.append(&Line::<(), _>::Layer(key.to_owned(), Layer::new(layer)))?;
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.insert(key.to_owned(), layer.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::new(Algorithm::Sha256, &[byte; 32])
    }

    fn layer() -> SealedLayer {
        SealedLayer {
            digest: digest(1),
            size: 7,
            compression: Compression::Zstd,
            diff_id: digest(2),
            step: Step::Recompress,
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        }
    }

    #[test]
    fn what_was_put_down_is_there_again_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("journal");
        let publication = Publication {
            root: Child {
                platform: Some(Platform::new("linux", "amd64")),
                ..Child::new("kind", digest(3), 9)
            },
            name: Some(Name {
                repository: Some("example.com/a".into()),
                ..Name::default()
            }),
            reference: None,
            file_name: None,
        };
        let outcomes = RawValue::from_string("[1]".into()).unwrap();
        let journal = Journal::open(&place, "", false).unwrap();
        journal.note("layer", &layer()).unwrap();
        let done = Done::new(
            std::slice::from_ref(&publication),
            Vec::new(),
            outcomes,
            Vec::new(),
        );
        journal.note_image("image", &done).unwrap();
        drop(journal);
        let path = place.join("journal.jsonl");
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"2:0123 {\"image\":[\"torn\",{\"publ");
        fs::write(&path, bytes).unwrap();

        let journal = Journal::open(&place, "", false).unwrap();
        journal.note("after", &layer()).unwrap();
        assert!(journal.image("torn").is_none());
        assert_eq!(journal.damaged, 0);
        drop(journal);
        // Another share sees it too.
        let journal = Journal::open(&place, "-1-of-2", false).unwrap();
        for key in ["layer", "after"] {
            let found = journal.recall(key).unwrap();
            assert_eq!(format!("{found:?}"), format!("{:?}", layer()));
        }
        assert!(journal.recall("nothing").is_none());
        let done = journal.image("image").unwrap();
        let back = done.publications().unwrap();
        assert_eq!(back[0].root, publication.root);
        assert_eq!(back[0].name, publication.name);
        assert_eq!(done.outcomes.get(), "[1]");
    }

    #[test]
    fn one_share_has_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(folder.path(), "", true).unwrap();
        let second = Journal::open(folder.path(), "", true).unwrap_err();
        assert_eq!(second.code(), Code::Denied);
        assert!(Journal::open(folder.path(), "-1-of-2", true).is_ok());
        drop(first);
        assert!(Journal::open(folder.path(), "", true).is_ok());
    }

    #[test]
    fn a_file_stands_as_long_as_its_bytes_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, "abc").unwrap();
        let digest = imgconv_stream::digest(Algorithm::Sha256, b"abc");
        let kept = Kept::look(folder.path(), "blob".into(), &digest, 3).unwrap();
        assert!(kept.stands(folder.path()));
        // Another file with the same bytes.
        fs::remove_file(&path).unwrap();
        assert!(!kept.stands(folder.path()));
        fs::write(&path, "abc").unwrap();
        assert!(kept.stands(folder.path()));
        fs::write(&path, "abd").unwrap();
        assert!(!kept.stands(folder.path()));
        fs::write(&path, "abcd").unwrap();
        assert!(!kept.stands(folder.path()));
        assert!(Kept::look(folder.path(), "blob".into(), &digest, 3).is_err());
    }

    // K42
    #[test]
    fn a_changed_line_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(folder.path(), "", true).unwrap();
        journal.note("one", &layer()).unwrap();
        journal.note("two", &layer()).unwrap();
        drop(journal);
        let text = fs::read_to_string(&path).unwrap();
        // Keys exchanged, a digit changed, and a line of the form before checksums.
        let old = text.lines().next().unwrap().split_once(' ').unwrap().1;
        let changed = text
            .replace("\"one\"", "\"three\"")
            .replace("\"size\":7", "\"size\":8");
        fs::write(&path, format!("{changed}{old}\n")).unwrap();
        let journal = Journal::open(folder.path(), "", true).unwrap();
        for key in ["one", "two", "three"] {
            assert!(journal.recall(key).is_none(), "{key}");
        }
        assert_eq!(journal.damaged, 2);
        assert_eq!(journal.others, BTreeMap::from([("1".to_owned(), 1)]));
        drop(journal);
        fs::write(&path, text).unwrap();
        let journal = Journal::open(folder.path(), "", true).unwrap();
        assert!(journal.recall("one").is_some() && journal.recall("two").is_some());
    }

    // K42
    #[test]
    fn only_a_plain_file_of_ours_is_a_journal() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join("d").join(name);
        let victim = folder.path().join("victim");
        fs::write(&victim, "data of somebody else\n").unwrap();
        let open = || Journal::open(&at(""), "", false).map(drop);
        open().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&at("")), mode(&at("journal.jsonl"))), (0o700, 0o600));
        for name in ["journal.jsonl", "journal-1-of-2.jsonl"] {
            let refused = |why: &str| {
                let error = open().unwrap_err();
                assert_eq!(error.code(), Code::Denied, "{error}");
                assert!(error.to_string().contains(why), "{name}: {error}");
                assert!(error.to_string().contains(name), "{error}");
                let _ = fs::remove_file(at(name)).or_else(|_| fs::remove_dir(at(name)));
            };
            let _ = fs::remove_file(at(name));
            std::os::unix::fs::symlink(&victim, at(name)).unwrap();
            refused("symbolic link");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                at(name),
                rustix::fs::FileType::Fifo,
                Mode::RWXU,
                0,
            )
            .unwrap();
            refused("not a regular file");
            fs::create_dir(at(name)).unwrap();
            refused("not a regular file");
            fs::hard_link(&victim, at(name)).unwrap();
            refused("2 names");
            for mode in [0o666, 0o620, 0o602] {
                fs::write(at(name), "").unwrap();
                fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
                refused("others can write to it");
            }
        }
        // A file with another name is no journal.
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("zz.jsonl"),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        open().unwrap();
        // A directory that others could write to is made private; a link is refused.
        fs::set_permissions(at(""), fs::Permissions::from_mode(0o777)).unwrap();
        open().unwrap();
        assert_eq!(mode(&at("")), 0o700);
        fs::rename(at(""), folder.path().join("e")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("e"), folder.path().join("d")).unwrap();
        let error = Journal::open(&folder.path().join("d"), "", false).unwrap_err();
        assert_eq!(error.code(), Code::Denied);
        assert_eq!(
            fs::read_to_string(victim).unwrap(),
            "data of somebody else\n"
        );
    }

    // K42
    #[test]
    fn a_path_that_leads_out_leads_to_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("d");
        fs::create_dir(&root).unwrap();
        fs::write(folder.path().join("secret"), "abc").unwrap();
        fs::write(root.join("own"), "abc").unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        std::os::unix::fs::symlink("own", root.join("link")).unwrap();
        let digest = imgconv_stream::digest(Algorithm::Sha256, b"abc");
        let kept = Kept::look(&root, "own".into(), &digest, 3).unwrap();
        assert!(kept.stands(&root));
        let absolute = folder.path().join("secret").to_string_lossy().into_owned();
        for path in ["../secret", "up/secret", "link", "./own", "", &absolute] {
            let path = path.to_owned();
            assert!(
                !Kept {
                    path,
                    ..kept.clone()
                }
                .stands(&root)
            );
        }
    }
}
