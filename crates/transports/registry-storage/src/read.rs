//! The images of a storage of either version, and the bytes behind them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_fs::{Directory, StoredBlob};
use imgconv_manifest::{TarSum, kind_of};
use imgconv_model::{
    Blob, Bundle, Code, Digest, Document, Env, Error, Extras, Facts, Limits, Name, NamedBlobs,
    Parts, Repositories, Result, Root, RootEntry, StoredBlobs, TopLevel, quote,
};
use imgconv_stream::read_document;

use crate::{
    head::Source,
    links::{Links, has_tar_sums, tar_sum},
    paths::blob_path,
    v1::{self, Layer},
    v2,
};

/// An open storage: all of it, or the view of some of its repositories.
#[derive(Debug)]
pub(crate) struct Storage {
    shared: Arc<Shared>,
    /// The repositories whose links resolve tar sums; empty for the whole storage, since one tar
    /// sum may mean different blobs in different repositories.
    repositories: Vec<String>,
    /// The views made so far, by their repositories.
    views: Mutex<BTreeMap<Vec<String>, Arc<Self>>>,
}

/// The contents of a storage.
#[derive(Debug)]
struct Shared {
    locator: String,
    directory: Arc<Directory>,
    limits: Limits,
    roots: Vec<RootEntry>,
    /// The source of each root, by its position.
    sources: Vec<Source>,
    /// The repositories of each root, by its position; none for an image of version 1.
    holders: Vec<Vec<String>>,
    /// The repositories of a root that have links for tar sums, by its position.
    tar_sums: BTreeMap<usize, Vec<String>>,
    /// The blobs that only the registry itself refers to.
    own: BTreeSet<Digest>,
    /// Every repository of version 2.
    repositories: Vec<String>,
    links: Links,
}

impl Shared {
    /// Finds a blob by its stored digest, else by the links of the repositories. Also returns the
    /// digest under which it is stored.
    fn find(&self, digest: &Digest) -> Result<Option<(File, Digest)>> {
        if let Some((file, _)) = self.directory.file(&blob_path(digest))? {
            return Ok(Some((file, *digest)));
        }
        let (directory, limits) = (&self.directory, &self.limits);
        let linked = self
            .links
            .stored(digest, &self.repositories, directory, limits);
        let Some(stored) = linked else {
            return Ok(None);
        };
        let found = self.directory.file(&blob_path(&stored))?;
        Ok(found.map(|(file, _)| (file, stored)))
    }
}

impl Storage {
    /// Lists the tags, and the images without a tag. Errors of an image are reported when it is
    /// read.
    pub(crate) fn open(rest: &str, env: &Env) -> Result<Self> {
        let locator = format!("registry-storage:{rest}");
        let directory = Directory::open(Path::new(rest))?;
        Self::list(directory, &locator, env).map_err(|error| error.at(locator.clone()))
    }

    fn list(directory: Directory, locator: &str, env: &Env) -> Result<Self> {
        let (is_v2, is_v1) = (v2::is_there(&directory)?, v1::is_there(&directory)?);
        if !is_v2 && !is_v1 {
            let message = "there is neither `docker/registry/v2` nor `images` and `repositories`";
            return Err(Error::new(Code::Missing, message)
                .hint("name the storage's root directory, such as /var/lib/registry"));
        }
        let mut storage = Shared {
            locator: locator.to_owned(),
            directory: Arc::new(directory),
            limits: env.limits,
            roots: Vec::new(),
            sources: Vec::new(),
            holders: Vec::new(),
            tar_sums: BTreeMap::new(),
            own: BTreeSet::new(),
            repositories: Vec::new(),
            links: Links::default(),
        };
        let host = checked_host(env)?;
        let mut heads = Vec::new();
        if is_v2 {
            let listed = v2::heads(&storage.directory, host, env)?;
            heads.extend(listed.heads);
            storage.own = listed.signatures;
            storage.repositories = listed.repositories;
        }
        if is_v1 {
            heads.extend(v1::heads(&storage.directory, host, env)?);
        }
        let directory = Arc::clone(&storage.directory);
        let mut linking = BTreeSet::new();
        for repository in &storage.repositories {
            if has_tar_sums(repository, &directory)? {
                linking.insert(repository.clone());
            }
        }
        for (position, mut head) in heads.into_iter().enumerate() {
            storage.holders.push(head.repositories.clone());
            head.repositories.retain(|one| linking.contains(one));
            if !head.repositories.is_empty() {
                storage.tar_sums.insert(position, head.repositories);
            }
            storage.roots.push(RootEntry {
                position,
                name: head.name,
                texts: head.texts,
                child: head.child,
                error: None,
                ambiguous: None,
            });
            storage.sources.push(head.source);
        }
        Ok(Self {
            shared: Arc::new(storage),
            repositories: Vec::new(),
            views: Mutex::default(),
        })
    }

    fn manifest(&self, digest: &Digest) -> Result<Document> {
        let facts = Facts::of(*digest);
        let document = self.document("", &facts, ("manifest", self.shared.limits.manifest))?;
        let kind = kind_of(&document.bytes, &self.shared.limits, "manifest")
            .map_err(|error| error.at(digest.to_string()))?;
        Ok(Document { kind, ..document })
    }

    fn read_root(&self, source: &Source) -> Result<Document> {
        match source {
            Source::Manifest(digest) => self.manifest(digest),
            Source::Image(id) => {
                v1::chain(&self.shared.directory, id, &self.shared.limits).map(|c| c.document)
            }
            Source::Broken(error) => Err(error.again()),
        }
    }

    /// Returns the blob for a tar sum; the digest in the link is verified, the sum is not.
    fn tar_sum(&self, text: &str, sum: &TarSum) -> Result<Blob> {
        let Shared {
            directory, limits, ..
        } = &*self.shared;
        let digest = tar_sum(text, sum, &self.repositories, directory, limits)?;
        self.blob(&Facts::of(digest))
    }

    /// Names the storage as the outermost place, once.
    fn at(&self, error: Error) -> Error {
        match error.places().first() {
            Some(place) if *place == self.shared.locator => error,
            _ => error.at(self.shared.locator.clone()),
        }
    }
}

/// Returns the host at the start of names.
fn checked_host(env: &Env) -> Result<Option<&str>> {
    let Some(host) = env.places.registry_host.as_deref() else {
        return Ok(None);
    };
    let whole = format!("{host}/x");
    match Name::parse_reference(&whole) {
        Ok(name) if name.repository.as_deref() == Some(&*whole) => Ok(Some(host)),
        _ => {
            let message = format!("{} is not the host of a registry", quote(host));
            Err(Error::new(Code::Usage, message).hint("write it as `HOST` or `HOST:PORT`"))
        }
    }
}

impl Bundle for Storage {
    fn locator(&self) -> String {
        self.shared.locator.clone()
    }

    fn roots(&self) -> Result<Vec<RootEntry>> {
        Ok(self.shared.roots.clone())
    }

    fn root(&self, entry: &RootEntry) -> Result<Root> {
        let source = self.shared.sources.get(entry.position).ok_or_else(|| {
            let message = format!("there is no entry #{}", entry.position);
            self.at(Error::new(Code::Missing, message))
        })?;
        let document = self.read_root(source);
        document.map(Root::Document).map_err(|error| self.at(error))
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
            let message = "a blob of a registry is found by its digest, and none is known";
            return Err(self.at(Error::new(Code::Missing, message)));
        };
        let absent = || {
            let message = format!("blob {digest} is not in the storage");
            self.at(Error::new(Code::Missing, message))
        };
        let found = self.shared.find(&digest);
        let (_, stored) = found.map_err(|error| self.at(error))?.ok_or_else(absent)?;
        let (directory, locator) = (&self.shared.directory, &self.shared.locator);
        let (path, name) = (blob_path(&stored), format!("blob {digest}"));
        let found = StoredBlob::find(directory, path, facts.clone(), locator, name)?;
        Ok(Blob {
            facts: facts.clone(),
            bytes: Arc::new(found.ok_or_else(absent)?),
        })
    }

    fn extras(&self) -> Extras<'_> {
        Extras {
            members: Some(self),
            parts: Some(self),
            repositories: Some(self),
            stored: Some(self),
            ..Extras::default()
        }
    }
}

impl NamedBlobs for Storage {
    /// Returns the layer of an image of version 1, or the blob of a tar sum.
    fn member(&self, name: &str, _: &Facts) -> Result<Blob> {
        if let Some(sum) = TarSum::parse(name) {
            return self.tar_sum(name, &sum).map_err(|error| self.at(error));
        }
        let layer = Layer::find(
            Arc::clone(&self.shared.directory),
            name,
            &self.shared.limits,
        );
        let (layer, size) = layer.map_err(|error| self.at(error))?;
        Ok(Blob {
            facts: Facts {
                digest: None,
                size: Some(size),
            },
            bytes: Arc::new(layer),
        })
    }

    fn layer_of(&self, _: &Digest) -> Result<Option<(String, Blob)>> {
        Ok(None)
    }
}

impl Parts for Storage {
    /// Returns the view of an entry's repositories, if they have links for tar sums.
    fn part(&self, entry: &RootEntry) -> Result<Option<(Arc<dyn Bundle>, RootEntry)>> {
        let Some(repositories) = self.shared.tar_sums.get(&entry.position) else {
            return Ok(None);
        };
        if !self.repositories.is_empty() {
            return Ok(None);
        }
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let view = views.entry(repositories.clone()).or_insert_with(|| {
            Arc::new(Self {
                shared: Arc::clone(&self.shared),
                repositories: repositories.clone(),
                views: Mutex::default(),
            })
        });
        Ok(Some((Arc::clone(view) as Arc<dyn Bundle>, entry.clone())))
    }

    /// A storage has no list with fields of its own.
    fn top_levels(&self, _: &[RootEntry]) -> Vec<(String, TopLevel)> {
        Vec::new()
    }
}

impl Repositories for Storage {
    fn share(&self, one: &RootEntry, other: &RootEntry) -> bool {
        let holders = |entry: &RootEntry| self.shared.holders.get(entry.position);
        match (holders(one), holders(other)) {
            (Some(ones), Some(others)) => ones.iter().any(|holder| others.contains(holder)),
            _ => false,
        }
    }
}

impl StoredBlobs for Storage {
    fn stored_as(&self, digest: &Digest) -> Digest {
        match self.shared.find(digest) {
            Ok(Some((_, stored))) => stored,
            Ok(None) | Err(_) => *digest,
        }
    }

    /// Lists the blobs of version 2, without the signatures that an old registry stored separately.
    fn stored(&self) -> Result<Option<Vec<Digest>>> {
        let mut found = v2::blobs(&self.shared.directory).map_err(|error| self.at(error))?;
        found.retain(|digest| !self.shared.own.contains(digest));
        Ok(v2::is_there(&self.shared.directory)?.then_some(found))
    }
}
