//! The command `serve`.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use imgconv::{Code, Env, Error, PlatformSpec, Result, ServeOptions, Tls, Watcher, quote};

use crate::{
    documents::Serving,
    options::{Access, Common, Site, Source, duration, some_duration},
    screen::{clean, json, print, say},
};

const EXAMPLES: &str = "\
Examples:
  imgconv serve oci:out
  imgconv serve tree:/backup --listen 0.0.0.0:5000 --tls-cert server.crt --tls-key server.key --htpasswd users
  imgconv serve /var/lib/docker app.aci --cache /var/cache/imgconv --warm";

/// Serve the images of any places to clients of registries and of appc, read only
///
/// The server speaks the API of registries, versions 2 and 1, and answers appc discovery with ACIs. Documents and blobs that a place has
/// are served byte for byte. A client that does not accept the stored format gets another format. The server makes
/// documents and blobs that a registry needs and a place lacks, at the first request. The repository of an image
/// is its reference without the host: `docker.io/library/alpine:3` is `library/alpine:3`. SIGTERM and
/// Ctrl-C end the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// Locators of the places
    #[arg(value_name = "LOCATOR", required = true)]
    sources: Vec<String>,
    /// Address to listen on; port 0 is any free port [default: 127.0.0.1:5000]
    ///
    /// Every host that reaches the address can read every image, unless `--htpasswd` asks for a password.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Directory for documents and blobs that the server makes, kept for later runs [default: a private one that is removed]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Make all documents and blobs that places lack before the server listens
    #[arg(long)]
    warm: bool,
    /// Platform of an index for clients that accept no index
    #[arg(long, value_name = "OS/ARCH", default_value = ServeOptions::PLATFORM)]
    platform: String,
    /// Maximum number of connections
    #[arg(long, value_name = "N", default_value_t = ServeOptions::CONNECTIONS)]
    connections: usize,
    /// PEM file with the certificate of the server, then those of its issuers: turns on TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// File of users and bcrypt hashes, as `htpasswd -B` writes it: clients need a password
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Longest time for the headers of a request or a TLS handshake, and for a client to take more of an answer
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = some_duration)]
    patience: Duration,
    /// Longest time that open answers may continue after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    grace: Duration,
    #[command(flatten)]
    site: Site,
    #[command(flatten)]
    from: Source,
    #[command(flatten)]
    access: Access,
}

impl Serve {
    pub(crate) fn run(&self, common: &Common, env: Env) -> Result<ExitCode> {
        let env = self.access.apply(env)?;
        if self.connections == 0 {
            let message = "`--connections` needs at least 1";
            return Err(Error::new(Code::Usage, message));
        }
        let options = ServeOptions {
            listen: match &self.listen {
                None => ServeOptions::LISTEN,
                Some(text) => address(text)?,
            },
            cache: self.cache.clone(),
            warm: self.warm,
            connections: self.connections,
            patience: self.patience,
            grace: self.grace,
            tls: self.tls(),
            htpasswd: self.htpasswd.clone(),
            host: self.site.host.clone(),
            site: self.site.options(&env),
            ..ServeOptions::new(PlatformSpec::parse(&self.platform)?)
        };
        let sources = self.from.locators(&self.sources)?;
        let watcher = Arc::new(Log {
            json: common.json,
            quiet: common.quiet,
            scheme: match options.tls {
                Some(_) => "https",
                None => "http",
            },
        });
        imgconv::serve(&sources, &options, watcher, &env)?;
        Ok(ExitCode::SUCCESS)
    }

    fn tls(&self) -> Option<Tls> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(Tls { certificate, key })
    }
}

/// Reads an address: a host that is a name may have several, of which the first is taken.
fn address(text: &str) -> Result<SocketAddr> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| {
        let message = format!("`--listen {}` is no address", clean(text));
        Error::new(Code::Usage, message).hint("write it as `ADDRESS:PORT`, such as `0.0.0.0:5000`")
    })
}

/// Prints the messages of the server.
#[derive(Debug)]
struct Log {
    json: bool,
    quiet: bool,
    scheme: &'static str,
}

impl Watcher for Log {
    fn listening(&self, address: SocketAddr, repositories: usize, images: usize) {
        let url = format!("{}://{address}", self.scheme);
        // A closed standard output does not end the server.
        let _ = match self.json {
            true => json(&Serving {
                listening: url,
                repositories,
                images,
            }),
            false => print(&format!(
                "listening on {url}: {images} images in {repositories} repositories\n"
            )),
        };
    }

    fn left_out(&self, why: &Error) {
        if !self.quiet {
            say(&format!(
                "warning[{}]: {}",
                why.code(),
                clean(&why.to_string())
            ));
        }
    }

    fn making(&self, what: &str) {
        if !self.quiet {
            say(&format!("making {}", clean(what)));
        }
    }

    fn failed(&self, what: &str, why: &Error) {
        let message = format!("{}: {why}", quote(what));
        say(&format!("error[{}]: {}", why.code(), clean(&message)));
    }
}
