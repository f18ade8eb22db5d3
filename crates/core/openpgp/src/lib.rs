//! Detached OpenPGP signatures (RFC 9580) of ACIs, as appc has them: an ASCII-armoured `.aci.asc`
//! beside an `.aci`, over the file as it is fetched.
//!
//! [`Trust`] is the set of keys that may sign for an image's name; [`Trust::verify`] says who
//! signed. [`SigningKey`] signs. The cryptography and the parsing of packets are rPGP's; what a key
//! may do, and when, is decided here, because rPGP leaves that to its caller.
//!
//! [`check`] does all of it by what the user said. Nothing here fetches, and only [`check`] asks for
//! the time.

#![deny(missing_docs)]

mod armour;
mod key;
mod refusal;
mod sign;
mod strength;
mod trust;
mod verified;

use std::time::SystemTime;

use imgconv_model::{Code, Env, Error, Limits, Result, Signature};

pub use sign::SigningKey;
pub use trust::Trust;
pub use verified::{OpenData, Signer, Verified};

/// How many signatures of one file are looked at: each needs a pass over the whole file.
const SIGNATURES: usize = 16;

/// Verifies the signature of what is called `name`, by the keys that the user trusts for it. Keys
/// that the place offers were fetched only if the user agreed, and are trusted for this once.
///
/// # Errors
/// Those of [`Trust::load`] and [`Trust::verify`].
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
    /// Verifies a detached signature. Every signature in it that a trusted key claims to have made
    /// must be good, and there must be at least one.
    ///
    /// # Errors
    /// [`Code::BadSignature`] if one is wrong, too weak, or was made with a key that has expired, is
    /// revoked or may not sign; [`Code::Denied`] if no trusted key signed; [`Code::Unsupported`] if
    /// it is no detached signature, or its key can't be computed with; [`Code::Limit`] if it is too large; or what reading the data
    /// gives.
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
