//! A blocking HTTP client for servers that may be hostile.
//!
//! [`Client::send`] sends one [`Request`] and follows its redirects itself, so that every hop is
//! checked: https never becomes http, credentials stay with the origin that they are for, and a URL
//! that a server made up leads only to public addresses or to the kind of network that the server
//! named by the user is in. Servers are reached through the proxies that the user names. Waits are
//! bounded and end with a cancelled run, bodies and headers are bounded, nothing is decoded on the
//! way, and no secret is in a message. [`Download`] goes on where
//! a connection was cut.
//!
//! What a token, a manifest or a discovery page is belongs to the transports.
//!
//! The cargo feature `client` (on by default) brings the client and TLS. Without the feature, URLs
//! are read and requests are made as with the feature, but [`Client::new`] fails with
//! [`Code::Unsupported`](imgconv_model::Code::Unsupported): no connection is ever opened.

#![deny(missing_docs)]
#![cfg_attr(
    not(feature = "client"),
    expect(dead_code, reason = "only the client reads what a request holds")
)]

mod address;
mod certificates;
mod download;
mod engine;
mod local;
mod message;
mod remote_file;
mod url;
mod wait;

#[cfg(not(feature = "client"))]
mod absent;
#[cfg(feature = "client")]
mod body;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod connect;
#[cfg(feature = "client")]
mod failure;
#[cfg(feature = "client")]
mod route;
#[cfg(feature = "client")]
mod tls;
#[cfg(feature = "client")]
mod trust;
#[cfg(feature = "client")]
mod tunnel;

#[cfg(not(feature = "client"))]
pub use absent::Client;
pub use address::is_loopback;
pub use certificates::CertificateDirectory;
#[cfg(feature = "client")]
pub use client::Client;
pub use download::{Beginning, Download};
pub use engine::EngineAddress;
pub use message::{Method, Request, Response};
pub use remote_file::RemoteFile;
pub use url::{Url, escape};
