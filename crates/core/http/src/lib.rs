//! A blocking HTTP client for servers that may be hostile.
//!
//! [`Client::send`] sends one [`Request`] and follows its redirects itself, so that every hop is
//! checked: https never becomes http, credentials stay with the origin that they are for, and a URL
//! that a server made up leads only to public addresses or to the kind of network that the server
//! named by the user is in. Servers are reached through the proxies that the user names. Waits are bounded and end with a cancelled run, bodies and headers are
//! bounded, nothing is decoded on the way, and no secret is in a message. [`Download`] goes on where
//! a connection was cut.
//!
//! What a token, a manifest or a discovery page is belongs to the transports.

#![deny(missing_docs)]

mod address;
mod client;
mod connect;
mod download;
mod failure;
mod message;
mod remote_file;
mod route;
mod tls;
mod trust;
mod tunnel;
mod url;

pub use address::is_loopback;
pub use client::Client;
pub use download::Download;
pub use message::{Method, Request, Response};
pub use remote_file::RemoteFile;
pub use tls::CertificateDirectory;
pub use url::{Url, escape};
