//! The promises of a transport to those who write to a place and read from it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use imgconv_model::{
    Blob, Bundle, BundleSink, Child, Code, Digest, Env, Error, Facts, Platform, Publication,
    Result, Root, Transport,
};

use crate::sha256_hex;

/// Returns the blob that has the digest in these facts.
pub type Find = fn(&dyn Bundle, &Facts) -> Result<Blob>;

/// A transport that writes to local paths.
#[derive(Clone, Copy, Debug)]
pub struct Writable {
    /// The transport.
    pub transport: &'static dyn Transport,
    /// The name of the file or directory that is written.
    pub name: &'static str,
    /// Writes an image and returns its publication.
    pub write: fn(&dyn BundleSink) -> Publication,
    /// Other bytes that were written with the image.
    pub blobs: &'static [&'static [u8]],
    /// Finds a blob; `None` if the place is one stream without blobs.
    pub find: Option<Find>,
}

/// Returns the digest and the size of bytes.
pub fn facts(bytes: &[u8]) -> Facts {
    let digest = format!("sha256:{}", sha256_hex(bytes));
    Facts {
        digest: Some(Digest::parse(&digest).unwrap()),
        size: Some(bytes.len() as u64),
    }
}

/// Writes a blob.
///
/// # Panics
/// If the blob can't be written.
pub fn put(sink: &dyn BundleSink, bytes: &[u8]) -> Digest {
    try_put(sink, bytes).unwrap();
    facts(bytes).digest.unwrap()
}

/// Writes a blob, which the place may refuse.
///
/// # Errors
/// The errors of the place.
pub(super) fn try_put(sink: &dyn BundleSink, bytes: &[u8]) -> Result<()> {
    let Facts { digest, size } = facts(bytes);
    let mut writer = sink.writer()?;
    writer.write_all(bytes).map_err(Error::from_io)?;
    writer.finish(&digest.unwrap(), size.unwrap())
}

/// Writes a root and returns its publication without a name.
///
/// # Panics
/// If the root can't be written.
pub fn put_root(sink: &dyn BundleSink, kind: &str, bytes: &[u8]) -> Publication {
    put(sink, bytes);
    publication(kind, bytes)
}

/// Returns the publication of a root without a name.
pub(super) fn publication(kind: &str, bytes: &[u8]) -> Publication {
    let digest = facts(bytes).digest.unwrap();
    Publication {
        root: Child::new(kind, digest, bytes.len() as u64),
        name: None,
        reference: None,
        file_name: None,
    }
}

/// Finds a blob by its digest, as most places do.
///
/// # Errors
/// The errors of the place.
pub fn by_digest(bundle: &dyn Bundle, facts: &Facts) -> Result<Blob> {
    bundle.blob(facts)
}

/// Reads a blob to its end.
///
/// # Errors
/// The error of the blob.
pub fn read(blob: &Blob) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match blob.open()?.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::from_io(error)),
    }
}

/// Reads the first entry of a place, which is a stream.
///
/// # Panics
/// If the entry can't be read, or is a document.
pub fn stream(bundle: &dyn Bundle) -> Vec<u8> {
    let roots = bundle.roots().unwrap();
    match bundle.root(&roots[0]).unwrap() {
        Root::Stream(blob) => read(&blob).unwrap(),
        Root::Document(document) => panic!("a document: {}", document.kind),
    }
}

/// Returns a file, or everything below a directory, with contents.
pub(super) fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    if folder.is_file() {
        return BTreeMap::from([(PathBuf::new(), fs::read(folder).unwrap())]);
    }
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, Vec::new());
                open.push(path);
            } else {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A folder that holds only the files of a sink.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn env(&self) -> Env {
        Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }

    fn path(&self, writable: &Writable) -> PathBuf {
        self.0.path().join(writable.name)
    }

    fn create(&self, writable: &Writable) -> Box<dyn BundleSink> {
        let path = self.path(writable);
        let sink = writable
            .transport
            .create(path.to_str().unwrap(), &self.env());
        sink.unwrap()
    }

    fn open(&self, writable: &Writable) -> Result<Box<dyn Bundle>> {
        let path = self.path(writable);
        writable.transport.open(path.to_str().unwrap(), &self.env())
    }

    /// Writes the image and makes it visible; returns its publication as the place lists it.
    fn commit(&self, writable: &Writable) -> Publication {
        let sink = self.create(writable);
        let mut publications = [(writable.write)(&*sink)];
        let places = sink.finish(&mut publications).unwrap();
        assert_eq!(places.len(), 1, "one place for each publication");
        let [publication] = publications;
        publication
    }
}

pub(super) fn fails<T: Debug>(result: Result<T>, code: Code) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
}

impl Writable {
    /// Checks all laws.
    ///
    /// # Panics
    /// If a law is broken.
    pub fn keeps_the_laws(&self) {
        self.nothing_is_visible_before_the_commit();
        self.a_dropped_sink_leaves_no_trace();
        self.what_was_written_is_read_again();
        self.absent_and_wrong_blobs_are_told_apart();
        self.the_same_writes_make_the_same_bytes();
    }

    fn nothing_is_visible_before_the_commit(&self) {
        let folder = Folder::new();
        let sink = folder.create(self);
        let publication = (self.write)(&*sink);
        let Child { digest, size, .. } = publication.root;
        assert!(sink.has(&digest, size).unwrap());
        assert!(!sink.has(&digest, size + 1).unwrap());
        assert!(!folder.path(self).exists());
        assert!(folder.open(self).is_err());
        sink.commit(&[publication]).unwrap();
        assert!(folder.path(self).exists());
        // No other file is left, such as a directory in which the place was made.
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
    }

    fn a_dropped_sink_leaves_no_trace(&self) {
        let folder = Folder::new();
        let sink = folder.create(self);
        (self.write)(&*sink);
        drop(sink);
        assert_eq!(tree(folder.0.path()), BTreeMap::new());
        folder.commit(self);
        let before = tree(folder.0.path());
        let path = folder.path(self);
        // A place that accepts no additions refuses the second sink.
        let again = self.transport.create(path.to_str().unwrap(), &folder.env());
        if let Ok(sink) = again {
            (self.write)(&*sink);
            drop(sink);
        }
        assert_eq!(tree(folder.0.path()), before);
    }

    fn what_was_written_is_read_again(&self) {
        let folder = Folder::new();
        let publication = folder.commit(self);
        let bundle = folder.open(self).unwrap();
        let roots = bundle.roots().unwrap();
        assert_eq!(roots.len(), 1);
        assert_eq!(bundle.listing().unwrap().len(), 1);
        for (position, entry) in roots.iter().enumerate() {
            assert_eq!(entry.position, position, "positions count from 0");
            entry.check().unwrap();
            let resolved = bundle.resolve(entry).unwrap();
            if let Some(child) = &entry.child {
                assert_eq!(resolved.child.unwrap().digest, child.digest);
                assert_eq!(child.digest, publication.root.digest);
            }
            match bundle.root(entry).unwrap() {
                Root::Document(document) => assert!(!document.bytes.is_empty()),
                Root::Stream(blob) => {
                    let bytes = read(&blob).unwrap();
                    assert_eq!(facts(&bytes).digest, Some(publication.root.digest));
                }
            }
        }
        // The order and the texts are the same every time.
        let texts = |bundle: &dyn Bundle| -> Vec<_> {
            let roots = bundle.roots().unwrap().into_iter();
            roots.map(|root| (root.position, root.texts)).collect()
        };
        assert_eq!(texts(&*bundle), texts(&*folder.open(self).unwrap()));
        if let Some(find) = self.find {
            for bytes in self.blobs {
                let blob = find(&*bundle, &facts(bytes)).unwrap();
                assert_eq!(read(&blob).unwrap(), *bytes);
                // A blob can be opened again.
                assert_eq!(read(&blob).unwrap(), *bytes);
            }
        }
    }

    fn absent_and_wrong_blobs_are_told_apart(&self) {
        let Some(find) = self.find else {
            return;
        };
        let folder = Folder::new();
        folder.commit(self);
        let bundle = folder.open(self).unwrap();
        let get = |facts: &Facts| read(&find(&*bundle, facts)?);
        fails(get(&facts(b"never written")), Code::Missing);
        for bytes in self.blobs {
            for size in [bytes.len() as u64 + 1, bytes.len() as u64 - 1] {
                let wrong = Facts {
                    size: Some(size),
                    ..facts(bytes)
                };
                fails(get(&wrong), Code::Mismatch);
            }
        }
    }

    fn the_same_writes_make_the_same_bytes(&self) {
        let made = || {
            let folder = Folder::new();
            folder.commit(self);
            tree(folder.0.path())
        };
        assert_eq!(made(), made());
    }
}
