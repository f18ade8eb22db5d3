//! The options of every command that reads a place which may be on a server.

use std::sync::Arc;

use clap::Args;
use imgconv::{Env, Network, Result};

use super::{credentials::Credentials, network::NetworkOptions, places::Places, trust::Trust};
use crate::environment;

/// Options of every command that takes a locator: all kinds of places, on disk or on a server.
#[derive(Clone, Debug, Args)]
pub(crate) struct Access {
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    server: Server,
}

/// Options of every command that may connect to a server.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    #[command(flatten)]
    network: NetworkOptions,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    trust: Trust,
}

impl Access {
    /// Sets the options in an environment.
    ///
    /// # Errors
    /// As [`Server::apply`].
    pub(crate) fn apply(&self, mut env: Env) -> Result<Env> {
        self.places.apply(&mut env);
        self.server.apply(env)
    }
}

impl Server {
    /// Sets the options in an environment, together with what environment variables say about proxies
    /// and certificates.
    ///
    /// # Errors
    /// [`Code::Usage`](imgconv::Code::Usage) if a value is malformed, or the error of a
    /// certificate directory that can't be read.
    pub(crate) fn apply(&self, mut env: Env) -> Result<Env> {
        let mut network = Network::default();
        self.network.apply(&mut network, &mut env.limits)?;
        self.credentials.apply(&mut network)?;
        self.trust.apply(&mut network);
        environment::proxies(&mut network);
        environment::trusted(&mut network);
        for header in &network.host_headers {
            env.secrets.add(header.value.expose());
        }
        env.network = Arc::new(network);
        Ok(env)
    }
}
