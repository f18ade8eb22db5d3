//! A repository that is written.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use imgconv_containers_conf::Registries;
use imgconv_http::Client;
use imgconv_model::{Digest, Env, Result};
use imgconv_registry::Location;

use crate::{held::Held, session::Session, sources::client_for};

/// A repository that is written.
#[derive(Debug)]
pub struct RegistrySink {
    pub(crate) location: Location,
    pub(crate) session: Arc<Session>,
    pub(crate) held: Arc<Held>,
    /// Whether the registry took a manifest by a digest of an unusual algorithm.
    pub(crate) named: Mutex<BTreeMap<Digest, bool>>,
    pub(crate) env: Env,
}

impl RegistrySink {
    /// Prepares a repository for writing: the named one, whatever `registries.conf` says about reading it.
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// If a certificate or key that the user named can't be read, if `registries.conf` can't, or
    /// [`Code::Denied`](imgconv_model::Code::Denied) if it blocks the repository.
    pub fn create(location: Location, env: &Env) -> Result<Self> {
        let own = Registries::of(&env.network)?.named(&location.qualified())?;
        if let Some(refusal) = own.refusal() {
            return Err(refusal);
        }
        let client = client_for(&own, &Client::new(env)?);
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
