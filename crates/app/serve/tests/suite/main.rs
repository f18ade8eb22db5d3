//! Tests of the server over the loopback device.

#![cfg(feature = "server")]
#![expect(
    clippy::unwrap_used,
    reason = "a panic in a test is its failure report"
)]

mod appc;
mod discovery;
mod hostile;
mod lifetime;
mod made;
mod negotiation;
mod old;
mod page;
mod pull;
mod secured;
mod support;
