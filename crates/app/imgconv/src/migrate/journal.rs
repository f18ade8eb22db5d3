//! The journal of a migration: what was done and stands at the destination, durable before anything
//! relies on it. It is why the same command goes on where it was ended.
//!
//! A directory holds one file for each share of the work, which only its process writes, under a
//! lock; all of them are read. A line is a JSON document. What can't be read, as the last line of a
//! process that was killed, says nothing and is passed over: a lost line costs work, never an image.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use imgconv_model::{
    Child, Code, Compression, Digest, Error, Name, Platform, Publication, Result, SealedLayer,
    Step, quote,
};
use imgconv_pipeline::Memory;
use imgconv_stream::file_state;
use imgconv_tags::Labels;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest line that is read: that of an image with thousands of layers.
const LINE: u64 = 64 << 20;

/// A journal that is read and written.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    layers: Mutex<BTreeMap<String, SealedLayer>>,
    images: BTreeMap<String, Done>,
}

/// An image that was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// What becomes visible.
    publications: Vec<Published>,
    /// Every file that it needs there.
    pub(crate) files: Vec<Kept>,
    /// What is told of it.
    pub(crate) outcomes: Box<RawValue>,
    /// The image tags that mean it: repository, tag and labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String, Labels)>,
}

/// A file at the destination, as it was when it was complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its path below the destination.
    pub(crate) path: String,
    /// The digest of its bytes, if it is known.
    pub(crate) digest: Option<String>,
    /// Their number.
    pub(crate) size: u64,
    /// What the file system says of it.
    state: String,
}

impl Kept {
    /// Looks at a complete file.
    ///
    /// # Errors
    /// If it is not there, or not of that size.
    pub(crate) fn look(root: &Path, path: String, digest: &Digest, size: u64) -> Result<Self> {
        let found = Self::look_at(root, path)?;
        if found.size != size {
            return Err(Error::mismatch("the size", size, found.size).at(quote(&found.path)));
        }
        let digest = Some(digest.to_string());
        Ok(Self { digest, ..found })
    }

    /// Looks at a complete file of which no digest is known.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn look_at(root: &Path, path: String) -> Result<Self> {
        let place = root.join(&path);
        let at = || quote(place.as_os_str().as_encoded_bytes());
        let metadata = fs::symlink_metadata(&place).map_err(|error| Error::io(error, at()))?;
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

    /// Says whether the file is still there, and as it was: by what the file system says of it, and
    /// where that differs by reading all of it.
    pub(crate) fn stands(&self, root: &Path) -> bool {
        let path = root.join(&self.path);
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            return false;
        };
        if !metadata.is_file() || metadata.len() != self.size {
            return false;
        }
        file_state(&metadata) == self.state || self.holds(&path).unwrap_or(false)
    }

    fn holds(&self, path: &Path) -> Result<bool> {
        let Some(digest) = &self.digest else {
            return Ok(false);
        };
        let digest = Digest::parse(digest)?;
        let file = File::open(path).map_err(Error::from_io)?;
        let reader = imgconv_stream::HashingReader::new(file, &[digest.algorithm()]);
        let (found, size) = reader.finish().map_err(Error::from_io)?;
        Ok(found[0] == digest && size == self.size)
    }
}

/// A [`Publication`] in words.
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
        let name = self.name.clone();
        Ok(Publication {
            root: Child {
                platform,
                annotations: self.annotations.clone(),
                raw: self.raw.clone(),
                ..Child::new(&*self.kind, Digest::parse(&self.digest)?, self.size)
            },
            name: name
                .map(|(repository, tag, digest)| -> Result<Name> {
                    let digest = digest.as_deref().map(Digest::parse).transpose()?;
                    Ok(Name {
                        repository,
                        tag,
                        digest,
                    })
                })
                .transpose()?,
            reference: None,
            file_name: self.file_name.clone(),
        })
    }
}

impl Done {
    /// Puts down what was done.
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
        }
    }

    /// Returns what becomes visible.
    ///
    /// # Errors
    /// If what was put down is none.
    pub(crate) fn publications(&self) -> Result<Vec<Publication>> {
        self.publications.iter().map(Published::read).collect()
    }
}

/// A [`SealedLayer`] in words.
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

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<T, L> {
    /// What an image became.
    Image(String, T),
    /// What a layer became.
    Layer(String, L),
}

impl Journal {
    /// Opens the journal of a share of the work, and makes it if there is none.
    ///
    /// # Errors
    /// [`Code::Denied`] if another process does the same share, [`Code::Io`] if it can't be written.
    pub(crate) fn open(directory: &Path, share: &str) -> Result<Self> {
        let at = |path: &Path| quote(path.as_os_str().as_encoded_bytes());
        match fs::create_dir(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(error, at(directory)));
            }
            _ => {}
        }
        let path = directory.join(format!("journal{share}.jsonl"));
        let opened = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        let file = opened.map_err(|error| Error::io(error, at(&path)))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = "another migration is at work here";
                return Err(Error::new(Code::Denied, message)
                    .at(at(&path))
                    .hint("wait for it, or give each a share: `--shard I/N`"));
            }
            Err(TryLockError::Error(error)) => return Err(Error::io(error, at(&path))),
        }
        let mut journal = Self {
            path,
            file: Mutex::new(file),
            layers: Mutex::default(),
            images: BTreeMap::new(),
        };
        journal.read(directory)?;
        journal.end_line()?;
        Ok(journal)
    }

    /// Reads what all shares have done, also those of other runs.
    fn read(&mut self, directory: &Path) -> Result<()> {
        let at = |path: &Path| quote(path.as_os_str().as_encoded_bytes());
        let failed = |error| Error::io(error, at(directory));
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|end| end == "jsonl") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let failed = |error| Error::io(error, at(&path));
            let mut reader = BufReader::new(File::open(&path).map_err(failed)?);
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
        match serde_json::from_slice::<Line<Done, Layer>>(line) {
            Ok(Line::Image(key, done)) => {
                self.images.insert(key, done);
            }
            Ok(Line::Layer(key, layer)) => {
                let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(layer) = layer.read() {
                    layers.insert(key, layer);
                }
            }
            Err(_) => {}
        }
    }

    /// What a killed process left half written must not swallow the next line.
    fn end_line(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| Error::io(error, quote(self.path.as_os_str().as_encoded_bytes()));
        let length = file.metadata().map_err(failed)?.len();
        if length == 0 {
            return Ok(());
        }
        let mut last = [b'\n'];
        file.seek(SeekFrom::Start(length - 1))
            .and_then(|_| file.read_exact(&mut last))
            .map_err(failed)?;
        match last {
            [b'\n'] => Ok(()),
            _ => file.write_all(b"\n").map_err(failed),
        }
    }

    /// Returns what was done for a key.
    pub(crate) fn image(&self, key: &str) -> Option<&Done> {
        self.images.get(key)
    }

    /// Puts down an image that was done.
    ///
    /// # Errors
    /// If the line can't be made durable.
    pub(crate) fn note_image(&self, key: &str, done: &Done) -> Result<()> {
        self.append(&Line::<&Done, ()>::Image(key.to_owned(), done))
    }

    fn append(&self, line: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::value::to_raw_value(line)
            .map(|text| text.get().as_bytes().to_vec())
            .map_err(|error| Error::new(Code::Io, error.to_string()))?;
        bytes.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(|error| Error::io(error, quote(self.path.as_os_str().as_encoded_bytes())))
    }
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
    use super::*;
    use imgconv_model::Algorithm;

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
        let journal = Journal::open(&place, "").unwrap();
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
        bytes.extend(b"{\"image\":[\"torn\",{\"publ");
        fs::write(&path, bytes).unwrap();

        let journal = Journal::open(&place, "").unwrap();
        journal.note("after", &layer()).unwrap();
        assert!(journal.image("torn").is_none());
        drop(journal);
        // Another share sees it too.
        let journal = Journal::open(&place, "-1-of-2").unwrap();
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
        let first = Journal::open(folder.path(), "").unwrap();
        let second = Journal::open(folder.path(), "").unwrap_err();
        assert_eq!(second.code(), Code::Denied);
        assert!(Journal::open(folder.path(), "-1-of-2").is_ok());
        drop(first);
        assert!(Journal::open(folder.path(), "").is_ok());
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
}
