//! The rows L19 of robustness.md: registries that speak the API v1.

#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod access;
mod hostile;
mod laws;
mod pull;

use std::{path::PathBuf, sync::Arc, time::Duration};

use imgconv_model::{
    Bundle, Env, Error, Facts, Network, Platform, Root, RootEntry, Timeouts, Transport as _,
};
use imgconv_testkit::{
    ImageRecipe,
    laws::read,
    registry_v1::{RegistryV1, Settings},
    server::{Reply, Request},
    stores,
};
use imgconv_transport_registry_v1::REGISTRY_V1;
use serde_json::Value;

/// The repository of the samples.
pub(crate) const APP: &str = "example.com/app";

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

pub(crate) fn env() -> Env {
    env_with(Network::default())
}

/// A storage with two images of two layers, of which the base is the same.
pub(crate) struct Storage {
    folder: tempfile::TempDir,
    /// The ids of the top layers.
    pub(crate) tops: Vec<String>,
}

impl Storage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tops = stores::registry_v1(&ImageRecipe::samples(false), folder.path()).unwrap();
        Self { folder, tops }
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::of(self.folder.path())
    }

    pub(crate) fn serve(&self) -> RegistryV1 {
        RegistryV1::start(self.settings())
    }

    pub(crate) fn lying(
        &self,
        hook: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> RegistryV1 {
        RegistryV1::start_with(self.settings(), None, hook)
    }

    /// Returns the path of a file of an image.
    pub(crate) fn file(&self, id: &str, name: &str) -> PathBuf {
        self.folder.path().join(format!("images/{id}/{name}"))
    }

    /// Replaces a file of an image.
    pub(crate) fn put(&self, id: &str, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.file(id, name), text).unwrap();
    }

    pub(crate) fn bytes(&self, id: &str, name: &str) -> Vec<u8> {
        std::fs::read(self.file(id, name)).unwrap()
    }

    /// Returns the id of the base of the first image.
    pub(crate) fn base(&self) -> String {
        let list: Vec<String> =
            serde_json::from_slice(&self.bytes(&self.tops[0], "ancestry")).unwrap();
        list[1].clone()
    }
}

pub(crate) fn open(registry: &RegistryV1, name: &str, env: &Env) -> Result<Box<dyn Bundle>, Error> {
    let locator = registry.locator(name);
    REGISTRY_V1.open(locator.strip_prefix("dockerv1:").unwrap(), env)
}

/// Reads the layers of an entry, base first.
pub(crate) fn layers(bundle: &dyn Bundle, entry: &RootEntry) -> Result<Vec<Vec<u8>>, Error> {
    let Root::Document(document) = bundle.root(entry)? else {
        panic!("an image of version 1 is a document");
    };
    let document: Value = serde_json::from_slice(&document.bytes).unwrap();
    let layers = document["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| read(&bundle.member(layer["layer"].as_str().unwrap(), &Facts::default())?))
        .collect()
}

/// Reads the layers of the image that a name means.
pub(crate) fn pull(registry: &RegistryV1, name: &str, env: &Env) -> Result<Vec<Vec<u8>>, Error> {
    let bundle = open(registry, name, env)?;
    let entries = bundle.roots()?;
    layers(&*bundle, &entries[0])
}
