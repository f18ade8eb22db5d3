//! The rows of robustness.md, section L, that are a registry's own.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod chunks;
mod cuts;
mod laws;
mod login;
mod mirrors;
mod pull;
mod push;
mod whole;

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use imgconv_model::{
    Bundle, BundleSink, Child, Code, Credential, Digest, Env, Error, Facts, Name, Network,
    Platform, Publication, Root, Secret, Timeouts, Transport as _,
};
use imgconv_testkit::{
    registry::{Registry, Stored, answer, digest_of},
    server::{Authority, Reply, Request, Server},
};
use imgconv_transport_registry::REGISTRY;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn env() -> Env {
    env_with(Network::default())
}

pub(crate) fn env_with(network: Network) -> Env {
    let mut env = Env::new(std::env::temp_dir(), Platform::new("linux", "amd64"));
    env.network = Arc::new(Network {
        timeouts: Timeouts {
            first_wait: Duration::from_millis(5),
            ..Timeouts::default()
        },
        ..network
    });
    env
}

/// Credentials of the user `u` with the password `hunter2` on a server.
pub(crate) fn login(server: &Server) -> Network {
    let (user, password) = ("u".to_owned(), Secret::new("hunter2"));
    Network {
        credentials: vec![(server.authority(), Credential::Basic { user, password })],
        ..Network::default()
    }
}

/// What `Authorization` says for that user.
pub(crate) const BASIC: &str = "Basic dTpodW50ZXIy";

pub(crate) fn open(registry: &Registry, name: &str, env: &Env) -> Result<Box<dyn Bundle>, Error> {
    let locator = registry.locator(name);
    REGISTRY.open(locator.strip_prefix("docker:").unwrap(), env)
}

pub(crate) fn create(registry: &Registry, name: &str, env: &Env) -> Box<dyn BundleSink> {
    let locator = registry.locator(name);
    REGISTRY
        .create(locator.strip_prefix("docker:").unwrap(), env)
        .unwrap()
}

/// Reads the manifest that a name means.
pub(crate) fn manifest(registry: &Registry, name: &str, env: &Env) -> Result<Vec<u8>, Error> {
    let bundle = open(registry, name, env)?;
    let entries = bundle.roots()?;
    match bundle.root(&entries[0])? {
        Root::Document(document) => Ok(document.bytes.to_vec()),
        Root::Stream(_) => panic!("a manifest is a document"),
    }
}

pub(crate) fn facts(digest: &str, size: usize) -> Facts {
    Facts {
        digest: Some(Digest::parse(digest).unwrap()),
        size: Some(size as u64),
    }
}

pub(crate) fn read_blob(bundle: &dyn Bundle, facts: &Facts) -> Result<Vec<u8>, Error> {
    imgconv_testkit::laws::read(&bundle.blob(facts)?)
}

pub(crate) fn write_blob(sink: &dyn BundleSink, bytes: &[u8]) -> Result<(), Error> {
    let mut writer = sink.writer()?;
    writer.write_all(bytes).map_err(Error::from_io)?;
    let digest = Digest::parse(&digest_of(bytes)).unwrap();
    writer.finish(&digest, bytes.len() as u64)
}

pub(crate) fn publication(bytes: &[u8], tag: &str) -> Publication {
    let (repository, tag) = (Some("example.com/x".to_owned()), Some(tag.to_owned()));
    Publication {
        root: Child {
            kind: MANIFEST.into(),
            digest: Digest::parse(&digest_of(bytes)).unwrap(),
            size: bytes.len() as u64,
            platform: None,
            annotations: Default::default(),
            raw: String::new(),
        },
        name: Some(Name {
            repository,
            tag,
            digest: None,
        }),
        reference: None,
        file_name: None,
    }
}
