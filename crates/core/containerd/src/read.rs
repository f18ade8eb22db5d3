//! A root directory of containerd as a bundle.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use imgconv_fs::{Directory, StoredBlob, warn_if_held};
use imgconv_manifest::{KINDS, kind_of, references};
use imgconv_model::{
    Algorithm, Blob, Bundle, Child, Code, Digest, Document, Env, Error, Extracted, Extras, Facts,
    Limits, Name, Notes, Result, Root, RootEntry, StoredBlobs, mark_ambiguous,
};
use imgconv_stream::{Verified, read_document, read_to_limit};

use crate::{
    names::{self, Names},
    paths::{BLOBS, DATABASE},
    snapshots::{self, Snapshots},
};

/// A root directory of containerd that is read.
#[derive(Debug)]
pub struct Store {
    locator: String,
    directory: Arc<Directory>,
    entries: Vec<RootEntry>,
    /// The extracted layers, if the user asked for them.
    snapshots: Option<Snapshots>,
    limits: Limits,
    /// Takes the losses of layers.
    notes: Notes,
}

impl Store {
    /// Says whether a directory is a root directory of containerd: whether it has a content store.
    ///
    /// # Errors
    /// [`Code::Io`] if a call of the system failed.
    pub fn is_there(directory: &Directory) -> Result<bool> {
        directory.is_directory(BLOBS)
    }

    /// Lists the images by the database; by the blobs, if the database can't be read. `locator` names
    /// the place in messages.
    ///
    /// # Errors
    /// [`Code::Missing`] if the directory has no content store, or the namespace that `env` names
    /// has no images; the errors of the database if `env` names a namespace.
    pub fn open(directory: Directory, locator: &str, env: &Env) -> Result<Self> {
        if !Self::is_there(&directory)? {
            let message = format!("there is no folder `{BLOBS}`");
            return Err(Error::new(Code::Missing, message)
                .hint("name containerd's root directory, such as /var/lib/containerd"));
        }
        let mut store = Self {
            locator: locator.to_owned(),
            directory: Arc::new(directory),
            entries: Vec::new(),
            snapshots: None,
            limits: env.limits,
            notes: env.notes.clone(),
        };
        let databases = [DATABASE, &snapshots::database()];
        warn_if_held(&store.directory, &databases, locator, &env.notes);
        if env.places.from_snapshots {
            store.snapshots = Some(store.snapshots()?);
        }
        let wanted = env.places.namespace.as_deref();
        match store.names(wanted) {
            Ok(Some(names)) => {
                let missing = wanted.filter(|wanted| !names.namespaces.iter().any(|n| n == wanted));
                if let Some(wanted) = missing {
                    return Err(names::no_namespace(wanted, &names.namespaces));
                }
                store.list_named(names);
            }
            Ok(None) if wanted.is_some() => {
                let message = format!("there is no `{DATABASE}`, which has the namespaces");
                return Err(Error::new(Code::Missing, message)
                    .hint("without `--namespace` the images are found by their blobs"));
            }
            Ok(None) => {
                let message =
                    "there is no database; images are listed by their blobs, without names";
                env.notes.warn("no-database", DATABASE, message);
                store.list_blobs(env)?;
            }
            Err(error) if wanted.is_some() => return Err(error),
            Err(error) => {
                let message = format!("{error}; images are listed by their blobs, without names");
                env.notes.warn("damaged-database", DATABASE, message);
                store.list_blobs(env)?;
            }
        }
        Ok(store)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Says whether a blob is stored. Its bytes are not read.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        let found = self.directory.file(&path(digest));
        found.is_ok_and(|file| file.is_some())
    }

    /// Reads the list of snapshots.
    fn snapshots(&self) -> Result<Snapshots> {
        let path = snapshots::database();
        let at = |error: Error| error.at(format!("file {path}"));
        match self.directory.file(&path)? {
            Some((file, _)) => snapshots::read(file, &self.limits).map_err(at),
            None => Ok(Snapshots::default()),
        }
    }

    fn names(&self, wanted: Option<&str>) -> Result<Option<Names>> {
        let Some((file, _)) = self.directory.file(DATABASE)? else {
            return Ok(None);
        };
        let names = names::read(file, wanted, &self.limits);
        names
            .map(Some)
            .map_err(|error| error.at(format!("file {DATABASE}")))
    }

    fn list_named(&mut self, names: Names) {
        for named in names.images {
            let name = name(&named.name, &named.child.digest);
            let mut texts = vec![named.name.clone()];
            texts.extend(
                named
                    .namespaces
                    .iter()
                    .map(|space| format!("{space}/{}", named.name)),
            );
            self.push(name, texts, Some(named.child));
        }
        for (name, error) in names.broken {
            self.push(Name::parse_reference(&name).ok(), vec![name], None);
            if let Some(entry) = self.entries.last_mut() {
                entry.error = Some(Arc::new(error.at(format!("file {DATABASE}"))));
            }
        }
        mark_ambiguous(&mut self.entries, &format!("file {DATABASE}"));
    }

    fn push(&mut self, name: Option<Name>, texts: Vec<String>, child: Option<Child>) {
        self.entries.push(RootEntry {
            position: self.entries.len(),
            name,
            texts,
            child,
            error: None,
            ambiguous: None,
        });
    }

    /// Lists every manifest and index that no other one refers to, by digest.
    fn list_blobs(&mut self, env: &Env) -> Result<()> {
        let mut found = Vec::new();
        let mut referred: BTreeSet<Digest> = BTreeSet::new();
        for digest in self.digests()? {
            env.check_cancelled()?;
            let Some((file, size)) = self.directory.file(&path(&digest))? else {
                continue;
            };
            let Some(child) = self.manifest(file, size, &digest, &mut referred) else {
                continue;
            };
            found.push(child);
        }
        found.retain(|child| !referred.contains(&child.digest));
        for child in found {
            self.push(None, Vec::new(), Some(child));
        }
        Ok(())
    }

    /// Returns the descriptor of a blob that is a manifest or an index, and records the references
    /// in it.
    fn manifest(
        &self,
        file: File,
        size: u64,
        digest: &Digest,
        referred: &mut BTreeSet<Digest>,
    ) -> Option<Child> {
        if size > self.limits.manifest {
            return None;
        }
        let mut reader = std::io::BufReader::new(file);
        let first = std::io::BufRead::fill_buf(&mut reader)
            .ok()?
            .first()
            .copied();
        if first != Some(b'{') {
            return None;
        }
        let facts = Facts {
            digest: Some(*digest),
            size: Some(size),
        };
        let what = format!("blob {digest}");
        let verified = Verified::new(reader, &facts, &*what);
        let bytes = read_to_limit(verified, ("manifest", self.limits.manifest), &what).ok()?;
        let kind = kind_of(&bytes, &self.limits, &what).ok()?;
        if !KINDS.contains(&&*kind) {
            return None;
        }
        if let Ok(Some(list)) = references(&kind, &bytes, &self.limits) {
            referred.extend(list.list.iter().map(|reference| reference.digest));
        }
        Some(Child::new(kind, *digest, size))
    }

    /// Lists the digests of all blobs, in order.
    fn digests(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let names = self
                .directory
                .names(&format!("{BLOBS}/{}", algorithm.as_str()))?;
            found.extend(
                names
                    .iter()
                    .filter_map(|hex| Digest::from_hex(algorithm, hex)),
            );
        }
        Ok(found)
    }

    fn at(&self, error: Error) -> Error {
        error.at(self.locator.clone())
    }
}

/// Reads the name of an image. Docker keeps images without a tag under a text that is no name.
fn name(text: &str, digest: &Digest) -> Option<Name> {
    if text.starts_with("moby-dangling@") {
        return None;
    }
    let name = Name::parse_reference(text).ok()?;
    // A name with another digest does not name this image.
    name.digest.is_none_or(|own| own == *digest).then_some(name)
}

/// Returns the path of a blob below the root directory.
fn path(digest: &Digest) -> String {
    format!("{BLOBS}/{}/{}", digest.algorithm().as_str(), digest.hex())
}

impl Bundle for Store {
    fn locator(&self) -> String {
        self.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.entries.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let Some(child) = &entry.child else {
            let message = format!("entry #{} has no descriptor", entry.position);
            return Err(self.at(Error::new(Code::BadManifest, message)));
        };
        let limit = ("manifest", self.limits.manifest);
        self.document(&child.kind, &child.facts(), limit)
            .map(Root::Document)
    }

    fn document(&self, kind: &str, facts: &Facts, limit: (&'static str, u64)) -> Result<Document> {
        let blob = self.blob(facts)?;
        let what = match &facts.digest {
            Some(digest) => format!("document {digest}"),
            None => "document".to_owned(),
        };
        let document = read_document(blob.open()?, kind, facts, limit, &what);
        document.map_err(|error| self.at(error))
    }

    fn blob(&self, facts: &Facts) -> Result<Blob> {
        let Some(digest) = facts.digest else {
            let message = "a blob of containerd is found by its digest, and none is known";
            return Err(self.at(Error::new(Code::Missing, message)));
        };
        let (path, name) = (path(&digest), format!("blob {digest}"));
        let found = StoredBlob::find(&self.directory, path, facts.clone(), &self.locator, name)?;
        let stored = found.ok_or_else(|| {
            let message = format!("blob {digest} is not in the content store");
            let hint = match self.snapshots {
                None => {
                    "containerd fetches only the platforms that it runs, and may discard the blobs \
                     of layers that it extracted; pull the image again with `ctr image pull \
                     --all-platforms`, name a platform with `--platform`, or make the layers anew \
                     from their snapshots with `--from-snapshots`"
                }
                Some(_) => {
                    "containerd fetches only the platforms that it runs, and no snapshot has the \
                     files of that blob; pull the image again with `ctr image pull \
                     --all-platforms`, or name a platform with `--platform`"
                }
            };
            self.at(Error::new(Code::Missing, message).hint(hint))
        })?;
        Ok(Blob {
            facts: facts.clone(),
            bytes: Arc::new(stored),
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            stored: Some(self),
            extracted: Some(self),
            partial: true,
            ..Extras::default()
        }
    }
}

impl Extracted for Store {
    fn remake(&self, diff_ids: &[Digest]) -> Result<Option<Blob>> {
        let Some(snapshots) = &self.snapshots else {
            return Ok(None);
        };
        let made = snapshots.remake(&self.directory, diff_ids, &self.limits, &self.notes);
        made.map_err(|error| self.at(error))
    }
}

impl StoredBlobs for Store {
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        self.digests().map(Some).map_err(|error| self.at(error))
    }

    fn stored_as(&self, digest: &Digest) -> Digest {
        *digest
    }
}
