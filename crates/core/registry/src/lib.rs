//! What the clients of registries share, whatever the version of the protocol: the place of a repository
//! ([`Location`], [`Host`]), and the credentials of the user ([`find_credential`], [`basic`]).
//!
//! Nothing here sends a request.

#![deny(missing_docs)]

mod credentials;
mod location;

pub use credentials::{basic, find_credential};
pub use location::{Host, Location, Protocol};
