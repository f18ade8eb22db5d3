//! Reading: one root, and blobs, which are found and verified by their digests.

use std::{path::Path, sync::Arc};

use imgconv_fs::{Directory, StoredBlob};
use imgconv_manifest as manifest;
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extras, Facts, Open,
    Result, Root, RootEntry, StoredBlobs, quote,
};
use imgconv_stream::{digest, read_document};

use crate::files::{MANIFEST_END, MANIFEST_FILE, VERSION_FILE, VERSION_START};

/// A directory that is read.
#[derive(Debug)]
pub(crate) struct DirBundle {
    locator: String,
    directory: Arc<Directory>,
    /// The manifest, as it was when the directory was opened.
    root: Document,
    digest: Digest,
}

impl DirBundle {
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let directory = Directory::open(Path::new(rest))?;
        let locator = format!("dir:{rest}");
        Self::load(directory, locator.clone(), env).map_err(|error| error.at(locator))
    }

    fn load(directory: Directory, locator: String, env: &Env) -> Result<Self> {
        let limits = &env.limits;
        let marker = directory.read(VERSION_FILE, ("layout_file", limits.layout_file))?;
        if let Some(marker) = marker {
            check_version(&marker)?;
        }
        let limit = ("manifest", limits.manifest);
        let Some(bytes) = directory.read(MANIFEST_FILE, limit)? else {
            let message = format!("file {MANIFEST_FILE} is missing, so there is no image");
            return Err(Error::new(Code::Missing, message));
        };
        let kind = manifest::kind_of(&bytes, limits, MANIFEST_FILE)?;
        let signatures = directory
            .names("")?
            .iter()
            .filter(|name| is_signature(name))
            .count();
        if signatures > 0 {
            let message = format!("{signatures} signature files are not read and not carried over");
            env.notes.warn("signatures-ignored", &*locator, message);
        }
        Ok(Self {
            locator,
            directory: Arc::new(directory),
            digest: digest(Algorithm::Sha256, &bytes),
            root: Document {
                kind,
                bytes: bytes.into(),
            },
        })
    }

    /// Finds a blob under one of its names; also returns its name for messages.
    fn find(&self, facts: &Facts) -> Result<(StoredBlob, String)> {
        let Some(digest) = facts.digest else {
            let message = "a blob of a directory is found by its digest, and none is known";
            return Err(Error::new(Code::Missing, message).at(self.locator.clone()));
        };
        let names = names(&digest, self.digest);
        for name in names {
            let (facts, what) = (facts.clone(), format!("file {name}"));
            let found =
                StoredBlob::find(&self.directory, name, facts, &self.locator, what.clone())?;
            if let Some(blob) = found {
                return Ok((blob, what));
            }
        }
        let message = format!("blob {digest} is not in the directory");
        Err(Error::new(Code::Missing, message).at(self.locator.clone()))
    }
}

/// Lists the names that a blob may have, the usual first.
fn names(digest: &Digest, root: Digest) -> Vec<String> {
    let hex = digest.hex();
    let mut names = vec![hex.clone(), format!("{hex}{MANIFEST_END}")];
    if digest.algorithm() != Algorithm::Sha256 {
        // Newer versions of skopeo write the algorithm if it is not SHA-256.
        let long = format!("{}-{hex}", digest.algorithm().as_str());
        names.extend([long.clone(), format!("{long}{MANIFEST_END}")]);
    }
    if *digest == root {
        names.push(MANIFEST_FILE.to_owned());
    }
    names
}

fn check_version(marker: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(marker).unwrap_or_default().trim_end();
    match text.strip_prefix(VERSION_START) {
        Some(version) if version.starts_with("1.") => Ok(()),
        Some(version) => {
            let message = format!("version {} is not supported, only 1.x is", quote(version));
            Err(Error::new(Code::Unsupported, message).at(format!("file {VERSION_FILE}")))
        }
        None => {
            let message = format!(
                "expected `{VERSION_START}1.1`, found {}",
                quote(marker.get(..80).unwrap_or(marker))
            );
            Err(Error::new(Code::BadManifest, message).at(format!("file {VERSION_FILE}")))
        }
    }
}

/// `signature-N`; for a manifest that an index lists, `HEX.signature-N`.
fn is_signature(name: &str) -> bool {
    let (start, number) = match name.rsplit_once("signature-") {
        Some((start, number)) => (start, number),
        None => return false,
    };
    (start.is_empty() || start.ends_with('.'))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

impl Bundle for DirBundle {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        let child = Child {
            kind: self.root.kind.clone(),
            digest: self.digest,
            size: self.root.bytes.len() as u64,
            platform: None,
            annotations: Default::default(),
            raw: String::new(),
        };
        Ok(vec![RootEntry::only(Some(child))])
    }

    fn root(&self, _: &RootEntry) -> Result<Root> {
        Ok(Root::Document(self.root.clone()))
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let (blob, what) = self.find(facts)?;
        let document = read_document(blob.open()?, kind, facts, limit, &what);
        document.map_err(|error| error.at(self.locator.clone()))
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        Ok(Blob {
            facts: facts.clone(),
            bytes: Arc::new(self.find(facts)?.0),
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            stored: Some(self),
            ..Extras::default()
        }
    }
}

impl StoredBlobs for DirBundle {
    /// Files whose names are no digests are not listed.
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        let names = self.directory.names("");
        let names = names.map_err(|error| error.at(self.locator.clone()))?;
        let read = |name: &String| {
            let hex = name.strip_suffix(MANIFEST_END).unwrap_or(name);
            match hex.strip_prefix("sha512-") {
                Some(hex) => Digest::from_hex(Algorithm::Sha512, hex),
                None => Digest::from_hex(Algorithm::Sha256, hex)
                    .or_else(|| Digest::from_hex(Algorithm::Sha512, hex)),
            }
        };
        let mut found: Vec<Digest> = names.iter().filter_map(read).collect();
        found.push(self.digest);
        found.sort();
        found.dedup();
        Ok(Some(found))
    }

    fn stored_as(&self, digest: &Digest) -> Digest {
        *digest
    }
}
