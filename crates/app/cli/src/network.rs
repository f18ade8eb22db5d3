//! The options of the network: which servers are trusted, and who the user is there.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use imgconv::CertificateDirectory;
use imgconv_model::{Code, Credential, Error, HostHeader, Network, Result, Secret};

/// Options of every command that may speak to a server.
#[derive(Clone, Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Verify the certificates of named servers; `false` also lets them speak plain http
    ///
    /// Without this option they are verified, and a registry on this machine may speak plain http.
    #[arg(long, global = true, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Network")]
    pub(crate) tls_verify: Option<bool>,
    /// Speak plain http with this host, `HOST[:PORT]` (repeatable)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "HOST",
        help_heading = "Network"
    )]
    pub(crate) plain_http: Vec<String>,
    /// Trust the `*.crt` of a directory, and show its `*.cert` and `*.key` (repeatable)
    ///
    /// An authority vouches for servers, any other certificate for the one that shows it.
    /// Those of one host are found where docker and podman keep them, such as
    /// `/etc/docker/certs.d/HOST:PORT`.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "DIR",
        help_heading = "Network"
    )]
    pub(crate) cert_dir: Vec<PathBuf>,
    /// The only file of credentials, as `docker login` and `podman login` write it
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "FILE",
        env = "REGISTRY_AUTH_FILE",
        help_heading = "Network"
    )]
    pub(crate) authfile: Option<PathBuf>,
    /// Credentials of a host; other users of this machine may see them (repeatable)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "HOST=USER:PASSWORD",
        help_heading = "Network"
    )]
    pub(crate) creds: Vec<String>,
    /// Let the token server of a registry see its credentials, if it has another name (repeatable)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "HOST=TOKEN-HOST",
        help_heading = "Network"
    )]
    pub(crate) token_host: Vec<String>,
    /// Ask another place first for what is on a host (repeatable)
    ///
    /// A registry is asked itself for what its mirror does not have. The mirror of a host of appc
    /// serves its discovery pages, in its place, and first the ACIs, signatures and keys that they
    /// lead to.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "HOST=HOST[/PREFIX]",
        help_heading = "Network"
    )]
    pub(crate) mirror: Vec<String>,
    /// A header for one appc server; other users of this machine may see it (repeatable)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "HOST=NAME:VALUE",
        help_heading = "Network"
    )]
    pub(crate) host_header: Vec<String>,
    /// Trust the OpenPGP keys of a file, or of a directory laid out as rkt's (repeatable)
    ///
    /// A directory holds `root.d/FINGERPRINT` and `prefix.d/NAME/FINGERPRINT`, or a folder
    /// `trustedkeys` with them. An ACI that is fetched needs a signature of a trusted key; that of
    /// a local one, in `FILE.asc`, is verified if it is there.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "PATH",
        help_heading = "Safety"
    )]
    pub(crate) keyring: Vec<PathBuf>,
    /// Fetch the public keys that an appc discovery page names, and trust them for this once
    #[arg(long, global = true, hide_short_help = true, help_heading = "Safety")]
    pub(crate) fetch_pubkeys: bool,
    /// Take ACIs and image tags without a signature, or with a bad one
    #[arg(long, global = true, hide_short_help = true, help_heading = "Safety")]
    pub(crate) insecure_image: bool,
}

impl NetworkArgs {
    /// Makes the settings; `auth_files` are where credentials are looked for if no file is named,
    /// and `host_certificates` where the certificates of hosts are.
    pub(crate) fn settings(
        &self,
        auth_files: Vec<PathBuf>,
        host_certificates: Vec<PathBuf>,
    ) -> Result<Network> {
        let mut network = Network {
            tls_verify: self.tls_verify,
            plain_http: self.plain_http.clone(),
            keyrings: self.keyring.clone(),
            fetch_pubkeys: self.fetch_pubkeys,
            insecure_image: self.insecure_image,
            host_certificates,
            auth_files: self.authfile.clone().map_or(auth_files, |file| vec![file]),
            ..Network::default()
        };
        for directory in &self.cert_dir {
            let found = CertificateDirectory::read(directory)?;
            network.ca_files.extend(found.ca_files);
            network.client_certificate = found.client.or(network.client_certificate);
        }
        for text in &self.creds {
            // The value is not repeated: it has a password in it.
            let bad = || Error::new(Code::Usage, "`--creds` is not `HOST=USER:PASSWORD`");
            let (host, pair) = text.split_once('=').ok_or_else(bad)?;
            let (user, password) = pair.split_once(':').ok_or_else(bad)?;
            let (user, password) = (user.to_owned(), Secret::new(password));
            let credential = Credential::Basic { user, password };
            network.credentials.push((host.to_owned(), credential));
        }
        for text in &self.host_header {
            // The value is not repeated: it is a secret.
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
        network.mirrors = pairs("--mirror", &self.mirror)?;
        Ok(network)
    }
}

fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let message = format!("`{option} {text}` is not `HOST=HOST`");
        let pair = text
            .split_once('=')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty());
        pair.map(|(a, b)| (a.to_owned(), b.to_owned()))
            .ok_or_else(|| Error::new(Code::Usage, message))
    };
    texts.iter().map(pair).collect()
}
