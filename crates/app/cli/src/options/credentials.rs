//! The options about the user's identity on a server.

use std::path::PathBuf;

use clap::Args;
use imgconv::{Code, Credential, Error, HostHeader, Network, Result, Secret};

use super::network::pairs;
use crate::environment;

/// Credentials of registries and of other servers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Credentials")]
pub(crate) struct Credentials {
    /// The only file of credentials to read, as `docker login` and `podman login` write it
    #[arg(
        long,
        value_name = "FILE",
        env = "REGISTRY_AUTH_FILE",
        value_parser = environment::file_of_variable(),
        hide_env_values = true
    )]
    authfile: Option<PathBuf>,
    /// Credentials for a host; other users of this machine can see them (repeatable)
    #[arg(long, value_name = "HOST=USER:PASSWORD")]
    creds: Vec<String>,
    /// Send the credentials of a registry to its token server on another host (repeatable)
    #[arg(long, value_name = "HOST=TOKEN-HOST")]
    token_host: Vec<String>,
    /// Send a header to one appc server; other users of this machine can see it (repeatable)
    #[arg(long, value_name = "HOST=NAME:VALUE")]
    host_header: Vec<String>,
}

impl Credentials {
    /// Sets the options in the settings of the network.
    ///
    /// # Errors
    /// [`Code::Usage`] if a value is malformed.
    pub(crate) fn apply(&self, network: &mut Network) -> Result<()> {
        let auth_file = self
            .authfile
            .clone()
            .filter(|file| !file.as_os_str().is_empty());
        if let Some(file) = &auth_file {
            let readable = std::fs::metadata(file);
            readable
                .map_err(|error| Error::io(error, format!("`--authfile {}`", file.display())))?;
        }
        let auth_file = auth_file.map(|file| vec![file]);
        network.auth_files = auth_file.unwrap_or_else(environment::auth_files);
        for text in &self.creds {
            // The message does not repeat the value, which contains a password.
            let bad = || Error::new(Code::Usage, "`--creds` is not `HOST=USER:PASSWORD`");
            let (host, pair) = text.split_once('=').ok_or_else(bad)?;
            let (user, password) = pair.split_once(':').ok_or_else(bad)?;
            let (user, password) = (user.to_owned(), Secret::new(password));
            let credential = Credential::Basic { user, password };
            network.credentials.push((host.to_owned(), credential));
        }
        for text in &self.host_header {
            // The message does not repeat the value, which may be a secret.
            let bad = || Error::new(Code::Usage, "`--host-header` is not `HOST=NAME:VALUE`");
            let (host, header) = text.split_once('=').ok_or_else(bad)?;
            let (name, value) = header.split_once(':').ok_or_else(bad)?;
            network.host_headers.push(HostHeader {
                host: host.to_owned(),
                name: name.trim().to_ascii_lowercase(),
                value: Secret::new(value.trim()),
            });
        }
        network.token_hosts = pairs("--token-host", &self.token_host)?;
        Ok(())
    }
}
