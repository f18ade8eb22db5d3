//! The address of a container engine on this machine or another one, as `DOCKER_HOST` has it, and a
//! client for the HTTP API of such an engine (<https://docs.docker.com/reference/api/engine/>).
//!
//! An engine may need minutes before it sends the first byte of an answer: it packs an image before it
//! sends the image, and unpacks an image before it confirms it. So the waits are longer than for a
//! server, and there is no lowest rate. A cancelled run ends every wait.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use imgconv_fs::is_file;
use imgconv_model::{
    ClientCertificate, Code, Env, Error, Network, Result, Timeouts, quote, without_userinfo,
};

use crate::{Client, Url, local::LocalSocket, url::split_port};

/// The longest wait for an engine that works on an image.
const LONGEST: Duration = Duration::from_secs(3600);

/// The address of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress {
    /// The text that the user gave.
    text: String,
    /// The socket, for an engine on this machine.
    socket: Option<PathBuf>,
    /// The URL of the root of the API.
    base: Url,
}

impl EngineAddress {
    /// Reads an address: `unix://PATH`, `tcp://HOST[:PORT]`, `http://HOST[:PORT]` or
    /// `https://HOST[:PORT]`. `tls` says that `tcp` means TLS.
    ///
    /// # Errors
    /// [`Code::Usage`] for any other text, [`Code::Unsupported`] for a kind of address that docker
    /// knows and this program does not.
    pub fn parse(text: &str, tls: bool) -> Result<Self> {
        let shown = || quote(without_userinfo(text));
        let usage = |why: &str| {
            Error::new(Code::Usage, format!("{} {why}", shown())).hint(
                "the address of an engine is `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`",
            )
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(usage("is no address of an engine"));
        };
        let (secure, default) = match scheme {
            "unix" if rest.is_empty() => return Err(usage("has no path")),
            "unix" => {
                return Ok(Self {
                    text: text.to_owned(),
                    socket: Some(PathBuf::from(rest)),
                    base: Url::parse("http://localhost/")?,
                });
            }
            "tcp" if tls => (true, "2376"),
            "tcp" => (false, "2375"),
            "http" => (false, "2375"),
            "https" => (true, "2376"),
            "ssh" | "npipe" | "fd" => {
                let message = format!("an engine at {} can't be reached", shown());
                return Err(Error::new(Code::Unsupported, message).hint(
                    "for `ssh://HOST`, `ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock HOST` makes a \
                     socket here: `--docker-host unix:///tmp/engine.sock`",
                ));
            }
            _ => return Err(usage("is no address of an engine")),
        };
        let authority = rest.trim_end_matches('/');
        if authority.contains('/') {
            return Err(usage("has a path, and the API of an engine has none"));
        }
        let authority = match split_port(authority).1 {
            Some(_) => authority.to_owned(),
            None => format!("{authority}:{default}"),
        };
        let scheme = if secure { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{authority}/"));
        Ok(Self {
            text: text.to_owned(),
            socket: None,
            base: base.map_err(|_| usage("has no valid host"))?,
        })
    }

    /// Returns the URL of the root of the API.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Returns the address for messages, without secrets.
    pub fn shown(&self) -> String {
        without_userinfo(&self.text)
    }

    /// Makes a client for the engine. Opens no connection. `certificates` is the directory with
    /// `ca.pem`, `cert.pem` and `key.pem` for TLS; a file that is not there is not used.
    ///
    /// # Errors
    /// If a certificate can't be read.
    pub fn client(&self, certificates: Option<&Path>, env: &Env) -> Result<Client> {
        let mut network = Network {
            tls_verify: env.network.tls_verify,
            trust_files: env.network.trust_files.clone(),
            trust_directories: env.network.trust_directories.clone(),
            ca_files: env.network.ca_files.clone(),
            client_certificate: env.network.client_certificate.clone(),
            timeouts: Timeouts {
                response: LONGEST,
                idle: LONGEST,
                lowest_rate: 0,
                ..env.network.timeouts
            },
            ..Network::default()
        };
        if let Some(directory) = certificates.filter(|_| self.base.is_https()) {
            let file = |name: &str| -> Result<Option<PathBuf>> {
                let path = directory.join(name);
                Ok(is_file(&path)?.then_some(path))
            };
            if let Some(authority) = file("ca.pem")? {
                network.trust_files = vec![authority];
                network.trust_directories = Vec::new();
            }
            if let (Some(chain), Some(key)) = (file("cert.pem")?, file("key.pem")?) {
                network.client_certificate = Some(ClientCertificate { chain, key });
            }
        }
        let env = Env {
            network: Arc::new(network),
            ..env.clone()
        };
        match &self.socket {
            Some(path) => Client::at_socket(&env, LocalSocket { path: path.clone() }),
            None => Client::new(&env),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_engine_is_a_socket_or_a_host() {
        for (text, tls, base, socket) in [
            (
                "unix:///run/docker.sock",
                true,
                "http://localhost/",
                Some("/run/docker.sock"),
            ),
            ("unix://d.sock", false, "http://localhost/", Some("d.sock")),
            ("tcp://10.0.0.1", false, "http://10.0.0.1:2375/", None),
            ("tcp://h.example:99", true, "https://h.example:99/", None),
            ("https://h.example/", false, "https://h.example:2376/", None),
        ] {
            let address = EngineAddress::parse(text, tls).unwrap();
            assert_eq!(address.base().as_str(), base, "{text}");
            assert_eq!(address.socket.as_deref(), socket.map(Path::new), "{text}");
        }
        for (text, code) in [
            ("", Code::Usage),
            ("/var/run/docker.sock", Code::Usage),
            ("unix://", Code::Usage),
            ("tcp://h/x", Code::Usage),
            ("tcp://user:hunter2@h", Code::Usage),
            ("ftp://h", Code::Usage),
            ("ssh://h", Code::Unsupported),
        ] {
            let error = EngineAddress::parse(text, false).unwrap_err();
            assert_eq!(error.code(), code, "{text}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
