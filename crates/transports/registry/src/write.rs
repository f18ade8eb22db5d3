//! Writing: blobs are uploaded while they are made, manifests are held back until all blobs are
//! stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use imgconv_http::Client;
use imgconv_json::{Value, parse};
use imgconv_model::{
    BlobWriter, BundleSink, Code, Digest, Env, Error, Limits, Publication, Report, Result,
    RootNames, SinkExtras, TopLevel, Transfers,
};

use crate::{
    location::Location,
    session::Session,
    upload::{Upload, exists, mount},
};

/// A repository that is written.
#[derive(Debug)]
pub struct RegistrySink {
    pub(crate) location: Location,
    pub(crate) session: Arc<Session>,
    pub(crate) held: Arc<Held>,
    /// The answers to manifests with a digest other than SHA-256: true if the registry accepted the
    /// digest.
    pub(crate) named: Mutex<BTreeMap<Digest, bool>>,
    pub(crate) env: Env,
}

/// The documents that are held back as possible manifests, and the blobs that the registry has.
#[derive(Debug, Default)]
pub(crate) struct Held {
    documents: Mutex<BTreeMap<Digest, Arc<[u8]>>>,
    blobs: Mutex<BTreeSet<(Digest, u64)>>,
}

impl Held {
    /// Says whether bytes look like a manifest, which is stored in another way than a blob. Other
    /// documents that look like one are uploaded at the end.
    pub(crate) fn wants(&self, bytes: &[u8], limits: &Limits) -> bool {
        bytes.len() as u64 <= limits.manifest
            && bytes.trim_ascii_start().starts_with(b"{")
            && parse(bytes, limits, "document")
                .is_ok_and(|value| value.get("schemaVersion").is_some_and(Value::is_number))
    }

    pub(crate) fn put(&self, digest: Digest, bytes: Arc<[u8]>) {
        let mut documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        documents.insert(digest, bytes);
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        let documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        documents.get(digest).cloned()
    }

    /// Records that a blob is in the repository.
    pub(crate) fn note(&self, digest: Digest, size: u64) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert((digest, size));
    }

    fn knows(&self, digest: &Digest, size: u64) -> bool {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let document = self.get(digest);
        blobs.contains(&(*digest, size)) || document.is_some_and(|bytes| bytes.len() as u64 == size)
    }
}

impl RegistrySink {
    /// Prepares a repository for writing. Nothing is sent yet.
    ///
    /// # Errors
    /// If a certificate or key that the user named can't be read.
    pub fn create(location: Location, env: &Env) -> Result<Self> {
        let client = Client::new(env)?;
        let place = (location.server(), &*location.repository);
        let session = Session::new(&client, place, location.qualified(), true, env)?;
        Ok(Self {
            location,
            session: Arc::new(session),
            held: Arc::default(),
            named: Mutex::default(),
            env: env.clone(),
        })
    }
}

/// The repository of a locator, if it is in the same registry.
fn neighbour(own: &Location, locator: &str) -> Option<String> {
    let other = Location::parse(locator.strip_prefix("docker:")?).ok()?;
    (other.host == own.host).then_some(other.repository)
}

impl BundleSink for RegistrySink {
    fn locator(&self) -> String {
        self.location.to_string()
    }

    fn has(&self, digest: &Digest, size: u64) -> Result<bool> {
        if self.held.knows(digest, size) {
            return Ok(true);
        }
        let mut there = exists(&self.session, digest, size)?;
        for neighbour in self.session.neighbours() {
            there = there || mount(&self.session, digest, &neighbour)?;
        }
        if there {
            self.held.note(*digest, size);
        }
        Ok(there)
    }

    fn writer(&self) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(Upload::new(&self.session, &self.held, &self.env)))
    }

    fn extras(&self) -> SinkExtras<'_> {
        SinkExtras {
            transfers: Some(self),
            root_names: Some(self),
            ..SinkExtras::default()
        }
    }

    /// The place has no list of entry points with fields of its own.
    fn set_top_level(&mut self, _: TopLevel) {}

    fn finish(self: Box<Self>, publications: &mut [Publication]) -> Result<Vec<String>> {
        if publications.is_empty() {
            return Err(Error::new(Code::Missing, "there is no image to write"));
        }
        self.publish(publications)
            .map_err(|error| error.at(self.locator()))
    }
}

impl Transfers for RegistrySink {
    /// Blobs can be mounted from a repository of the same registry.
    fn comes_from(&self, locator: &str) {
        if let Some(repository) = neighbour(&self.location, locator) {
            self.session.add_neighbour(repository);
        }
    }

    fn take_over(&self, digest: &Digest, locator: &str) -> Result<bool> {
        match neighbour(&self.location, locator) {
            Some(repository) => mount(&self.session, digest, &repository),
            None => Ok(false),
        }
    }
}

impl RootNames for RegistrySink {
    fn name_roots(&self, publications: &[Publication]) -> Result<Report> {
        self.name_unusual(publications)
            .map_err(|error| error.at(self.locator()))
    }
}
