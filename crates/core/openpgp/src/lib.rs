//! Detached OpenPGP signatures (RFC 9580) of ACIs, as appc defines them: an ASCII-armoured
//! `.aci.asc` beside an `.aci`, over the file as it is fetched.
//!
//! [`Trust`] is the set of keys that may sign for an image's name; [`Trust::verify`] returns the
//! signers. [`SigningKey`] signs. rPGP does the cryptography and the parsing of packets; this crate
//! checks the rights of a key and their times, because rPGP leaves that to its caller.
//!
//! [`check`] does all of it by the user's settings. This crate fetches nothing, and only [`check`]
//! reads the clock.

#![deny(missing_docs)]

mod armour;
mod key;
mod sign;
mod strength;
mod trust;

use std::time::SystemTime;

use imgconv_model::{Code, Env, Error, Limits, Reader, Result, Signature};

pub use sign::SigningKey;
pub use trust::Trust;

/// The most signatures of one file that are verified: each needs a pass over the whole file.
const SIGNATURES: usize = 16;

/// Opens the signed bytes anew for each pass.
pub type OpenData<'a> = &'a dyn Fn() -> Result<Reader>;

/// One key that signed a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signer {
    /// The fingerprint of the primary key, in lower-case hexadecimal.
    pub fingerprint: String,
    /// The user IDs of the key, such as `Name <name@example.com>`.
    pub user_ids: Vec<String>,
}

/// The result of a good signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The trusted keys that signed, at least one, in the order of the signatures.
    pub signers: Vec<Signer>,
    /// Irregularities of these keys that do not make the signature bad.
    pub warnings: Vec<String>,
}

/// Verifies the signature of the image `name`, by the keys that the user trusts for that name. Keys
/// that the place offers were fetched only with the user's consent, and are trusted for this run
/// only.
///
/// # Errors
/// The errors of [`Trust::load`] and [`Trust::verify`].
pub fn check(signature: &Signature, name: &str, data: OpenData<'_>, env: &Env) -> Result<Verified> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a key can have expired; what is written does not depend on it"
    )]
    let now = SystemTime::now();
    let mut trust = Trust::load(&env.network.keyrings, name, &env.limits)?;
    for keys in &signature.keys {
        trust.add(keys, &env.limits)?;
    }
    let verified = trust.verify(&signature.bytes, data, now, &env.limits);
    verified.map_err(|error| match &signature.offered[..] {
        offered if error.code() == Code::Denied && !offered.is_empty() => error.hint(format!(
            "`--keyring PATH` names trusted keys; `--fetch-pubkeys` takes those of {}",
            offered.join(", ")
        )),
        _ => error,
    })
}

impl Trust {
    /// Verifies a detached signature. Every signature in it that names a trusted key must be good,
    /// and there must be at least one.
    ///
    /// # Errors
    /// [`Code::BadSignature`] if a signature is wrong, too weak, or was made with a key that has
    /// expired, is revoked or may not sign; [`Code::Denied`] if no trusted key signed;
    /// [`Code::Unsupported`] if the file is not a detached signature, or the algorithm of its key
    /// is not supported; [`Code::Limit`] if the signature is too large; or the error of reading the
    /// data.
    pub fn verify(
        &self,
        signature: &[u8],
        data: OpenData<'_>,
        now: SystemTime,
        limits: &Limits,
    ) -> Result<Verified> {
        let signatures = armour::signatures(signature, limits)?;
        if signatures.len() > SIGNATURES {
            let message = format!("the file holds more than {SIGNATURES} signatures");
            return Err(Error::new(Code::Limit, message));
        }
        let mut verified = Verified::default();
        let mut strangers = Vec::new();
        for signature in &signatures {
            key::check_form(signature, now)?;
            let Some(found) = self.signer_of(signature) else {
                strangers.push(key::issuer(signature));
                continue;
            };
            found.verify(signature, data, now, &mut verified)?;
        }
        if verified.signers.is_empty() {
            return Err(self.stranger(&strangers));
        }
        Ok(verified)
    }

    fn stranger(&self, issuers: &[String]) -> Error {
        let message = format!(
            "signed by {}, which is not trusted for {}",
            issuers.join(" and "),
            self.subject()
        );
        Error::new(Code::Denied, message)
            .at("signature")
            .hint("`--keyring PATH` names files of trusted keys, or a directory laid out as rkt's")
    }
}

/// A [`Code::BadSignature`] error.
fn bad(message: impl Into<String>) -> Error {
    refused(Error::new(Code::BadSignature, message))
}

/// Adds the advice for an image whose signature is refused.
fn refused(error: Error) -> Error {
    error.hint("`--insecure-image` takes an image whose signature is bad or missing")
}
