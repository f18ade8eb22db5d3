//! The settings of a server, and the receiver of its messages.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use imgconv_model::{Error, PlatformSpec};
use imgconv_publish::publish::SiteOptions;

/// The settings of a server. Every setting has a default.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address to listen on. Port 0 is any free port.
    pub listen: SocketAddr,
    /// The directory for what has to be made, kept at the end; `None` for a private directory in the
    /// directory of temporary files, removed at the end.
    pub cache: Option<PathBuf>,
    /// Make everything before the server listens.
    pub warm: bool,
    /// The platform of an index that a client gets if it accepts no index.
    pub platform: PlatformSpec,
    /// The most connections at a time. Further clients wait until a connection ends.
    pub connections: usize,
    /// The longest time for the headers of a request, and for a client to take more bytes of an answer.
    pub patience: Duration,
    /// The longest time that running answers have when the server ends.
    pub grace: Duration,
    /// The files for TLS; `None` for HTTP without TLS.
    pub tls: Option<Tls>,
    /// A file of users and their passwords as bcrypt hashes, as `htpasswd -B` writes it; `None` for a
    /// server that asks for no password.
    pub htpasswd: Option<PathBuf>,
    /// The host in the names of ACIs, instead of that of their image; `None` keeps the names.
    pub host: Option<String>,
    /// The URL by which appc clients reach the server, the public keys and the signing of ACIs. Without a
    /// URL it is made of the header `Host` of each request.
    pub site: SiteOptions,
}

/// The files for TLS, both PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate of the server, and those of its issuers behind it.
    pub certificate: PathBuf,
    /// The private key, without a passphrase.
    pub key: PathBuf,
}

impl ServeOptions {
    /// The default address: only programs on this machine reach the server.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
    /// The default number of connections.
    pub const CONNECTIONS: usize = 512;
    /// The default platform.
    pub const PLATFORM: &str = "linux/amd64";

    /// Returns the default settings with a platform.
    pub fn new(platform: PlatformSpec) -> Self {
        Self {
            listen: Self::LISTEN,
            cache: None,
            warm: false,
            platform,
            connections: Self::CONNECTIONS,
            patience: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            tls: None,
            htpasswd: None,
            host: None,
            site: SiteOptions::default(),
        }
    }
}

/// The receiver of a server's messages. Several threads may call all methods.
pub trait Watcher: Send + Sync {
    /// The server accepts connections at that address.
    fn listening(&self, address: SocketAddr, repositories: usize, images: usize);

    /// An image is not served, or not under the name that it has; or a setting is not safe.
    fn left_out(&self, why: &Error);

    /// Something that no source has as it is asked for is made now: the image, and the form of it.
    fn making(&self, what: &str);

    /// An answer failed. `what` is the document or blob that was asked for.
    fn failed(&self, what: &str, why: &Error);
}
