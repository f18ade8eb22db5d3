//! Detached OpenPGP signatures (RFC 9580) of ACIs, as appc defines them: an ASCII-armoured
//! `.aci.asc` beside an `.aci`, over the file as it is fetched.
//!
//! [`Trust`] is the set of keys that may sign for an image's name; [`Trust::verify`] returns the
//! signers. [`SigningKey`] signs. rPGP does the cryptography and the parsing of packets; this crate
//! checks the rights of a key and their times, because rPGP leaves that to its caller.
//!
//! [`check`] does all of it by what the user said. Nothing here fetches, and only [`check`] asks for
//! the time.
//!
//! The cargo feature `rpgp` (on by default) brings the cryptography. Without the feature, [`check`]
//! refuses every signature and no key signs, with
//! [`Code::Unsupported`](imgconv_model::Code::Unsupported): no signature is accepted unverified.

#![deny(missing_docs)]

mod signer;

#[cfg(not(feature = "rpgp"))]
mod absent;
#[cfg(feature = "rpgp")]
mod armour;
#[cfg(feature = "rpgp")]
mod check;
#[cfg(feature = "rpgp")]
mod key;
#[cfg(feature = "rpgp")]
mod refusal;
#[cfg(feature = "rpgp")]
mod sign;
#[cfg(feature = "rpgp")]
mod strength;
#[cfg(feature = "rpgp")]
mod trust;

#[cfg(not(feature = "rpgp"))]
pub use absent::{SigningKey, check};
#[cfg(feature = "rpgp")]
pub use check::check;
#[cfg(feature = "rpgp")]
pub use sign::SigningKey;
pub use signer::{OpenData, Signer, Verified};
#[cfg(feature = "rpgp")]
pub use trust::Trust;
