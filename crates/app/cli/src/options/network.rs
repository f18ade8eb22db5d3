//! The options of connections: TLS, plain http, mirrors.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use imgconv::{CertificateDirectory, Code, Error, Network, Result};

use crate::environment;

/// Options of connections to servers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkOptions {
    /// Verify certificates; `false` accepts any, and plain http too
    ///
    /// Without this option certificates are verified, and a registry on this machine may speak plain
    /// http. `false` holds for the servers that the command line names.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
    /// Speak plain http with this host, `HOST[:PORT]` (repeatable)
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
    /// Trust the `*.crt` files of a directory, and use its client certificate (repeatable)
    ///
    /// The client certificate is `*.cert` with its key `*.key`. A certificate of an authority is
    /// trusted for every server that the authority has signed; any other certificate is trusted for
    /// the server that presents it. Certificates for a single host are also read from the
    /// directories of docker and podman, such as `/etc/docker/certs.d/HOST:PORT`.
    #[arg(long, value_name = "DIR")]
    cert_dir: Vec<PathBuf>,
    /// Ask another host first for the content of a host (repeatable)
    ///
    /// A registry is asked for the content that its mirror lacks. The mirror of an appc host replaces
    /// the host for discovery pages, and is asked first for the ACIs, signatures and keys to which
    /// the pages lead.
    #[arg(long, value_name = "HOST=HOST[/PREFIX]")]
    mirror: Vec<String>,
}

impl NetworkOptions {
    /// Sets the options in the settings of the network.
    ///
    /// # Errors
    /// [`Code::Usage`] for a mirror that is not `HOST=HOST`, or the error of a certificate directory
    /// that can't be read.
    pub(crate) fn apply(&self, network: &mut Network) -> Result<()> {
        network.tls_verify = self.tls_verify;
        network.plain_http.clone_from(&self.plain_http);
        network.host_certificates = environment::certificates();
        for directory in &self.cert_dir {
            let found = CertificateDirectory::read(directory)?;
            network.ca_files.extend(found.ca_files);
            network.client_certificate = found.client.or(network.client_certificate.take());
        }
        network.mirrors = pairs("--mirror", &self.mirror)?;
        Ok(())
    }
}

/// Reads the values of an option that takes `HOST=HOST`.
///
/// # Errors
/// [`Code::Usage`] if a value has another form.
pub(super) fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let pair = text
            .split_once('=')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty());
        pair.map(|(a, b)| (a.to_owned(), b.to_owned()))
            .ok_or_else(|| Error::new(Code::Usage, format!("`{option} {text}` is not `HOST=HOST`")))
    };
    texts.iter().map(pair).collect()
}
