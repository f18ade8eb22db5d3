//! A blocking HTTP client for servers that may be hostile.
//!
//! [`Client::send`] sends one [`Request`] and follows its redirects itself, so that every hop is
//! checked: https never becomes http, credentials stay with the origin that they are for, and a URL
//! from a server leads only to public addresses or to the kind of network that the server named by
//! the user is in. Servers are reached through the proxies that the user names. Waits are bounded
//! and end with a cancelled run, bodies and headers are bounded, no body is decoded on the way, and
//! no message has a secret. [`Download`] continues where a connection was cut.
//!
//! The transports define tokens, manifests and discovery pages.

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
