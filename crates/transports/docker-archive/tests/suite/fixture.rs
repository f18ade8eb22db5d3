//! Archives made by hand.

use std::{fs, path::PathBuf};

use imgconv_model::{
    Algorithm, Bundle, Code, Digest, Env, Error, Facts, Platform, Result, Root, Transport,
};
use imgconv_tar::{END, Entry, EntryKind, head, padding};
pub(crate) use imgconv_testkit::laws::read;
use imgconv_transport_docker_archive::DOCKER_ARCHIVE;
use tempfile::TempDir;

pub(crate) fn env() -> Env {
    Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"))
}

pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> Digest {
    imgconv_stream::digest(Algorithm::Sha256, bytes.as_ref())
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    sha256(bytes).hex()
}

/// An id that is easy to tell from others.
pub(crate) fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A tar that grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn entry(mut self, name: &str, kind: EntryKind, link: &str, body: &[u8]) -> Self {
        let entry = Entry {
            size: body.len() as u64,
            link: link.into(),
            ..Entry::new(name, kind)
        };
        self.0.extend(head(&entry).unwrap());
        self.0.extend(body);
        self.0.extend(&END[..padding(body.len() as u64)]);
        self
    }

    pub(crate) fn file(self, name: &str, body: impl AsRef<[u8]>) -> Self {
        self.entry(name, EntryKind::Regular, "", body.as_ref())
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryKind::Symlink, target, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryKind::HardLink, target, b"")
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.entry(name, EntryKind::Directory, "", b"")
    }

    /// A blob of a layout.
    pub(crate) fn blob(self, body: impl AsRef<[u8]>) -> Self {
        let name = format!("blobs/sha256/{}", hex(body.as_ref()));
        self.file(&name, body)
    }

    /// The archive to its end.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.0[..], &END].concat()
    }

    pub(crate) fn save(&self) -> Saved {
        Saved::new(&self.bytes())
    }

    pub(crate) fn open(&self) -> Box<dyn Bundle> {
        self.save().open().unwrap()
    }

    /// The error of opening the archive, or else of its first image or the name of that.
    pub(crate) fn fails(&self) -> Error {
        let bundle = match self.save().open() {
            Ok(bundle) => bundle,
            Err(error) => return error,
        };
        let entry = &bundle.roots().unwrap()[0];
        let ambiguous = entry.ambiguous.as_ref().map(|error| error.again());
        ambiguous
            .or_else(|| bundle.bad_name(entry))
            .unwrap_or_else(|| bundle.root(entry).unwrap_err())
    }

    /// Checks the code of the error of its first image, and that it names all of `parts`.
    #[track_caller]
    pub(crate) fn refused(&self, code: Code, parts: &[&str]) {
        names(&self.fails(), code, parts);
    }
}

#[track_caller]
pub(crate) fn names(error: &Error, code: Code, parts: &[&str]) {
    assert_eq!(error.code(), code, "{error}");
    for part in parts {
        assert!(
            error.to_string().contains(part),
            "{error} does not name {part}"
        );
    }
}

/// A file that is removed at the end.
#[derive(Debug)]
pub(crate) struct Saved {
    _directory: TempDir,
    pub(crate) path: PathBuf,
}

impl Saved {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("archive");
        fs::write(&path, bytes).unwrap();
        Self {
            _directory: directory,
            path,
        }
    }

    pub(crate) fn open(&self) -> Result<Box<dyn Bundle>> {
        self.open_with(&env())
    }

    pub(crate) fn open_with(&self, env: &Env) -> Result<Box<dyn Bundle>> {
        DOCKER_ARCHIVE.open(self.path.to_str().unwrap(), env)
    }

    pub(crate) fn recognised(&self) -> bool {
        DOCKER_ARCHIVE.recognise(&self.path).unwrap()
    }
}

/// What a member holds; its content is read, so that everything is verified.
pub(crate) fn member(bundle: &dyn Bundle, name: &str) -> Result<Vec<u8>> {
    read(&bundle.member(name, &Facts::default())?)
}

/// Every entry point: its name, its position, and the text of its root document.
pub(crate) fn roots(bundle: &dyn Bundle) -> Vec<(String, usize, String)> {
    let entries = bundle.roots().unwrap();
    let read = |entry| {
        let Root::Document(document) = bundle.root(entry).unwrap() else {
            panic!("a document");
        };
        let child = entry.child.as_ref().unwrap();
        assert_eq!(child.digest, sha256(&document.bytes));
        assert_eq!(child.size, document.bytes.len() as u64);
        assert_eq!(child.kind, document.kind);
        let limit = ("manifest", 1 << 20);
        let again = bundle.document(&child.kind, &child.facts(), limit).unwrap();
        assert_eq!(again, document);
        let name = entry.name.as_ref().map(ToString::to_string);
        let text = String::from_utf8(document.bytes.to_vec()).unwrap();
        (name.unwrap_or_default(), entry.position, text)
    };
    entries.iter().map(read).collect()
}

/// The warnings of opening an archive.
pub(crate) fn warnings(tar: &Tar) -> Vec<(&'static str, String)> {
    let env = env();
    tar.save().open_with(&env).unwrap();
    let report = env.notes.take();
    let pair = |warning: imgconv_model::Warning| (warning.code, warning.at);
    report.warnings.into_iter().map(pair).collect()
}
