//! The user's settings of the network: plain data. The command line fills them in; this module does
//! not connect, and reads nothing from the environment.

use std::{
    any::Any,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The user's settings of servers, certificates and credentials.
///
/// A *host* here is `HOST` or `HOST:PORT` as in a locator; without a port it means every port of
/// that host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The user's choice whether certificates of named servers are verified. With `false`, a server
    /// that does not speak TLS at all is asked in plain http, as in skopeo. Without a choice,
    /// certificates are verified, and only a server on this machine may speak plain http.
    pub tls_verify: Option<bool>,
    /// Hosts that are asked in plain http only.
    pub plain_http: Vec<String>,
    /// The proxy for https, if there is one.
    pub https_proxy: Option<ProxySetting>,
    /// The proxy for plain http.
    pub http_proxy: Option<ProxySetting>,
    /// The hosts that are reached without a proxy, as `NO_PROXY` lists them.
    pub no_proxy: String,
    /// Files of certificates (PEM) that are trusted instead of the system's (`SSL_CERT_FILE`).
    pub trust_files: Vec<PathBuf>,
    /// Directories of such files (`SSL_CERT_DIR`). Without files and directories, the system's
    /// certificates are trusted.
    pub trust_directories: Vec<PathBuf>,
    /// Files of certificates (PEM) that are trusted in addition.
    pub ca_files: Vec<PathBuf>,
    /// A certificate chain and its private key (both PEM), shown only to hosts that the user named.
    pub client_certificate: Option<ClientCertificate>,
    /// Directories whose subdirectories `HOST[:PORT]` hold certificates for that host alone, like
    /// the `certs.d` of docker and podman.
    pub host_certificates: Vec<PathBuf>,
    /// User and password of a host from the command line. They take precedence over every file.
    pub credentials: Vec<(String, Credential)>,
    /// Files in the form of docker's `config.json` (podman's `auth.json` is the same); the first
    /// file with an entry for a host counts. A file that does not exist is skipped.
    pub auth_files: Vec<PathBuf>,
    /// Token servers on another host that may receive the credentials of a registry: `(HOST, HOST
    /// of the token server)`.
    pub token_hosts: Vec<(String, String)>,
    /// Mirrors that are asked before a host: `(HOST, HOST[/PREFIX])`, in order.
    pub mirrors: Vec<(String, String)>,
    /// The files that may be `registries.conf`.
    pub registries: RegistriesFiles,
    /// The time limits of the network.
    pub timeouts: Timeouts,
    /// Take images without a signature, or with a bad one (`--insecure-image`).
    pub insecure_image: bool,
    /// Fetch the public keys that a discovery page names; the user gave consent (robustness J8).
    pub fetch_pubkeys: bool,
    /// Files and directories with trusted public keys, directories as rkt lays them out.
    pub keyrings: Vec<PathBuf>,
    /// Headers for appc servers, each for exactly one host (robustness J7).
    pub host_headers: Vec<HostHeader>,
    /// What the clients of equal settings share.
    pub shared: Shared,
}

/// The files with podman's settings of registries (containers-registries.conf(5)). By default there is
/// none, and no setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesFiles {
    /// The file that the user named. It must exist, and no other file is read.
    pub only: Option<PathBuf>,
    /// The files of which the first that exists counts, each with the directories whose files `*.conf` are
    /// read after it. The directories of the last file are read even if no file exists.
    pub places: Vec<(PathBuf, Vec<PathBuf>)>,
    /// The file in which podman records the aliases of short names.
    pub recorded_aliases: Option<PathBuf>,
    /// The settings, once they are read.
    pub shared: Shared,
}

/// State that all parts of one run share, so that a job does not find out again what another job knows:
/// connections, certificates and facts about servers, or the contents of configuration files. Clones hold
/// the same state. The state is its user's own: this type only carries it.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Option<Arc<dyn Any + Send + Sync>>>>);

impl Shared {
    /// Returns the state if `fits` accepts it, or else makes a new state and keeps that.
    ///
    /// # Errors
    /// The error of `make`.
    pub fn get_or_make<T: Any + Send + Sync, E>(
        &self,
        fits: impl FnOnce(&T) -> bool,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slot.clone().and_then(|state| state.downcast::<T>().ok());
        if let Some(known) = known.filter(|known| fits(known)) {
            return Ok(known);
        }
        let made = Arc::new(make()?);
        *slot = Some(Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        Ok(made)
    }
}

/// Settings are equal whatever their clients have learned.
impl PartialEq for Shared {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shared {}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// A proxy, as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySetting {
    /// The origin of the setting, such as `HTTPS_PROXY`, for messages.
    pub source: String,
    /// `[http[s]://][USER:PASSWORD@]HOST[:PORT]`.
    pub url: Secret,
}

/// A certificate chain and its private key, both as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, the client's own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The credential of the user for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token for the token server (`identitytoken` in docker's file).
    IdentityToken(Secret),
}

/// A header that is sent to one host, such as a token for a private appc server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostHeader {
    /// `HOST` or `HOST:PORT`; https only.
    pub host: String,
    /// The header's name.
    pub name: String,
    /// The value of the header.
    pub value: Secret,
}

/// The time limits of the network (robustness, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The time for finding the address, connecting, and the TLS handshake.
    pub connect: Duration,
    /// The time from the end of the request to the end of the response's headers.
    pub response: Duration,
    /// The time without a single byte.
    pub idle: Duration,
    /// Bytes per second that a body must have on average over each `window`.
    pub lowest_rate: u64,
    /// The time over which the average is taken; only time spent waiting for the network counts.
    pub window: Duration,
    /// The wait before the second attempt; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest total wait between all attempts of one request.
    pub total_wait: Duration,
    /// The longest `Retry-After` that a request waits for.
    pub retry_after: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            lowest_rate: 1 << 10,
            window: Duration::from_secs(120),
            first_wait: Duration::from_millis(500),
            total_wait: Duration::from_secs(600),
            retry_after: Duration::from_secs(300),
        }
    }
}

/// A text that must not be shown: `Debug` hides it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let network = Network {
            credentials: vec![(
                "example.com".into(),
                Credential::Basic {
                    user: "u".into(),
                    password: Secret::new("hunter2"),
                },
            )],
            ..Network::default()
        };
        let shown = format!("{network:?}");
        assert!(
            shown.contains("***") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
