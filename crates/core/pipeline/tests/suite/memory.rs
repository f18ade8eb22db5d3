//! Layers and a destination in memory.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use imgconv_model::{
    Algorithm, Blob, BlobWriter, BundleSink, Code, Compression, Digest, Env, Error, Facts, Layer,
    Open, Platform, Publication, Reader, Result, SinkExtras, TopLevel,
};
use imgconv_stream::{Encoding, Level, Pool, Verified, digest, encode};
use imgconv_tar::{END, Entry, EntryKind, head, padding};

pub(crate) type Stored = Arc<Mutex<Vec<(Digest, Vec<u8>)>>>;

/// A destination that remembers every blob, in the order in which they were finished.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) Stored);

impl Memory {
    /// How often a digest was written.
    pub(crate) fn count(&self, wanted: &Digest) -> usize {
        let stored = self.0.lock().unwrap();
        stored.iter().filter(|(found, _)| found == wanted).count()
    }

    pub(crate) fn get(&self, wanted: &Digest) -> Vec<u8> {
        let stored = self.0.lock().unwrap();
        let found = stored.iter().find(|(found, _)| found == wanted);
        found.unwrap().1.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl BundleSink for Memory {
    fn locator(&self) -> String {
        "memory".to_owned()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        let stored = self.0.lock().unwrap();
        Ok(stored
            .iter()
            .any(|(found, bytes)| found == digest && bytes.len() as u64 == size))
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Writer {
            stored: Arc::clone(&self.0),
            bytes: Vec::new(),
        }))
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras::default()
    }

    /// The place has no list of entry points that says anything of itself.
    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, _publications: &mut [Publication]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

struct Writer {
    stored: Stored,
    bytes: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.bytes.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter for Writer {
    fn finish(self: Box<Self>, claimed: &Digest, size: u64) -> Result<()> {
        assert_eq!(digest(claimed.algorithm(), &self.bytes), *claimed);
        assert_eq!(self.bytes.len() as u64, size);
        self.stored.lock().unwrap().push((*claimed, self.bytes));
        Ok(())
    }
}

pub(crate) fn env() -> Env {
    Env {
        jobs: 4,
        ..Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
    }
}

pub(crate) fn sha(bytes: &[u8]) -> Digest {
    digest(Algorithm::Sha256, bytes)
}

/// A tar of regular files: (path, content). A path that ends in `/` is a directory.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, content) in files {
        let directory = path.ends_with('/');
        let entry = Entry {
            mode: if directory { 0o755 } else { 0o644 },
            size: content.len() as u64,
            ..Entry::new(
                path.as_bytes().to_vec(),
                if directory {
                    EntryKind::Directory
                } else {
                    EntryKind::Regular
                },
            )
        };
        out.extend(head(&entry).unwrap());
        out.extend(content.as_bytes());
        out.resize(out.len() + padding(entry.size), 0);
    }
    out.extend(END);
    out
}

pub(crate) fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    let encoding = Encoding {
        compression,
        level: Level::Default,
    };
    let pool = Pool::new(1).unwrap();
    encode(&mut &*bytes, &mut out, &encoding, &[], &pool, &env(), 0).unwrap();
    out
}

/// Bytes that verify their digest and size, as the blobs of a transport do.
#[derive(Debug)]
struct Claimed {
    facts: Facts,
    bytes: Arc<[u8]>,
}

impl Open for Claimed {
    fn open(&self) -> Result<Reader> {
        let reader = io::Cursor::new(Arc::clone(&self.bytes));
        Ok(Box::new(Verified::new(
            reader,
            &self.facts,
            "blob".to_owned(),
        )))
    }
}

/// A stored layer: its blob has the claimed digest and size, and holds `tar`.
pub(crate) fn layer(tar: &[u8], compression: Compression) -> Layer {
    let bytes = compressed(tar, compression);
    let facts = Facts {
        digest: Some(sha(&bytes)),
        size: Some(bytes.len() as u64),
    };
    with_bytes(facts, &bytes, Some(sha(tar)))
}

/// A layer whose facts are claims that the bytes may not keep.
pub(crate) fn with_bytes(facts: Facts, bytes: &[u8], diff_id: Option<Digest>) -> Layer {
    let claimed = Claimed {
        facts: facts.clone(),
        bytes: bytes.into(),
    };
    Layer {
        blob: Blob {
            facts,
            bytes: Arc::new(claimed),
        },
        diff_id,
        kind: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// A layer whose blob can't be had.
pub(crate) fn absent(kind: &str, urls: &[&str]) -> Layer {
    #[derive(Debug)]
    struct Absent;
    impl Open for Absent {
        fn open(&self) -> Result<Reader> {
            Err(Error::new(Code::Missing, "not here"))
        }
    }
    Layer {
        blob: Blob {
            facts: Facts {
                digest: Some(sha(b"elsewhere")),
                size: Some(9),
            },
            bytes: Arc::new(Absent),
        },
        diff_id: Some(sha(b"its tar")),
        kind: Some(kind.to_owned()),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        annotations: BTreeMap::new(),
    }
}
